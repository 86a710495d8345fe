#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ledger/ledger.hpp"

namespace rollbackd::ledger {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Instant kT0 = Instant::from_seconds(1'800'000'000);

Release named(std::string id) {
  Release release;
  release.id = std::move(id);
  return release;
}

/// v1, v2, v3 good, a minute apart; v4 live.
ServiceState four_releases() {
  ServiceState state;
  Instant at = kT0;
  for (const char* id : {"v1", "v2", "v3", "v4"}) {
    note_live(state, named(id), at);
    set_standing(state, id, Standing::good, "baked");
    at = at + 1min;
  }
  set_standing(state, "v4", Standing::candidate, "");
  state.epoch.release = "v4";
  state.epoch.from = "v3";
  state.epoch.baked = 1min;
  return state;
}

LedgerEntry row(std::string id, std::string created = "", Instant first_seen = kT0) {
  LedgerEntry entry;
  entry.release = named(std::move(id));
  entry.release.created = std::move(created);
  entry.first_seen = first_seen;
  return entry;
}

TEST(AgeOrder, GoesByCreatedThenByCountedIdsThenByFirstSight) {
  EXPECT_EQ(age_order(row("a", "2026-11-20T03:00:00Z"), row("b", "2026-11-20T02:00:00-02:00")), -1);
  EXPECT_EQ(age_order(row("a", "2026-11-20T03:00:00.5Z"), row("b", "2026-11-20T03:00:00.25Z")), 1);
  EXPECT_EQ(age_order(row("20261120030000"), row("20261120030001Z")), -1) << "timestamps";
  EXPECT_EQ(age_order(row("10"), row("9")), 1) << "running numbers, not texts";
  EXPECT_EQ(age_order(row("10"), row("20261120030000", "", kT0 + 1s)), -1) << "two kinds: first sight";
  EXPECT_EQ(age_order(row("x", "", kT0 + 1s), row("y")), 1);
  EXPECT_EQ(age_order(row("x"), row("x")), 0);
  EXPECT_EQ(age_order(row("x"), row("y")), std::nullopt);
  for (const char* nonsense : {"", "yesterday", "2026-13-01T00:00:00Z", "2026-11-20T03:00:00", "2026-11-20T03:00:00+1"})
    EXPECT_EQ(age_order(row("x", nonsense), row("y", "2026-11-20T03:00:00Z")), std::nullopt) << nonsense;
}

TEST(MinCompatible, RefusesWhatIsOlderAndWhatCannotBeTold) {
  ServiceState state = four_releases();
  EXPECT_EQ(why_incompatible(state, "v1"), "");
  find(state, "v4")->release.min_compatible = "v2";
  EXPECT_THAT(why_incompatible(state, "v1"), HasSubstr("v1 is older"));
  for (const char* fine : {"v2", "v3", "v4"}) EXPECT_EQ(why_incompatible(state, fine), "") << fine;
  EXPECT_THAT(why_incompatible(state, "v9"), HasSubstr("not in the ledger"));
  find(state, "v4")->release.min_compatible = "v0";
  EXPECT_THAT(why_incompatible(state, "v3"), HasSubstr("v0 is not in the ledger"));
}

TEST(MinCompatible, OfATimestampThatLeftTheLedgerStillTellsTheAge) {
  ServiceState state;
  note_live(state, named("20260101000000"), kT0);
  note_live(state, named("20260301000000"), kT0 + 1s);
  note_live(state, named("20260401000000"), kT0 + 2s);
  state.epoch.release = "20260401000000";
  find(state, "20260401000000")->release.min_compatible = "20260201000000";
  EXPECT_THAT(why_incompatible(state, "20260101000000"), HasSubstr("is older"));
  EXPECT_EQ(why_incompatible(state, "20260301000000"), "");
}

TEST(SecurityEpoch, RefusesALowerOne) {
  ServiceState state = four_releases();
  find(state, "v4")->release.security_epoch = 2;
  find(state, "v3")->release.security_epoch = 1;
  find(state, "v2")->release.security_epoch = 2;
  EXPECT_THAT(why_insecure(state, "v3"), HasSubstr("reopen"));
  EXPECT_EQ(why_insecure(state, "v2"), "");
  EXPECT_THAT(why_insecure(state, "v1"), HasSubstr("reopen"));
}

TEST(ChooseTarget, PrefersACompatibleAndSecureOneAndElseNamesTheNewestForTheGuardsToRefuse) {
  ServiceState state = four_releases();
  find(state, "v4")->release.security_epoch = 2;
  find(state, "v2")->release.security_epoch = 2;
  Choice choice = choose_target(state, {});
  EXPECT_EQ(choice.target->id, "v2");
  EXPECT_THAT(choice.why_not, ElementsAre(HasSubstr("v3: its security_epoch is 0"), HasSubstr("v1: its security_epoch is 0")));
  find(state, "v4")->release.min_compatible = "v3";
  EXPECT_EQ(choose_target(state, {}).target->id, "v3") << "none is clean";
}

TEST(NoteContent, AnotherDigestIsAnotherReleaseUnderTheSameId) {
  ServiceState state = four_releases();
  EXPECT_EQ(note_content(state, "v9", "aaa", "", kT0), Content::not_in_ledger);
  EXPECT_EQ(note_content(state, "v3", "aaa", "", kT0 + 1h), Content::first);
  EXPECT_EQ(note_content(state, "v3", "aaa", "", kT0 + 1h), Content::same);
  EXPECT_EQ(find(state, "v3")->standing, Standing::good);
  EXPECT_EQ(note_content(state, "v3", "bbb", "app.py has another size", kT0 + 1h), Content::other);
  EXPECT_EQ(find(state, "v3")->standing, Standing::unknown) << "what was good was the other one";
  EXPECT_THAT(find(state, "v3")->reason, HasSubstr("app.py has another size"));
  EXPECT_EQ(find(state, "v3")->release.digest, "bbb");
  EXPECT_EQ(choose_target(state, {}).target->id, "v2");
}

TEST(NoteContent, TheLiveOneBakesAgainAndABadOneStaysBad) {
  ServiceState state = four_releases();
  note_content(state, "v4", "aaa", "", kT0);
  set_standing(state, "v4", Standing::good, "baked");
  EXPECT_EQ(note_content(state, "v4", "bbb", "", kT0 + 1h), Content::other);
  EXPECT_EQ(find(state, "v4")->standing, Standing::candidate);
  EXPECT_EQ(state.epoch.baked, Duration{});
  note_content(state, "v1", "aaa", "", kT0);
  set_standing(state, "v1", Standing::bad, "rolled back");
  note_content(state, "v1", "bbb", "", kT0);
  EXPECT_EQ(find(state, "v1")->standing, Standing::bad) << "nobody has shown that it became better";
}

TEST(Retention, RemovesOnlyWhatNothingNeeds) {
  ServiceState state;
  std::vector<std::string> disk;
  for (int i = 0; i < 10; ++i) {
    disk.push_back("r" + std::to_string(i));
    note_live(state, named(disk.back()), kT0 + i * Duration(1h));
  }
  state.epoch.release = "r9";
  state.epoch.from = "r8";
  set_standing(state, "r2", Standing::good, "baked");
  disk.push_back("unheard-of");
  const Instant now = kT0 + 10h;

  Retention policy;
  EXPECT_THAT(to_remove(state, disk, policy, now), ElementsAre()) << "0 keeps all";
  policy.keep = 3;  // r9, r8 and the good r2 are kept anyway; then r7, r6, r5.
  EXPECT_THAT(to_remove(state, disk, policy, now), ElementsAre("r0", "r1", "r3", "r4"));
  policy.in_use = {"r3"};
  EXPECT_THAT(to_remove(state, disk, policy, now), ElementsAre("r0", "r1", "r4"));
  policy.keep_for = 9h;
  EXPECT_THAT(to_remove(state, disk, policy, now), ElementsAre("r0", "r1"));
  state.incident = OpenIncident{};
  EXPECT_THAT(to_remove(state, disk, policy, now), ElementsAre()) << "an incident needs them all";
}

TEST(Retention, WhatWaitsForItsDeploymentStays) {
  ServiceState state;
  std::vector<std::string> disk;
  for (int i = 0; i < 4; ++i) {
    disk.push_back("r" + std::to_string(i));
    note_live(state, named(disk.back()), kT0 + i * Duration(1h));
  }
  state.epoch.release = "r3";
  state.epoch.from = "r2";
  state.epoch.switched = kT0 + 3h;
  const auto enter = [&](const std::string& id, Instant now) {
    LedgerEntry entry;
    entry.release.id = id;
    entry.first_seen = now;
    state.ledger.insert(state.ledger.begin(), entry);
    disk.push_back(id);
  };
  enter("never-taken", kT0 + 2h);
  enter("staged", kT0 + 4h);
  Retention policy;
  policy.keep = 1;
  EXPECT_THAT(to_remove(state, disk, policy, kT0 + 100h), ElementsAre("r0", "r1")) << "never-taken is the newest that may go";
  EXPECT_THAT(why_kept(state, "staged", {}), HasSubstr("next deployment"));

  note_live(state, named("r4"), kT0 + 5h);  // Another one was deployed in its place.
  state.epoch.release = "r4";
  state.epoch.from = "r3";
  state.epoch.switched = kT0 + 5h;
  EXPECT_THAT(to_remove(state, disk, policy, kT0 + 100h), ElementsAre("r0", "r1", "never-taken", "r2"));
}

/// Releases of two components, each an hour younger than the one before: "v1+c1" is app v1 with config c1.
struct Pairs {
  ServiceState state;
  std::vector<ComponentDisk> disk{{"app", "/srv/releases", {}, ""}, {"config", "/srv/configs", {}, ""}};
  Retention policy;
  Instant now = kT0 + 100h;
  int made = 0;

  void live(const std::string& app, const std::string& config) {
    const std::vector<ComponentRelease> parts{{"app", app}, {"config", config}};
    state.epoch.from = state.epoch.release;
    state.epoch.release = name_of(parts);
    note_live(state, named(state.epoch.release), kT0 + ++made * Duration(1h)).components = parts;
    for (std::size_t i = 0; i < 2; ++i) {
      disk[i].live = parts[i].release;
      auto& there = disk[i].releases;
      if (std::find(there.begin(), there.end(), parts[i].release) == there.end()) there.push_back(parts[i].release);
    }
  }
  std::vector<std::string> removed() const {
    std::vector<std::string> out;
    for (const ComponentRelease& part : parts_to_remove(state, disk, policy, now)) out.push_back(part.component + "/" + part.release);
    return out;
  }
  void gone(std::size_t component, const std::string& release) { std::erase(disk[component].releases, release); }
};

TEST(RetentionOfSeveral, RemovesAReleaseOfEachComponentThatNothingKeptIsMadeOf) {
  Pairs p;
  p.live("v1", "c1");
  p.live("v2", "c1");
  p.live("v3", "c2");
  p.live("v4", "c3");
  p.live("v5", "c3");
  p.policy.keep = 1;  // v5+c3 is live, v4+c3 was before it; v3+c2 is kept.
  EXPECT_THAT(p.removed(), ElementsAre("app/v1", "config/c1", "app/v2"));

  p.gone(0, "v1");
  EXPECT_THAT(p.removed(), ElementsAre("config/c1", "app/v2")) << "a removal that was cut off goes on";

  set_standing(p.state, "v2+c1", Standing::good, "baked");
  EXPECT_THAT(p.removed(), ElementsAre()) << "the last good one needs the configuration that the older one has too";
}

TEST(RetentionOfSeveral, WhatOneThatIsKeptIsMadeOfStays) {
  Pairs p;
  p.live("v1", "c1");
  p.live("v2", "c2");
  p.live("v3", "c3");
  p.live("v4", "c1");
  p.live("v5", "c5");
  p.policy.keep = 1;  // v3+c3.
  EXPECT_THAT(p.removed(), ElementsAre("app/v1", "app/v2", "config/c2")) << "v4+c1 was live before v5+c5";

  p.policy.places_in_use = {"/srv/releases/v2"};
  EXPECT_THAT(p.removed(), ElementsAre("app/v1", "config/c2")) << "another service is on it";
  p.policy.places_in_use.clear();

  p.disk[1].live = "c2";  // Half way, or somebody is deploying.
  EXPECT_THAT(p.removed(), ElementsAre("app/v1", "app/v2")) << "a link leads to it, whatever the ledger says";
  p.state.incident = OpenIncident{};
  EXPECT_THAT(p.removed(), ElementsAre());
}

TEST(RetentionOfSeveral, OldOnesThatShareEverythingWithEachOtherGoAllTheSame) {
  Pairs p;
  for (const char* app : {"v1", "v2"})
    for (const char* config : {"c1", "c2"}) p.live(app, config);
  p.live("v3", "c3");
  p.live("v4", "c4");
  p.live("v5", "c5");
  p.policy.keep = 1;

  EXPECT_THAT(p.removed(), ElementsAre("app/v1", "config/c1", "config/c2", "app/v2"));
}

TEST(RetentionOfSeveral, NoComponentIsLeftWithFewerThanAreKept) {
  Pairs p;
  p.live("v1", "c1");
  for (const char* app : {"v2", "v3", "v4", "v5", "v6"}) p.live(app, "c2");
  p.policy.keep = 2;

  EXPECT_THAT(p.removed(), ElementsAre("app/v1", "app/v2")) << "of two configurations both stay";
}

TEST(RetentionOfSeveral, AReleaseWhosePartsNobodySawIsNotGuessed) {
  Pairs p;
  for (const char* id : {"v1", "v2", "v3", "v4"}) p.live(id, id);
  p.policy.keep = 1;
  EXPECT_THAT(p.removed(), ElementsAre("app/v1", "config/v1"));
  find(p.state, "v1")->components.clear();
  EXPECT_THAT(p.removed(), ElementsAre());
  find(p.state, "v4")->components.clear();
  p.disk[0].live = p.disk[1].live = "";
  find(p.state, "v1")->components = {{"app", "v4"}, {"config", "v1"}};
  EXPECT_THAT(p.removed(), ElementsAre("config/v1")) << "the live one may be made of what has its name";
}

TEST(RetentionOfSeveral, ComponentsThatShareADirectoryNeedWhatEitherNeeds) {
  Pairs p;
  p.disk[1].directory = p.disk[0].directory;
  p.live("v1", "v1");
  p.live("v2", "v1");
  p.live("v3", "v2");
  p.live("v4", "v3");
  p.live("v5", "v3");
  for (ComponentDisk& each : p.disk) each.releases = {"v1", "v2", "v3", "v4", "v5"};
  p.policy.keep = 1;

  EXPECT_THAT(p.removed(), ElementsAre("app/v1")) << "v3+v2 is kept, and v2 is its configuration";
}

}  // namespace
}  // namespace rollbackd::ledger
