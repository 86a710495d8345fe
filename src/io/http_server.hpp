// A small HTTP/1.1 server on a loopback port and a unix socket. Beast stays inside http_server.cpp.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"

namespace rollbackd::io {

struct ServerRequest {
  std::string method, path;                    ///< path percent-decoded, without query
  std::map<std::string, std::string> query;    ///< decoded; of a repeated name the last
  std::map<std::string, std::string> headers;  ///< lower-case names
  std::string body;
  /// Of a unix-socket peer (SO_PEERCRED); nothing over TCP.
  struct Peer {
    int uid = -1, gid = -1, pid = -1;
  };
  std::optional<Peer> peer;
  std::string remote{};      ///< of a TCP peer: "127.0.0.1:4711"; empty on the unix socket
  std::string query_text{};  ///< as it came, for `parse_form`: where a name may be repeated
  /// Whether the client has hung up; asks the socket. May be empty: then nobody knows.
  std::function<bool()> gone{};
};
struct ServerResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::map<std::string, std::string> headers;
  /// What follows `body`, piece by piece: asked until it gives an empty piece, and sent as it comes. An error breaks the connection off, so
  /// that nobody takes the part for the whole. Must hold what it needs; is not asked on HEAD.
  std::function<boost::asio::awaitable<Result<std::string>>()> more{};
};
/// The pairs of a query or of a form's body, decoded, in their order. Nothing for a broken escape.
std::optional<std::vector<std::pair<std::string, std::string>>> parse_form(std::string_view text);

/// Answers one request; runs on the server's executor.
using Handler = std::function<boost::asio::awaitable<ServerResponse>(ServerRequest)>;

struct ServerLimits {
  std::size_t body_bytes_max = 1 << 20;  ///< 413 beyond
  std::size_t header_bytes_max = 16 << 10;
  std::size_t connections_max = 256;  ///< beyond: accepted and closed
  Duration read_timeout = 10s, idle_timeout = 60s;
};

class HttpServer {
 public:
  HttpServer(boost::asio::any_io_executor executor, Handler handler, ServerLimits limits = {});
  ~HttpServer();
  /// "127.0.0.1:9474"; port 0 picks one. @return the port bound
  Result<int> listen_tcp(const std::string& address);
  /// A unix socket with `mode`; a stale socket file is replaced, a live one is an error.
  Result<> listen_unix(const std::string& path, int mode = 0660);
  /// Serves until cancelled.
  boost::asio::awaitable<void> run();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace rollbackd::io
