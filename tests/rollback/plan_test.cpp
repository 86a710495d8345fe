// Planning: what is refused, and how the steps are stamped.
#include "rollback/plan.hpp"

#include <gmock/gmock.h>

#include "tests/rollback/helpers.hpp"

namespace rollbackd::rollback {
namespace {

using testing::a_rollback;
using testing::a_step;
using ::testing::HasSubstr;

World a_world() {
  World world;
  world.link = World::Link::present;
  world.link_value = "releases/v2";
  world.live = "v2";
  world.releases = {"v1", "v2"};
  return world;
}

std::vector<Step> two_steps() { return {a_step("switch"), a_step("restart")}; }

TEST(Plan, NumbersTheStepsAndStampsThemWithTheOperation) {
  const auto plan = make_plan(a_rollback(), a_world(), two_steps());

  ASSERT_TRUE(plan.has_value()) << plan.error().text();
  ASSERT_EQ(plan.value().steps.size(), 2U);
  EXPECT_EQ(plan.value().steps[0].number, 1);
  EXPECT_EQ(plan.value().steps[1].number, 2);
  for (const Step& step : plan.value().steps) EXPECT_EQ(step.operation, a_rollback().operation);
  EXPECT_EQ(plan.value().request.to, "v1");
}

TEST(Plan, RefusesTheReleaseThatIsLiveAlreadyWhateverTheSteps) {
  World world = a_world();
  world.live = "v1";

  const auto plan = make_plan(a_rollback(), world, {});

  EXPECT_EQ(plan.error().code, Errc::refused);
  EXPECT_THAT(plan.error().what, HasSubstr("already on v1"));
}

TEST(Plan, IsAConflictWhenAnotherReleaseIsLiveThanTheOneToLeave) {
  World world = a_world();
  world.live = "v3";

  const auto plan = make_plan(a_rollback(), world, two_steps());

  EXPECT_EQ(plan.error().code, Errc::conflict);
  EXPECT_THAT(plan.error().why, HasSubstr("v3, not v2"));
}

TEST(Plan, IsAConflictWhenCurrentIsMissingOrNoLinkOrLeadsOutside) {
  World missing = a_world(), file = a_world(), outside = a_world();
  missing.link = World::Link::missing;
  file.link = World::Link::not_a_link;
  outside.live = "";
  outside.link_value = "/opt/else\n";

  EXPECT_THAT(make_plan(a_rollback(), missing, two_steps()).error().why, HasSubstr("missing"));
  EXPECT_THAT(make_plan(a_rollback(), file, two_steps()).error().why, HasSubstr("no symbolic link"));
  EXPECT_THAT(make_plan(a_rollback(), outside, two_steps()).error().why, HasSubstr("outside the releases directory, to /opt/else\\x0"));
}

TEST(Plan, DoesNotFindATargetThatIsNotOnDisk) {
  World world = a_world();
  world.releases = {"v2"};

  EXPECT_EQ(make_plan(a_rollback(), world, two_steps()).error().code, Errc::not_found);
}

TEST(Plan, TakesNoIdThatIsNoReleaseId) {
  for (const char* id : {"", "../etc", "a/b", "v 1", "-x"}) {
    OperationRequest to = a_rollback(), from = a_rollback();
    to.to = id;
    from.from = id;
    EXPECT_EQ(make_plan(to, a_world(), two_steps()).error().code, Errc::invalid_argument) << id;
    EXPECT_EQ(make_plan(from, a_world(), two_steps()).error().code, Errc::invalid_argument) << id;
  }
  OperationRequest nameless = a_rollback();
  nameless.operation = "";
  EXPECT_EQ(make_plan(nameless, a_world(), two_steps()).error().code, Errc::invalid_argument);
}

TEST(Plan, HasExactlyOneSwitchAndItsStepsInOrder) {
  const auto why = [](std::vector<Step> steps) {
    const auto plan = make_plan(a_rollback(), a_world(), std::move(steps));
    return plan.has_value() ? "" : std::string(to_string(plan.error().code)) + ": " + plan.error().why;
  };

  EXPECT_THAT(why({}), HasSubstr("invalid_argument: there is no switch"));
  EXPECT_THAT(why({a_step("restart")}), HasSubstr("no switch"));
  EXPECT_THAT(why({a_step("switch"), a_step("switch")}), HasSubstr("two switches of app"));
  EXPECT_THAT(why({a_step("restart"), a_step("switch")}), HasSubstr("\"switch\" comes too late"));
  EXPECT_THAT(why({a_step("switch"), a_step("reboot")}), HasSubstr("\"reboot\" that no plan has"));
  EXPECT_THAT(why({a_step("traffic_away"), a_step("switch")}), HasSubstr("none brings it back"));
  EXPECT_EQ(why({a_step("traffic_away"), a_step("switch"), a_step("restart"), a_step("traffic_back")}), "");
}

}  // namespace
}  // namespace rollbackd::rollback
