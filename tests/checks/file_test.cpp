#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "series/store.hpp"
#include "tests/checks/helpers.hpp"

namespace rollbackd::checks {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class FileCheckTest : public CheckTest {
 protected:
  FileCheckTest() {
    settings_.name = "backup";
    settings_.type = config::CheckType::file;
    settings_.path = directory_ / "dump.sql";
    settings_.interval = 1h;  // What comes sooner comes from a hint.
    settings_.timeout = 5s;
  }
  Batch probed() {
    if (!check_) make();
    return run_for(context_, check_->probe_now());
  }
  void write(const std::string& text) { std::ofstream(settings_.path, std::ios::trunc) << text; }
  void make_old(std::chrono::seconds age) { fs::last_write_time(settings_.path, fs::file_time_type::clock::now() - age); }
  test::TempDir directory_;
};

TEST_F(FileCheckTest, AFileThatIsThereIsHealthyAndMeasured) {
  write("12345");
  make_old(100s);

  const Batch batch = probed();

  EXPECT_EQ(batch.healthy, true);
  EXPECT_EQ(batch.unobserved, "");
  EXPECT_THAT(batch.detail, HasSubstr("dump.sql: 5 bytes, 1m40s old"));
  EXPECT_EQ(value(batch, "file_exists"), 1);
  EXPECT_EQ(value(batch, "file_size_bytes"), 5);
  EXPECT_NEAR(value(batch, "file_age_seconds"), 100, 5);
  EXPECT_NEAR(value(batch, "file_mtime_seconds"), static_cast<double>(::time(nullptr)) - 100, 5);
  EXPECT_EQ(batches_.size(), 1U) << "a second opinion goes through the sink, too";
}

TEST_F(FileCheckTest, AMissingFileIsAFailure) {
  const Batch batch = probed();

  EXPECT_EQ(batch.healthy, false);
  EXPECT_EQ(value(batch, "file_exists"), 0);
  EXPECT_EQ(find(batch, "file_age_seconds"), nullptr);
  EXPECT_THAT(batch.detail, HasSubstr("dump.sql is not there"));
}

TEST_F(FileCheckTest, WhatIsNoRegularFileIsNotTheFile) {
  fs::create_symlink(directory_ / "nowhere", settings_.path);
  EXPECT_THAT(probed().detail, HasSubstr("is a link that leads nowhere"));

  std::ofstream(directory_ / "nowhere") << "x";
  EXPECT_EQ(probed().healthy, true) << "through the link";

  fs::remove(settings_.path);
  fs::create_directory(settings_.path);
  const Batch batch = probed();
  EXPECT_EQ(batch.healthy, false);
  EXPECT_THAT(batch.detail, HasSubstr("is no regular file"));
}

TEST_F(FileCheckTest, ItMayBeTooOldOrTooSmall) {
  write("12345");
  make_old(100s);
  settings_.age_max = 60s;
  EXPECT_THAT(probed().detail, HasSubstr("is 1m40s old, and 1m is the most"));
  EXPECT_EQ(batches_.back().healthy, false);
  EXPECT_EQ(value(batches_.back(), "file_exists"), 1);

  settings_.age_max = 200s;
  settings_.bytes_min = 6;
  make();
  EXPECT_THAT(probed().detail, HasSubstr("has 5 bytes, and 6 is the least"));
  EXPECT_EQ(batches_.back().healthy, false);

  settings_.bytes_min = 5;
  make();
  EXPECT_EQ(probed().healthy, true);
}

TEST_F(FileCheckTest, AWallClockThatIsSetMakesNoFileOlderOrYounger) {
  settings_.age_max = 60s;
  write("12345");
  make_old(30s);
  EXPECT_NEAR(value(probed(), "file_age_seconds"), 30, 5);

  for (const Duration set_by : {Duration(24h), Duration(-24h)}) {
    SCOPED_TRACE(format_duration(set_by));
    clock_.pretend_set_by(set_by);
    const Batch batch = probed();
    EXPECT_EQ(batch.healthy, true) << batch.detail;
    EXPECT_NEAR(value(batch, "file_age_seconds"), 30, 5);
  }

  clock_.pretend_set_by(1h);
  make_old(-3500s);
  EXPECT_NEAR(value(probed(), "file_age_seconds"), 100, 5) << "what is written now has the time of now";
  EXPECT_EQ(batches_.back().healthy, false);
}

TEST_F(FileCheckTest, WhatCannotBeLookedAtSaysNothing) {
  settings_.path = "/" + std::string(300, 'x');

  const Batch batch = probed();

  EXPECT_FALSE(batch.healthy.has_value());
  EXPECT_THAT(batch.unobserved, HasSubstr("cannot look at"));
  EXPECT_TRUE(batch.samples.empty());
  EXPECT_EQ(check_->counters().unobserved, 1U);
}

TEST_F(FileCheckTest, AgeAndSizeEndWithTheFile) {
  write("x");
  probed();
  fs::remove(settings_.path);

  const Batch gone = probed();

  ASSERT_NE(find(gone, "file_age_seconds"), nullptr);
  EXPECT_TRUE(series::is_stale_nan(value(gone, "file_age_seconds")));
  EXPECT_TRUE(series::is_stale_nan(value(gone, "file_size_bytes")));
  EXPECT_EQ(find(probed(), "file_age_seconds"), nullptr);
}

TEST_F(FileCheckTest, AChangeIsNoticedLongBeforeTheNextSlot) {
  make();
  test::Background running(context_, check_->run());
  context_.poll();
  write("x");

  ASSERT_TRUE(batches_arrive(1));
  EXPECT_EQ(batches_.back().healthy, true);
  fs::rename(settings_.path, settings_.path + ".1");
  ASSERT_TRUE(run_until(context_, [&] { return batches_.back().healthy == false; }));
  write("z");

  EXPECT_TRUE(run_until(context_, [&] { return batches_.back().healthy == true; }));
}

TEST_F(FileCheckTest, TheGridGoesOnWithoutAnyHint) {
  settings_.path = directory_ / "later/dump.sql";  // Its directory cannot be watched.
  settings_.interval = 20ms;
  make();
  test::Background running(context_, check_->run());

  ASSERT_TRUE(batches_arrive(1));
  EXPECT_EQ(batches_.back().healthy, false);
  fs::create_directory(directory_ / "later");
  write("x");
  EXPECT_TRUE(run_until(context_, [&] { return batches_.back().healthy == true; }));
}

TEST_F(FileCheckTest, EveryDeliveredSeriesIsOneThatTheSourceNames) {
  write("x");

  const Batch batch = probed();

  EXPECT_EQ(batch.samples.size(), check_->source().metrics.size());
  for (const Sample& sample : batch.samples) EXPECT_THAT(check_->source().metrics, testing::Contains(std::string(sample.labels.name())));
}

TEST_F(FileCheckTest, APathThatNamesNoFileIsRefused) {
  for (const char* path : {"", "relative", "/directory/"}) {
    settings_.path = path;
    EXPECT_FALSE(make_check(context_of()).has_value()) << path;
  }
}

}  // namespace
}  // namespace rollbackd::checks
