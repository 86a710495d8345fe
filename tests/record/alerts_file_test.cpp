#include "record/alerts_file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace rollbackd::record {
namespace {

class AlertsFile : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "alerts_file_" + std::to_string(::getpid());
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  static ClockReading clock(const std::string& boot, std::int64_t boot_s, std::int64_t wall_s, std::int64_t instant_s) {
    return {Instant(instant_s * 1'000'000'000), Stamp{boot, boot_s * 1'000'000'000, wall_s * 1'000'000'000}};
  }
  static KeptAlerts some(Instant now) {
    KeptAlert alert;
    alert.rule = "0123";
    alert.service = {"shop", "prod"};
    alert.labels = Labels{{"alertname", "A"}, {"note", "a \"quoted\"\nline"}};
    alert.element = Labels{{"__name__", "x"}};
    alert.value = std::nan("");
    alert.phase = AlertPhase::firing;
    alert.since = now - 30s;
    alert.active_at = now - 90s - 1ns;
    alert.absent_since = now - 5s;
    KeptAlerts out;
    out.at = now;
    out.services.push_back({{"shop", "prod"}, 3, "v2", now - 2h, {alert}});
    return out;
  }
  std::string contents() const {
    std::ifstream in(directory_ + "/alerts");
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }
  void put(const std::string& text) const { std::ofstream(directory_ + "/alerts", std::ios::trunc) << text; }

  std::string directory_;
};

TEST_F(AlertsFile, WhatWasWrittenIsReadInTheEngineTimeOfAnotherRun) {
  const ClockReading then = clock("b", 1000, 50'000, 50'000);
  ASSERT_TRUE(write_alerts(directory_, some(then.instant), then));

  // The same boot a minute later, whose engine time differs because the wall clock was set meanwhile.
  const ClockReading now = clock("b", 1060, 53'660, 53'660);
  const auto read = read_alerts(directory_, now);

  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->at, now.instant - 60s) << "boot time counts";
  ASSERT_EQ(read->services.size(), 1U);
  const KeptService& service = read->services[0];
  EXPECT_EQ(service.service, (ServiceKey{"shop", "prod"}));
  EXPECT_EQ(service.epoch, 3U);
  EXPECT_EQ(service.release, "v2");
  EXPECT_EQ(service.switched, read->at - 2h);
  ASSERT_EQ(service.alerts.size(), 1U);
  const KeptAlert& alert = service.alerts[0];
  EXPECT_EQ(alert.rule, "0123");
  EXPECT_EQ(alert.labels, (Labels{{"alertname", "A"}, {"note", "a \"quoted\"\nline"}}));
  EXPECT_EQ(alert.element, (Labels{{"__name__", "x"}}));
  EXPECT_TRUE(std::isnan(alert.value));
  EXPECT_EQ(alert.phase, AlertPhase::firing);
  EXPECT_EQ(alert.since, read->at - 30s);
  EXPECT_EQ(alert.active_at, read->at - 90s - 1ns);
  EXPECT_EQ(alert.absent_since, read->at - 5s);
  EXPECT_EQ(alert.blind_since, std::nullopt);
  struct stat facts {};
  ASSERT_EQ(::stat((directory_ + "/alerts").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0600U);
}

TEST_F(AlertsFile, AnotherBootComparesWallTime) {
  const ClockReading then = clock("b", 1000, 50'000, 50'000);
  ASSERT_TRUE(write_alerts(directory_, some(then.instant), then));

  const auto read = read_alerts(directory_, clock("c", 10, 50'600, 50'600));

  ASSERT_TRUE(read);
  EXPECT_EQ(read->at, Instant(50'000'000'000'000));
}

TEST_F(AlertsFile, WhatIsNotWholeIsSaidToBeSo) {
  const ClockReading now = clock("b", 1000, 50'000, 50'000);
  EXPECT_EQ(read_alerts(directory_, now).error().code, Errc::not_found);
  ASSERT_TRUE(write_alerts(directory_, some(now.instant), now));
  const std::string whole = contents();

  for (std::size_t keep = 0; keep < whole.size(); keep += 7) {
    put(whole.substr(0, keep));
    ASSERT_FALSE(read_alerts(directory_, now)) << keep;
    EXPECT_EQ(read_alerts(directory_, now).error().code, Errc::corrupt) << keep;
  }
  for (std::size_t at = 0; at < whole.size(); at += 5) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
    put(flipped);
    EXPECT_FALSE(read_alerts(directory_, now)) << at;
  }
  put(whole + "x");
  EXPECT_FALSE(read_alerts(directory_, now));

  ASSERT_TRUE(write_alerts(directory_, some(now.instant), now)) << "it is replaced";
  EXPECT_TRUE(read_alerts(directory_, now));
}

TEST_F(AlertsFile, ItIsBounded) {
  const ClockReading now = clock("b", 1000, 50'000, 50'000);
  KeptAlerts many = some(now.instant);
  many.services[0].alerts[0].labels.set("long", std::string(4000, 'x'));
  many.services[0].alerts.resize(5000, many.services[0].alerts[0]);

  ASSERT_TRUE(write_alerts(directory_, many, now));

  EXPECT_LE(contents().size(), std::size_t{4} << 20);
  const auto read = read_alerts(directory_, now);
  ASSERT_TRUE(read);
  EXPECT_GT(read->services.at(0).alerts.size(), 900U);
  EXPECT_LE(read->services.at(0).alerts.size(), kKeptAlertsMax);
}

TEST_F(AlertsFile, WhatIsNoRegularFileIsNotWaitedFor) {
  ASSERT_EQ(::mkfifo((directory_ + "/alerts").c_str(), 0600), 0);
  EXPECT_EQ(read_alerts(directory_, clock("b", 1, 1, 1)).error().code, Errc::corrupt);
}

}  // namespace
}  // namespace rollbackd::record
