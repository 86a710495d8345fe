// The managers over systemd as far as they need none: names, steps, memory, and a bus that is not there. The rest is
// tests/scenarios/systemd_test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include "drivers/managers.hpp"
#include "drivers/restart_step.hpp"
#include "io/unit_watch.hpp"
#include "tests/support/run_for.hpp"

namespace rollbackd::drivers {
namespace {

using test::run_for;
using test::run_until;

class SystemdManager : public testing::Test {
 protected:
  SystemdManager() { ::setenv("DBUS_SYSTEM_BUS_ADDRESS", ("unix:path=" + (directory_ / "no-bus")).c_str(), 1); }
  ~SystemdManager() override { ::unsetenv("DBUS_SYSTEM_BUS_ADDRESS"); }
  DriverContext context(config::ManagerType type) {
    DriverContext made;
    made.executor = context_.get_executor();
    made.clock = &clock_;
    made.steps = &worker_;
    made.service = {"shop", "prod"};
    made.service_directory = directory_.path().string();
    made.settings.process.manager = type;
    made.settings.process.unit = "shop";
    made.settings.process.command = {"/bin/true"};
    made.settings.process.parent = config::ProcessSettings::Parent::systemd;
    return made;
  }
  std::unique_ptr<Manager> manager(config::ManagerType type) { return std::move(make_manager(context(type)).value()); }

  test::TempDir directory_;
  boost::asio::io_context context_;
  io::Clock clock_;
  io::Worker worker_{1};
};

TEST_F(SystemdManager, TheStepNamesTheUnitAndAnotherUnitsStepIsRefused) {
  const auto systemd = manager(config::ManagerType::systemd);
  Step step = systemd->plan().at(0);
  EXPECT_EQ(step.arguments["unit"].string_or(""), "shop.service");

  step.arguments.set("unit", "sshd.service");
  const Outcome outcome = run_for(context_, systemd->run(step, 5s));

  EXPECT_EQ(outcome.status, Outcome::Status::refused);
  EXPECT_NE(outcome.error.text().find("shop.service"), std::string::npos) << outcome.error.text();
}

TEST_F(SystemdManager, WithoutABusNothingIsKnownAndARestartHasFailedBeforeItBegan) {
  for (const auto type : {config::ManagerType::systemd, config::ManagerType::supervised}) {
    const auto made = manager(type);

    EXPECT_EQ(run_for(context_, made->inspect()).error().code, Errc::unavailable);
    const Outcome outcome = run_for(context_, made->run(made->plan().at(0), 5s));
    EXPECT_EQ(outcome.status, Outcome::Status::failed) << outcome.error.text();
    std::vector<ProcessEvent> events;
    const test::Background watching(context_, made->watch([&](ProcessEvent event) { events.push_back(std::move(event)); }));
    EXPECT_TRUE(run_until(context_, [&] { return !events.empty(); }));
    EXPECT_EQ(events.at(0).kind, ProcessEvent::Kind::lost);
  }
}

TEST(TransientUnit, ServicesWithDashesDoNotShareAUnit) {
  EXPECT_EQ(transient_unit({"shop", "prod"}), "rollbackd-shop-prod.service");
  EXPECT_EQ(transient_unit({"a-b", "c"}), "rollbackd-a\\x2db-c.service");
  EXPECT_NE(transient_unit({"a-b", "c"}), transient_unit({"a", "b-c"}));
  EXPECT_EQ(transient_unit({".hidden", "a/b"}), "rollbackd-\\x2ehidden-a\\x2fb.service");
}

TEST(UnitName, IsAServiceUnlessItSaysOtherwise) {
  EXPECT_EQ(io::full_unit_name("shop"), "shop.service");
  EXPECT_EQ(io::full_unit_name("shop.v2"), "shop.v2.service");
  EXPECT_EQ(io::full_unit_name("shop.socket"), "shop.socket");
}

TEST(RestartMemory, KeepsWhatWasBegunAndHowItEndedOverARestartInTheSameBoot) {
  const test::TempDir directory;
  RestartMemory memory(directory / "m.json", "boot-1");
  memory.begin("begun", 11);
  memory.begin("done", 12);
  memory.end("done", Outcome{Outcome::Status::done, Json::object().set("pid", 7), Error()});
  memory.begin("unknown", 13);
  memory.end("unknown", Outcome{Outcome::Status::unknown, Json::object(), Error(Errc::outcome_unknown, "the bus went away")});
  ASSERT_TRUE(RestartMemory::save(memory.path(), memory.text()).has_value());

  const RestartMemory same(directory / "m.json", "boot-1"), other(directory / "m.json", "boot-2");

  ASSERT_NE(same.find("begun"), nullptr);
  EXPECT_EQ(same.find("begun")->began_boot_ns, 11);
  EXPECT_FALSE(same.find("begun")->outcome);
  ASSERT_TRUE(same.find("done") && same.find("done")->outcome);
  EXPECT_EQ(same.find("done")->outcome->facts["pid"].int_or(0), 7);
  EXPECT_FALSE(same.find("unknown")->outcome);
  EXPECT_EQ(other.find("done"), nullptr);
}

TEST(RestartMemory, IsBoundedAndADamagedFileIsNoMemory) {
  const test::TempDir directory;
  ASSERT_TRUE(RestartMemory::save(directory / "m.json", "{\"boot_id\":").has_value());
  RestartMemory memory(directory / "m.json", "boot-1");
  EXPECT_EQ(memory.find(""), nullptr);

  for (int n = 0; n < 20; ++n) memory.begin(std::to_string(n), n);

  EXPECT_EQ(memory.find("3"), nullptr);
  EXPECT_NE(memory.find("4"), nullptr);
}

}  // namespace
}  // namespace rollbackd::drivers
