#include "model/release.hpp"

#include <gtest/gtest.h>

namespace rollbackd {
namespace {

const ClockReading kClock{Instant::from_seconds(1'800'000'000), Stamp{"boot-a", 5'000'000'000'000, 1'800'000'000'000'000'000}};
const Instant kT0 = kClock.instant - 3600s;

Release named(std::string id) {
  Release release;
  release.id = std::move(id);
  return release;
}

ServiceState full_state() {
  ServiceState state;
  state.service = {"shop", "prod"};
  Release release{.id = "v1",
                  .digest = "abc",
                  .artifacts = {{"app", "s3://b/k:1@2", 12, "ff"}},
                  .commit = "c0ffee",
                  .created = "2026-11-20T00:00:00Z",
                  .irreversible = true,
                  .min_compatible = "v0",
                  .security_epoch = 3,
                  .path = "/srv/v1"};
  state.ledger.push_back({release, Standing::good, kT0, kT0 + 1s, "baked", true, ""});
  state.ledger.push_back({named("v2"), Standing::bad, kT0 + 2s, kT0 + 3s, "rolled back", false, "size differs"});
  state.epoch = {7, "v2", "v1", kT0 + 3s, kT0 + 4s, 90s, true, true, true};
  state.past.push_back({"op-1", "v2", "v1", true, kT0 + 9s});
  state.incident = OpenIncident{"inc-1", kT0 + 5s, 7, "v2", "timeout", "health", true, 1, {"v2"}};
  state.suspension = Suspension{kClock.instant + 2h, "migration", "uid:0 root"};
  state.pushed = {{"k1", "ApiErrors", "5xx", AlertAction::rollback, kT0 + 4s, kT0 + 5s, false},
                  {"k2", "Old", "", AlertAction::notify, kT0, kT0 + 6s, true}};
  state.fence = 42;
  return state;
}

TEST(ServiceState, ReadsBackWhatItWrote) {
  const ServiceState state = full_state();

  const Json written = state.to_json(kClock);
  const auto text = Json::parse(written.dump());
  ASSERT_TRUE(text);
  const auto read = ServiceState::from_json(*text, kClock);

  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->to_json(kClock), written);
  EXPECT_EQ(read->ledger[0].release, state.ledger[0].release);
  EXPECT_EQ(read->ledger[1].standing, Standing::bad);
  EXPECT_EQ(read->epoch.started, state.epoch.started);
  EXPECT_EQ(read->epoch.baked, 90s);
  EXPECT_EQ(read->incident->left, std::vector<std::string>{"v2"});
  EXPECT_EQ(read->suspension->until, state.suspension->until);
  EXPECT_EQ(read->pushed, state.pushed);
  EXPECT_EQ(read->fence, 42);
}

TEST(ServiceState, KeepsWhenTheLinkOfAnEpochNoticedLateWasChanged) {
  ServiceState state = full_state();
  EXPECT_EQ(state.epoch.processes_since(), state.epoch.switched) << "an older version's state says nothing of it";
  state.epoch.link_changed = state.epoch.switched - 2s;

  const auto read = ServiceState::from_json(state.to_json(kClock), kClock);

  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->epoch.processes_since(), state.epoch.switched - 2s);
}

TEST(ServiceState, AReleaseThatWasNeverLiveIsSoAfterARestartToo) {
  ServiceState state = full_state();
  state.ledger[1].last_live = Instant{};
  for (const Duration set_by : {Duration(0), Duration(1), Duration(-24h)}) {
    const ClockReading next{kClock.instant + 1s + set_by,
                            Stamp{"boot-a", kClock.stamp.boot_ns + 1'000'000'000, kClock.stamp.wall_ns + (1s + set_by).count()}};

    const auto read = ServiceState::from_json(state.to_json(kClock), next);

    ASSERT_TRUE(read) << read.error().text();
    EXPECT_EQ(read->ledger[0].last_live, kT0 + 1s + set_by);
    EXPECT_EQ(read->ledger[1].last_live, Instant{});
  }
}

TEST(ServiceState, AFreshOneReadsBackToo) {
  ServiceState state;
  state.service = {"shop", "prod"};
  state.epoch.switched = kClock.instant;

  const auto read = ServiceState::from_json(state.to_json(kClock), kClock);

  ASSERT_TRUE(read) << read.error().text();
  EXPECT_FALSE(read->incident);
  EXPECT_FALSE(read->epoch.started);
}

TEST(ServiceState, KeepsAgesAcrossARestartInTheSameBoot) {
  const Json written = full_state().to_json(kClock);
  // A minute of boot time later, while the wall clock was set back by a day.
  const ClockReading later{Instant::from_seconds(9'000'000), Stamp{"boot-a", 5'060'000'000'000, 1'799'913'600'000'000'000}};

  const auto read = ServiceState::from_json(written, later);

  ASSERT_TRUE(read);
  EXPECT_EQ(later.instant - read->past[0].at, 3600s - 9s + 60s);
  EXPECT_EQ(read->suspension->until - later.instant, 2h - 60s);
}

TEST(ServiceState, ASuspensionKeepsItsRestInAnotherBoot) {
  const Json written = full_state().to_json(kClock);
  const ClockReading later{Instant::from_seconds(1'800'000'600), Stamp{"boot-b", 1'000'000'000, 1'800'000'600'000'000'000}};

  const auto read = ServiceState::from_json(written, later);

  ASSERT_TRUE(read);
  EXPECT_EQ(read->suspension->until - later.instant, 2h - 10min);
  EXPECT_EQ(later.instant - read->past[0].at, 3600s - 9s + 10min);
}

TEST(ServiceState, AWallClockSetBackInAnotherBootKeepsTheOrderOfWhatHappened) {
  const Json written = full_state().to_json(kClock);
  const ClockReading later{Instant::from_seconds(1'000), Stamp{"boot-b", 1'000'000'000, 1'000'000'000'000}};

  const auto read = ServiceState::from_json(written, later);

  ASSERT_TRUE(read);
  EXPECT_EQ(read->past[0].at, later.instant - 1s - (3600s - 9s)) << "written before this boot, and that old when it was written";
  EXPECT_EQ(read->suspension->until, later.instant - 1s + 2h);
}

TEST(ServiceState, NamesTheFieldThatIsWrong) {
  struct Case {
    const char* field;
    Json bad;
  };
  const std::vector<Case> cases{{"format", 2}, {"service", 7}, {"ledger", "x"}, {"past", 1}, {"fence", "x"}, {"pushed", Json::object()}};
  for (const Case& c : cases) {
    Json json = full_state().to_json(kClock);
    json.set(c.field, c.bad);

    const auto read = ServiceState::from_json(json, kClock);

    ASSERT_TRUE(read.has_error()) << c.field;
    EXPECT_EQ(read.error().code, Errc::corrupt);
    EXPECT_NE(read.error().text().find(c.field), std::string::npos) << read.error().text();
  }
}

TEST(ServiceState, AnUnknownStandingIsAnErrorThatNamesTheRow) {
  std::string text = full_state().to_json(kClock).dump();
  const std::size_t at = text.find("\"standing\":3");
  ASSERT_NE(at, std::string::npos);
  text.replace(at, 12, "\"standing\":9");

  const auto read = ServiceState::from_json(*Json::parse(text), kClock);

  ASSERT_TRUE(read.has_error());
  EXPECT_NE(read.error().text().find("ledger[1]"), std::string::npos) << read.error().text();
  EXPECT_NE(read.error().text().find("standing"), std::string::npos);
}

TEST(ServiceState, WhatIsNoObjectIsCorrupt) {
  EXPECT_EQ(ServiceState::from_json(Json("x"), kClock).error().code, Errc::corrupt);
  EXPECT_EQ(ServiceState::from_json(Json(), kClock).error().code, Errc::corrupt);
}

TEST(ServiceState, ALedgerAndAPastFilledToTheirBoundsFitAStateSlot) {
  ServiceState state = full_state();
  for (std::size_t i = 0; state.ledger.size() < ServiceState::kLedgerMax; ++i) {
    LedgerEntry entry = state.ledger[0];
    entry.release = named("v2026.11.20-" + std::to_string(i));
    entry.release.digest = std::string(64, 'a');
    entry.release.path = "/srv/shop-api/releases/v2026.11.20-1";
    state.ledger.push_back(entry);
  }
  while (state.past.size() < ServiceState::kPastMax)
    state.past.push_back({"0190a5f0-0000-7000-8000-000000000000", "v2026.11.20-1", "v2026.11.20-2", true, kT0});

  EXPECT_LT(state.to_json(kClock).dump().size(), 20U * 1024 - 64);
}

TEST(ServiceState, AnApprovalThatWasAnsweredWithNoOrNotAtAllReadsBack) {
  ServiceState state = full_state();
  state.approval = PendingApproval{"", "inc-1", "v2", "v1", kT0 + 5s, kT0 + 1805s, ""};

  const auto read = ServiceState::from_json(state.to_json(kClock), kClock);

  ASSERT_TRUE(read.has_value()) << read.error().text();
  EXPECT_EQ(read->approval, state.approval);
}

TEST(Stamp, ReadsBackAndRefusesAMissingField) {
  const Stamp stamp{"boot", -5, 7};
  EXPECT_EQ(stamp_from(stamp_json(stamp)).value(), stamp);
  const auto bad = stamp_from(Json::object().set("boot_id", "x").set("boot_ns", 1));
  ASSERT_TRUE(bad.has_error());
  EXPECT_NE(bad.error().text().find("wall_ns"), std::string::npos);
}

TEST(Standing, NamesAndNumbersAreThoseOnDisk) {
  EXPECT_EQ(static_cast<int>(Standing::revoked), 4);
  for (const char* name : {"unknown", "candidate", "good", "bad", "revoked"}) EXPECT_STREQ(to_string(standing_from(name).value()), name);
  EXPECT_FALSE(standing_from("excellent"));
  EXPECT_FALSE(standing_from(""));
}

}  // namespace
}  // namespace rollbackd
