// The systemd check without a bus; with a real systemd: tests/scenarios/systemd_test.
#include <gmock/gmock.h>
#include <stdlib.h>

#include "tests/checks/helpers.hpp"

namespace rollbackd::checks {
namespace {

class SystemdCheckTest : public CheckTest {
 protected:
  SystemdCheckTest() {
    ::setenv("DBUS_SYSTEM_BUS_ADDRESS", ("unix:path=" + (directory_ / "no-bus")).c_str(), 1);
    settings_.name = "unit";
    settings_.type = config::CheckType::systemd;
    settings_.unit = "shop.service";
    settings_.timeout = 1s;
  }
  ~SystemdCheckTest() override { ::unsetenv("DBUS_SYSTEM_BUS_ADDRESS"); }
  test::TempDir directory_;
};

TEST_F(SystemdCheckTest, WithoutABusNothingIsKnownAndNothingHasFailed) {
  make();

  const Batch asked = run_for(context_, check_->probe_now());
  const test::Background running(context_, check_->run());
  ASSERT_TRUE(batches_arrive(2));

  for (const Batch& batch : {asked, batches_.at(1)}) {
    EXPECT_NE(batch.unobserved.find("system bus"), std::string::npos) << batch.unobserved;
    EXPECT_TRUE(batch.samples.empty());
    EXPECT_FALSE(batch.healthy);
  }
  EXPECT_EQ(check_->counters().failed, 0U);
}

TEST_F(SystemdCheckTest, NamesEveryMetricThatItCanFeed) {
  make();

  EXPECT_THAT(check_->source().metrics, testing::IsSupersetOf({"process_exits_total", "systemd_unit_state", "systemd_unit_restarts_total",
                                                               "systemd_unit_start_limit_hit"}));
}

TEST_F(SystemdCheckTest, WithoutAUnitThereIsNoCheck) {
  settings_.unit.clear();

  const auto made = make_check(context_of());

  ASSERT_TRUE(made.has_error());
  EXPECT_EQ(made.error().code, Errc::invalid_config);
}

}  // namespace
}  // namespace rollbackd::checks
