#include "io/seqpacket.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdlib>

#include "tests/drivers/helpers.hpp"

namespace rollbackd::io {
namespace {

namespace asio = boost::asio;
using rollbackd::testing::run_until_done;
using rollbackd::testing::TempDir;

constexpr std::size_t kBytesMax = 1000;

struct Pair {
  asio::io_context context;
  Seqpacket a, b;
  explicit Pair(std::pair<Fd, Fd> ends = std::move(*seqpacket_pair()), std::size_t a_max = kBytesMax)
      : a(context.get_executor(), std::move(ends.first), a_max), b(context.get_executor(), std::move(ends.second), kBytesMax) {}
};

TEST(Seqpacket, MessagesArriveWholeAndInOrderAndMoreThanTheSocketHoldsWait) {
  Pair pair;
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(pair.a.post(std::to_string(i) + std::string(900, 'x')).has_value()) << i;

  for (int i = 0; i < 1000; ++i) {
    auto got = run_until_done(pair.context, pair.b.receive());
    ASSERT_TRUE(got && got->has_value()) << i;
    EXPECT_EQ(std::stoi(**got), i);
  }
}

TEST(Seqpacket, AMessageOverTheBoundIsNotSentAndOneThatComesEndsTheConnection) {
  Pair pair(std::move(*seqpacket_pair()), 4 * kBytesMax);
  EXPECT_EQ(pair.b.post(std::string(kBytesMax + 1, 'x')).error().code, Errc::too_large);
  EXPECT_EQ(pair.b.post("").error().code, Errc::too_large);  // It would look like the end of the connection.

  ASSERT_TRUE(pair.a.post(std::string(kBytesMax + 1, 'x')).has_value());
  auto got = run_until_done(pair.context, pair.b.receive());
  ASSERT_TRUE(got);
  EXPECT_EQ(got->error().code, Errc::too_large);
  EXPECT_FALSE(pair.b.open());
}

TEST(Seqpacket, WhoReadsNothingIsLeftAndWhoIsGoneIsTold) {
  Pair pair;
  Result<> posted;
  for (std::size_t i = 0; i < Seqpacket::kWaitingMax + 2000 && posted.has_value(); ++i) posted = pair.a.post(std::string(900, 'x'));
  EXPECT_EQ(posted.error().code, Errc::unavailable);
  EXPECT_FALSE(pair.a.open());

  Pair other;
  other.b.close();
  auto got = run_until_done(other.context, other.a.receive());
  ASSERT_TRUE(got);
  EXPECT_EQ(got->error().code, Errc::unavailable);
  EXPECT_EQ(other.a.post("x").error().code, Errc::unavailable);
}

TEST(Seqpacket, ALeftoverSocketIsReplacedOneThatIsListenedOnIsNotAndThePeerIsKnown) {
  const TempDir directory;
  const std::string path = directory / "s";
  asio::io_context context;
  { auto before = listen_seqpacket(path, 0600); }  // Nobody listens any more; the name stays.
  auto socket = listen_seqpacket(path, 0600);
  ASSERT_TRUE(socket.has_value()) << socket.error().text();
  EXPECT_EQ(listen_seqpacket(path, 0600).error().code, Errc::conflict);
  SeqpacketListener listener(context.get_executor(), std::move(*socket), kBytesMax);

  // The one that only asked whether somebody listens is in the queue too.
  auto asked = run_until_done(context, listener.accept());
  auto client = Seqpacket::connect(context.get_executor(), path, kBytesMax);
  ASSERT_TRUE(client.has_value());
  auto server = run_until_done(context, listener.accept());
  ASSERT_TRUE(server && server->has_value());
  EXPECT_EQ((*server)->peer()->uid, ::getuid());
  EXPECT_EQ((*server)->peer()->pid, ::getpid());
  EXPECT_EQ(Seqpacket::connect(context.get_executor(), directory / "none", kBytesMax).error().code, Errc::unavailable);
  EXPECT_EQ(Seqpacket().post("x").error().code, Errc::unavailable);
  EXPECT_EQ(Seqpacket::connect(context.get_executor(), "/" + std::string(200, 'x'), kBytesMax).error().code, Errc::too_large);
}

TEST(Seqpacket, SocketsOfTheServiceManagerAreTakenOnceAndOnlyIfTheyAreMeantForUs) {
  ::setenv("LISTEN_FDS", "1", 1);
  ::setenv("LISTEN_PID", "1", 1);
  EXPECT_TRUE(listen_fds().empty());
  EXPECT_EQ(std::getenv("LISTEN_FDS"), nullptr);

  const int before = ::fcntl(3, F_GETFD);
  ::setenv("LISTEN_FDS", "1", 1);
  ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_EQ(listen_fds(), std::vector<int>{3});
  EXPECT_TRUE(listen_fds().empty());
  if (before >= 0) ::fcntl(3, F_SETFD, before);

  ::setenv("LISTEN_FDS", "many", 1);
  ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_TRUE(listen_fds().empty());
}

}  // namespace
}  // namespace rollbackd::io
