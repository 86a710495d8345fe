// Sessions are coroutines of their own; the server keeps a list of them, so that a cancelled run() closes the idle ones at once and lets an
// answer under way be finished. Beast's parser reads the requests, Asio waits; nothing else of Beast is used.
#include "io/http_server.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/status.hpp>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <list>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace rollbackd::io {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

using Socket = asio::generic::stream_protocol::socket;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

constexpr std::size_t kReadBytes = 16 << 10;
constexpr int kAcceptsPerTurn = 16;       ///< then the reactor's other work has its turn
constexpr Duration kAcceptPause = 100ms;  ///< when there are no file handles left
constexpr Duration kDrain = 2s;           ///< for answers under way when the server is cancelled
constexpr Duration kLinger = 1s;          ///< for a peer to read our refusal while it still sends
constexpr std::size_t kLingerBytesMax = 1 << 20;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

/// Percent-decoding (RFC 3986, 2.1); in a query "+" is a space. Nothing for a broken escape and for %00.
std::optional<std::string> decoded(std::string_view text, bool query) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      unsigned value = 0;
      if (i + 2 >= text.size()) return std::nullopt;
      const auto [end, error] = std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16);
      if (error != std::errc() || end != text.data() + i + 3 || value == 0) return std::nullopt;
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += query && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

/// Fills path and query from a target in origin form ("/path?a=b"). @return false for any other
bool read_target(std::string_view target, ServerRequest& request) {
  if (target.empty() || target[0] != '/') return false;
  target = target.substr(0, target.find('#'));
  const std::size_t mark = target.find('?');
  const auto path = decoded(target.substr(0, mark), false);
  if (!path) return false;
  request.path = *path;
  if (mark == target.npos) return true;
  request.query_text = std::string(target.substr(mark + 1));
  auto pairs = parse_form(request.query_text);
  if (!pairs) return false;
  for (auto& [key, value] : *pairs) request.query[key] = std::move(value);
  return true;
}

/// Collects one request.
class RequestParser : public http::basic_parser<true> {
 public:
  explicit RequestParser(const ServerLimits& limits) {
    eager(true);
    header_limit(static_cast<std::uint32_t>(limits.header_bytes_max));
    body_limit(limits.body_bytes_max);
  }
  ServerRequest request;
  std::string target;
  bool takes_chunks = false;  ///< HTTP/1.1

 private:
  using View = boost::beast::string_view;
  void on_request_impl(http::verb, View method, View where, int version, error_code&) override {
    takes_chunks = version >= 11;
    request.method.assign(method.data(), method.size());
    target.assign(where.data(), where.size());
  }
  void on_response_impl(int, View, int, error_code&) override {}
  void on_field_impl(http::field, View name, View value, error_code&) override {
    request.headers[lower({name.data(), name.size()})] = std::string(value.data(), value.size());
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(View piece, error_code&) override {
    request.body.append(piece.data(), piece.size());
    return piece.size();
  }
  void on_chunk_header_impl(std::uint64_t, View, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, View piece, error_code& error) override { return on_body_impl(piece, error); }
  void on_finish_impl(error_code&) override {}
};

std::string one_line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return text;
}

/// One piece of a body in the form of RFC 9112, 7.1; an empty one ends it.
std::string chunk(std::string_view piece) {
  std::array<char, 16> size{};
  const auto written = std::to_chars(size.data(), size.data() + size.size(), piece.size(), 16);
  std::string out(size.data(), written.ptr);
  out += "\r\n";
  out += piece;
  return out += "\r\n";
}

/// The answer as it goes on the wire: whole, or with the first piece of its body. `head`: the headers alone, with the length the body
/// would have.
std::string wire_form(const ServerResponse& response, bool keep_alive, bool head, bool chunked) {
  const bool bodiless = response.status / 100 == 1 || response.status == 204 || response.status == 304;
  const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
  std::string out = "HTTP/1.1 " + std::to_string(response.status) + " " + std::string(reason.data(), reason.size()) + "\r\n";
  if (!bodiless) {
    if (!response.content_type.empty()) out += "Content-Type: " + one_line(response.content_type) + "\r\n";
    if (chunked) out += "Transfer-Encoding: chunked\r\n";
    if (!response.more) out += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  }
  for (const auto& [name, value] : response.headers) out += one_line(name) + ": " + one_line(value) + "\r\n";
  if (!keep_alive) out += "Connection: close\r\n";
  out += "\r\n";
  if (!bodiless && !head && !response.body.empty()) out += chunked ? chunk(response.body) : response.body;
  return out;
}

ServerResponse refusal(int status, const std::string& what) {
  ServerResponse out;
  out.status = status;
  Json error = Json::object();
  error.set("what", what);
  Json body = Json::object();
  body.set("error", std::move(error));
  out.body = body.dump() + "\n";
  return out;
}

/// Who is at the other end of a TCP socket: "127.0.0.1:4711", "[::1]:4711".
std::string address_text(int fd) {
  asio::ip::tcp::endpoint end;
  socklen_t size = static_cast<socklen_t>(end.capacity());
  if (::getpeername(fd, end.data(), &size) != 0) return {};
  end.resize(size);
  const std::string address = end.address().to_string();
  return (end.address().is_v6() ? "[" + address + "]" : address) + ":" + std::to_string(end.port());
}

struct Connection {
  Connection(asio::any_io_executor executor, Socket s) : socket(std::move(s)), timer(executor) {}
  Socket socket;
  asio::steady_timer timer;
  asio::cancellation_signal stop;  ///< ends the session's coroutine, a handler under way included
  std::optional<ServerRequest::Peer> peer;
  std::string remote;
  bool expired = false;
  bool answering = false;  ///< from the complete request to its written answer
  std::uint64_t round = 0;

  void close() {
    error_code ignored;
    socket.close(ignored);
  }
};

/// From now the connection's next operations have `time` together; then they fail and `expired` is set.
void arm(const std::shared_ptr<Connection>& c, Duration time) {
  c->expired = false;
  c->timer.expires_after(time);
  c->timer.async_wait([weak = std::weak_ptr<Connection>(c), round = ++c->round](error_code error) {
    const auto connection = weak.lock();
    if (error || !connection || connection->round != round) return;
    connection->expired = true;
    connection->socket.cancel(error);
  });
}
/// Whether the peer has hung up: nothing more can be read, and that is its end of the stream.
bool has_hung_up(Connection& c) {
  char ignored = 0;
  const ssize_t n = ::recv(c.socket.native_handle(), &ignored, 1, MSG_PEEK | MSG_DONTWAIT);
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}
void disarm(Connection& c) {
  ++c.round;
  c.timer.cancel();
}

/// Appends what is there to `pending`. @return false at the end of the stream or on an error
bool read_available(Connection& c, std::string& pending) {
  std::array<char, kReadBytes> block;
  const ssize_t n = ::recv(c.socket.native_handle(), block.data(), block.size(), MSG_DONTWAIT);
  if (n > 0) pending.append(block.data(), static_cast<std::size_t>(n));
  return n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR));
}

/// The status that a request which cannot be read is refused with.
int status_of(error_code error) {
  if (error == http::error::header_limit) return 431;
  if (error == http::error::body_limit) return 413;
  return 400;
}

struct Listener {
  asio::posix::stream_descriptor descriptor;
  bool unix_socket = false;
  std::string path;  ///< of the unix socket
  ino_t inode = 0;   ///< of its file: only our own is removed at the end
};

}  // namespace

struct HttpServer::Impl {
  Impl(asio::any_io_executor e, Handler h, ServerLimits l)
      : executor(std::move(e)), handler(std::move(h)), limits(l), drained(executor, asio::steady_timer::time_point::max()) {}

  asio::any_io_executor executor;
  Handler handler;
  ServerLimits limits;
  std::list<Listener> listeners;
  std::list<std::shared_ptr<Connection>> connections;  ///< at most limits.connections_max
  asio::steady_timer drained;                          ///< cancelled when the last connection has ended
  bool stopping = false;

  void close_listeners() {
    for (Listener& listener : listeners) {
      error_code ignored;
      listener.descriptor.close(ignored);
      struct stat now {};
      if (!listener.path.empty() && ::lstat(listener.path.c_str(), &now) == 0 && now.st_ino == listener.inode)
        ::unlink(listener.path.c_str());
      listener.path.clear();
    }
  }

  static asio::awaitable<bool> send(std::shared_ptr<Impl> self, std::shared_ptr<Connection> c, std::string text);
  static asio::awaitable<bool> send_rest(std::shared_ptr<Impl> self, std::shared_ptr<Connection> c, ServerResponse response, bool chunked);
  static asio::awaitable<void> linger(std::shared_ptr<Connection> c);
  static asio::awaitable<void> serve(std::shared_ptr<Impl> self, std::shared_ptr<Connection> c);
  static asio::awaitable<ServerResponse> answer(std::shared_ptr<Impl> self, ServerRequest request);
  static asio::awaitable<void> accept(std::shared_ptr<Impl> self, Listener* listener);
  static void begin(const std::shared_ptr<Impl>& self, int fd, bool unix_socket);
};

asio::awaitable<bool> HttpServer::Impl::send(std::shared_ptr<Impl> self, std::shared_ptr<Connection> c, std::string text) {
  arm(c, self->limits.read_timeout);
  const auto [error, bytes] = co_await asio::async_write(c->socket, asio::buffer(text), kToken);
  disarm(*c);
  co_return !error && !c->expired;
}

asio::awaitable<bool> HttpServer::Impl::send_rest(std::shared_ptr<Impl> self, std::shared_ptr<Connection> c, ServerResponse response,
                                                  bool chunked) {
  while (true) {
    Result<std::string> piece = std::string();
    try {
      piece = co_await response.more();
    } catch (const std::exception& e) {
      piece = Error(Errc::internal, e.what());
    }
    if (!piece) {
      log::warning("an answer was broken off", {{"why", piece.error().text()}});
      co_return false;
    }
    const bool last = piece->empty();
    if (last && !chunked) co_return true;
    std::string text = chunked ? chunk(*piece) : std::move(*piece);
    const bool sent = co_await send(self, c, std::move(text));
    if (!sent || last) co_return sent;
  }
}

/// Reads on for a moment before closing: a close with unread data resets the connection, and the peer would lose our refusal.
asio::awaitable<void> HttpServer::Impl::linger(std::shared_ptr<Connection> c) {
  error_code ignored;
  c->socket.shutdown(asio::socket_base::shutdown_send, ignored);
  arm(c, kLinger);
  std::string dropped;
  for (std::size_t total = 0; total < kLingerBytesMax; total += dropped.size()) {
    const auto [error] = co_await c->socket.async_wait(Socket::wait_read, kToken);
    dropped.clear();
    if (error || c->expired || !read_available(*c, dropped)) break;
  }
  disarm(*c);
}

asio::awaitable<ServerResponse> HttpServer::Impl::answer(std::shared_ptr<Impl> self, ServerRequest request) {
  std::string thrown;
  try {
    co_return co_await self->handler(std::move(request));
  } catch (const std::exception& e) {
    thrown = e.what();
  } catch (...) {
    thrown = "an unknown exception";
  }
  log::error("an HTTP handler failed", {{"why", thrown}});
  co_return refusal(500, "internal error");
}

asio::awaitable<void> HttpServer::Impl::serve(std::shared_ptr<Impl> self, std::shared_ptr<Connection> c) {
  std::string pending;
  for (bool open = true; open && !self->stopping;) {
    RequestParser parser(self->limits);
    int refused = 0;  ///< the status it is refused with
    bool begun = !pending.empty(), continued = false;
    arm(c, begun ? self->limits.read_timeout : self->limits.idle_timeout);
    while (true) {
      error_code error;
      while (!pending.empty() && !error && !parser.is_done()) pending.erase(0, parser.put(asio::buffer(pending), error));
      if (error && error != http::error::need_more) refused = status_of(error);
      if (refused != 0 || parser.is_done()) break;

      if (parser.is_header_done() && !continued) {
        continued = true;
        const auto expect = parser.request.headers.find("expect");
        if (expect != parser.request.headers.end() && lower(expect->second) == "100-continue") {
          std::string go_on = "HTTP/1.1 100 Continue\r\n\r\n";
          if (!co_await send(self, c, std::move(go_on))) co_return;
          arm(c, self->limits.read_timeout);
        }
      }
      const auto [waited] = co_await c->socket.async_wait(Socket::wait_read, kToken);
      if (c->expired && begun) {
        refused = 408;
        break;
      }
      if (waited || c->expired || !read_available(*c, pending)) co_return;
      if (!begun && !pending.empty()) {
        begun = true;
        arm(c, self->limits.read_timeout);
      }
    }
    disarm(*c);

    ServerRequest request = std::move(parser.request);
    if (refused == 0 && !read_target(parser.target, request)) refused = 400;
    const bool head = request.method == "HEAD";
    open = refused == 0 && parser.keep_alive();
    ServerResponse response;
    if (refused != 0) {
      const auto reason = http::obsolete_reason(static_cast<http::status>(refused));
      response = refusal(refused, std::string(reason.data(), reason.size()));
    } else {
      request.peer = c->peer;
      request.remote = c->remote;
      // Weak: a request that somebody keeps must not keep the connection, whose timer and socket end with their context.
      request.gone = [weak = std::weak_ptr(c)] {
        const auto still_there = weak.lock();
        return still_there == nullptr || has_hung_up(*still_there);
      };
      c->answering = true;
      response = co_await answer(self, std::move(request));
    }
    const bool chunked = response.more && parser.takes_chunks;
    open = open && !self->stopping && (chunked || !response.more);  // Without a length only the end of the stream ends a body.
    std::string text = wire_form(response, open, head, chunked);
    bool sent = co_await send(self, c, std::move(text));
    if (sent && response.more && !head) sent = co_await send_rest(self, c, std::move(response), chunked);
    c->answering = false;
    if (!sent) co_return;
    if (refused != 0) co_await linger(c);
  }
}

void HttpServer::Impl::begin(const std::shared_ptr<Impl>& self, int fd, bool unix_socket) {
  if (self->connections.size() >= self->limits.connections_max || self->stopping) {
    ::close(fd);
    return;
  }
  const int family = unix_socket ? AF_UNIX : AF_INET;
  error_code error;
  Socket socket(self->executor);
  socket.assign(asio::generic::stream_protocol(family, 0), fd, error);
  if (error) {
    ::close(fd);
    return;
  }
  const auto c = std::make_shared<Connection>(self->executor, std::move(socket));
  if (unix_socket) {
    ucred who{};
    socklen_t size = sizeof who;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return;  // Without credentials nobody is let in.
    c->peer = ServerRequest::Peer{static_cast<int>(who.uid), static_cast<int>(who.gid), who.pid};
  } else {
    c->socket.set_option(asio::ip::tcp::no_delay(true), error);
    c->remote = address_text(fd);
  }
  const auto entry = self->connections.insert(self->connections.end(), c);
  asio::co_spawn(self->executor, serve(self, c), asio::bind_cancellation_slot(c->stop.slot(), [self, c, entry](std::exception_ptr) {
                   // An exception here is the coroutine's own cancellation; a handler's ended in answer().
                   disarm(*c);
                   c->close();
                   self->connections.erase(entry);
                   if (self->connections.empty()) self->drained.cancel();
                 }));
}

asio::awaitable<void> HttpServer::Impl::accept(std::shared_ptr<Impl> self, Listener* listener) {
  asio::steady_timer pause(self->executor);
  while (!self->stopping) {
    const auto [error] = co_await listener->descriptor.async_wait(asio::posix::stream_descriptor::wait_read, kToken);
    if (error) co_return;  // Closed by run().
    for (int i = 0; i < kAcceptsPerTurn; ++i) {
      const int fd = ::accept4(listener->descriptor.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        begin(self, fd, listener->unix_socket);
        continue;
      }
      if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) break;  // Nobody there (any more).
      log::warning("cannot accept a connection", {{"why", std::strerror(errno)}});           // NOLINT(concurrency-mt-unsafe)
      pause.expires_after(kAcceptPause);
      co_await pause.async_wait(kToken);
      break;
    }
  }
}

std::optional<std::vector<std::pair<std::string, std::string>>> parse_form(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const std::string& pair : split(text, '&')) {
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    auto key = decoded(std::string_view(pair).substr(0, equals), true);
    auto value = equals == pair.npos ? std::string() : decoded(std::string_view(pair).substr(equals + 1), true);
    if (!key || !value) return std::nullopt;
    out.emplace_back(std::move(*key), std::move(*value));
  }
  return out;
}

HttpServer::HttpServer(asio::any_io_executor executor, Handler handler, ServerLimits limits)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(handler), limits)) {}

HttpServer::~HttpServer() {
  impl_->stopping = true;
  impl_->close_listeners();
  for (const auto& connection : impl_->connections) connection->close();
}

Result<int> HttpServer::listen_tcp(const std::string& address) {
  const auto wrong = [&](std::string why) {
    return Error(Errc::invalid_argument, "cannot listen on " + printable(address)).because(std::move(why));
  };
  const std::size_t colon = address.rfind(':');
  if (colon == address.npos) return wrong("write it as ADDRESS:PORT");
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (host == "localhost") host = "127.0.0.1";
  int port = -1;
  const auto [end, bad] = std::from_chars(address.data() + colon + 1, address.data() + address.size(), port);
  if (bad != std::errc() || end != address.data() + address.size() || port < 0 || port > 65535)
    return wrong("the port is not within 0-65535");
  error_code error;
  const auto ip = asio::ip::make_address(host, error);
  if (error) return wrong("\"" + printable(host) + "\" is no address");
  if (!ip.is_loopback()) {
    return Error(Errc::refused, "cannot listen on " + address)
        .because("another address than loopback needs TLS, which this version does not offer")
        .try_next("listen on 127.0.0.1 and put a proxy with TLS before it");
  }

  asio::ip::tcp::endpoint endpoint(ip, static_cast<std::uint16_t>(port));
  const int fd = ::socket(endpoint.data()->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return Error::from_errno("cannot listen on " + address, errno);
  asio::posix::stream_descriptor descriptor(impl_->executor, fd);
  const int yes = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (::bind(fd, endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0 || ::listen(fd, SOMAXCONN) != 0) {
    return Error::from_errno("cannot listen on " + address, errno);
  }
  auto size = static_cast<socklen_t>(endpoint.capacity());
  if (::getsockname(fd, endpoint.data(), &size) != 0) return Error::from_errno("cannot listen on " + address, errno);
  impl_->listeners.push_back({std::move(descriptor), false, "", 0});
  return static_cast<int>(endpoint.port());
}

Result<> HttpServer::listen_unix(const std::string& path, int mode) {
  const std::string what = "cannot listen on " + printable(path);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Error(Errc::invalid_argument, what).because("a socket's path has 1 to 107 bytes");
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* as_sockaddr = static_cast<const sockaddr*>(static_cast<const void*>(&address));

  struct stat there {};
  if (::lstat(path.c_str(), &there) == 0) {
    if (!S_ISSOCK(there.st_mode))
      return Error(Errc::refused, what).because("a file that is no socket stands there").try_next("move it away");
    const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) return Error::from_errno(what, errno);
    const bool dead = ::connect(probe, as_sockaddr, sizeof address) != 0 && errno == ECONNREFUSED;
    ::close(probe);
    if (!dead) return Error(Errc::conflict, what).because("another process listens there").try_next("stop it, or choose another path");
    if (::unlink(path.c_str()) != 0) return Error::from_errno(what, errno);
  }

  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return Error::from_errno(what, errno);
  asio::posix::stream_descriptor descriptor(impl_->executor, fd);
  // The mode is set before the bind, so that the file is at no moment more open than it should be (Linux takes it from the socket), and
  // after it, because the umask may have taken bits away.
  if (::fchmod(fd, static_cast<mode_t>(mode)) != 0 || ::bind(fd, as_sockaddr, sizeof address) != 0) return Error::from_errno(what, errno);
  if (::chmod(path.c_str(), static_cast<mode_t>(mode)) != 0 || ::lstat(path.c_str(), &there) != 0 || ::listen(fd, SOMAXCONN) != 0) {
    const int saved = errno;
    ::unlink(path.c_str());
    return Error::from_errno(what, saved);
  }
  impl_->listeners.push_back({std::move(descriptor), true, path, there.st_ino});
  return {};
}

asio::awaitable<void> HttpServer::run() {
  const std::shared_ptr<Impl> self = impl_;
  co_await asio::this_coro::throw_if_cancelled(false);
  for (Listener& listener : self->listeners) {
    asio::co_spawn(self->executor, Impl::accept(self, &listener), [self](std::exception_ptr) {});
  }
  asio::steady_timer forever(self->executor, asio::steady_timer::time_point::max());
  co_await forever.async_wait(kToken);

  self->stopping = true;
  self->close_listeners();
  for (const auto& connection : self->connections)
    if (!connection->answering) connection->close();
  if (self->connections.empty()) co_return;
  co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation());
  self->drained.expires_after(kDrain);
  co_await self->drained.async_wait(kToken);
  const auto left = self->connections;  // Ending one takes it out of the list.
  for (const auto& connection : left) {
    connection->close();
    connection->stop.emit(asio::cancellation_type::terminal);
  }
}

}  // namespace rollbackd::io
