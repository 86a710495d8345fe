// Runs coroutines on an io_context from a plain test, always with a bound: a test that waits for something that never comes ends as a
// failure.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace rollbackd::test {

inline constexpr std::chrono::nanoseconds kPatience = std::chrono::seconds(60);  // Ends a test that hangs; none waits it out.

/// Runs `context` until `done()` holds or `limit` has passed. @return whether it holds
template <class Done>
bool run_until(boost::asio::io_context& context, Done done, std::chrono::nanoseconds limit = kPatience) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    context.restart();
    if (context.run_one_until(deadline) == 0 && context.stopped()) return done();  // Nothing is left that could make it true.
  }
  return true;
}

/// A coroutine started in the background; cancelled (and waited for) when this goes out of scope, which needs the context to be alive.
class Background {
 public:
  Background(boost::asio::io_context& context, boost::asio::awaitable<void> work) : context_(&context) {
    boost::asio::co_spawn(
        context, std::move(work),
        boost::asio::bind_cancellation_slot(state_->signal.slot(), [state = state_](std::exception_ptr) { state->ended = true; }));
  }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  ~Background() { EXPECT_TRUE(stop()) << "a cancelled coroutine did not end"; }
  void cancel() { state_->signal.emit(boost::asio::cancellation_type::terminal); }
  bool ended() const { return state_->ended; }
  /// Cancels and waits for the end.
  bool stop() {
    if (!state_->ended) cancel();
    return run_until(*context_, [this] { return state_->ended; });
  }

 private:
  struct State {
    boost::asio::cancellation_signal signal;
    bool ended = false;
  };
  boost::asio::io_context* context_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

/// Runs `work` to its end and gives its value. After `limit` it is cancelled and the test fails by an exception.
template <class T>
T run_for(boost::asio::io_context& context, boost::asio::awaitable<T> work, std::chrono::nanoseconds limit = kPatience) {
  struct State {
    boost::asio::cancellation_signal signal;
    bool ended = false;
    std::exception_ptr thrown;
    std::optional<T> value;
  };
  auto state = std::make_shared<State>();
  boost::asio::co_spawn(context, std::move(work),
                        boost::asio::bind_cancellation_slot(state->signal.slot(), [state](std::exception_ptr thrown, T value) {
                          state->ended = true;
                          state->thrown = thrown;
                          if (!thrown) state->value.emplace(std::move(value));
                        }));
  if (!run_until(
          context, [&] { return state->ended; }, limit)) {
    state->signal.emit(boost::asio::cancellation_type::terminal);
    run_until(
        context, [&] { return state->ended; }, std::chrono::seconds(10));
    throw std::runtime_error("the coroutine did not end in time");
  }
  if (state->thrown) std::rethrow_exception(state->thrown);
  return std::move(*state->value);
}

/// A directory of the test's own, removed with all that is in it.
class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "rollbackd-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace rollbackd::test
