#include "series/store.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "series/series.hpp"

namespace rollbackd::series {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const ServiceKey kShop{"shop-api", "prod"};
const ServiceKey kCart{"cart", "prod"};
const Instant t0 = Instant::from_seconds(1'000'000);

Labels labels_of(const ServiceKey& service, std::string name) {
  return {{"__name__", std::move(name)}, {"service", service.name}, {"environment", service.environment}, {"check", "health"}};
}

std::vector<Matcher> named(std::string name) { return {Matcher::make("__name__", Matcher::Op::equal, std::move(name)).value()}; }

Batch batch_of(Instant began, Instant at, double value, bool counter = false, std::string name = "probe_success") {
  Batch b;
  b.service = kShop;
  b.check = "health";
  b.began = began;
  b.at = at;
  b.samples.push_back({labels_of(kShop, std::move(name)), value, counter});
  return b;
}

Source source_of(std::vector<std::string> metrics, Duration staleness = 5s) { return {kShop, "health", std::move(metrics), staleness}; }

/// All points of the one series called `name` that a window of an hour up to `to` sees.
std::vector<Point> seen(const Store& store, std::string name, Instant to) {
  const auto found = store.select(named(std::move(name)), to - 1h, to, nullptr);
  if (found.empty()) return {};
  EXPECT_EQ(found.size(), 1U);
  return {found[0].points.begin(), found[0].points.end()};
}

TEST(Store, AWindowIsOpenOnTheLeftAndClosedOnTheRight) {
  Store store;
  for (int i = 0; i < 4; ++i) store.append(labels_of(kShop, "up"), {t0 + i * 10s, double(i)});

  const auto found = store.select(named("up"), t0, t0 + 20s, nullptr);

  ASSERT_THAT(found, SizeIs(1));
  EXPECT_THAT(std::vector(found[0].points.begin(), found[0].points.end()), ElementsAre(Point{t0 + 10s, 1}, Point{t0 + 20s, 2}));
}

TEST(Store, TheLatestPointIsLeftOutWhenItIsAStalenessMarkerOrTooOld) {
  Store store;
  store.append(labels_of(kShop, "up"), {t0, 1});

  EXPECT_THAT(store.select_latest(named("up"), t0 + 299s, 5min, nullptr), SizeIs(1));
  EXPECT_THAT(store.select_latest(named("up"), t0 + 300s, 5min, nullptr), IsEmpty());

  store.append(labels_of(kShop, "up"), {t0 + 10s, stale_nan()});
  EXPECT_THAT(store.select_latest(named("up"), t0 + 10s, 5min, nullptr), IsEmpty());
  EXPECT_FALSE(is_stale_nan(std::nan("")));
}

TEST(Store, ASampleThatIsNotNewerIsDroppedAndCounted) {
  Store store;
  store.append(labels_of(kShop, "up"), {t0, 1});
  store.append(labels_of(kShop, "up"), {t0, 2});

  EXPECT_THAT(seen(store, "up", t0), ElementsAre(Point{t0, 1}));
  EXPECT_EQ(store.counters().out_of_order, 1U);
}

TEST(Store, AScopeSeesOneServiceAlone) {
  Store store;
  store.append(labels_of(kShop, "up"), {t0, 1});
  store.append(labels_of(kCart, "up"), {t0, 2});

  const auto found = store.select(named("up"), t0 - 1s, t0, &kCart);

  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].labels->get("service"), "cart");
  EXPECT_THAT(store.select(named("up"), t0 - 1s, t0, nullptr), SizeIs(2));
}

TEST(Store, ASelectorThatNamesAServiceFindsItsSeries) {
  Store store;
  store.append(labels_of(kShop, "up"), {t0, 1});
  store.append(labels_of(kCart, "up"), {t0, 2});
  const std::vector<Matcher> matchers{Matcher::make("service", Matcher::Op::equal, "cart").value(),
                                      Matcher::make("environment", Matcher::Op::equal, "prod").value()};

  EXPECT_THAT(store.select(matchers, t0 - 1s, t0, nullptr), SizeIs(1));
}

TEST(Epochs, AWindowSeesNothingOlderThanTheEpochInForceAtItsEnd) {
  Store store;
  store.commit(batch_of(t0, t0, 1));
  store.commit(batch_of(t0 + 10s, t0 + 10s, 2));
  store.begin_epoch(kShop, t0 + 20s);
  store.commit(batch_of(t0 + 30s, t0 + 30s, 3));

  EXPECT_THAT(seen(store, "probe_success", t0 + 30s), ElementsAre(Point{t0 + 30s, 3}));
  EXPECT_THAT(seen(store, "probe_success", t0 + 19s), ElementsAre(Point{t0, 1}, Point{t0 + 10s, 2}));
  EXPECT_THAT(store.select_latest(named("probe_success"), t0 + 25s, 5min, nullptr), IsEmpty());
  EXPECT_EQ(store.epoch_start(kShop, t0 + 30s), t0 + 20s);
  EXPECT_EQ(store.epoch_start(kShop, t0), std::nullopt);
}

TEST(Epochs, ASampleBelongsToTheEpochInWhichItsProbeBegan) {
  Store store;
  store.register_source(source_of({}), t0);
  store.begin_epoch(kShop, t0 + 10s);
  store.commit(batch_of(t0 + 9s, t0 + 11s, 0));

  EXPECT_THAT(seen(store, "probe_success", t0 + 12s), IsEmpty());
  EXPECT_THAT(seen(store, "probe_success", t0 + 10s - Duration{1}), ElementsAre(Point{t0 + 10s - Duration{1}, 0}));
  EXPECT_EQ(store.last_delivery(kShop, "health"), std::nullopt) << "a late answer says nothing about this epoch";
}

TEST(Epochs, OurCountersBeginAnEpochWithTheirPresentValueAndOthersDoNot) {
  Store store;
  store.commit(batch_of(t0, t0, 7, true, "process_exits_total"));
  store.commit(batch_of(t0, t0, 7, false, "http_requests_total"));
  store.begin_epoch(kShop, t0 + 10s);

  EXPECT_THAT(seen(store, "process_exits_total", t0 + 10s), ElementsAre(Point{t0 + 10s, 7}));
  EXPECT_THAT(seen(store, "http_requests_total", t0 + 10s), IsEmpty());
}

TEST(Epochs, ANewCounterGetsAZeroAtItsEpochsStart) {
  Store store;
  store.begin_epoch(kShop, t0);
  store.commit(batch_of(t0 + 30s, t0 + 30s, 1, true, "process_exits_total"));

  EXPECT_THAT(seen(store, "process_exits_total", t0 + 30s), ElementsAre(Point{t0, 0}, Point{t0 + 30s, 1}));
}

TEST(Epochs, WithoutAnEpochANewCounterGetsAZeroWhenItsSourceWasRegistered) {
  Store store;
  store.register_source(source_of({}), t0);
  store.commit(batch_of(t0 + 30s, t0 + 30s, 1, true, "process_exits_total"));

  EXPECT_THAT(seen(store, "process_exits_total", t0 + 30s), ElementsAre(Point{t0, 0}, Point{t0 + 30s, 1}));
}

TEST(Epochs, ANewCounterWasAlsoZeroWhenItsCheckLastLooked) {
  Store store;
  store.register_source(source_of({}), t0);
  store.begin_epoch(kShop, t0);
  store.commit(batch_of(t0 + 30min, t0 + 30min, 1));
  store.commit(batch_of(t0 + 31min, t0 + 31min, 1, true, "process_exits_total"));

  EXPECT_THAT(seen(store, "process_exits_total", t0 + 31min), ElementsAre(Point{t0, 0}, Point{t0 + 30min, 0}, Point{t0 + 31min, 1}));
}

TEST(Epochs, AnEventOfTheOldReleaseThatArrivesLateIsNoIncreaseOfTheNewOne) {
  Store store;
  store.register_source(source_of({}), t0);
  store.commit(batch_of(t0 + 1s, t0 + 1s, 1, true, "process_exits_total"));
  store.begin_epoch(kShop, t0 + 10s);
  store.commit(batch_of(t0 + 1s, t0 + 11s, 2, true, "process_exits_total"));
  store.commit(batch_of(t0 + 1s, t0 + 11s, 1, true, "log_matches_total"));

  EXPECT_THAT(seen(store, "process_exits_total", t0 + 12s), ElementsAre(Point{t0 + 10s, 2}));
  EXPECT_THAT(seen(store, "log_matches_total", t0 + 12s), ElementsAre(Point{t0 + 10s, 1}));
}

TEST(Epochs, LateEventsAreNoIncreaseEvenAfterTheNewReleaseWasSeen) {
  Store store;
  store.commit(batch_of(t0, t0, 1, true, "process_exits_total"));
  store.begin_epoch(kShop, t0 + 10s);
  store.commit(batch_of(t0 + 15s, t0 + 15s, 1, true, "process_exits_total"));
  store.commit(batch_of(t0, t0 + 16s, 2, true, "process_exits_total"));
  store.commit(batch_of(t0, t0 + 17s, 3, true, "process_exits_total"));
  store.commit(batch_of(t0 + 30s, t0 + 30s, 3, true, "process_exits_total"));

  EXPECT_THAT(seen(store, "process_exits_total", t0 + 30s), ElementsAre(Point{t0 + 10s, 3}, Point{t0 + 15s, 3}, Point{t0 + 30s, 3}));
  EXPECT_THAT(seen(store, "process_exits_total", t0 + 10s - Duration{1}), ElementsAre(Point{t0, 1}, Point{t0 + 10s - Duration{1}, 3}));
}

TEST(Epochs, AnEpochThatBeganInThePastCutsWhatWasSeenSince) {
  Store store;
  for (int i = 0; i < 4; ++i) store.commit(batch_of(t0 + i * 10s, t0 + i * 10s, i, true, "log_matches_total"));
  store.begin_epoch(kShop, t0 + 15s);

  EXPECT_THAT(seen(store, "log_matches_total", t0 + 30s), ElementsAre(Point{t0 + 15s, 1}, Point{t0 + 20s, 2}, Point{t0 + 30s, 3}));
}

TEST(Epochs, TheOldestEpochAndItsSamplesGoBeyondTheBound) {
  Store store(Limits{.epochs_max = 2});
  for (int i = 0; i < 4; ++i) {
    store.begin_epoch(kShop, t0 + i * 1min);
    store.commit(batch_of(t0 + i * 1min + 1s, t0 + i * 1min + 1s, i));
  }

  EXPECT_EQ(store.epoch_start(kShop, t0 + 1min), std::nullopt);
  EXPECT_THAT(seen(store, "probe_success", t0 + 2min - 1s), IsEmpty());
  EXPECT_THAT(seen(store, "probe_success", t0 + 3min - 1s), SizeIs(1));
}

TEST(Liveness, WithoutSourcesNothingIsBlindAndNothingIsFed) {
  const Store store;

  const Liveness l = store.liveness(named("up"), t0, nullptr);

  EXPECT_FALSE(l.blind);
  EXPECT_FALSE(l.fed);
}

TEST(Liveness, AFreshSourceIsBlindUntilItDelivers) {
  Store store;
  store.register_source(source_of({"probe_success"}), t0);

  const Liveness before = store.liveness(named("probe_success"), t0 + 7s, nullptr);
  store.commit(batch_of(t0 + 7s, t0 + 7s, 1));
  const Liveness after = store.liveness(named("probe_success"), t0 + 8s, nullptr);

  EXPECT_TRUE(before.blind);
  EXPECT_EQ(before.blind_reason, "check health of shop-api/prod has delivered nothing for 7s");
  EXPECT_FALSE(after.blind);
  EXPECT_TRUE(after.fed);
}

TEST(Liveness, ASourceIsBlindFromTheInstantItsStalenessHasPassed) {
  Store store;
  store.register_source(source_of({}, 5s), t0);
  store.commit(batch_of(t0, t0, 1));

  ASSERT_EQ(store.next_staleness(kShop, t0), t0 + 5s);
  EXPECT_FALSE(store.liveness(named("x"), t0 + 4999ms, &kShop).blind);
  EXPECT_TRUE(store.liveness(named("x"), t0 + 5s, &kShop).blind);
  EXPECT_EQ(store.next_staleness(kShop, t0 + 5s), std::nullopt);
}

TEST(Liveness, ASelectorIsFedOnlyByChecksWhoseMetricServiceAndNameItAllows) {
  Store store;
  store.register_source(source_of({"probe_success"}), t0);
  const auto other_check = std::vector{Matcher::make("check", Matcher::Op::equal, "log").value()};
  const auto other_service = std::vector{Matcher::make("service", Matcher::Op::regex, "cart.*").value()};

  EXPECT_TRUE(store.liveness(named("probe_success"), t0, nullptr).fed);
  EXPECT_FALSE(store.liveness(named("up"), t0, nullptr).fed);
  EXPECT_FALSE(store.liveness(other_check, t0, nullptr).fed);
  EXPECT_FALSE(store.liveness(other_service, t0, nullptr).fed);
  EXPECT_FALSE(store.liveness(named("probe_success"), t0, &kCart).fed);
  EXPECT_THAT(store.feeders(named("probe_success"), kShop), ElementsAre("health"));
}

TEST(Liveness, AnUnobservedBatchCommitsNothing) {
  Store store;
  store.register_source(source_of({}), t0);
  Batch batch = batch_of(t0, t0, 1);
  batch.unobserved = "no file handles";

  EXPECT_THAT(store.commit(batch), IsEmpty());
  EXPECT_TRUE(store.liveness(named("probe_success"), t0, nullptr).blind);
  EXPECT_EQ(store.series_count(), 0U);
}

TEST(Liveness, ACheckThatSaysThatItCannotLookIsBlindAtOnceAndSaysWhy) {
  Store store;
  store.register_source(source_of({}), t0);
  store.commit(batch_of(t0, t0, 1));
  Batch batch = batch_of(t0 + 1s, t0 + 1s, 1);
  batch.unobserved = "no file handles";

  store.commit(batch);

  EXPECT_TRUE(store.liveness(named("probe_success"), t0 + 1s, nullptr).blind);
  EXPECT_THAT(store.liveness(named("probe_success"), t0 + 1s, nullptr).blind_reason, HasSubstr("no file handles"));
  store.commit(batch_of(t0 + 2s, t0 + 2s, 1));
  EXPECT_FALSE(store.liveness(named("probe_success"), t0 + 2s, nullptr).blind);
}

TEST(Liveness, ANewEpochAGapAndARemovedCheckMeanThatOldDeliveriesDoNotCount) {
  Store store;
  store.register_source(source_of({}), t0);
  store.commit(batch_of(t0, t0, 1));
  store.begin_epoch(kShop, t0 + 1s);
  EXPECT_TRUE(store.liveness(named("probe_success"), t0 + 1s, nullptr).blind);

  store.commit(batch_of(t0 + 2s, t0 + 2s, 1));
  store.register_source(source_of({}), t0 + 2s);
  EXPECT_FALSE(store.liveness(named("probe_success"), t0 + 2s, nullptr).blind) << "declaring it again keeps its delivery";
  store.forget_liveness(t0 + 3s);
  EXPECT_TRUE(store.liveness(named("probe_success"), t0 + 3s, nullptr).blind);

  store.remove_source(kShop, "health");
  EXPECT_FALSE(store.liveness(named("probe_success"), t0 + 3s, nullptr).fed);
}

Source scrape(std::string check = "health") { return {kShop, std::move(check), {}, 5s, {"up", "scrape_duration_seconds"}}; }

/// A batch with one sample of 1 for each name; unobserved where there is a reason.
Batch scraped(Instant at, const std::vector<std::string>& metrics, const std::string& unobserved = "",
              const std::string& check = "health") {
  Batch b;
  b.service = kShop;
  b.check = check;
  b.began = b.at = at;
  b.unobserved = unobserved;
  for (const std::string& metric : metrics) {
    Labels labels = labels_of(kShop, metric);
    labels.set("check", check);
    b.samples.push_back({labels, 1, false});
  }
  return b;
}

TEST(Always, WhatAFailedScrapeKnowsIsCommittedAndStaysLiveWhileTheRestIsBlindAtOnce) {
  Store store;
  store.register_source(scrape(), t0);
  store.commit(scraped(t0, {"up", "requests"}));

  const auto touched = store.commit(scraped(t0 + 1s, {"up", "requests"}, "connection refused"));

  ASSERT_THAT(touched, SizeIs(1)) << "only `up` is among what comes always";
  EXPECT_EQ(touched[0]->labels.name(), "up");
  EXPECT_THAT(seen(store, "requests", t0 + 1s), SizeIs(1));
  EXPECT_FALSE(store.liveness(named("up"), t0 + 1s, nullptr).blind);
  EXPECT_TRUE(store.liveness(named("requests"), t0 + 1s, nullptr).blind);
  EXPECT_THAT(store.liveness(named("requests"), t0 + 1s, nullptr).blind_reason, HasSubstr("connection refused"));
}

TEST(Always, ASelectorThatMayFindOtherMetricsTooGoesByTheLastWholeDelivery) {
  Store store;
  store.register_source(scrape(), t0);
  store.commit(scraped(t0, {"up"}, "connection refused"));
  const auto by_regex = [](std::string regex) {
    return std::vector{Matcher::make("__name__", Matcher::Op::regex, std::move(regex)).value()};
  };

  EXPECT_FALSE(store.liveness(by_regex("up|scrape_duration_seconds"), t0, nullptr).blind);
  EXPECT_TRUE(store.liveness(by_regex("up|requests"), t0, nullptr).blind);
  EXPECT_TRUE(store.liveness(by_regex("up.*"), t0, nullptr).blind);
  EXPECT_TRUE(store.liveness(std::vector{Matcher::make("check", Matcher::Op::equal, "health").value()}, t0, nullptr).blind);
}

TEST(Always, ItGoesStaleLikeAnythingElse) {
  Store store;
  store.register_source(scrape(), t0);
  EXPECT_TRUE(store.liveness(named("up"), t0, nullptr).blind);
  store.commit(scraped(t0, {"up"}, "connection refused"));

  EXPECT_EQ(store.next_staleness(kShop, t0), t0 + 5s);
  EXPECT_TRUE(store.liveness(named("up"), t0 + 5s, nullptr).blind);
  store.commit(scraped(t0 + 6s, {"up"}, "connection refused"));
  EXPECT_FALSE(store.liveness(named("up"), t0 + 6s, nullptr).blind);
  store.commit(scraped(t0 + 7s, {}, "no file handles"));
  EXPECT_TRUE(store.liveness(named("up"), t0 + 7s, nullptr).blind) << "it said that it knows nothing at all";
  store.commit(scraped(t0 + 8s, {"up"}, "connection refused"));
  store.begin_epoch(kShop, t0 + 9s);
  EXPECT_TRUE(store.liveness(named("up"), t0 + 9s, nullptr).blind);
}

TEST(Always, AFailedScrapeThatBeganBeforeTheEpochSaysNothingOfTheNewOne) {
  Store store;
  store.register_source(scrape(), t0);
  store.begin_epoch(kShop, t0 + 2s);
  Batch batch = scraped(t0 + 3s, {"up"}, "connection refused");
  batch.began = t0 + 1s;

  store.commit(batch);

  EXPECT_TRUE(store.liveness(named("up"), t0 + 3s, nullptr).blind);
  EXPECT_THAT(seen(store, "up", t0 + 3s), IsEmpty());
}

TEST(Always, AMetricThatAnotherCheckNamesAsItsOwnIsNotAScrapesUntilItDeliversIt) {
  Store store;
  store.register_source(scrape("app"), t0);
  store.register_source({kShop, "health", {"probe_success"}, 1h}, t0);
  store.commit(scraped(t0, {"probe_success"}));
  store.commit(scraped(t0, {"up"}, "connection refused", "app"));

  EXPECT_FALSE(store.liveness(named("probe_success"), t0, nullptr).blind);
  EXPECT_THAT(store.feeders(named("probe_success"), kShop), ElementsAre("health"));
  EXPECT_THAT(store.feeders(named("requests"), kShop), ElementsAre("app"));

  store.commit(scraped(t0 + 1s, {"up", "probe_success"}, "", "app"));
  store.commit(scraped(t0 + 2s, {"up"}, "connection refused", "app"));
  EXPECT_TRUE(store.liveness(named("probe_success"), t0 + 2s, nullptr).blind) << "the scraped probe_success is not known any more";
  EXPECT_THAT(store.feeders(named("probe_success"), kShop), ElementsAre("app", "health"));
}

TEST(Staleness, WhatACheckDeliveredBitByBitDoesNotEndWhenItBecomesAScrape) {
  Store store;
  Source bits = scrape();
  bits.always.clear();
  store.register_source(bits, t0);
  store.commit(scraped(t0, {"up", "old"}));
  store.commit(scraped(t0 + 1s, {"old", "up", "more"}));
  store.commit(scraped(t0 + 2s, {"up"}));
  EXPECT_THAT(store.select_latest(named("old"), t0 + 2s, 5min, nullptr), SizeIs(1)) << "another bit another time";

  store.commit(scraped(t0 + 3s, {"up", "old"}));
  store.register_source(scrape(), t0 + 3s);
  store.commit(scraped(t0 + 4s, {"up"}));
  EXPECT_THAT(store.select_latest(named("old"), t0 + 4s, 5min, nullptr), SizeIs(1));
}

TEST(Staleness, ASeriesThatAWholeScrapeNoLongerBringsEndsThere) {
  Store store;
  store.register_source(scrape(), t0);
  store.commit(scraped(t0, {"up", "old"}));
  store.commit(scraped(t0 + 1s, {"up"}, "connection refused"));
  EXPECT_THAT(store.select_latest(named("old"), t0 + 1s, 5min, nullptr), SizeIs(1)) << "a failed scrape ends nothing";

  const auto touched = store.commit(scraped(t0 + 2s, {"up", "new"}));

  EXPECT_THAT(touched, SizeIs(3)) << "the ended one too: rules read that it ended";
  EXPECT_THAT(store.select_latest(named("old"), t0 + 2s, 5min, nullptr), IsEmpty());
  EXPECT_THAT(store.select_latest(named("old"), t0 + 1999ms, 5min, nullptr), SizeIs(1));
  store.commit(scraped(t0 + 3s, {"up", "old"}));
  EXPECT_THAT(store.select_latest(named("old"), t0 + 3s, 5min, nullptr), SizeIs(1)) << "it may come back";
  EXPECT_THAT(store.select_latest(named("new"), t0 + 3s, 5min, nullptr), IsEmpty());
}

TEST(Staleness, TheOrderOfADeliveryDoesNotMatter) {
  Store store;
  store.register_source(scrape(), t0);
  store.commit(scraped(t0, {"a", "b", "c"}));
  Batch batch = scraped(t0 + 1s, {"c", "a", "b", "d"});
  for (std::size_t i = 0; i < batch.samples.size(); ++i) batch.samples[i].value = static_cast<double>(i);

  EXPECT_THAT(store.commit(batch), SizeIs(4));

  EXPECT_THAT(seen(store, "a", t0 + 1s), ElementsAre(Point{t0, 1}, Point{t0 + 1s, 1}));
  EXPECT_THAT(seen(store, "b", t0 + 1s), ElementsAre(Point{t0, 1}, Point{t0 + 1s, 2}));
  EXPECT_THAT(seen(store, "c", t0 + 1s), ElementsAre(Point{t0, 1}, Point{t0 + 1s, 0}));
  EXPECT_THAT(seen(store, "d", t0 + 1s), ElementsAre(Point{t0 + 1s, 3}));
}

TEST(Staleness, ASeriesOfACheckThatDeliversBitByBitDoesNotEnd) {
  Store store;
  store.register_source(source_of({"a", "b"}), t0);
  store.commit(scraped(t0, {"a", "b"}));

  store.commit(scraped(t0 + 1s, {"a"}));

  EXPECT_THAT(store.select_latest(named("b"), t0 + 1s, 5min, nullptr), SizeIs(1));
}

TEST(Staleness, AScrapedSeriesThatWasForgottenIsNotTouchedAgain) {
  Store store(Limits{.retention = 1min});
  store.register_source(scrape(), t0);
  store.commit(scraped(t0, {"up", "old"}));
  for (int i = 1; i <= 10; ++i) store.commit(scraped(t0 + i * 20s, {"up"}, "connection refused"));
  ASSERT_EQ(store.series_count(), 1U);

  EXPECT_THAT(store.commit(scraped(t0 + 5min, {"up"})), SizeIs(1));
}

TEST(Bounds, NewSeriesBeyondTheBoundAndOversizedOnesAreDroppedAndCounted) {
  Store store(Limits{.series_max = 2, .label_bytes_max = 200});
  store.append({{"__name__", "a"}}, {t0, 1});
  store.append({{"__name__", "big"}, {"x", std::string(300, 'x')}}, {t0, 1});
  store.append({{"__name__", "b"}}, {t0, 1});
  store.append({{"__name__", "c"}}, {t0, 1});

  EXPECT_EQ(store.series_count(), 2U);
  EXPECT_EQ(store.counters().series_dropped, 2U);
}

TEST(Bounds, TheOldestPointsGoBeyondTheBoundOrTheRetention) {
  Store store(Limits{.points_per_series_max = 100, .retention = 50s});
  for (int i = 0; i < 1000; ++i) store.append({{"__name__", "fast"}}, {t0 + i * 100ms, double(i)});
  const auto fast = seen(store, "fast", t0 + 100s);

  ASSERT_THAT(fast, SizeIs(100));
  EXPECT_EQ(fast.back().value, 999);
  EXPECT_EQ(store.counters().points_dropped, 501U - 100U + 499U);
}

TEST(Bounds, ASeriesThatEndedIsForgottenAfterTheRetention) {
  Store store(Limits{.retention = 1min});
  store.append({{"__name__", "gone"}}, {t0, 1});
  store.append({{"__name__", "here"}}, {t0, 1});
  store.append({{"__name__", "here"}}, {t0 + 2min, 1});
  store.append({{"__name__", "here"}}, {t0 + 3min, 1});

  EXPECT_EQ(store.series_count(), 1U);
}

TEST(Bounds, ARemovedServiceTakesItsSeriesWithIt) {
  Store store;
  store.append(labels_of(kShop, "up"), {t0, 1});
  store.append(labels_of(kCart, "up"), {t0, 1});

  store.remove_service(kShop);

  EXPECT_EQ(store.series_count(), 1U);
  EXPECT_THAT(store.select(named("up"), t0 - 1s, t0, nullptr), SizeIs(1));
}

}  // namespace
}  // namespace rollbackd::series
