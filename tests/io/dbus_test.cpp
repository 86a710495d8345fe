// The system bus on the reactor, against a bus daemon of the test's own.
#include "io/dbus.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>
#include <fstream>

#include "io/process.hpp"
#include "tests/support/run_for.hpp"

namespace rollbackd::io {
namespace {

namespace asio = boost::asio;
using test::run_for;
using test::run_until;

/// A dbus-daemon on a socket in a directory of the test's own, named to the code under test by the environment.
class DBus : public testing::Test {
 protected:
  void SetUp() override {
    if (::access("/usr/bin/dbus-daemon", X_OK) != 0) GTEST_SKIP() << "no /usr/bin/dbus-daemon (Debian package dbus-daemon)";
    std::ofstream(directory_ / "bus.conf")
        << "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" "
           "\"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig><type>custom</type><listen>unix:path="
        << directory_ / "socket"
        << "</listen><policy context=\"default\"><allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/>"
           "</policy></busconfig>\n";
    ::setenv("DBUS_SYSTEM_BUS_ADDRESS", ("unix:path=" + (directory_ / "socket")).c_str(), 1);
  }
  void TearDown() override {
    stop();
    ::unsetenv("DBUS_SYSTEM_BUS_ADDRESS");
  }
  void start() {
    ::unlink((directory_ / "socket").c_str());
    daemon_ = ::fork();
    if (daemon_ == 0) {
      ::dup2(::open("/dev/null", O_WRONLY), STDERR_FILENO);
      ::execl("/usr/bin/dbus-daemon", "dbus-daemon", "--nofork", "--nopidfile", ("--config-file=" + (directory_ / "bus.conf")).c_str(),
              nullptr);
      ::_exit(127);
    }
    const auto patience = std::chrono::steady_clock::now() + test::kPatience;
    while (!takes_connections() && std::chrono::steady_clock::now() < patience) ::usleep(2000);  // It tells nobody when it is ready.
  }
  void stop() {
    if (daemon_ <= 0) return;
    ::kill(daemon_, SIGKILL);
    ::waitpid(daemon_, nullptr, 0);
    daemon_ = 0;
  }
  bool takes_connections() const {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    (directory_ / "socket").copy(name.sun_path, sizeof name.sun_path - 1);
    const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
  }
  static BusMethod bus_method(const std::string& member) {
    return {"org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", member};
  }
  Result<Json> call(SystemBus& bus, const BusMethod& method, const std::string& signature = "", const Json& arguments = Json::array(),
                    Duration timeout = 5s) {
    return run_for(context_, bus.call(method, signature, arguments, timeout));
  }

  test::TempDir directory_;
  asio::io_context context_;
  pid_t daemon_ = 0;
};

TEST_F(DBus, AMethodIsCalledAndItsAnswerIsJson) {
  start();
  const auto bus = SystemBus::of(context_.get_executor());

  const auto names = call(*bus, bus_method("ListNames"));
  const auto credentials = call(*bus, bus_method("GetConnectionCredentials"), "s", Json::array().push("org.freedesktop.DBus"));

  ASSERT_TRUE(names.has_value()) << names.error().text();
  ASSERT_EQ(names.value().elements().size(), 1U);
  EXPECT_EQ(names.value().elements()[0].elements()[0].string_or(""), "org.freedesktop.DBus");
  ASSERT_TRUE(credentials.has_value()) << credentials.error().text();  // a{sv}
  EXPECT_EQ(credentials.value().elements()[0]["ProcessID"].int_or(0), daemon_);
}

TEST_F(DBus, TheOtherSidesErrorComesWithItsName) {
  start();
  const auto bus = SystemBus::of(context_.get_executor());

  const auto answer = call(*bus, bus_method("NoSuchMethod"));

  ASSERT_TRUE(answer.has_error());
  EXPECT_EQ(answer.error().code, Errc::io);
  EXPECT_TRUE(answer.error().why.starts_with("org.freedesktop.DBus.Error.UnknownMethod")) << answer.error().text();
}

TEST_F(DBus, ArgumentsThatDoNotFitTheirSignatureAreRefusedHere) {
  start();
  const auto bus = SystemBus::of(context_.get_executor());

  const auto missing = call(*bus, bus_method("GetNameOwner"), "s", Json::array());
  const auto nested = call(*bus, bus_method("GetNameOwner"), "s", Json::array().push("a").push("b"));

  ASSERT_TRUE(missing.has_error());
  EXPECT_EQ(missing.error().code, Errc::invalid_argument);
  ASSERT_TRUE(nested.has_error());
  EXPECT_EQ(nested.error().code, Errc::invalid_argument);
}

TEST_F(DBus, ContainersAndVariantsArriveAsTheyWereSent) {
  start();
  const auto bus = SystemBus::of(context_.get_executor());
  Json heard;
  const auto listening = bus->on_signal("type='signal',interface='test.Interface'", [&](const BusSignal& s) { heard = s.body; });
  ASSERT_TRUE(call(*bus, bus_method("GetId")).has_value());  // After it the match is in place.

  // A call to ourselves would need a server; the bus's own answer to a struct it does not want will do for the way out.
  Json command = Json::array().push(Json::array().push("/bin/true").push(Json::array().push("true").push("x")).push(false));
  Json property = Json::array().push("ExecStart").push(Json::object().set("signature", "a(sasb)").set("value", std::move(command)));
  const auto refused = call(*bus, bus_method("GetNameOwner"), "a(sv)", Json::array().push(Json::array().push(std::move(property))));

  ASSERT_TRUE(refused.has_error());
  EXPECT_TRUE(refused.error().why.starts_with("org.freedesktop.DBus.Error.InvalidArgs")) << refused.error().text();
  EXPECT_TRUE(heard.is_null());
}

TEST_F(DBus, WithoutABusACallFailsAtOnceAndSaysWhy) {
  const auto bus = SystemBus::of(context_.get_executor());

  const auto answer = call(*bus, bus_method("GetId"));

  ASSERT_TRUE(answer.has_error());
  EXPECT_EQ(answer.error().code, Errc::unavailable);
  EXPECT_NE(answer.error().text().find(directory_ / "socket"), std::string::npos) << answer.error().text();
}

TEST_F(DBus, OwnersAreToldOfTheLossOnceAndOfTheReturnAndMatchesWorkAgain) {
  start();
  const auto bus = SystemBus::of(context_.get_executor());
  std::vector<Errc> told;
  int names = 0;
  const auto connection = bus->on_connection([&](const Error& error) { told.push_back(error.code); });
  const auto changes =
      bus->on_signal("type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'", [&](const BusSignal&) { ++names; });
  ASSERT_TRUE(run_until(context_, [&] { return bus->connected(); }));

  stop();
  ASSERT_TRUE(run_until(context_, [&] { return !bus->connected() && told.size() == 2; }));
  start();
  ASSERT_TRUE(run_until(context_, [&] { return bus->connected(); }));
  ASSERT_TRUE(call(*bus, bus_method("RequestName"), "su", Json::array().push("test.Name").push(0)).has_value());

  EXPECT_THAT(told, testing::ElementsAre(Errc::none, Errc::unavailable, Errc::none));
  EXPECT_TRUE(run_until(context_, [&] { return names > 0; }));
}

TEST_F(DBus, AStoppedBusDaemonEndsInATimeoutAndTheReactorGoesOn) {
  start();
  const auto bus = SystemBus::of(context_.get_executor());
  ASSERT_TRUE(call(*bus, bus_method("GetId")).has_value());
  ::kill(daemon_, SIGSTOP);

  const auto began = std::chrono::steady_clock::now();
  const auto answer = call(*bus, bus_method("GetId"), "", Json::array(), 200ms);
  const auto took = std::chrono::steady_clock::now() - began;

  ASSERT_TRUE(answer.has_error());
  EXPECT_EQ(answer.error().code, Errc::timed_out) << answer.error().text();
  EXPECT_LT(took, 30s);
}

TEST_F(DBus, ABusThatNeverAnswersTheGreetingIsGivenUp) {
  start();
  ::kill(daemon_, SIGSTOP);  // Its socket still takes the connection.
  const auto bus = SystemBus::of(context_.get_executor());

  const auto answer = call(*bus, bus_method("GetId"), "", Json::array(), 100ms);

  ASSERT_TRUE(answer.has_error());
  EXPECT_EQ(answer.error().code, Errc::timed_out) << answer.error().text();
  EXPECT_FALSE(bus->connected());
}

TEST_F(DBus, AnEndedSubscriptionHearsNothingAlsoWhenItEndsItself) {
  start();
  const auto bus = SystemBus::of(context_.get_executor());
  int heard = 0;
  std::unique_ptr<SystemBus::Subscription> changes;
  changes = bus->on_signal("type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'", [&](const BusSignal&) {
    ++heard;
    changes.reset();
  });
  ASSERT_TRUE(call(*bus, bus_method("GetId")).has_value());

  ASSERT_TRUE(call(*bus, bus_method("RequestName"), "su", Json::array().push("test.One").push(0)).has_value());
  ASSERT_TRUE(call(*bus, bus_method("RequestName"), "su", Json::array().push("test.Two").push(0)).has_value());

  EXPECT_EQ(heard, 1);
}

TEST_F(DBus, OneConnectionIsSharedAndEndsWithItsLastOwner) {
  start();
  auto first = SystemBus::of(context_.get_executor());
  const auto second = SystemBus::of(context_.get_executor());
  std::weak_ptr<SystemBus> kept = first;

  EXPECT_EQ(first, second);
  first.reset();
  EXPECT_FALSE(kept.expired());
}

TEST(UnitPath, EscapesWhatAnObjectPathMayNotHold) {
  EXPECT_EQ(unit_path("shop-api.service"), "/org/freedesktop/systemd1/unit/shop_2dapi_2eservice");
}

}  // namespace
}  // namespace rollbackd::io
