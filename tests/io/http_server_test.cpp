#include "io/http_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <fstream>

#include "tests/support/run_for.hpp"

namespace rollbackd::io {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using test::run_for;
using test::run_until;
using testing::HasSubstr;
using testing::StartsWith;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

/// Sends `text` and gives everything until the server closes.
template <class Protocol>
asio::awaitable<std::string> talk(asio::io_context* context, typename Protocol::endpoint where, std::string text) {
  typename Protocol::socket socket(*context);
  co_await socket.async_connect(where, kToken);
  co_await asio::async_write(socket, asio::buffer(text), kToken);
  std::string answer;
  co_await asio::async_read(socket, asio::dynamic_buffer(answer), kToken);
  co_return answer;
}

class HttpServerTest : public testing::Test {
 protected:
  /// Starts the server on a free port.
  void start(Handler handler, ServerLimits limits = {}) {
    server_.emplace(context_.get_executor(), std::move(handler), limits);
    port_ = server_->listen_tcp("127.0.0.1:0").value();
    running_.emplace(context_, server_->run());
  }
  Handler remember() {
    return [this](ServerRequest request) -> asio::awaitable<ServerResponse> {
      seen_.push_back(std::move(request));
      ServerResponse response;
      response.body = "{}";
      co_return response;
    };
  }
  std::string say(const std::string& text) { return run_for(context_, talk<tcp>(&context_, endpoint(), text)); }
  tcp::endpoint endpoint() const { return {asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(port_)}; }

  asio::io_context context_;
  std::vector<ServerRequest> seen_;
  std::optional<HttpServer> server_;
  std::optional<test::Background> running_;
  int port_ = 0;
};

TEST_F(HttpServerTest, HandsOverMethodPathQueryHeadersAndBody) {
  start(remember());

  const std::string answer =
      say("POST /api/v1/a%20b?x=1&y=a%2Fb+c HTTP/1.1\r\nHost: h\r\nX-Token: t\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody");

  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_THAT(answer, testing::EndsWith("\r\n\r\n{}"));
  ASSERT_EQ(seen_.size(), 1U);
  EXPECT_EQ(seen_[0].method, "POST");
  EXPECT_EQ(seen_[0].path, "/api/v1/a b");
  EXPECT_EQ(seen_[0].query.at("y"), "a/b c");
  EXPECT_EQ(seen_[0].headers.at("x-token"), "t");
  EXPECT_EQ(seen_[0].body, "body");
  EXPECT_FALSE(seen_[0].peer.has_value());
}

TEST_F(HttpServerTest, AnswersSeveralRequestsOnOneConnectionAlsoWhenTheyComeTogether) {
  start(remember());

  const std::string answer = say("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

  ASSERT_EQ(seen_.size(), 2U);
  EXPECT_EQ(seen_[1].path, "/2");
  EXPECT_NE(answer.find("HTTP/1.1 200", 10), answer.npos);
}

TEST_F(HttpServerTest, AHeadRequestGetsTheLengthAndNoBody) {
  start(remember());

  const std::string answer = say("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

  EXPECT_THAT(answer, HasSubstr("Content-Length: 2\r\n"));
  EXPECT_THAT(answer, testing::EndsWith("\r\n\r\n"));
}

TEST_F(HttpServerTest, ARepeatedNameKeepsAllItsValuesInTheQueryAsItCame) {
  start(remember());

  say("GET /?match[]=a%3D1&match%5B%5D=b+c&x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

  ASSERT_EQ(seen_.size(), 1U);
  const auto pairs = parse_form(seen_[0].query_text);
  ASSERT_TRUE(pairs);
  EXPECT_THAT(*pairs, testing::ElementsAre(testing::Pair("match[]", "a=1"), testing::Pair("match[]", "b c"), testing::Pair("x", "")));
  EXPECT_FALSE(parse_form("a=%4")) << "a broken escape";
}

/// Gives its pieces one by one, and after them `end`.
Handler in_pieces(std::vector<std::string> pieces, Result<std::string> end) {
  return [pieces, end](ServerRequest) -> asio::awaitable<ServerResponse> {
    ServerResponse response;
    response.body = pieces.front();
    response.more = [pieces, end, at = std::size_t{1}]() mutable -> asio::awaitable<Result<std::string>> {
      if (at == pieces.size()) co_return end;
      co_return pieces[at++];
    };
    co_return response;
  };
}

TEST_F(HttpServerTest, AnAnswerInPiecesGoesOutAsTheyCome) {
  start(in_pieces({"one,", "two", std::string(300, 'x')}, std::string()));

  const std::string two = say("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  const std::string old = say("GET / HTTP/1.0\r\nHost: h\r\n\r\n");
  const std::string head = say("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

  const std::string body = "4\r\none,\r\n3\r\ntwo\r\n12c\r\n" + std::string(300, 'x') + "\r\n0\r\n\r\n";
  EXPECT_THAT(two, HasSubstr("Transfer-Encoding: chunked\r\n"));
  EXPECT_THAT(two, testing::Not(HasSubstr("Content-Length")));
  EXPECT_THAT(two, HasSubstr("\r\n\r\n" + body + "HTTP/1.1 200")) << "the connection is kept";
  EXPECT_THAT(two, testing::EndsWith(body));
  EXPECT_THAT(old, testing::EndsWith("\r\n\r\none,two" + std::string(300, 'x'))) << "HTTP/1.0 knows no chunks: the end says it";
  EXPECT_THAT(head, testing::EndsWith("\r\n\r\n"));
}

TEST_F(HttpServerTest, AnAnswerThatCannotBeEndedIsBrokenOff) {
  start(in_pieces({"one", "two"}, Error(Errc::io, "the rest is lost")));

  EXPECT_THAT(say("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), testing::EndsWith("two\r\n")) << "no last chunk: a client knows that it is a part";
}

TEST_F(HttpServerTest, AHandlerCanAskWhetherItsClientHasHungUp) {
  bool there = false, went = false;
  start([&](ServerRequest request) -> asio::awaitable<ServerResponse> {
    there = !request.gone();
    asio::steady_timer pause(context_);
    while (!went) {
      pause.expires_after(1ms);
      co_await pause.async_wait(kToken);
      went = request.gone();
    }
    ServerResponse response;
    co_return response;
  });
  tcp::socket socket(context_);
  socket.connect(endpoint());
  asio::write(socket, asio::buffer(std::string("GET / HTTP/1.1\r\nHost: h\r\n\r\n")));
  run_until(context_, [&] { return there; });
  EXPECT_FALSE(went);

  socket.close();

  EXPECT_TRUE(run_until(context_, [&] { return went; }));
}

TEST_F(HttpServerTest, RefusesWhatIsTooLargeOrBroken) {
  start(remember(), {.body_bytes_max = 10, .header_bytes_max = 200});

  EXPECT_THAT(say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n" + std::string(11, 'x')), StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(say("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(say("GET / HTTP/1.1\r\nX: " + std::string(300, 'x') + "\r\n\r\n"), StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(say("no http at all\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(say("GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(say("GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_TRUE(seen_.empty());
}

TEST_F(HttpServerTest, ARequestThatDoesNotEndInTimeIsRefused) {
  start(remember(), {.read_timeout = 30ms});

  EXPECT_THAT(say("GET / HTTP/1.1\r\nHost"), StartsWith("HTTP/1.1 408 "));
}

TEST_F(HttpServerTest, AnIdleConnectionIsClosedWithoutAWord) {
  start(remember(), {.idle_timeout = 30ms});

  EXPECT_EQ(say(""), "");
}

TEST_F(HttpServerTest, AConnectionOverTheLimitIsClosed) {
  start(remember(), {.connections_max = 1});
  tcp::socket first(context_);
  first.connect(endpoint());
  ASSERT_TRUE(run_until(context_, [&] { return true; }));

  EXPECT_EQ(say("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), "");
}

TEST_F(HttpServerTest, AHandlerThatThrowsIsAnInternalErrorAndTheServerGoesOn) {
  start([](ServerRequest request) -> asio::awaitable<ServerResponse> {
    if (request.path == "/throw") throw std::runtime_error("secret");
    ServerResponse response;
    co_return response;
  });

  const std::string broken = say("GET /throw HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  const std::string fine = say("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

  EXPECT_THAT(broken, StartsWith("HTTP/1.1 500 "));
  EXPECT_THAT(broken, testing::Not(HasSubstr("secret")));
  EXPECT_THAT(fine, StartsWith("HTTP/1.1 200 "));
}

TEST_F(HttpServerTest, SaysContinueToWhoWaitsForIt) {
  start(remember());
  const auto ask = [](asio::io_context* context, tcp::endpoint where) -> asio::awaitable<std::string> {
    tcp::socket socket(*context);
    co_await socket.async_connect(where, kToken);
    const std::string head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
                      body = "ok";
    co_await asio::async_write(socket, asio::buffer(head), kToken);
    std::string answer;
    co_await asio::async_read_until(socket, asio::dynamic_buffer(answer), "\r\n\r\n", kToken);
    co_await asio::async_write(socket, asio::buffer(body), kToken);
    co_await asio::async_read(socket, asio::dynamic_buffer(answer), kToken);
    co_return answer;
  };

  const std::string answer = run_for(context_, ask(&context_, endpoint()));

  EXPECT_THAT(answer, StartsWith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
}

TEST_F(HttpServerTest, ACancelledServerFinishesTheAnswerUnderWay) {
  asio::steady_timer gate(context_, asio::steady_timer::time_point::max());
  bool entered = false;
  start([&](ServerRequest) -> asio::awaitable<ServerResponse> {
    entered = true;
    co_await gate.async_wait(kToken);
    ServerResponse response;
    response.body = "done";
    co_return response;
  });
  std::string answer;
  asio::co_spawn(context_, talk<tcp>(&context_, endpoint(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
                 [&](std::exception_ptr, std::string text) { answer = std::move(text); });
  ASSERT_TRUE(run_until(context_, [&] { return entered; }));

  running_->cancel();
  asio::post(context_, [&] { gate.cancel(); });

  EXPECT_TRUE(run_until(context_, [&] { return !answer.empty() && running_->ended(); }));
  EXPECT_THAT(answer, HasSubstr("Connection: close\r\n"));
  EXPECT_THAT(answer, testing::EndsWith("done"));
}

TEST_F(HttpServerTest, ACancelledServerClosesIdleConnectionsAtOnce) {
  start(remember());
  bool closed = false;
  asio::co_spawn(context_, talk<tcp>(&context_, endpoint(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
                 [&](std::exception_ptr, std::string) { closed = true; });
  ASSERT_TRUE(run_until(context_, [&] { return seen_.size() == 1; }));

  running_->cancel();

  EXPECT_TRUE(run_until(context_, [&] { return closed && running_->ended(); }));
}

TEST_F(HttpServerTest, AUnixSocketTellsWhoAsksAndHasItsMode) {
  const test::TempDir dir;
  const std::string path = dir / "s.sock";
  server_.emplace(context_.get_executor(), remember());
  ASSERT_TRUE(server_->listen_unix(path, 0600).has_value());
  running_.emplace(context_, server_->run());

  run_for(context_, talk<asio::local::stream_protocol>(&context_, {path}, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));

  ASSERT_EQ(seen_.size(), 1U);
  ASSERT_TRUE(seen_[0].peer.has_value());
  EXPECT_EQ(seen_[0].peer->uid, static_cast<int>(::getuid()));
  EXPECT_EQ(seen_[0].peer->pid, ::getpid());
  struct stat file {};
  ASSERT_EQ(::stat(path.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600U);
}

TEST_F(HttpServerTest, AStaleUnixSocketIsReplacedALiveOneAndAFileAreNot) {
  const test::TempDir dir;
  const std::string path = dir / "s.sock";
  { asio::local::stream_protocol::acceptor stale(context_, asio::local::stream_protocol::endpoint(path)); }
  std::ofstream(dir / "file") << "precious";
  HttpServer first(context_.get_executor(), remember()), second(context_.get_executor(), remember());

  EXPECT_TRUE(first.listen_unix(path).has_value());
  EXPECT_EQ(second.listen_unix(path).error().code, Errc::conflict);
  EXPECT_EQ(second.listen_unix(dir / "file").error().code, Errc::refused);
}

TEST_F(HttpServerTest, ListensOnLoopbackAlone) {
  HttpServer server(context_.get_executor(), remember());

  EXPECT_EQ(server.listen_tcp("0.0.0.0:0").error().code, Errc::refused);
  EXPECT_EQ(server.listen_tcp("127.0.0.1").error().code, Errc::invalid_argument);
  EXPECT_EQ(server.listen_tcp("127.0.0.1:99999").error().code, Errc::invalid_argument);
  const int port = server.listen_tcp("127.0.0.1:0").value();
  EXPECT_EQ(server.listen_tcp("127.0.0.1:" + std::to_string(port)).error().code, Errc::io);
}

}  // namespace
}  // namespace rollbackd::io
