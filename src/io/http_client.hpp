// One HTTP/1.1 request over a connection that may be kept. Beast stays inside http_client.cpp.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <map>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "base/time.hpp"

namespace rollbackd::io {

/// An http:// or http+unix:// URL in its parts.
struct HttpUrl {
  std::string host;  ///< name or address; empty with a unix socket
  std::string port = "80";
  std::string target = "/";  ///< path and query
  std::string unix_socket;   ///< path of the socket for http+unix://%2Fpath%2Fsock/target
  std::string host_header;
  static Result<HttpUrl> parse(const std::string& text);
};

struct HttpRequest {
  std::string method = "GET";
  std::map<std::string, std::string> headers{};
  std::string body{};
  std::size_t body_bytes_max = 64 << 10;  ///< of the answer; more is cut (`HttpResponse::cut`), never an error
  bool fresh = false;                     ///< use a new connection even if one is kept
  bool keep_alive = true;
  std::string target{};  ///< path and query instead of the URL's; empty: the URL's
};

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  ///< lower-case names; the last of a repeated one
  std::string body;
  bool cut = false;
  std::string reason;  ///< of the status line, as the other side wrote it; may be empty
};

/// A client for one URL's host; keeps at most one connection. A kept connection that turns out closed before any byte of an answer came is
/// replaced by a new one within the same deadline.
/// One request at a time, and on one thread: the executor's. Destroying the client while a request runs ends that one with `cancelled`.
/// Error codes: `timed_out` (detail says whether connecting or waiting for the answer), `unavailable` (refused, reset, closed: the other
/// side), `io` (our own side could not look: no file handle, name not resolvable, network unreachable from here), `corrupt` (not HTTP),
/// `too_large` (headers over 16 KiB).
class HttpClient {
 public:
  HttpClient(boost::asio::any_io_executor executor, HttpUrl url);
  ~HttpClient();
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;
  /// @param timeout  for everything: resolve, connect, send, answer
  boost::asio::awaitable<Result<HttpResponse>> request(HttpRequest request, Duration timeout);
  void close();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace rollbackd::io
