#include "ledger/ledger.hpp"

#include <gtest/gtest.h>

namespace rollbackd::ledger {
namespace {

const Instant kT0 = Instant::from_seconds(1'800'000'000);

Release named(std::string id, std::string digest = "") {
  Release release;
  release.id = std::move(id);
  release.digest = std::move(digest);
  return release;
}

/// v1 good, v2 good, v3 bad, v4 candidate and live.
ServiceState four_releases() {
  ServiceState state;
  Instant at = kT0;
  for (const char* id : {"v1", "v2", "v3", "v4"}) {
    note_live(state, named(id), at);
    at = at + 1min;
  }
  set_standing(state, "v1", Standing::good, "baked");
  set_standing(state, "v2", Standing::good, "baked");
  set_standing(state, "v3", Standing::bad, "rolled back");
  state.epoch.release = "v4";
  return state;
}

TEST(NoteLive, ANewReleaseIsACandidateAndNewestLast) {
  ServiceState state = four_releases();
  LedgerEntry& entry = note_live(state, named("v5"), kT0 + 1h);
  EXPECT_EQ(entry.standing, Standing::candidate);
  EXPECT_EQ(entry.first_seen, kT0 + 1h);
  EXPECT_EQ(state.ledger.back().release.id, "v5");
}

TEST(NoteLive, AKnownReleaseKeepsItsStandingAndMovesToTheEnd) {
  ServiceState state = four_releases();
  const LedgerEntry& entry = note_live(state, named("v1"), kT0 + 1h);
  EXPECT_EQ(entry.standing, Standing::good);
  EXPECT_EQ(entry.first_seen, kT0);
  EXPECT_EQ(entry.last_live, kT0 + 1h);
  EXPECT_EQ(state.ledger.back().release.id, "v1");
  EXPECT_EQ(state.ledger.size(), 4U);
}

TEST(NoteLive, TheSameIdWithAnotherDigestIsAnotherRelease) {
  ServiceState state;
  note_live(state, named("v1", "aaa"), kT0);
  set_standing(state, "v1", Standing::good, "baked");
  EXPECT_EQ(note_live(state, named("v1", "aaa"), kT0 + 1s).standing, Standing::good);
  const LedgerEntry& other = note_live(state, named("v1", "bbb"), kT0 + 2s);
  EXPECT_EQ(other.standing, Standing::candidate);
  EXPECT_EQ(other.release.digest, "bbb");
  EXPECT_EQ(state.ledger.size(), 1U);
}

TEST(NoteLive, TheBoundDropsTheRowLongestNotLiveButKeepsTheNewestGoodOne) {
  ServiceState state;
  note_live(state, named("good"), kT0);
  set_standing(state, "good", Standing::good, "baked");
  note_live(state, named("oldest"), kT0 + 1s);
  for (int i = 0; i < 100; ++i) note_live(state, named("n" + std::to_string(i)), kT0 + 2s + std::chrono::seconds(i));
  EXPECT_EQ(state.ledger.size(), ServiceState::kLedgerMax);
  EXPECT_NE(find(state, "good"), nullptr);
  EXPECT_EQ(find(state, "oldest"), nullptr);
  EXPECT_NE(find(state, "n99"), nullptr);
}

TEST(NoteLive, TheLiveReleaseIsNeverDropped) {
  ServiceState state;
  note_live(state, named("live"), kT0);
  state.epoch.release = "live";
  for (int i = 0; i < 100; ++i) note_live(state, named("n" + std::to_string(i)), kT0 + 2s);
  EXPECT_NE(find(state, "live"), nullptr);
}

TEST(SetStanding, OfAReleaseThatIsNotInTheLedgerChangesNothing) {
  ServiceState state = four_releases();
  EXPECT_FALSE(set_standing(state, "v9", Standing::good, "x"));
  EXPECT_TRUE(set_standing(state, "v4", Standing::good, std::string(10'000, 'x')));
  EXPECT_LT(find(state, "v4")->reason.size(), 300U) << "the state slot is small";
}

TEST(ChooseTarget, IsTheNewestGoodReleaseAndSaysWhyNotTheOthers) {
  const Choice choice = choose_target(four_releases(), {});
  ASSERT_TRUE(choice.target);
  EXPECT_EQ(choice.target->id, "v2");
  EXPECT_EQ(choice.why_not, (std::vector<std::string>{"v3: bad: rolled back", "v1: good, but older than v2"}));
}

TEST(ChooseTarget, NewestMeansLastLiveAndNotFirstSeen) {
  ServiceState state = four_releases();
  note_live(state, named("v1"), kT0 + 1h);
  note_live(state, named("v4"), kT0 + 2h);
  EXPECT_EQ(choose_target(state, {}).target->id, "v1");
}

TEST(ChooseTarget, NeverTakesTheLiveOneOrOneLeftInTheIncident) {
  ServiceState state = four_releases();
  set_standing(state, "v4", Standing::good, "");
  EXPECT_EQ(choose_target(state, {"v2"}).target->id, "v1");
  const Choice none = choose_target(state, {"v1", "v2"});
  EXPECT_FALSE(none.target);
  EXPECT_EQ(none.why_not.size(), 3U);
}

TEST(ChooseTarget, TakesNothingButGood) {
  for (const Standing standing : {Standing::unknown, Standing::candidate, Standing::bad, Standing::revoked}) {
    ServiceState state = four_releases();
    set_standing(state, "v1", standing, "");
    set_standing(state, "v2", standing, "");
    EXPECT_FALSE(choose_target(state, {}).target) << to_string(standing);
  }
}

}  // namespace
}  // namespace rollbackd::ledger
