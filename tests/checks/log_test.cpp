#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>

#include "tests/checks/helpers.hpp"

namespace rollbackd::checks {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class LogCheckTest : public CheckTest {
 protected:
  LogCheckTest() {
    settings_.name = "app-log";
    settings_.type = config::CheckType::log;
    settings_.path = dir_ / "*.log";
    settings_.patterns = {{"critical", "FATAL|panic"}, {"slow", "took [0-9]{4,}ms"}};
  }
  /// Makes the check and runs it until its first batch.
  void start() {
    make();
    running_.emplace(context_, check_->run());
    ASSERT_TRUE(batches_arrive(1));
  }
  double critical() { return batches_.empty() ? -1 : value(batches_.back(), "log_matches_total", "pattern", "critical"); }
  double lines() { return value(batches_.back(), "log_lines_total"); }
  bool critical_becomes(double wanted) {
    return run_until(
        context_, [&] { return critical() == wanted; }, std::chrono::seconds(5));
  }
  /// What a second opinion says: everything written so far is in it.
  Batch now() { return run_for(context_, check_->probe_now()); }

  test::TempDir dir_;
  std::optional<test::Background> running_;
};

TEST_F(LogCheckTest, DeliversEveryPatternFromTheStart) {
  append(dir_ / "app.log", "FATAL of yesterday\n");
  start();

  EXPECT_EQ(critical(), 0);
  EXPECT_EQ(value(batches_[0], "log_matches_total", "pattern", "slow"), 0);
  EXPECT_EQ(lines(), 0);
  EXPECT_EQ(value(batches_[0], "log_lines_cut_total"), 0);
  EXPECT_TRUE(find(batches_[0], "log_lines_total")->counter);
  EXPECT_FALSE(batches_[0].healthy.has_value());
}

TEST_F(LogCheckTest, AMatchIsDeliveredAtOnceWithItsLine) {
  append(dir_ / "app.log", "");
  start();

  append(dir_ / "app.log", "fine\nFATAL: no \x1b[31mdisk\nfine\n");

  ASSERT_TRUE(batches_arrive(2));
  EXPECT_EQ(critical(), 1);
  EXPECT_EQ(lines(), 3);
  EXPECT_EQ(batches_[1].detail, "FATAL: no \\x1b[31mdisk");
}

TEST_F(LogCheckTest, WhatStoodThereBeforeTheEpochOrTheProcessEndedIsToldAsOfThen) {
  ProcessEvent exited;
  exited.kind = ProcessEvent::Kind::exited;
  for (const bool by_exit : {false, true}) {
    batches_.clear();
    append(dir_ / "app.log", "");
    start();
    append(dir_ / "app.log", "FATAL: last words\n");  // Nobody has read them yet.
    by_exit ? check_->on_process(exited) : check_->begin_epoch();
    const Instant line = clock_.now();
    append(dir_ / "app.log", "FATAL: of the new one\n");

    ASSERT_TRUE(critical_becomes(2));
    const auto first = std::find_if(batches_.begin(), batches_.end(),
                                    [](const Batch& batch) { return value(batch, "log_matches_total", "pattern", "critical") == 1; });
    ASSERT_NE(first, batches_.end()) << "the two are told apart";
    EXPECT_LT(first->began, line);
    EXPECT_GE(batches_.back().began, line);
    running_.reset();
  }
}

TEST_F(LogCheckTest, FilesThatAreThereAtTheStartAreReadWholeIfAskedTo) {
  append(dir_ / "app.log", "FATAL\n");
  settings_.from_beginning = true;
  start();

  EXPECT_TRUE(critical_becomes(1));
}

TEST_F(LogCheckTest, ANewFileIsReadFromItsBeginning) {
  start();

  append(dir_ / "new.log", "FATAL\n");

  EXPECT_TRUE(critical_becomes(1));
}

TEST_F(LogCheckTest, AFileThatDoesNotMatchTheGlobIsNotRead) {
  start();

  append(dir_ / "app.txt", "FATAL\n");
  append(dir_ / "app.log", "panic\n");

  ASSERT_TRUE(critical_becomes(1));
  EXPECT_EQ(now().samples.at(0).value, 1);
}

TEST_F(LogCheckTest, APartialLineWaitsForItsEnd) {
  append(dir_ / "app.log", "");
  start();
  append(dir_ / "app.log", "FAT");
  EXPECT_EQ(value(now(), "log_lines_total"), 0);

  append(dir_ / "app.log", "AL\n");

  EXPECT_TRUE(critical_becomes(1));
  EXPECT_EQ(lines(), 1);
  EXPECT_EQ(batches_.back().detail, "FATAL");
}

TEST_F(LogCheckTest, ARotatedFileIsReadToItsEndAndTheNewOneFromItsBeginning) {
  append(dir_ / "app.log", "");
  start();
  append(dir_ / "app.log", "FATAL 1\n");
  fs::rename(dir_ / "app.log", dir_ / "app.log.1");
  append(dir_ / "app.log.1", "FATAL 2\n");  // Its writer has not opened the new one yet.
  append(dir_ / "app.log", "FATAL 3\n");

  EXPECT_TRUE(critical_becomes(3));
  append(dir_ / "app.log.1", "FATAL 4\n");
  append(dir_ / "app.log", "FATAL 5\n");
  EXPECT_TRUE(critical_becomes(5));
}

TEST_F(LogCheckTest, ARenameToAnotherMatchingNameIsTheSameFile) {
  append(dir_ / "a.log", "");
  start();
  append(dir_ / "a.log", "FATAL\n");
  ASSERT_TRUE(critical_becomes(1));

  fs::rename(dir_ / "a.log", dir_ / "b.log");
  append(dir_ / "b.log", "FATAL\n");

  EXPECT_TRUE(critical_becomes(2));
  EXPECT_EQ(value(now(), "log_lines_total"), 2);
}

TEST_F(LogCheckTest, ATruncatedFileIsReadFromItsBeginning) {
  append(dir_ / "app.log", "a long line that was there before\n");
  start();

  std::ofstream(dir_ / "app.log", std::ios::trunc) << "FATAL\n";

  EXPECT_TRUE(critical_becomes(1));
  EXPECT_EQ(lines(), 1);
}

TEST_F(LogCheckTest, ALongLineIsCutAndCountedOnce) {
  settings_.line_bytes_max = 10;
  append(dir_ / "app.log", "");
  start();

  append(dir_ / "app.log", "FATAL 6789 123\n0123456789 FATAL\n");
  ASSERT_TRUE(critical_becomes(1));
  append(dir_ / "app.log", "panic and no end of the line");
  ASSERT_TRUE(critical_becomes(2));
  append(dir_ / "app.log", " FATAL in the rest\npanic\n");
  ASSERT_TRUE(critical_becomes(3));

  EXPECT_EQ(value(batches_.back(), "log_lines_cut_total"), 3);
  EXPECT_EQ(lines(), 4);
}

TEST_F(LogCheckTest, ReadsManyBlocksOfManyFilesWhole) {
  append(dir_ / "a.log", "");
  start();
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += "an ordinary line that says nothing of importance, number " + std::to_string(i) + "\n";
  append(dir_ / "a.log", text + "FATAL a\n");
  append(dir_ / "b.log", text + "FATAL b\n");

  ASSERT_TRUE(critical_becomes(2));
  EXPECT_EQ(value(now(), "log_lines_total"), 40'002);
}

TEST_F(LogCheckTest, MoreFilesThanMayBeOpenAreAllFollowed) {
  for (int i = 0; i < 70; ++i) append(dir_ / ("f" + std::to_string(i) + ".log"), "old\n");
  start();

  for (int i = 0; i < 70; ++i) append(dir_ / ("f" + std::to_string(i) + ".log"), "FATAL\n");

  EXPECT_TRUE(critical_becomes(70));
  EXPECT_EQ(value(now(), "log_lines_total"), 70);
}

TEST_F(LogCheckTest, AMissingDirectoryIsUnobservedAndFilesInItAreNewWhenItComes) {
  settings_.path = dir_ / "later/app.log";
  start();
  EXPECT_NE(batches_[0].unobserved, "");
  EXPECT_TRUE(batches_[0].samples.empty());

  fs::create_directory(dir_ / "later");
  append(dir_ / "later/app.log", "FATAL\n");

  EXPECT_TRUE(critical_becomes(1));
}

TEST_F(LogCheckTest, ADirectoryThatVanishesIsUnobserved) {
  fs::create_directory(dir_ / "sub");
  settings_.path = dir_ / "sub/app.log";
  append(dir_ / "sub/app.log", "");
  start();
  append(dir_ / "sub/app.log", "FATAL at the end\n");
  fs::remove_all(dir_ / "sub");

  ASSERT_TRUE(run_until(context_, [&] { return !batches_.back().unobserved.empty(); }));
  const bool told = std::any_of(batches_.begin(), batches_.end(),
                                [](const Batch& b) { return value(b, "log_matches_total", "pattern", "critical") == 1; });
  EXPECT_TRUE(told) << "the last lines were lost";
}

TEST_F(LogCheckTest, ADirectoryThatWasReplacedIsFollowedAgain) {
  fs::create_directory(dir_ / "sub");
  settings_.path = dir_ / "sub/app.log";
  append(dir_ / "sub/app.log", "");
  start();
  fs::rename(dir_ / "sub", dir_ / "old");
  fs::create_directory(dir_ / "sub");
  append(dir_ / "sub/app.log", "FATAL\n");

  EXPECT_TRUE(critical_becomes(1));
}

TEST_F(LogCheckTest, ASecondOpinionReadsWhatIsThereNow) {
  append(dir_ / "app.log", "");
  start();
  append(dir_ / "app.log", "fine\nfine\n");

  const Batch batch = now();

  EXPECT_EQ(value(batch, "log_lines_total"), 2);
  EXPECT_FALSE(batch.healthy.has_value());
}

TEST_F(LogCheckTest, SettingsThatCannotBeMeantAreRefused) {
  settings_.patterns["broken"] = "(";
  EXPECT_EQ(make_check(context_of()).error().code, Errc::invalid_config);
  settings_.patterns.erase("broken");
  settings_.path = "relative.log";
  EXPECT_EQ(make_check(context_of()).error().code, Errc::invalid_config);
}

}  // namespace
}  // namespace rollbackd::checks
