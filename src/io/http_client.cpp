// Asio does the waiting here and Beast's parser the reading; no other part of Beast is used, which keeps a waiting probe small: while it
// waits for its answer it holds no read buffer.
#include "io/http_client.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/url/parse.hpp>
#include <cerrno>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "io/connect_parts.hpp"

namespace rollbackd::io {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

using Socket = asio::generic::stream_protocol::socket;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

constexpr std::size_t kHeaderBytesMax = 16 << 10;
constexpr std::size_t kReadBytes = 16 << 10;  ///< one read; on the stack of a plain function, never in a coroutine's frame
constexpr int kInformationalMax = 8;          ///< 1xx answers before the real one

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

/// Collects one answer. A body beyond its bound is dropped and remembered as `cut`.
class AnswerParser : public http::basic_parser<false> {
 public:
  AnswerParser(std::size_t body_bytes_max, bool to_head) : body_bytes_max_(body_bytes_max) {
    eager(true);
    skip(to_head);
    header_limit(kHeaderBytesMax);
    body_limit(boost::none);
  }
  HttpResponse answer;

 private:
  using View = boost::beast::string_view;
  void on_request_impl(http::verb, View, View, int, error_code&) override {}
  void on_response_impl(int code, View reason, int, error_code&) override {
    answer.status = code;
    answer.reason.assign(reason.data(), reason.size());
  }
  void on_field_impl(http::field, View name, View value, error_code&) override {
    answer.headers[lower({name.data(), name.size()})] = std::string(value.data(), value.size());
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(View piece, error_code&) override {
    const std::size_t room = body_bytes_max_ - answer.body.size();
    answer.body.append(piece.data(), std::min(room, piece.size()));
    if (piece.size() > room) answer.cut = true;
    return piece.size();
  }
  void on_chunk_header_impl(std::uint64_t, View, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, View piece, error_code& error) override { return on_body_impl(piece, error); }
  void on_finish_impl(error_code&) override {}

  std::size_t body_bytes_max_;
};

}  // namespace

Result<HttpUrl> HttpUrl::parse(const std::string& text) {
  const auto wrong = [&](std::string why) {
    return Error(Errc::invalid_argument, "\"" + printable(cut(text, 200)) + "\" is no URL to ask").because(std::move(why));
  };
  const auto parsed = boost::urls::parse_uri(text);
  if (!parsed) return wrong("it is not of the form http://host:port/path");
  const boost::urls::url_view& u = *parsed;
  const std::string scheme = lower({u.scheme().data(), u.scheme().size()});
  if (scheme == "https") {
    return Error(Errc::unsupported, "https:// needs TLS, which this version does not offer")
        .try_next("use http:// over loopback or a unix socket");
  }
  if (scheme != "http" && scheme != "http+unix") return wrong("its scheme is neither http nor http+unix");
  if (u.has_userinfo()) return wrong("it holds a user name; set an Authorization header instead");

  HttpUrl out;
  out.target = std::string(u.encoded_path().data(), u.encoded_path().size());
  if (out.target.empty()) out.target = "/";
  if (u.has_query()) out.target += "?" + std::string(u.encoded_query().data(), u.encoded_query().size());
  if (scheme == "http+unix") {
    out.unix_socket = u.host();
    if (out.unix_socket.empty() || out.unix_socket[0] != '/' || has_control(out.unix_socket))
      return wrong("write the socket's absolute path as the host: %2Frun%2Fapi.sock");
    if (out.unix_socket.size() > sizeof(sockaddr_un::sun_path) - 1) return wrong("the socket's path is over 107 bytes");
    if (u.has_port()) return wrong("a unix socket has no port");
    out.host_header = "localhost";
    return out;
  }
  out.host = u.host_address();
  if (out.host.empty() || has_control(out.host)) return wrong("it names no host");
  if (u.has_port() && !u.port().empty()) {
    if (u.port_number() == 0) return wrong("the port is not within 1-65535");
    out.port = std::to_string(u.port_number());
  }
  out.host_header = std::string(u.encoded_host().data(), u.encoded_host().size());
  if (out.port != "80") out.host_header += ":" + out.port;
  return out;
}

struct HttpClient::Impl {
  Impl(asio::any_io_executor e, HttpUrl u) : executor(std::move(e)), url(std::move(u)), socket(executor), deadline(executor) {}

  enum class Phase { resolving, connecting, sending, waiting, reading };

  asio::any_io_executor executor;
  HttpUrl url;
  Socket socket;
  asio::steady_timer deadline;
  std::shared_ptr<Lookup> lookup;  ///< the one under way; kept over its request's end
  bool busy = false;
  bool connected = false;
  bool expired = false;     ///< the deadline of the running request has passed
  bool answered = false;    ///< a byte of the answer came
  std::uint64_t round = 0;  ///< tells a late deadline from the running request's
  Phase phase = Phase::connecting;
  Duration timeout{};

  std::string place() const { return url.unix_socket.empty() ? url.host + ":" + url.port : url.unix_socket; }

  void close() {
    error_code ignored;
    socket.close(ignored);
    connected = false;
  }

  Error timed_out() const {
    const std::string within = " within " + format_duration(timeout);
    switch (phase) {
      case Phase::resolving: return Error(Errc::io, "the name " + url.host + " was not resolved" + within);
      case Phase::connecting: return Error(Errc::timed_out, "no connection" + within).because(place() + " did not accept one");
      case Phase::sending: return Error(Errc::timed_out, "the request was not taken" + within).because(place() + " accepts no more data");
      case Phase::waiting: return Error(Errc::timed_out, "no answer" + within).because(place() + " is connected and silent");
      case Phase::reading: return Error(Errc::timed_out, "the answer was not complete" + within).because(place() + " stopped sending");
    }
    return Error(Errc::timed_out, "no answer" + within);
  }

  /// What a failed operation of the running request means.
  Error trouble(error_code error) const {
    if (expired) return timed_out();
    if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) {
      return Error(Errc::cancelled, "the request to " + place() + " was cancelled");
    }
    const std::string what = phase == Phase::connecting ? "cannot connect to " + place() : "the connection to " + place() + " broke";
    return Error(is_our_own_trouble(error.value()) ? Errc::io : Errc::unavailable, what).because(error.message());
  }

  /// True when the kept connection is still there and silent, as it should be.
  bool still_usable() {
    if (!connected) return false;
    char byte = 0;
    const ssize_t n = ::recv(socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  }

  /// Opens a close-on-exec socket for `endpoint`: commands we start must not inherit it. @return errno, 0 when done
  int open_for(const Endpoint& endpoint) {
    close();
    const int family = endpoint.protocol().family();
    const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return errno;
    error_code error;
    socket.assign(asio::generic::stream_protocol(family, 0), fd, error);
    if (error) {
      ::close(fd);
      return error.value();
    }
    if (family != AF_UNIX) socket.set_option(asio::ip::tcp::no_delay(true), error);
    return 0;
  }

  /// Appends what is there to `pending`. @return false at the end of the stream or on an error
  bool read_available(std::string& pending, error_code& error) {
    std::array<char, kReadBytes> block;
    const ssize_t n = ::recv(socket.native_handle(), block.data(), block.size(), MSG_DONTWAIT);
    if (n > 0) {
      pending.append(block.data(), static_cast<std::size_t>(n));
      return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return true;
    error = n == 0 ? error_code(asio::error::eof) : error_code(errno, boost::system::system_category());
    return false;
  }

  std::string head_of(const HttpRequest& request) const;

  static asio::awaitable<Result<std::vector<Endpoint>>> resolve(std::shared_ptr<Impl> self);
  static asio::awaitable<Result<>> connect(std::shared_ptr<Impl> self);
  static asio::awaitable<Result<HttpResponse>> exchange(std::shared_ptr<Impl> self, HttpRequest request);
  static asio::awaitable<Result<HttpResponse>> perform(std::shared_ptr<Impl> self, HttpRequest request, Duration timeout);
};

namespace {

/// Ends a request on every way out, a cancelled coroutine's exception included.
template <class Impl>
struct EndOfRequest {
  std::shared_ptr<Impl> self;
  bool keep = false;
  explicit EndOfRequest(std::shared_ptr<Impl> s) : self(std::move(s)) {}
  EndOfRequest(const EndOfRequest&) = delete;
  EndOfRequest& operator=(const EndOfRequest&) = delete;
  ~EndOfRequest() {
    self->busy = false;
    ++self->round;
    self->deadline.cancel();
    if (!keep) self->close();
  }
};

}  // namespace

std::string HttpClient::Impl::head_of(const HttpRequest& request) const {
  std::string out = request.method + " " + (request.target.empty() ? url.target : request.target) + " HTTP/1.1\r\n";
  bool has_host = false, has_agent = false, has_accept = false;
  for (const auto& [name, value] : request.headers) {
    const std::string key = lower(name);
    if (key == "content-length" || key == "connection" || key == "transfer-encoding") continue;  // Ours to say.
    has_host |= key == "host";
    has_agent |= key == "user-agent";
    has_accept |= key == "accept";
    out += name + ": " + value + "\r\n";
  }
  if (!has_host) out += "Host: " + url.host_header + "\r\n";
  if (!has_agent) out += "User-Agent: rollbackd/" ROLLBACKD_VERSION "\r\n";
  if (!has_accept) out += "Accept: */*\r\n";
  if (!request.keep_alive) out += "Connection: close\r\n";
  if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD")) {
    out += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  }
  return out + "\r\n";
}

asio::awaitable<Result<std::vector<Endpoint>>> HttpClient::Impl::resolve(std::shared_ptr<Impl> self) {
  std::vector<Endpoint> out;
  if (!self->url.unix_socket.empty()) {
    out.emplace_back(asio::local::stream_protocol::endpoint(self->url.unix_socket));
    co_return out;
  }
  error_code error;
  const auto address = asio::ip::make_address(self->url.host, error);
  if (!error) {
    out.emplace_back(asio::ip::tcp::endpoint(address, static_cast<std::uint16_t>(std::stoul(self->url.port))));
    co_return out;
  }

  self->phase = Phase::resolving;
  if (!self->lookup) self->lookup = Lookup::begin(self->executor, self->url.host, self->url.port);
  const std::shared_ptr<Lookup> lookup = self->lookup;
  if (!lookup->finished) {
    co_await lookup->done.async_wait(kToken);  // Always ends as "aborted": by the answer, the deadline or a cancel.
  }
  if (!lookup->finished) co_return self->trouble(asio::error::operation_aborted);
  self->lookup.reset();
  if (lookup->error) {
    co_return Error(Errc::io, "the name " + self->url.host + " cannot be resolved").because(lookup->error.message());
  }
  co_return std::move(lookup->endpoints);
}

asio::awaitable<Result<>> HttpClient::Impl::connect(std::shared_ptr<Impl> self) {
  self->close();
  const Result<std::vector<Endpoint>> endpoints = co_await resolve(self);
  if (endpoints.has_error()) co_return endpoints.error();
  self->phase = Phase::connecting;

  // Of several addresses the first that answers counts. "Refused" by one says more than "unreachable" of another (::1 without IPv6).
  std::optional<Error> worst;
  for (const Endpoint& endpoint : *endpoints) {
    if (self->expired) co_return self->timed_out();
    if (const int failed = self->open_for(endpoint); failed != 0) {
      if (!worst) worst = self->trouble(error_code(failed, boost::system::system_category()));
      continue;
    }
    const auto [error] = co_await self->socket.async_connect(endpoint, kToken);
    if (!error && !self->expired) {
      self->connected = true;
      co_return Result<>{};
    }
    Error failed = self->trouble(error);
    if (failed.code == Errc::cancelled || self->expired) co_return failed;
    if (!worst || worst->code == Errc::io) worst = std::move(failed);
  }
  self->close();
  co_return worst ? *worst : Error(Errc::io, "the name " + self->url.host + " has no address");
}

asio::awaitable<Result<HttpResponse>> HttpClient::Impl::exchange(std::shared_ptr<Impl> self, HttpRequest request) {
  self->answered = false;
  self->phase = Phase::sending;
  const std::string text = self->head_of(request) + request.body;
  const auto [unsent, bytes] = co_await asio::async_write(self->socket, asio::buffer(text), kToken);
  if (unsent || self->expired) co_return self->trouble(unsent);

  self->phase = Phase::waiting;
  std::string pending;
  std::optional<AnswerParser> parser(std::in_place, request.body_bytes_max, request.method == "HEAD");
  int informational = 0;
  while (true) {
    const auto [wait_error] = co_await self->socket.async_wait(Socket::wait_read, kToken);
    if (wait_error || self->expired) co_return self->trouble(wait_error);
    error_code read_error, parse_error;
    const bool more = self->read_available(pending, read_error);
    if (!pending.empty()) {
      self->answered = true;
      self->phase = Phase::reading;
    }

    while (!pending.empty() && !parse_error && !parser->is_done()) {
      const std::size_t used = parser->put(asio::buffer(pending), parse_error);
      pending.erase(0, used);
      if (parser->is_done() && parser->answer.status / 100 == 1 && parser->answer.status != 101) {
        if (++informational > kInformationalMax)
          co_return Error(Errc::corrupt, "the answer of " + self->place() + " never came").because("too many 1xx answers");
        parser.emplace(request.body_bytes_max, request.method == "HEAD");
      }
    }
    if (parse_error == http::error::need_more) parse_error = {};
    if (!more && !parse_error && !parser->is_done()) {
      if (!self->answered || read_error != asio::error::eof) {
        if (read_error != asio::error::eof) co_return self->trouble(read_error);
        co_return Error(Errc::unavailable, self->place() + " closed the connection without an answer");
      }
      if (parser->is_header_done()) parser->put_eof(parse_error);  // A body that ends with the connection.
      if (parse_error || !parser->is_done())
        co_return Error(Errc::unavailable, self->place() + " closed the connection in the middle of its answer");
    }
    if (parse_error == http::error::header_limit) {
      co_return Error(Errc::too_large, "the answer's headers are over 16 KiB").because("from " + self->place());
    }
    if (parse_error) co_return Error(Errc::corrupt, "the answer of " + self->place() + " is not HTTP").because(parse_error.message());
    if (parser->is_done() || parser->answer.cut) break;
  }
  if (!request.keep_alive || !parser->is_done() || !parser->keep_alive() || !pending.empty()) self->close();
  co_return std::move(parser->answer);
}

asio::awaitable<Result<HttpResponse>> HttpClient::Impl::perform(std::shared_ptr<Impl> self, HttpRequest request, Duration timeout) {
  if (self->busy) co_return Error(Errc::conflict, "a request to " + self->place() + " is still running");
  if (has_control(request.method) || request.method.empty() || request.method.find(' ') != std::string::npos) {
    co_return Error(Errc::invalid_argument, "\"" + printable(request.method) + "\" is no HTTP method");
  }
  if (!request.target.empty() &&
      (request.target[0] != '/' || has_control(request.target) || request.target.find(' ') != std::string::npos)) {
    co_return Error(Errc::invalid_argument, "\"" + printable(cut(request.target, 200)) + "\" cannot be asked for")
        .try_next("begin with / and percent-encode spaces");
  }
  for (const auto& [name, value] : request.headers) {
    if (name.empty() || has_control(name) || has_control(value) || name.find_first_of(": ") != std::string::npos) {
      co_return Error(Errc::invalid_argument, "the header \"" + printable(name) + "\" cannot be sent");
    }
  }

  self->busy = true;
  self->expired = false;
  self->timeout = timeout;
  EndOfRequest<Impl> end(self);
  self->deadline.expires_after(timeout);
  self->deadline.async_wait([weak = std::weak_ptr<Impl>(self), round = ++self->round](error_code error) {
    const std::shared_ptr<Impl> impl = weak.lock();
    if (error || !impl || impl->round != round) return;
    impl->expired = true;
    impl->close();
    if (impl->lookup) impl->lookup->done.cancel();
  });

  bool kept = !request.fresh && self->still_usable();
  while (true) {  // At most twice: the second time on a connection of its own.
    if (!kept) {
      const Result<> connected = co_await connect(self);
      if (connected.has_error()) co_return connected.error();
    }
    HttpRequest copy = request;
    Result<HttpResponse> answer = co_await exchange(self, std::move(copy));
    const bool stale = answer.has_error() && kept && !self->answered && answer.error().code == Errc::unavailable;
    if (!stale) {
      end.keep = answer.has_value() && self->connected;
      co_return answer;
    }
    kept = false;
  }
}

HttpClient::HttpClient(asio::any_io_executor executor, HttpUrl url) : impl_(std::make_shared<Impl>(std::move(executor), std::move(url))) {}
HttpClient::~HttpClient() {
  if (impl_) impl_->close();
}
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&& other) noexcept {
  if (impl_) impl_->close();
  impl_ = std::move(other.impl_);
  return *this;
}

asio::awaitable<Result<HttpResponse>> HttpClient::request(HttpRequest request, Duration timeout) {
  return Impl::perform(impl_, std::move(request), timeout);
}

void HttpClient::close() {
  impl_->close();
  if (impl_->lookup) impl_->lookup->done.cancel();
}

}  // namespace rollbackd::io
