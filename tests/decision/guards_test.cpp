#include "decision/guards.hpp"

#include <gtest/gtest.h>

#include "ledger/ledger.hpp"

namespace rollbackd::decision {
namespace {

const Instant kNow = Instant::from_seconds(1'800'000'000);

/// A situation in which every guard says yes: v2 bakes, v1 is good and intact.
struct Situation {
  ServiceState state;
  config::ServiceSettings settings;
  GuardInput input;

  Situation() {
    state.service = settings.key = {"shop", "prod"};
    settings.automation = config::Automation::automatic;
    for (const char* id : {"v1", "v2"}) {
      Release release;
      release.id = id;
      ledger::note_live(state, release, kNow - 1h);
    }
    ledger::set_standing(state, "v1", Standing::good, "baked");
    state.epoch.number = 2;
    state.epoch.release = "v2";
    input.now = kNow;
    input.from = "v2";
    input.to = "v1";
    input.target = TargetFacts{"v1", true, true, ""};
  }
  std::vector<GuardAnswer> ask(Overrides overrides = {}) {
    input.state = &state;
    input.settings = &settings;
    return ask_guards(input, overrides);
  }
  GuardAnswer answer(const std::string& guard, Overrides overrides = {}) {
    for (const GuardAnswer& a : ask(overrides))
      if (a.guard == guard) return a;
    ADD_FAILURE() << "no guard " << guard;
    return {};
  }
};

TEST(Guards, AreInTheOrderOfTheDesignAndAllAnswerWithEvidence) {
  Situation s;
  std::vector<std::string> names;
  for (const GuardAnswer& answer : s.ask()) {
    names.push_back(answer.guard);
    EXPECT_FALSE(answer.evidence.empty()) << answer.guard;
    EXPECT_EQ(answer.asked, answer.guard != "live_is_suspect") << answer.guard;
    EXPECT_EQ(answer.yes, answer.asked) << answer.guard;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"target_intact",    "target_not_revoked", "no_operation_in_progress", "not_suspended",
                                             "reversible",       "target_known_good",  "target_not_bad",           "budget",
                                             "cooldown",         "not_same_pair",      "live_is_suspect",          "window_open",
                                             "deploy_lock_free", "dependency_healthy", "recent_release",           "not_shared_failure",
                                             "cause_first",      "no_other_change",    "observer_healthy",         "evidence_fresh",
                                             "fleet_breaker",    "approved",           "automation_allows"}));
}

enum class Passed { by_nothing, by_data_loss, by_force, by_lenient };
struct No {
  const char* name;
  const char* guard;
  Passed passed;
  bool automatic_only;
  void (*arrange)(Situation&);
};

class GuardSaysNo : public testing::TestWithParam<No> {};

TEST_P(GuardSaysNo, AloneAndIsPassedOverOnlyByWhatTheTableSays) {
  const No& no = GetParam();
  Situation s;
  no.arrange(s);
  if (std::string(no.guard) != "live_is_suspect") {
    const auto refused = refusing(s.ask());
    EXPECT_NE(std::find(refused.begin(), refused.end(), no.guard), refused.end());
    EXPECT_FALSE(all_yes(s.ask({true, false}))) << "force is for people";
  }

  s.input.automatic = false;
  const GuardAnswer person = s.answer(no.guard);
  EXPECT_EQ(person.asked, !no.automatic_only);
  if (no.automatic_only) return;
  EXPECT_FALSE(person.yes);
  EXPECT_FALSE(person.passed_over);
  EXPECT_EQ(s.answer(no.guard, {true, false}).passed_over, no.passed == Passed::by_force);
  EXPECT_EQ(s.answer(no.guard, {false, true}).passed_over, no.passed == Passed::by_lenient);
  s.input.accept_data_loss = true;
  EXPECT_EQ(s.answer(no.guard).passed_over, no.passed == Passed::by_data_loss);
}

INSTANTIATE_TEST_SUITE_P(
    Table, GuardSaysNo,
    testing::Values(
        No{"Changed", "target_intact", Passed::by_nothing, false, [](Situation& s) { s.input.target.intact = false; }},
        No{"Missing", "target_intact", Passed::by_nothing, false, [](Situation& s) { s.input.target.present = false; }},
        No{"AnotherLookedAt", "target_intact", Passed::by_nothing, false, [](Situation& s) { s.input.target.release = "v0"; }},
        No{"NoTarget", "target_intact", Passed::by_nothing, false, [](Situation& s) { s.input.to.clear(); }},
        No{"Revoked", "target_not_revoked", Passed::by_nothing, false,
           [](Situation& s) { ledger::set_standing(s.state, "v1", Standing::revoked, ""); }},
        No{"Running", "no_operation_in_progress", Passed::by_nothing, false, [](Situation& s) { s.input.operation_running = true; }},
        No{"Suspended", "not_suspended", Passed::by_nothing, false,
           [](Situation& s) {
             s.state.suspension = Suspension{kNow + 1s, "r", "p"};
           }},
        No{"DaemonSuspended", "not_suspended", Passed::by_nothing, false, [](Situation& s) { s.input.daemon_suspended = true; }},
        No{"Untrusted", "not_suspended", Passed::by_nothing, false, [](Situation& s) { s.input.state_trusted = false; }},
        No{"Irreversible", "reversible", Passed::by_data_loss, false,
           [](Situation& s) { ledger::find(s.state, "v2")->release.irreversible = true; }},
        No{"DataOfANewerForm", "reversible", Passed::by_data_loss, false,
           [](Situation& s) { ledger::find(s.state, "v2")->release.min_compatible = "v2"; }},
        No{"AnOpenHole", "target_known_good", Passed::by_force, false,
           [](Situation& s) { ledger::find(s.state, "v2")->release.security_epoch = 7; }},
        No{"Frozen", "window_open", Passed::by_lenient, false,
           [](Situation& s) { s.input.fleet.window = "freeze \"Black Friday\" until Monday"; }},
        No{"Locked", "deploy_lock_free", Passed::by_lenient, false,
           [](Situation& s) {
             s.state.lock = DeployLock{"lock-1", kNow + 1s, "deploying", "ci"};
           }},
        No{"AnotherCallersLock", "deploy_lock_free", Passed::by_lenient, false,
           [](Situation& s) {
             s.state.lock = DeployLock{"lock-1", kNow + 1s, "deploying", "ci"};
             s.input.lock_held_by_caller = "lock-2";
           }},
        No{"Candidate", "target_known_good", Passed::by_force, false,
           [](Situation& s) { ledger::set_standing(s.state, "v1", Standing::candidate, ""); }},
        No{"NotInTheLedger", "target_known_good", Passed::by_force, false,
           [](Situation& s) { s.input.to = s.input.target.release = "v7"; }},
        No{"Bad", "target_not_bad", Passed::by_force, false, [](Situation& s) { ledger::set_standing(s.state, "v1", Standing::bad, ""); }},
        No{"BudgetUsed", "budget", Passed::by_force, false,
           [](Situation& s) {
             s.state.past = {{"a", "x", "y", true, kNow - 23h}, {"b", "x", "y", true, kNow - 22h}};
           }},
        No{"Cooldown", "cooldown", Passed::by_force, false,
           [](Situation& s) {
             s.state.past = {{"a", "x", "y", true, kNow - 14min}};
           }},
        No{"SamePair", "not_same_pair", Passed::by_force, false,
           [](Situation& s) {
             s.state.past = {{"a", "v1", "v2", false, kNow - 10h}};
           }},
        No{"LiveIsGood", "live_is_suspect", Passed::by_force, false,
           [](Situation& s) {
             s.input.automatic = false;
             ledger::set_standing(s.state, "v2", Standing::good, "");
           }},
        No{"DependencyFails", "dependency_healthy", Passed::by_lenient, false,
           [](Situation& s) { s.input.dependencies_failing = {"db/prod"}; }},
        No{"NotBaking", "recent_release", Passed::by_nothing, true,
           [](Situation& s) { ledger::set_standing(s.state, "v2", Standing::good, ""); }},
        No{"HalfOfTheFleet", "not_shared_failure", Passed::by_nothing, true,
           [](Situation& s) {
             for (int i = 0; i < 4; ++i) s.input.others.push_back({{"s" + std::to_string(i), "prod"}, "c", true, i < 2, ""});
           }},
        No{"TheOnlyOtherWithADependency", "not_shared_failure", Passed::by_nothing, true,
           [](Situation& s) {
             s.settings.depends_on = {"db/prod"};
             s.input.others.push_back({{"db", "prod"}, "c", true, false, ""});
           }},
        No{"TheCauseIsElsewhere", "cause_first", Passed::by_nothing, true,
           [](Situation& s) { s.input.fleet.cause_elsewhere = "api/prod"; }},
        No{"APackageWasUpgraded", "no_other_change", Passed::by_nothing, true,
           [](Situation& s) {
             s.state.epoch.switched = kNow - 1h;
             s.state.changes = {{OtherChange::Kind::package, "libssl3 3.0.11 -> 3.0.15", kNow - 1h}};
           }},
        No{"TooManyAtOnce", "fleet_breaker", Passed::by_nothing, true, [](Situation& s) { s.input.fleet.breaker_free = false; }},
        No{"OurEyes", "observer_healthy", Passed::by_nothing, true,
           [](Situation& s) {
             s.input.observer = {false, "stopped for 3s"};
           }},
        No{"Stale", "evidence_fresh", Passed::by_nothing, true, [](Situation& s) { s.input.evidence_fresh = false; }},
        No{"Observe", "automation_allows", Passed::by_nothing, true,
           [](Situation& s) { s.settings.automation = config::Automation::observe; }},
        No{"Approve", "approved", Passed::by_nothing, true,
           [](Situation& s) { s.settings.automation = config::Automation::approve; }}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Guards, AnAutomaticEmergencyPassesOverTheWindowAndApprovalAndNothingElse) {
  Situation s;
  s.settings.automation = config::Automation::approve;
  s.input.fleet.window = "freeze";
  s.input.mode = Mode::emergency;
  EXPECT_TRUE(all_yes(s.ask()));
  EXPECT_TRUE(s.answer("window_open").passed_over);
  EXPECT_FALSE(s.answer("approved").yes) << "asked all the same";

  s.state.lock = DeployLock{"lock-1", kNow + 1s, "deploying", "ci"};
  s.input.fleet.breaker_free = false;
  EXPECT_EQ(refusing(s.ask()), (std::vector<std::string>{"deploy_lock_free", "fleet_breaker"}));

  s.state.lock.reset();
  s.input.automatic = false;
  EXPECT_EQ(refusing(s.ask()), std::vector<std::string>{"window_open"}) << "a person's emergency says --lenient";
}

TEST(Guards, TheHolderOfTheDeploymentLockAndWhoComesAfterItsEndPass) {
  Situation s;
  s.state.lock = DeployLock{"lock-1", kNow + 1s, "deploying", "ci"};
  s.input.automatic = false;
  s.input.lock_held_by_caller = "lock-1";
  EXPECT_TRUE(s.answer("deploy_lock_free").yes);
  s.input.lock_held_by_caller.clear();
  s.state.lock->until = kNow;
  EXPECT_TRUE(s.answer("deploy_lock_free").yes);
}

TEST(Guards, OtherChangesAreShownAndOnlyTheYoungerOnesHold) {
  Situation s;
  s.state.epoch.switched = kNow - 1h;
  s.state.changes = {{OtherChange::Kind::config, "/etc/shop.conf", kNow - 2h}};
  EXPECT_TRUE(s.answer("no_other_change").yes);
  s.state.changes.push_back({OtherChange::Kind::unit, "shop.service.d/limits.conf", kNow - 1min});
  EXPECT_NE(s.answer("no_other_change").evidence.find("shop.service.d/limits.conf"), std::string::npos);
  EXPECT_EQ(s.answer("no_other_change").evidence.find("/etc/shop.conf"), std::string::npos);
  s.settings.changes.hold = false;
  EXPECT_TRUE(s.answer("no_other_change").yes);
  EXPECT_NE(s.answer("no_other_change").evidence.find("shop.service.d/limits.conf"), std::string::npos);
}

TEST(Guards, ADrillIsAskedWhatADrillCanAnswer) {
  Situation s;
  s.input.automatic = false;
  s.input.kind = OperationKind::drill;
  ledger::set_standing(s.state, "v2", Standing::good, "");
  s.state.past = {{"a", "v1", "v2", true, kNow - 1min}, {"b", "v1", "v2", true, kNow - 1s}};
  EXPECT_TRUE(all_yes(s.ask()));
  s.input.fleet.window = "freeze";
  s.state.lock = DeployLock{"lock-1", kNow + 1s, "deploying", "ci"};
  s.input.target.intact = false;
  EXPECT_EQ(refusing(s.ask()), (std::vector<std::string>{"target_intact", "window_open", "deploy_lock_free"}));
}

TEST(Guards, ASuspensionThatIsOverDoesNotRefuse) {
  Situation s;
  s.state.suspension = Suspension{kNow, "r", "p"};
  EXPECT_TRUE(s.answer("not_suspended").yes);
}

TEST(Guards, ManualRollbacksUseNoBudgetAndStartNoCooldown) {
  Situation s;
  s.state.past = {{"a", "x", "y", false, kNow - 1min}, {"b", "x", "y", false, kNow - 1min}};
  EXPECT_TRUE(all_yes(s.ask()));
}

TEST(Guards, ARollbackOlderThanTheBudgetsPeriodIsForgotten) {
  Situation s;
  s.state.past = {{"a", "x", "y", true, kNow - 25h}, {"b", "x", "y", true, kNow - 16min}};
  EXPECT_TRUE(all_yes(s.ask()));
}

TEST(Guards, AnIncidentThatHasActedDoesNotActAgain) {
  Situation s;
  s.state.incident = OpenIncident{};
  s.state.incident->acted = true;
  EXPECT_EQ(refusing(s.ask()), std::vector<std::string>{"budget"});
}

TEST(Guards, AFurtherStepOfTheSameIncidentPassesCooldownAndBlameButUsesBudget) {
  Situation s;
  s.state.incident = OpenIncident{};
  s.state.incident->acted = true;
  s.state.incident->opened = kNow - 1min;
  s.state.past = {{"a", "v3", "v2", true, kNow - 1s}};
  ledger::set_standing(s.state, "v2", Standing::unknown, "");
  s.input.further_step = true;
  EXPECT_TRUE(all_yes(s.ask()));
  s.settings.policy.budget_rollbacks = 1;
  EXPECT_EQ(refusing(s.ask()), std::vector<std::string>{"budget"});
}

TEST(Guards, OneFailingServiceOrOneOfManyIsNoSharedFailure) {
  Situation s;
  s.input.others = {{{"a", "prod"}, "c", true, false, ""}};
  EXPECT_TRUE(s.answer("not_shared_failure").yes);
  for (int i = 0; i < 4; ++i) s.input.others.push_back({{"s" + std::to_string(i), "prod"}, "c", true, i > 0, ""});
  EXPECT_TRUE(s.answer("not_shared_failure").yes) << "2 of 5";
}

TEST(Guards, AnotherServiceThatDidNotAnswerSaysNothing) {
  Situation s;
  s.settings.depends_on = {"db/prod"};
  s.input.others = {{{"db", "prod"}, "c", false, false, ""}};
  EXPECT_TRUE(all_yes(s.ask()));
}

TEST(Guards, LenientEnforcementPassesOverADependencyEvenAutomatically) {
  Situation s;
  s.settings.enforcement = config::Enforcement::lenient;
  s.input.dependencies_failing = {"db/prod"};
  EXPECT_TRUE(s.answer("dependency_healthy").passed_over);
  EXPECT_TRUE(all_yes(s.ask()));
}

TEST(Guards, LateAutomaticBlamesAGoodReleaseButNotABadOneThatAPersonPutThere) {
  Situation s;
  s.settings.policy.late_automatic = true;
  ledger::set_standing(s.state, "v2", Standing::good, "");
  EXPECT_TRUE(s.answer("recent_release").yes);
  ledger::set_standing(s.state, "v2", Standing::bad, "");
  EXPECT_FALSE(s.answer("recent_release").yes);
}

TEST(Guards, ADeploymentIsNotAskedAboutGoingBack) {
  Situation s;
  s.input.automatic = false;
  s.input.kind = OperationKind::deploy;
  s.input.from = "v1";
  s.input.to = "v3";
  s.input.target = TargetFacts{"v3", true, false, "never hashed"};
  EXPECT_TRUE(all_yes(s.ask()));
  Release bad;
  bad.id = "v3";
  ledger::note_live(s.state, bad, kNow - 2h);
  ledger::set_standing(s.state, "v3", Standing::bad, "rolled back");
  EXPECT_EQ(refusing(s.ask()), std::vector<std::string>{"target_not_bad"});
  EXPECT_TRUE(all_yes(s.ask({true, false})));
}

}  // namespace
}  // namespace rollbackd::decision
