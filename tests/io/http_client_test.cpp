#include "io/http_client.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <deque>
#include <memory>

#include "tests/support/run_for.hpp"

namespace rollbackd::io {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using test::run_for;
using test::run_until;
using testing::HasSubstr;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

/// A server that answers each request with the next of its scripted texts, byte for byte. What stands for an action instead of a text:
/// "" closes without an answer, "…" says nothing at all.
template <class Protocol>
class Scripted {
 public:
  using Acceptor = typename Protocol::acceptor;
  Scripted(asio::io_context& context, typename Protocol::endpoint where) : context_(&context), acceptor_(context, where) {
    asio::co_spawn(context, accept(), [](std::exception_ptr) {});
  }
  auto endpoint() const { return acceptor_.local_endpoint(); }

  std::deque<std::string> answers;
  std::vector<std::string> requests;  ///< their heads
  int connections = 0, closed_by_client = 0;

 private:
  asio::awaitable<void> accept() {
    while (true) {
      auto [error, socket] = co_await acceptor_.async_accept(kToken);
      if (error) co_return;
      ++connections;
      asio::co_spawn(*context_, serve(std::move(socket)), [](std::exception_ptr) {});
    }
  }
  asio::awaitable<void> serve(typename Protocol::socket socket) {
    std::string buffer;
    while (true) {
      const auto [error, size] = co_await asio::async_read_until(socket, asio::dynamic_buffer(buffer), "\r\n\r\n", kToken);
      if (error) {
        ++closed_by_client;
        co_return;
      }
      requests.push_back(buffer.substr(0, size));
      buffer.erase(0, size);
      if (answers.empty()) co_return;
      const std::string answer = answers.front();
      answers.pop_front();
      if (answer.empty()) co_return;
      if (answer == "…") continue;
      co_await asio::async_write(socket, asio::buffer(answer), kToken);
      if (answer.find("Connection: close") != answer.npos) co_return;
    }
  }
  asio::io_context* context_;
  Acceptor acceptor_;
};

std::string ok(const std::string& body, const std::string& more = "") {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + more + "\r\n" + body;
}

class HttpClientTest : public testing::Test {
 protected:
  std::string url(const std::string& target = "/") { return "http://127.0.0.1:" + std::to_string(server_.endpoint().port()) + target; }
  HttpClient client_for(const std::string& text) { return HttpClient(context_.get_executor(), HttpUrl::parse(text).value()); }
  Result<HttpResponse> get(HttpClient& client, HttpRequest request = {}, Duration timeout = 5s) {
    return run_for(context_, client.request(std::move(request), timeout));
  }
  asio::io_context context_;
  Scripted<tcp> server_{context_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
};

TEST(HttpUrl, TakesAnAddressWithPortPathAndQuery) {
  const HttpUrl url = HttpUrl::parse("http://127.0.0.1:8080/health?deep=1#top").value();

  EXPECT_EQ(url.host, "127.0.0.1");
  EXPECT_EQ(url.port, "8080");
  EXPECT_EQ(url.target, "/health?deep=1");
  EXPECT_EQ(url.host_header, "127.0.0.1:8080");
}

TEST(HttpUrl, FillsInPortAndPathAndTakesBracketsOffAnIpv6Address) {
  const HttpUrl url = HttpUrl::parse("http://[::1]").value();

  EXPECT_EQ(url.host, "::1");
  EXPECT_EQ(url.port, "80");
  EXPECT_EQ(url.target, "/");
  EXPECT_EQ(url.host_header, "[::1]");
}

TEST(HttpUrl, TakesAUnixSocketWithItsPathPercentEncoded) {
  const HttpUrl url = HttpUrl::parse("http+unix://%2Frun%2Fapi.sock/v1/health").value();

  EXPECT_EQ(url.unix_socket, "/run/api.sock");
  EXPECT_EQ(url.target, "/v1/health");
  EXPECT_EQ(url.host_header, "localhost");
}

TEST(HttpUrl, RefusesWhatItCannotAsk) {
  EXPECT_EQ(HttpUrl::parse("https://127.0.0.1/").error().code, Errc::unsupported);
  for (const char* text : {"", "127.0.0.1:80", "ftp://host/", "http://", "http:///path", "http://user:pw@host/", "http://host:70000/",
                           "http://host:0/", "http://a%0d%0ab/", "http+unix://relative/x"}) {
    EXPECT_EQ(HttpUrl::parse(text).error().code, Errc::invalid_argument) << text;
  }
}

TEST_F(HttpClientTest, ReadsStatusHeadersAndBody) {
  server_.answers = {ok("ready\n", "X-Release: v7\r\n")};
  HttpClient client = client_for(url("/health"));

  const HttpResponse answer = get(client).value();

  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.reason, "OK");
  EXPECT_EQ(answer.body, "ready\n");
  EXPECT_EQ(answer.headers.at("x-release"), "v7");
  EXPECT_THAT(server_.requests.at(0), testing::StartsWith("GET /health HTTP/1.1\r\n"));
  EXPECT_THAT(server_.requests.at(0), HasSubstr("\r\nHost: 127.0.0.1:"));
}

TEST_F(HttpClientTest, KeepsItsConnection) {
  server_.answers = {ok("1"), ok("2")};
  HttpClient client = client_for(url());

  EXPECT_EQ(get(client)->body, "1");
  EXPECT_EQ(get(client)->body, "2");
  EXPECT_EQ(server_.connections, 1);
}

TEST_F(HttpClientTest, TakesANewConnectionWhenAskedTo) {
  server_.answers = {ok("1"), ok("2")};
  HttpClient client = client_for(url());

  EXPECT_EQ(get(client)->body, "1");
  EXPECT_EQ(get(client, {.fresh = true})->body, "2");
  EXPECT_EQ(server_.connections, 2);
}

TEST_F(HttpClientTest, ReplacesAKeptConnectionThatWasClosedMeanwhile) {
  server_.answers = {ok("1"), "", ok("2")};
  HttpClient client = client_for(url());

  EXPECT_EQ(get(client)->body, "1");
  const auto second = get(client);  // The server closes on the second request, before any byte of an answer.

  ASSERT_TRUE(second.has_value()) << second.error().text();
  EXPECT_EQ(second->body, "2");
  EXPECT_EQ(server_.connections, 2);
}

TEST_F(HttpClientTest, AFreshConnectionThatClosesWithoutAnAnswerIsUnavailable) {
  server_.answers = {""};
  HttpClient client = client_for(url());

  const auto answer = get(client);

  ASSERT_TRUE(answer.has_error());
  EXPECT_EQ(answer.error().code, Errc::unavailable);
  EXPECT_EQ(server_.connections, 1);
}

TEST_F(HttpClientTest, TheTimeoutCoversTheWaitForTheAnswerAndSaysSo) {
  server_.answers = {"…"};
  HttpClient client = client_for(url());

  const auto answer = get(client, {}, 30ms);

  ASSERT_TRUE(answer.has_error());
  EXPECT_EQ(answer.error().code, Errc::timed_out);
  EXPECT_EQ(answer.error().what, "no answer within 30ms");
}

TEST_F(HttpClientTest, TheTimeoutCoversAnAnswerThatStopsHalfway) {
  server_.answers = {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"};
  HttpClient client = client_for(url());

  const auto answer = get(client, {}, 30ms);

  ASSERT_TRUE(answer.has_error());
  EXPECT_EQ(answer.error().code, Errc::timed_out);
  EXPECT_THAT(answer.error().what, HasSubstr("not complete"));
}

TEST_F(HttpClientTest, ARefusedConnectionIsUnavailable) {
  tcp::acceptor gone(context_, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  const auto port = gone.local_endpoint().port();
  gone.close();
  HttpClient client = client_for("http://127.0.0.1:" + std::to_string(port) + "/");

  const auto answer = get(client);

  ASSERT_TRUE(answer.has_error());
  EXPECT_EQ(answer.error().code, Errc::unavailable);
  EXPECT_EQ(answer.error().why, "Connection refused");
}

TEST_F(HttpClientTest, ANameThatDoesNotResolveIsOurOwnTrouble) {
  HttpClient client = client_for("http://no-such-host.invalid/");

  const auto answer = get(client, {}, 2s);

  ASSERT_TRUE(answer.has_error());
  EXPECT_EQ(answer.error().code, Errc::io);
}

TEST_F(HttpClientTest, ANameIsResolvedByTheSystem) {
  server_.answers = {ok("by name")};
  HttpClient client = client_for("http://localhost:" + std::to_string(server_.endpoint().port()) + "/");

  const auto answer = get(client);

  ASSERT_TRUE(answer.has_value()) << answer.error().text();
  EXPECT_EQ(answer->body, "by name");
}

TEST_F(HttpClientTest, NoFileHandleLeftIsOurOwnTrouble) {
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ROLLBACKD_TEST_SANITIZED  // clang's word for it
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(ROLLBACKD_TEST_SANITIZED)
  GTEST_SKIP() << "UBSan looks at objects through a pipe, and there are no handles for one here; the dev preset runs this test";
#endif
  HttpClient client = client_for(url());
  rlimit before{}, none{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  none = before;
  none.rlim_cur = 3;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);

  const auto answer = get(client);

  ::setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_TRUE(answer.has_error());
  EXPECT_EQ(answer.error().code, Errc::io);
}

TEST_F(HttpClientTest, ABodyOverTheBoundIsCutAndItsConnectionNotKept) {
  server_.answers = {ok(std::string(5000, 'x')), ok("next")};
  HttpClient client = client_for(url());

  const HttpResponse answer = get(client, {.body_bytes_max = 100}).value();
  const HttpResponse next = get(client).value();

  EXPECT_TRUE(answer.cut);
  EXPECT_EQ(answer.body, std::string(100, 'x'));
  EXPECT_EQ(next.body, "next");
}

TEST_F(HttpClientTest, ABodyJustAtTheBoundIsWhole) {
  server_.answers = {ok("1234")};
  HttpClient client = client_for(url());

  const HttpResponse answer = get(client, {.body_bytes_max = 4}).value();

  EXPECT_FALSE(answer.cut);
  EXPECT_EQ(answer.body, "1234");
}

TEST_F(HttpClientTest, ReadsAChunkedBodyAndOneThatEndsWithTheConnection) {
  server_.answers = {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
                     "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end"};
  HttpClient client = client_for(url());

  EXPECT_EQ(get(client)->body, "abcde");
  EXPECT_EQ(get(client)->body, "to the end");
}

TEST_F(HttpClientTest, AnAnswerThatEndsTooSoonIsUnavailable) {
  server_.answers = {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhalf"};
  HttpClient client = client_for(url());

  const auto answer = get(client);

  ASSERT_TRUE(answer.has_error());
  EXPECT_EQ(answer.error().code, Errc::unavailable);
}

TEST_F(HttpClientTest, WhatIsNotHttpIsCorruptAndTooManyHeadersAreTooLarge) {
  server_.answers = {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 200 OK\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n"};
  HttpClient client = client_for(url());

  EXPECT_EQ(get(client).error().code, Errc::corrupt);
  EXPECT_EQ(get(client).error().code, Errc::too_large);
}

TEST_F(HttpClientTest, PassesOverAnInformationalAnswer) {
  server_.answers = {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok("real")};
  HttpClient client = client_for(url());

  EXPECT_EQ(get(client)->body, "real");
}

TEST_F(HttpClientTest, AHeadRequestExpectsNoBody) {
  server_.answers = {"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", ok("get")};
  HttpClient client = client_for(url());

  EXPECT_EQ(get(client, {.method = "HEAD"})->body, "");
  EXPECT_EQ(get(client)->body, "get");
  EXPECT_EQ(server_.connections, 1);
}

TEST_F(HttpClientTest, SendsABodyWithItsLength) {
  server_.answers = {ok("")};
  HttpClient client = client_for(url());

  ASSERT_TRUE(get(client, {.method = "POST", .headers = {{"Content-Type", "application/json"}}, .body = "{}\r\n\r\n"}).has_value());

  EXPECT_THAT(server_.requests.at(0), HasSubstr("Content-Length: 6\r\n"));
  EXPECT_THAT(server_.requests.at(0), HasSubstr("Content-Type: application/json\r\n"));
}

TEST_F(HttpClientTest, AHeaderThatWouldBreakTheLineIsRefused) {
  HttpClient client = client_for(url());

  EXPECT_EQ(get(client, {.headers = {{"X", "a\r\nY: b"}}}).error().code, Errc::invalid_argument);
  EXPECT_EQ(get(client, {.method = "GET /x HTTP/1.1\r\n"}).error().code, Errc::invalid_argument);
}

TEST_F(HttpClientTest, ARequestMayNameAnotherTargetThanTheUrl) {
  server_.answers = {ok("")};
  HttpClient client = client_for(url("/health"));

  ASSERT_TRUE(get(client, {.target = "/api?x=1"}).has_value());

  EXPECT_THAT(server_.requests.at(0), testing::StartsWith("GET /api?x=1 HTTP/1.1\r\n"));
  EXPECT_EQ(get(client, {.target = "/a b"}).error().code, Errc::invalid_argument);
}

TEST_F(HttpClientTest, SpeaksOverAUnixSocket) {
  const test::TempDir dir;
  Scripted<asio::local::stream_protocol> server(context_, {dir / "api.sock"});
  server.answers = {ok("unix")};
  std::string path = dir / "api.sock";
  for (std::size_t at = 0; (at = path.find('/', at)) != path.npos;) path.replace(at, 1, "%2F");
  HttpClient client = client_for("http+unix://" + path + "/health");

  EXPECT_EQ(get(client)->body, "unix");
}

TEST_F(HttpClientTest, ASecondRequestWhileOneRunsIsAConflict) {
  server_.answers = {"…"};
  HttpClient client = client_for(url());
  HttpRequest first;
  bool ended = false;
  asio::co_spawn(context_, client.request(first, 5s), [&](std::exception_ptr, Result<HttpResponse>) { ended = true; });
  ASSERT_TRUE(run_until(context_, [&] { return server_.requests.size() == 1; }));

  EXPECT_EQ(get(client).error().code, Errc::conflict);
  client.close();
  EXPECT_TRUE(run_until(context_, [&] { return ended; }));
}

TEST_F(HttpClientTest, ACancelledRequestEndsAndClosesItsConnection) {
  server_.answers = {"…"};
  HttpClient client = client_for(url());
  std::optional<Errc> code;
  const auto ask = [](HttpClient& c, std::optional<Errc>& out) -> asio::awaitable<void> {
    HttpRequest request;
    const auto answer = co_await c.request(request, 5s);
    out = answer.has_error() ? answer.error().code : Errc::none;
  };
  {
    test::Background background(context_, ask(client, code));
    ASSERT_TRUE(run_until(context_, [&] { return server_.requests.size() == 1; }));
  }

  EXPECT_EQ(code, Errc::cancelled);
  EXPECT_TRUE(run_until(context_, [&] { return server_.closed_by_client == 1; }));
}

}  // namespace
}  // namespace rollbackd::io
