// One exchange of bytes over a TCP connection of its own: connect, perhaps send, perhaps wait for what is expected back.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/time.hpp"

namespace rollbackd::io {

/// "HOST:PORT" or "[IPv6]:PORT" in its parts.
struct TcpAddress {
  std::string host;  ///< name or address, without brackets
  std::string port;
  static Result<TcpAddress> parse(const std::string& text);
};

struct TcpRequest {
  std::string send{};                              ///< once connected
  std::function<bool(std::string_view)> enough{};  ///< asked of all that came so far, after each piece; none: nothing is waited for
  std::size_t answer_bytes_max = 4096;             ///< what is beyond it is not read
};

struct TcpAnswer {
  std::string text;
  bool enough = true;   ///< the request's `enough` said so (true without one)
  bool closed = false;  ///< the other side closed before it was enough
};

/// Talks to one address, each time over a new connection.
/// One exchange at a time, and on one thread: the executor's. Destroying the client while one runs ends it with `cancelled`.
/// Error codes as in HttpClient: `timed_out`, `unavailable` (refused, reset), `io` (our own side could not look), `cancelled`.
class TcpClient {
 public:
  TcpClient(boost::asio::any_io_executor executor, TcpAddress address);
  ~TcpClient();
  TcpClient(TcpClient&&) noexcept = default;
  TcpClient& operator=(TcpClient&&) = delete;
  /// @param timeout  for everything: resolve, connect, send, answer
  boost::asio::awaitable<Result<TcpAnswer>> exchange(TcpRequest request, Duration timeout);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace rollbackd::io
