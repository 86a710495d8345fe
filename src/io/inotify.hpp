// inotify as an awaitable stream of events. A hint, never the truth: on overflow the caller looks for itself.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace rollbackd::io {

struct FileEvent {
  int watch = -1;
  std::uint32_t mask = 0;  ///< IN_* of inotify(7); IN_Q_OVERFLOW means: look at everything
  std::string name;
};

class Inotify {
 public:
  static Result<Inotify> open(boost::asio::any_io_executor executor);
  Inotify(Inotify&&) noexcept;
  Inotify& operator=(Inotify&&) noexcept;
  ~Inotify();
  Result<int> add(const std::string& path, std::uint32_t mask);
  void remove(int watch);
  /// At least one event, at most 64 KiB of them.
  boost::asio::awaitable<Result<std::vector<FileEvent>>> next();

 private:
  struct Impl;
  explicit Inotify(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace rollbackd::io
