#include "rules/slot_set.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace rollbackd::rules {
namespace {

TEST(SlotSet, AnswersAsAnOrderedSetDoes) {
  std::mt19937 random(7);
  for (const std::size_t size : {1U, 63U, 64U, 65U, 4'096U, 4'097U, 300'000U}) {
    SlotSet slots;
    slots.resize(size);
    std::set<SlotSet::Slot> expected;
    for (int step = 0; step < 2'000; ++step) {
      const auto slot = static_cast<SlotSet::Slot>(random() % size);
      const bool present = random() % 3 != 0;
      slots.set(slot, present);
      if (present)
        expected.insert(slot);
      else
        expected.erase(slot);
      const std::size_t from = random() % (size + 70);
      const auto next = expected.lower_bound(static_cast<SlotSet::Slot>(from));
      ASSERT_EQ(slots.next(from), next == expected.end() ? SlotSet::kNone : *next) << "size " << size << ", step " << step;
      ASSERT_EQ(slots.empty(), expected.empty());
      ASSERT_EQ(slots.contains(slot), present);
    }
  }
}

TEST(SlotSet, OfNothingIsEmpty) {
  SlotSet slots;
  EXPECT_TRUE(slots.empty());
  EXPECT_EQ(slots.next(0), SlotSet::kNone);
  slots.resize(0);
  EXPECT_TRUE(slots.empty());
  EXPECT_EQ(slots.next(0), SlotSet::kNone);
}

}  // namespace
}  // namespace rollbackd::rules
