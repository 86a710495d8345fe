// Whole messages over a unix socket: what the daemon and its actor talk through.
#include "io/seqpacket.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <deque>

namespace rollbackd::io {

namespace asio = boost::asio;

namespace {

constexpr int kListenFdsStart = 3;  // sd_listen_fds(3)
constexpr int kListenFdsMax = 16;
constexpr int kBacklog = 16;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Error(Errc::too_large, "the path of a socket is too long: " + path)
        .try_next("at most " + std::to_string(sizeof address.sun_path - 1) + " bytes");
  path.copy(address.sun_path, path.size());
  return address;
}

Error gone(const char* why) { return Error(Errc::unavailable, "the other side of a connection is gone").because(why); }

void set_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }  // NOLINT(cppcoreguidelines-pro-type-vararg)

}  // namespace

struct Seqpacket::Impl {
  Impl(const asio::any_io_executor& executor, int fd, std::size_t bytes) : descriptor(executor, fd), bytes_max(bytes) {}
  asio::posix::stream_descriptor descriptor;
  std::size_t bytes_max;
  std::deque<std::string> waiting;

  void close() {
    boost::system::error_code ignored;
    descriptor.close(ignored);
    waiting.clear();
  }

  /// errno of a send that failed; EAGAIN when the socket's buffer is full.
  int send_now(const std::string& message) {
    const ssize_t n = ::send(descriptor.native_handle(), message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return n >= 0 ? 0 : errno;
  }

  static void flush(std::shared_ptr<Impl> self) {
    auto& descriptor = self->descriptor;
    descriptor.async_wait(asio::posix::descriptor_base::wait_write, [self = std::move(self)](const boost::system::error_code& stopped) {
      if (stopped || !self->descriptor.is_open()) return;
      while (!self->waiting.empty()) {
        const int error = self->send_now(self->waiting.front());
        if (error == EAGAIN || error == EINTR || error == ENOBUFS) break;
        if (error != 0) return self->close();
        self->waiting.pop_front();
      }
      if (!self->waiting.empty()) flush(self);
    });
  }
};

Seqpacket::Seqpacket(asio::any_io_executor executor, Fd socket, std::size_t bytes_max) {
  set_nonblocking(socket.get());
  impl_ = std::make_shared<Impl>(executor, socket.release(), bytes_max);
}

Result<Seqpacket> Seqpacket::connect(asio::any_io_executor executor, const std::string& path, std::size_t bytes_max) {
  const auto address = address_of(path);
  if (address.has_error()) return address.error();
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno("cannot make a socket", errno);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0)
    return Error(Errc::unavailable, "nobody answers at " + path).because(std::strerror(errno));  // NOLINT(concurrency-mt-unsafe)
  return Seqpacket(std::move(executor), std::move(socket), bytes_max);
}

Result<> Seqpacket::post(std::string message) {
  if (!open()) return gone("it was closed");
  if (message.size() > impl_->bytes_max || message.empty())
    return Error(Errc::too_large, "a message of " + std::to_string(message.size()) + " bytes cannot be sent")
        .because("1 to " + std::to_string(impl_->bytes_max) + " bytes are allowed");
  if (impl_->waiting.empty()) {
    const int error = impl_->send_now(message);
    if (error == 0) return {};
    if (error != EAGAIN && error != EINTR && error != ENOBUFS) {
      impl_->close();
      return gone(std::strerror(error));  // NOLINT(concurrency-mt-unsafe)
    }
  }
  if (impl_->waiting.size() >= kWaitingMax) {
    impl_->close();
    return gone("it reads nothing");
  }
  impl_->waiting.push_back(std::move(message));
  if (impl_->waiting.size() == 1) Impl::flush(impl_);
  return {};
}

asio::awaitable<Result<std::string>> Seqpacket::receive() {
  const auto self = impl_;
  while (self && self->descriptor.is_open()) {
    std::string buffer(self->bytes_max, '\0');
    // MSG_TRUNC: the message's own length, however long. Descriptors sent along are dropped by the kernel, as no room is offered for them.
    const ssize_t n = ::recv(self->descriptor.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (n > static_cast<ssize_t>(self->bytes_max)) {
      self->close();
      co_return Error(Errc::too_large, "a message of " + std::to_string(n) + " bytes was refused");
    }
    if (n > 0) {
      buffer.resize(static_cast<std::size_t>(n));
      co_return buffer;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      const std::string why = n == 0 ? "it ended the connection" : std::strerror(errno);  // NOLINT(concurrency-mt-unsafe)
      self->close();
      co_return gone(why.c_str());
    }
    buffer = std::string();
    const auto [stopped] =
        co_await self->descriptor.async_wait(asio::posix::descriptor_base::wait_read, asio::as_tuple(asio::use_awaitable));
    if (stopped && self->descriptor.is_open()) co_return Error(Errc::cancelled, "waiting for a message was cancelled");
  }
  co_return gone("it was closed");
}

Result<PeerCredentials> Seqpacket::peer() const {
  ucred who{};
  socklen_t size = sizeof who;
  if (!open() || ::getsockopt(impl_->descriptor.native_handle(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0)
    return Error::from_errno("cannot tell who is at the other end", errno);
  return PeerCredentials{who.pid, who.uid, who.gid};
}

bool Seqpacket::open() const { return impl_ && impl_->descriptor.is_open(); }
void Seqpacket::close() {
  if (impl_) impl_->close();
}

Result<std::pair<Fd, Fd>> seqpacket_pair() {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return Error::from_errno("cannot make a socket pair", errno);
  return std::pair<Fd, Fd>(Fd(ends[0]), Fd(ends[1]));
}

Result<Fd> listen_seqpacket(const std::string& path, unsigned mode) {
  const auto address = address_of(path);
  if (address.has_error()) return address.error();
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno("cannot make a socket", errno);
  const auto* where = reinterpret_cast<const sockaddr*>(&*address);
  if (::connect(socket.get(), where, sizeof *address) == 0) return Error(Errc::conflict, "somebody listens at " + path + " already");
  socket.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  struct stat there {};
  if (::lstat(path.c_str(), &there) == 0 && S_ISSOCK(there.st_mode)) ::unlink(path.c_str());
  if (!socket || ::bind(socket.get(), where, sizeof *address) != 0) return Error::from_errno("cannot make the socket " + path, errno);
  if (::chmod(path.c_str(), mode) != 0 || ::listen(socket.get(), kBacklog) != 0)
    return Error::from_errno("cannot listen at " + path, errno);
  return socket;
}

struct SeqpacketListener::Impl {
  Impl(const asio::any_io_executor& executor, int fd, std::size_t bytes) : descriptor(executor, fd), bytes_max(bytes) {}
  asio::posix::stream_descriptor descriptor;
  std::size_t bytes_max;
};

SeqpacketListener::SeqpacketListener(asio::any_io_executor executor, Fd socket, std::size_t bytes_max) {
  set_nonblocking(socket.get());
  impl_ = std::make_shared<Impl>(executor, socket.release(), bytes_max);
}

asio::awaitable<Result<Seqpacket>> SeqpacketListener::accept() {
  const auto self = impl_;
  while (true) {
    const auto [stopped] =
        co_await self->descriptor.async_wait(asio::posix::descriptor_base::wait_read, asio::as_tuple(asio::use_awaitable));
    if (stopped) co_return Error(Errc::cancelled, "no more connections are taken");
    Fd socket(::accept4(self->descriptor.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket) co_return Seqpacket(self->descriptor.get_executor(), std::move(socket), self->bytes_max);
    if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK || errno == EOPNOTSUPP)
      co_return Error::from_errno("cannot take connections", errno);
  }
}

std::vector<int> listen_fds() {
  const auto number = [](const char* name) {
    const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): at start only
    long value = -1;
    if (text && std::from_chars(text, text + std::strlen(text), value).ec != std::errc()) value = -1;
    return value;
  };
  std::vector<int> out;
  const long count = number("LISTEN_FDS");
  if (number("LISTEN_PID") == ::getpid() && count > 0 && count <= kListenFdsMax) {
    for (int fd = kListenFdsStart; fd < kListenFdsStart + count; ++fd) {
      ::fcntl(fd, F_SETFD, FD_CLOEXEC);  // NOLINT(cppcoreguidelines-pro-type-vararg)
      out.push_back(fd);
    }
  }
  for (const char* name : {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}) ::unsetenv(name);  // NOLINT(concurrency-mt-unsafe)
  return out;
}

}  // namespace rollbackd::io
