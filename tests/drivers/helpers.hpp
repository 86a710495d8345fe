// Small helpers for tests with real files, links and processes: a directory that goes away, and a coroutine run until done or a deadline.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <string>

#include "base/time.hpp"

namespace rollbackd::testing {

/// A directory of this test's own, removed with everything in it.
class TempDir {
 public:
  TempDir() {
    std::string form = (std::filesystem::temp_directory_path() / "rollbackd-test-XXXXXX").string();
    if (::mkdtemp(form.data()) == nullptr) std::abort();
    path_ = form;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline void write_file(const std::string& path, const std::string& text, int mode = 0644) {
  {
    std::ofstream out(path, std::ios::trunc);
    out << text;
  }
  std::filesystem::permissions(path, static_cast<std::filesystem::perms>(mode));
}

inline std::string read_file(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Runs `work` on `context` until it has its value; fails the test and gives nothing when that takes longer than `limit`.
template <class T>
std::optional<T> run_until_done(boost::asio::io_context& context, boost::asio::awaitable<T> work, Duration limit = 20s) {
  std::optional<T> out;
  bool done = false;
  boost::asio::co_spawn(context, std::move(work), [&](const std::exception_ptr& error, T value) {
    done = true;
    if (!error) out.emplace(std::move(value));
  });
  context.restart();
  const auto until = std::chrono::steady_clock::now() + limit;
  while (!done && context.run_one_until(until) != 0) {
  }
  if (!done) ADD_FAILURE() << "not done within " << format_duration(limit);
  return out;
}

/// Runs `context` until `condition` holds; fails the test when that takes longer than `limit`.
inline bool run_until(boost::asio::io_context& context, const std::function<bool()>& condition, Duration limit = 20s) {
  context.restart();
  const auto until = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (context.run_one_until(until) == 0) {
      if (condition()) return true;
      ADD_FAILURE() << "the condition did not come true within " << format_duration(limit);
      return false;
    }
  }
  return true;
}

}  // namespace rollbackd::testing
