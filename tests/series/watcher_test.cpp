#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "series/series.hpp"
#include "series/store.hpp"

namespace rollbackd::series {
namespace {

using ::testing::ElementsAre;

const Instant t0 = Instant::from_seconds(1000);

class Notes : public Watcher {
 public:
  void created(Series& series) override {
    said.push_back("+" + std::string(series.labels.name()));
    EXPECT_TRUE(series.points.empty()) << "told before the first point";
    series.keep = keep;
  }
  void dropped(Series& series) override { said.push_back("-" + std::string(series.labels.name())); }
  std::vector<std::string> said;
  Duration keep = 1min;
};

TEST(Watcher, IsToldOfSeriesAsTheyComeAndGoAndComeAgain) {
  Notes notes;
  Store store({.retention = 5min});
  store.append(Labels{{"__name__", "before"}}, {t0, 1});
  store.watch(&notes);
  store.append(Labels{{"__name__", "a"}}, {t0, 1});
  store.append(Labels{{"__name__", "a"}}, {t0 + 1s, 1});
  for (int i = 1; i <= 4; ++i) store.append(Labels{{"__name__", "b"}}, {t0 + i * 2min, 1});
  store.append(Labels{{"__name__", "a"}}, {t0 + 9min, 1});
  store.watch(nullptr);
  store.append(Labels{{"__name__", "c"}}, {t0 + 9min, 1});

  EXPECT_THAT(notes.said, ElementsAre("+a", "+b", "-before", "-a", "+a"));
}

TEST(Watcher, SaysHowLongASeriesPointsAreKept) {
  Notes notes;
  Store store({.retention = 5min});
  store.watch(&notes);
  for (int i = 0; i <= 240; ++i) store.append(Labels{{"__name__", "a"}}, {t0 + i * 1s, 1});

  ASSERT_EQ(store.series().size(), 1U);
  EXPECT_EQ(store.series()[0]->points.size(), 61U);
  store.series()[0]->keep = 3min;  // A reload: longer from here on.
  for (int i = 241; i <= 300; ++i) store.append(Labels{{"__name__", "a"}}, {t0 + i * 1s, 1});
  EXPECT_EQ(store.series()[0]->points.size(), 121U);
  store.watch(nullptr);
}

TEST(Ring, KeepsItsPointsNumbersAndSaysWhenTheyChanged) {
  Ring ring;
  for (int i = 0; i < 300; ++i) ring.push({t0 + i * 1s, static_cast<double>(i)});
  ring.drop_before(t0 + 200s);
  EXPECT_EQ(ring.first_number(), 200U);
  EXPECT_EQ(ring.end_number(), 300U);
  EXPECT_EQ(ring.numbered(250).value, 250);
  EXPECT_EQ(ring.revision(), 0U);
  ring.insert({t0 + 400s, 1});
  EXPECT_EQ(ring.revision(), 0U) << "at the end it is an append";
  ring.insert({t0 + 250s, 1});
  EXPECT_EQ(ring.revision(), 0U) << "left alone";
  ring.insert({t0 + 250s + 1ms, 1});
  EXPECT_EQ(ring.revision(), 1U);
}

}  // namespace
}  // namespace rollbackd::series
