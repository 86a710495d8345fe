#include "io/tcp_client.hpp"

#include <sys/socket.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <optional>
#include <utility>

#include "base/text.hpp"
#include "io/connect_parts.hpp"

namespace rollbackd::io {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

using Socket = asio::generic::stream_protocol::socket;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

}  // namespace

Result<TcpAddress> TcpAddress::parse(const std::string& text) {
  const auto wrong = [&] {
    return Error(Errc::invalid_argument, "\"" + printable(cut(text, 200)) + "\" is no address to connect to")
        .try_next("write it like 127.0.0.1:5432 or [::1]:5432");
  };
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos) return wrong();
  TcpAddress out{text.substr(0, colon), text.substr(colon + 1)};
  const bool brackets = out.host.size() > 2 && out.host.front() == '[' && out.host.back() == ']';
  if (brackets) out.host = out.host.substr(1, out.host.size() - 2);
  if (out.host.empty() || (!brackets && out.host.find(':') != out.host.npos)) return wrong();
  std::uint16_t port = 0;
  const char* end = out.port.data() + out.port.size();
  const auto read = std::from_chars(out.port.data(), end, port);
  if (read.ec != std::errc{} || read.ptr != end || port == 0) return wrong();
  return out;
}

struct TcpClient::Impl {
  Impl(asio::any_io_executor e, TcpAddress a) : executor(std::move(e)), address(std::move(a)), socket(executor), deadline(executor) {}

  enum class Phase { resolving, connecting, sending, waiting };

  asio::any_io_executor executor;
  TcpAddress address;
  Socket socket;
  asio::steady_timer deadline;
  std::shared_ptr<Lookup> lookup;  ///< the one under way; kept over its exchange's end
  bool busy = false;
  bool expired = false;     ///< the deadline of the running exchange has passed
  std::uint64_t round = 0;  ///< tells a late deadline from the running exchange's
  Phase phase = Phase::connecting;
  Duration timeout{};

  std::string place() const {
    return (address.host.find(':') == address.host.npos ? address.host : "[" + address.host + "]") + ":" + address.port;
  }

  void close() {
    error_code ignored;
    socket.close(ignored);
  }

  /// Takes away what the running exchange waits for.
  void interrupt() {
    close();
    if (lookup) lookup->done.cancel();
  }

  Error timed_out() const {
    const std::string within = " within " + format_duration(timeout);
    switch (phase) {
      case Phase::resolving: return Error(Errc::io, "the name " + address.host + " was not resolved" + within);
      case Phase::connecting: return Error(Errc::timed_out, "no connection" + within).because(place() + " did not accept one");
      case Phase::sending: return Error(Errc::timed_out, "what is sent was not taken" + within).because(place() + " accepts no more data");
      case Phase::waiting: return Error(Errc::timed_out, "no expected answer" + within);
    }
    return Error(Errc::timed_out, "no answer" + within);
  }

  /// What a failed operation of the running exchange means.
  Error trouble(error_code error) const {
    if (expired) return timed_out();
    if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor)
      return Error(Errc::cancelled, "the connection to " + place() + " was cancelled");
    const std::string what = phase == Phase::connecting ? "cannot connect to " + place() : "the connection to " + place() + " broke";
    return Error(is_our_own_trouble(error.value()) ? Errc::io : Errc::unavailable, what).because(error.message());
  }

  /// Opens a close-on-exec socket for `endpoint`: commands we start must not inherit it. @return errno, 0 when done
  int open_for(const Endpoint& endpoint) {
    close();
    const int family = endpoint.protocol().family();
    const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return errno;
    error_code error;
    socket.assign(asio::generic::stream_protocol(family, 0), fd, error);
    if (!error) return 0;
    ::close(fd);
    return error.value();
  }

  /// Appends what is there to `text`, up to `bytes_max` in all. @return false at the end of the stream or on an error
  bool read_available(std::string& text, std::size_t bytes_max, error_code& error) {
    std::array<char, 4096> block;
    const std::size_t room = std::min(block.size(), bytes_max - text.size());
    const ssize_t n = ::recv(socket.native_handle(), block.data(), room, MSG_DONTWAIT);
    if (n > 0) {
      text.append(block.data(), static_cast<std::size_t>(n));
      return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return true;
    error = n == 0 ? error_code(asio::error::eof) : error_code(errno, boost::system::system_category());
    return false;
  }

  static asio::awaitable<Result<std::vector<Endpoint>>> resolve(std::shared_ptr<Impl> self);
  static asio::awaitable<Result<>> connect(std::shared_ptr<Impl> self);
  static asio::awaitable<Result<TcpAnswer>> receive(std::shared_ptr<Impl> self, TcpRequest request);
  static asio::awaitable<Result<TcpAnswer>> perform(std::shared_ptr<Impl> self, TcpRequest request, Duration timeout);
};

namespace {

/// Ends an exchange on every way out, a destroyed coroutine included.
template <class Impl>
struct EndOfExchange {
  std::shared_ptr<Impl> self;
  explicit EndOfExchange(std::shared_ptr<Impl> s) : self(std::move(s)) {}
  EndOfExchange(const EndOfExchange&) = delete;
  EndOfExchange& operator=(const EndOfExchange&) = delete;
  ~EndOfExchange() {
    self->busy = false;
    ++self->round;
    self->deadline.cancel();
    self->close();
  }
};

}  // namespace

asio::awaitable<Result<std::vector<Endpoint>>> TcpClient::Impl::resolve(std::shared_ptr<Impl> self) {
  error_code error;
  const auto literal = asio::ip::make_address(self->address.host, error);
  if (!error) {
    std::vector<Endpoint> out;
    out.emplace_back(asio::ip::tcp::endpoint(literal, static_cast<std::uint16_t>(std::stoul(self->address.port))));
    co_return out;
  }
  self->phase = Phase::resolving;
  if (!self->lookup) self->lookup = Lookup::begin(self->executor, self->address.host, self->address.port);
  const std::shared_ptr<Lookup> lookup = self->lookup;
  if (!lookup->finished) co_await lookup->done.async_wait(kToken);  // Ends as "aborted": by the answer, the deadline or a cancel.
  if (!lookup->finished) co_return self->trouble(asio::error::operation_aborted);
  self->lookup.reset();
  if (lookup->error) co_return Error(Errc::io, "the name " + self->address.host + " cannot be resolved").because(lookup->error.message());
  co_return std::move(lookup->endpoints);
}

asio::awaitable<Result<>> TcpClient::Impl::connect(std::shared_ptr<Impl> self) {
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
    if (!error && !self->expired) co_return Result<>{};
    Error failed = self->trouble(error);
    if (failed.code == Errc::cancelled || self->expired) co_return failed;
    if (!worst || worst->code == Errc::io) worst = std::move(failed);
  }
  co_return worst ? *worst : Error(Errc::io, "the name " + self->address.host + " has no address");
}

asio::awaitable<Result<TcpAnswer>> TcpClient::Impl::receive(std::shared_ptr<Impl> self, TcpRequest request) {
  TcpAnswer answer;
  answer.enough = false;
  self->phase = Phase::waiting;
  while (answer.text.size() < request.answer_bytes_max) {
    const auto [error] = co_await self->socket.async_wait(Socket::wait_read, kToken);
    if (error || self->expired) {
      Error failed = self->trouble(error);
      if (self->expired)
        failed = std::move(failed).because(answer.text.empty() ? self->place() + " is connected and silent"
                                                               : "it sent \"" + printable(cut(answer.text, 200)) + "\"");
      co_return failed;
    }
    error_code read_error;
    const bool more = self->read_available(answer.text, request.answer_bytes_max, read_error);
    answer.enough = request.enough(answer.text);
    if (answer.enough) break;
    if (more) continue;
    if (read_error != asio::error::eof) co_return self->trouble(read_error);
    answer.closed = true;
    break;
  }
  co_return answer;
}

asio::awaitable<Result<TcpAnswer>> TcpClient::Impl::perform(std::shared_ptr<Impl> self, TcpRequest request, Duration timeout) {
  if (self->busy) co_return Error(Errc::conflict, "an exchange with " + self->place() + " is still running");
  self->busy = true;
  self->expired = false;
  self->timeout = timeout;
  const EndOfExchange<Impl> end(self);
  self->deadline.expires_after(timeout);
  self->deadline.async_wait([weak = std::weak_ptr<Impl>(self), round = ++self->round](error_code error) {
    const std::shared_ptr<Impl> impl = weak.lock();
    if (error || !impl || impl->round != round) return;
    impl->expired = true;
    impl->interrupt();
  });

  const Result<> connected = co_await connect(self);
  if (connected.has_error()) co_return connected.error();
  if (!request.send.empty()) {
    self->phase = Phase::sending;
    const auto [unsent, bytes] = co_await asio::async_write(self->socket, asio::buffer(request.send), kToken);
    if (unsent || self->expired) co_return self->trouble(unsent);
  }
  if (!request.enough) co_return TcpAnswer{};
  Result<TcpAnswer> answer = co_await receive(self, std::move(request));
  co_return answer;
}

TcpClient::TcpClient(asio::any_io_executor executor, TcpAddress address)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(address))) {}
TcpClient::~TcpClient() {
  if (impl_) impl_->interrupt();
}

asio::awaitable<Result<TcpAnswer>> TcpClient::exchange(TcpRequest request, Duration timeout) {
  return Impl::perform(impl_, std::move(request), timeout);
}

}  // namespace rollbackd::io
