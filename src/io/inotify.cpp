#include "io/inotify.hpp"

#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

namespace rollbackd::io {

namespace asio = boost::asio;

namespace {

/// What one next() reads at most.
constexpr std::size_t kReadBytesMax = 64 << 10;

std::vector<FileEvent> split_events(const char* data, std::size_t size) {
  std::vector<FileEvent> out;
  for (std::size_t at = 0; at + sizeof(inotify_event) <= size;) {
    inotify_event event{};
    std::memcpy(&event, data + at, sizeof event);
    const char* name = data + at + sizeof event;
    out.push_back({event.wd, event.mask, std::string(name, ::strnlen(name, event.len))});  // The name is padded with NULs.
    at += sizeof event + event.len;
  }
  return out;
}

}  // namespace

struct Inotify::Impl {
  explicit Impl(asio::posix::stream_descriptor d) : descriptor(std::move(d)) {}
  asio::posix::stream_descriptor descriptor;

  /// What can be read now; empty when nothing is there. Apart from the coroutine, so that the buffer is on the stack.
  Result<std::vector<FileEvent>> read_now() {
    alignas(inotify_event) std::array<char, kReadBytesMax> buffer;
    const ssize_t n = ::read(descriptor.native_handle(), buffer.data(), buffer.size());
    if (n > 0) return split_events(buffer.data(), static_cast<std::size_t>(n));
    if (n < 0 && errno != EAGAIN && errno != EINTR) return Error::from_errno("cannot read inotify", errno);
    return std::vector<FileEvent>{};
  }

  static asio::awaitable<Result<std::vector<FileEvent>>> next(std::shared_ptr<Impl> self) {
    while (true) {
      auto events = self->read_now();
      if (events.has_error() || !events->empty()) co_return events;
      const auto [error] =
          co_await self->descriptor.async_wait(asio::posix::stream_descriptor::wait_read, asio::as_tuple(asio::use_awaitable));
      if (error) co_return Error(Errc::cancelled, "waiting for file events was cancelled");
    }
  }
};

Inotify::Inotify(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Inotify::Inotify(Inotify&&) noexcept = default;
Inotify& Inotify::operator=(Inotify&& other) noexcept {
  if (impl_) {  // A coroutine still waiting on the old one holds it: let it go.
    boost::system::error_code ignored;
    impl_->descriptor.close(ignored);
  }
  impl_ = std::move(other.impl_);
  return *this;
}
Inotify::~Inotify() {
  if (!impl_) return;
  boost::system::error_code ignored;
  impl_->descriptor.close(ignored);
}

Result<Inotify> Inotify::open(asio::any_io_executor executor) {
  const int fd = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) {
    return Error::from_errno("cannot start inotify", errno).try_next("raise fs.inotify.max_user_instances or the limit of open files");
  }
  return Inotify(std::make_shared<Impl>(asio::posix::stream_descriptor(executor, fd)));
}

Result<int> Inotify::add(const std::string& path, std::uint32_t mask) {
  const int watch = ::inotify_add_watch(impl_->descriptor.native_handle(), path.c_str(), mask);
  if (watch >= 0) return watch;
  const int saved = errno;
  Error error = Error::from_errno("cannot watch " + path, saved);
  if (saved == ENOENT || saved == ENOTDIR) error.code = Errc::not_found;
  if (saved == ENOSPC) error.next_step = "raise fs.inotify.max_user_watches";
  return error;
}

void Inotify::remove(int watch) { ::inotify_rm_watch(impl_->descriptor.native_handle(), watch); }

asio::awaitable<Result<std::vector<FileEvent>>> Inotify::next() { return Impl::next(impl_); }

}  // namespace rollbackd::io
