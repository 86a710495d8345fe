// A webhook's other side on a loopback port: answers what the test tells it to, and remembers what it got. Bare sockets.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/json.hpp"

namespace rollbackd::test {

class WebhookServer {
  using tcp = boost::asio::ip::tcp;

 public:
  struct Request {
    std::string head;
    Json body;
  };
  struct State {
    explicit State(boost::asio::io_context& context) : acceptor(context, tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0)) {}
    tcp::acceptor acceptor;
    std::deque<int> statuses;  ///< one a request; then 200
    std::string answer_body;
    bool silent = false;  ///< reads and never answers
    std::vector<Request> requests;
    std::vector<std::shared_ptr<tcp::socket>> held;
  };

  explicit WebhookServer(boost::asio::io_context& context) : state_(std::make_shared<State>(context)) {
    boost::asio::co_spawn(context, accept(state_), boost::asio::detached);
  }
  WebhookServer(const WebhookServer&) = delete;
  WebhookServer& operator=(const WebhookServer&) = delete;
  ~WebhookServer() {
    boost::system::error_code ignored;
    state_->acceptor.close(ignored);
    for (const auto& socket : state_->held) socket->close(ignored);
  }

  State* operator->() { return state_.get(); }
  std::string url(const std::string& target = "/hook") const {
    return "http://127.0.0.1:" + std::to_string(state_->acceptor.local_endpoint().port()) + target;
  }
  /// The keys that came, in order.
  std::vector<std::string> keys() const {
    std::vector<std::string> out;
    for (const Request& request : state_->requests) out.push_back(request.body["key"].string_or("?"));
    return out;
  }

 private:
  static constexpr auto kQuiet = boost::asio::as_tuple(boost::asio::use_awaitable);

  static boost::asio::awaitable<void> accept(std::shared_ptr<State> state) {
    while (true) {
      auto [error, socket] = co_await state->acceptor.async_accept(kQuiet);
      if (error) co_return;
      auto shared = std::make_shared<tcp::socket>(std::move(socket));
      boost::asio::co_spawn(shared->get_executor(), serve(state, shared), boost::asio::detached);
    }
  }

  static boost::asio::awaitable<void> serve(std::shared_ptr<State> state, std::shared_ptr<tcp::socket> socket) {
    std::string data;
    auto into = boost::asio::dynamic_buffer(data);
    const auto [head_error, head_bytes] = co_await boost::asio::async_read_until(*socket, into, "\r\n\r\n", kQuiet);
    if (head_error) co_return;
    Request request;
    request.head = data.substr(0, head_bytes);
    const std::size_t length_at = request.head.find("Content-Length: ");
    const std::size_t length = length_at == std::string::npos ? 0 : std::stoul(request.head.substr(length_at + 16));
    if (data.size() < head_bytes + length) {
      const auto [body_error, body_bytes] =
          co_await boost::asio::async_read(*socket, into, boost::asio::transfer_exactly(head_bytes + length - data.size()), kQuiet);
      if (body_error) co_return;
    }
    if (Result<Json> body = Json::parse(data.substr(head_bytes)); body.has_value()) request.body = *body;
    state->requests.push_back(std::move(request));
    if (state->silent) {
      state->held.push_back(socket);
      co_return;
    }
    int status = 200;
    if (!state->statuses.empty()) {
      status = state->statuses.front();
      state->statuses.pop_front();
    }
    const std::string answer = "HTTP/1.1 " + std::to_string(status) +
                               " Said\r\nConnection: close\r\nContent-Length: " + std::to_string(state->answer_body.size()) + "\r\n\r\n" +
                               state->answer_body;
    co_await boost::asio::async_write(*socket, boost::asio::buffer(answer), kQuiet);
  }

  std::shared_ptr<State> state_;
};

}  // namespace rollbackd::test
