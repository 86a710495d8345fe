// SOCK_SEQPACKET unix sockets on the reactor: whole messages of bounded length, and the peer's credentials.
#pragma once

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "io/process.hpp"

namespace rollbackd::io {

/// Who is at the other end: as it was when it connected, or when the pair was made (SO_PEERCRED).
struct PeerCredentials {
  pid_t pid = 0;
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
};

/// One connection. Copies share it; the last one closes it. Used on the executor's one thread.
class Seqpacket {
 public:
  Seqpacket() = default;  ///< closed
  /// @param bytes_max  of one message, in either direction
  Seqpacket(boost::asio::any_io_executor executor, Fd socket, std::size_t bytes_max);
  /// @return `unavailable` when nobody listens at `path` (at most 107 bytes)
  static Result<Seqpacket> connect(boost::asio::any_io_executor executor, const std::string& path, std::size_t bytes_max);

  /// Sends a message, in the order of asking. What the socket does not take at once waits, at most `kWaitingMax` messages.
  /// @return `too_large`; `unavailable` when the other side is gone or reads nothing (the connection is closed then)
  Result<> post(std::string message);
  /// The next message, whole. One reader at a time.
  /// @return `unavailable` when the other side is gone or this one was closed, `too_large` (the connection is closed then), `cancelled`
  boost::asio::awaitable<Result<std::string>> receive();
  Result<PeerCredentials> peer() const;
  bool open() const;
  void close();

  static constexpr std::size_t kWaitingMax = 1024;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// Two connected ends, both close-on-exec.
Result<std::pair<Fd, Fd>> seqpacket_pair();

/// A listening socket at `path`, which replaces a socket that nobody listens on any more. Its mode is set before it listens.
Result<Fd> listen_seqpacket(const std::string& path, unsigned mode);

/// Takes connections of a listening socket. Used on the executor's one thread.
class SeqpacketListener {
 public:
  SeqpacketListener(boost::asio::any_io_executor executor, Fd socket, std::size_t bytes_max);
  /// @return `cancelled`, or `io` when the socket is none
  boost::asio::awaitable<Result<Seqpacket>> accept();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// The sockets that systemd hands over (sd_listen_fds(3)): LISTEN_PID must be this process. They become close-on-exec and the variables are
/// taken away, so that nothing we start believes them its own. Call once, before there are threads.
std::vector<int> listen_fds();

}  // namespace rollbackd::io
