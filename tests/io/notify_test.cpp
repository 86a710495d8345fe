// What the daemon tells its service manager, read from a socket of the test's own.
#include "io/notify.hpp"

#include <gmock/gmock.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/process.hpp"
#include "tests/support/run_for.hpp"

namespace rollbackd::io {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class Notify : public testing::Test {
 protected:
  Notify() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    (directory_ / "notify").copy(name.sun_path, sizeof name.sun_path - 1);
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
    ::setenv("NOTIFY_SOCKET", (directory_ / "notify").c_str(), 1);
  }
  ~Notify() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
  }
  std::string heard() {
    char text[4096] = {};
    const ssize_t n = ::recv(socket_.get(), text, sizeof text, 0);
    return {text, static_cast<std::size_t>(std::max<ssize_t>(n, 0))};
  }

  test::TempDir directory_;
  Fd socket_;
};

TEST_F(Notify, SaysWhatTheServiceManagerWaitsFor) {
  notify::ready("watches 2 services\nREADY=0");
  notify::reloading();
  notify::stopping("stops");

  EXPECT_EQ(heard(), "READY=1\nSTATUS=watches 2 services\\x0aREADY=0");
  EXPECT_THAT(heard(), AllOf(StartsWith("RELOADING=1\nMONOTONIC_USEC="), HasSubstr("STATUS=")));
  EXPECT_THAT(heard(), StartsWith("STOPPING=1\n"));
}

TEST_F(Notify, TheWatchdogIsFedAgainAndAgainUntilItIsCancelled) {
  ::setenv("WATCHDOG_USEC", "20000", 1);
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  boost::asio::io_context context;
  test::Background feeding(context, notify::feed_watchdog());
  int fed = 0;

  EXPECT_TRUE(test::run_until(context, [&] {
    fed += heard() == "WATCHDOG=1" ? 1 : 0;
    return fed >= 3;
  }));
}

TEST_F(Notify, AWatchdogOfAnotherProcessIsNotFed) {
  ::setenv("WATCHDOG_USEC", "20000", 1);
  ::setenv("WATCHDOG_PID", "1", 1);
  boost::asio::io_context context;
  test::Background feeding(context, notify::feed_watchdog());

  EXPECT_TRUE(test::run_until(context, [&] { return feeding.ended(); }));
  EXPECT_EQ(heard(), "");
}

TEST(NotifyWithoutSocket, IsNoError) {
  ::unsetenv("NOTIFY_SOCKET");

  notify::ready("nobody listens");
  EXPECT_EQ(notify::watchdog(), std::nullopt);
}

}  // namespace
}  // namespace rollbackd::io
