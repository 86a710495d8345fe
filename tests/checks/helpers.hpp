// What the tests of checks share: a check with a sink, and a web server that answers as told.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checks/check.hpp"
#include "tests/support/run_for.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;
using test::run_for;
using test::run_until;

/// A web server on a loopback port of its own; counts connections. `answer` is sent as it is; nothing is sent while it is empty.
class WebServer {
 public:
  explicit WebServer(asio::io_context& context)
      : context_(&context), acceptor_(context, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0)) {
    asio::co_spawn(context, accept(), [](std::exception_ptr) {});
  }
  std::string url(const std::string& path = "/health") const { return "http://" + place() + path; }
  std::string place() const { return "127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port()); }
  void say(const std::string& status, const std::string& body = "") {
    answer = "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  std::string request;  ///< the last one, head and body
  int connections = 0, requests = 0;

 private:
  static constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
  asio::awaitable<void> accept() {
    while (true) {
      auto [error, socket] = co_await acceptor_.async_accept(kToken);
      if (error) co_return;
      ++connections;
      asio::co_spawn(*context_, serve(std::move(socket)), [](std::exception_ptr) {});
    }
  }
  asio::awaitable<void> serve(asio::ip::tcp::socket socket) {
    std::string buffer;
    while (true) {
      const auto [error, size] = co_await asio::async_read_until(socket, asio::dynamic_buffer(buffer), "\r\n\r\n", kToken);
      if (error) co_return;
      ++requests;
      request = buffer.substr(0, size);
      buffer.erase(0, size);
      if (const std::size_t length = request.find("Content-Length: "); length != request.npos) {
        const std::size_t body = std::stoul(request.substr(length + 16));
        if (buffer.size() < body) {
          const auto [cut_off, more] =
              co_await asio::async_read(socket, asio::dynamic_buffer(buffer), asio::transfer_exactly(body - buffer.size()), kToken);
          if (cut_off) co_return;
        }
        request += buffer.substr(0, body);
        buffer.erase(0, body);
      }
      const std::string text = answer;
      if (!text.empty()) co_await asio::async_write(socket, asio::buffer(text), kToken);
    }
  }
  asio::io_context* context_;
  asio::ip::tcp::acceptor acceptor_;
};

/// A check of service shop-api/prod whose batches are kept.
class CheckTest : public testing::Test {
 protected:
  config::CheckSettings settings_;
  asio::io_context context_;
  io::Clock clock_;
  std::vector<Batch> batches_;
  std::unique_ptr<Check> check_;

  CheckContext context_of() {
    return {context_.get_executor(),
            &clock_,
            {"shop-api", "prod"},
            settings_,
            [this](Batch batch) { batches_.push_back(std::move(batch)); },
            7};
  }
  void make() {
    auto made = make_check(context_of());
    ASSERT_TRUE(made.has_value()) << made.error().text();
    check_ = std::move(*made);
  }
  bool batches_arrive(std::size_t count, std::chrono::nanoseconds limit = test::kPatience) {
    return run_until(
        context_, [&] { return batches_.size() >= count; }, limit);
  }

  /// The sample of `name` whose label `key` is `value`.
  static const Sample* find(const Batch& batch, const std::string& name, const std::string& key = "", const std::string& value = "") {
    for (const Sample& sample : batch.samples)
      if (sample.labels.name() == name && (key.empty() || sample.labels.get(key) == value)) return &sample;
    return nullptr;
  }
  static double value(const Batch& batch, const std::string& name, const std::string& key = "", const std::string& label = "") {
    const Sample* sample = find(batch, name, key, label);
    return sample ? sample->value : -1;
  }
};

inline void append(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::app) << text << std::flush; }

}  // namespace rollbackd::checks
