// A state that is too big for its slot loses what is missed least.
#include "ledger/trim.hpp"

#include <gtest/gtest.h>

#include "ledger/ledger.hpp"

namespace rollbackd::ledger {
namespace {

constexpr std::size_t kSlotBytes = 5 * 4096 - 64;  // Less than a slot holds beside its header.
const ClockReading kClock{Instant::from_seconds(1'800'000'000),
                          {"0b0a57a7-5d21-4f6c-9a55-3a1f6d3c2b10", 5'000'000'000'000'000, 1'800'000'000'000'000'000}};

std::string id(std::size_t number) { return "v" + std::to_string(number) + std::string(120, 'x'); }

/// As much of everything as its bounds allow.
ServiceState largest() {
  ServiceState state;
  state.service = {std::string(64, 's'), std::string(64, 'e')};
  for (std::size_t i = 0; i < ServiceState::kLedgerMax; ++i) {
    LedgerEntry row;
    row.release.id = id(i);
    row.release.digest = std::string(64, 'd');
    row.release.commit = std::string(64, 'c');
    row.release.path = "/" + std::string(1000, 'p');
    row.release.artifacts.assign(10, Artifact{"app", std::string(200, 'l'), 1 << 30, std::string(64, 'a')});
    row.standing = i % 3 == 0 ? Standing::good : i % 3 == 1 ? Standing::bad : Standing::candidate;
    row.first_seen = row.last_live = kClock.instant - Duration(100 - static_cast<int>(i));
    row.reason = std::string(256, '"');
    row.intact_why = std::string(256, '\\');
    state.ledger.push_back(row);
  }
  state.epoch.release = id(31);
  state.epoch.from = id(30);
  state.epoch.switched = kClock.instant;
  state.epoch.number = 1'000'000;
  for (std::size_t i = 0; i < ServiceState::kPastMax; ++i)
    state.past.push_back({std::string(36, 'o'), id(i), id(i + 1), i % 2 == 0, kClock.instant});
  state.incident =
      OpenIncident{std::string(36, 'i'), kClock.instant, 1, id(31), "resource_exhaustion", "verification", true, 2, {id(31), id(30)}};
  state.suspension = Suspension{kClock.instant, std::string(256, '"'), std::string(128, '"')};
  for (std::size_t i = 0; i < ServiceState::kPushedMax; ++i) {
    PushedAlert alert;
    alert.key = std::string(30, 'f') + std::to_string(10 + i);
    alert.rule = std::string(64, '"');
    alert.summary = std::string(160, '"');
    alert.action = AlertAction::emergency;
    alert.since = alert.received = kClock.instant;
    alert.resolved = i % 2 == 0;
    state.pushed.push_back(alert);
  }
  return state;
}

TEST(Trim, TheLargestStateFitsIntoASlotWithEveryPushedAlertsKeyAndWhatActingNeeds) {
  ServiceState state = largest();
  const auto target = choose_target(state, state.incident->left).target;
  ASSERT_GT(state.to_json(kClock).dump().size(), kSlotBytes);

  for (int steps = 0; state.to_json(kClock).dump().size() > kSlotBytes; ++steps) ASSERT_TRUE(steps < 1000 && trim(state));

  ASSERT_EQ(state.pushed.size(), ServiceState::kPushedMax);
  EXPECT_EQ(state.pushed.front().key, largest().pushed.front().key);
  EXPECT_NE(find(state, state.epoch.release), nullptr);
  EXPECT_NE(find(state, state.epoch.from), nullptr);
  EXPECT_EQ(choose_target(state, state.incident->left).target->id, target->id);
  EXPECT_EQ(state.incident->left, largest().incident->left);
  EXPECT_GE(state.past.size(), 8U);
  EXPECT_TRUE(state.past.back().at == kClock.instant);
}

TEST(Trim, EndsWhenNothingIsLeftToTake) {
  ServiceState state = largest();
  int steps = 0;
  while (trim(state)) ASSERT_LT(++steps, 1000);

  EXPECT_NE(find(state, state.epoch.release), nullptr);
  EXPECT_EQ(state.past.size(), 1U);
  ServiceState empty;
  EXPECT_FALSE(trim(empty));
}

TEST(Trim, TextsGoBeforeRowsAndCandidatesBeforeGoodOnes) {
  ServiceState state = largest();
  trim(state);
  EXPECT_EQ(state.ledger.size(), ServiceState::kLedgerMax);
  trim(state);
  EXPECT_EQ(state.ledger.size(), ServiceState::kLedgerMax);
  trim(state);

  EXPECT_EQ(state.ledger.size(), ServiceState::kLedgerMax - 1);
  EXPECT_EQ(find(state, id(2)), nullptr) << "the oldest candidate";
}

}  // namespace
}  // namespace rollbackd::ledger
