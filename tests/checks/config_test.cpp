#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "checks/watched_files.hpp"
#include "tests/checks/helpers.hpp"

namespace rollbackd::checks {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

void write(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::trunc) << text; }

class ConfigCheckTest : public CheckTest {
 protected:
  ConfigCheckTest() {
    settings_.name = "nginx";
    settings_.type = config::CheckType::config;
    settings_.interval = 1h;  // What comes sooner comes from a change.
    settings_.timeout = 5s;
    fs::create_directory(directory_ / "etc");
    file_ = directory_ / "etc/app.conf";
    write(file_, "valid");
    settings_.paths = {file_};
    validator(file_);
  }
  /// A validator that takes `file` for valid when it says so, and writes down that it ran.
  void validator(const std::string& file) {
    settings_.command = {"/bin/sh", "-c",
                         "echo x >> " + runs_file_ + "; grep -q '^valid' " + file + " && exit 0; echo \"app: [emerg] $(cat " + file +
                             ")\"; echo more; exit 1"};
  }
  std::size_t runs() const {
    std::ifstream file(runs_file_);
    return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(file), {}, '\n'));
  }
  bool says(bool healthy) {
    return run_until(context_, [&] { return !batches_.empty() && batches_.back().healthy == healthy; });
  }
  test::TempDir directory_;
  std::string runs_file_ = directory_ / "runs", file_;
};

TEST_F(ConfigCheckTest, AValidConfigurationIsHealthy) {
  make();

  const Batch batch = run_for(context_, check_->probe_now());

  EXPECT_EQ(batch.healthy, true);
  EXPECT_EQ(batch.detail, "the configuration is valid");
  EXPECT_EQ(value(batch, "config_valid"), 1);
  EXPECT_EQ(value(batch, "config_changes_total"), 0);
  EXPECT_TRUE(find(batch, "config_changes_total")->counter);
  EXPECT_THAT(check_->source().metrics, ElementsAre("config_valid", "config_changes_total"));
}

TEST_F(ConfigCheckTest, AnInvalidOneSaysWhyInTheValidatorsFirstLine) {
  write(file_, "unknown directive");
  make();

  const Batch batch = run_for(context_, check_->probe_now());

  EXPECT_EQ(batch.healthy, false);
  EXPECT_EQ(value(batch, "config_valid"), 0);
  EXPECT_EQ(batch.detail, "the configuration is invalid: app: [emerg] unknown directive");
}

TEST_F(ConfigCheckTest, AValidatorThatCannotSpeakSaysNothing) {
  const auto unobserved = [&](std::vector<std::string> command) {
    settings_.command = std::move(command);
    make();
    const Batch batch = run_for(context_, check_->probe_now());
    EXPECT_FALSE(batch.healthy.has_value());
    EXPECT_TRUE(batch.samples.empty());
    return batch.unobserved;
  };

  EXPECT_THAT(unobserved({"/no/such/validator"}), HasSubstr("cannot execute /no/such/validator"));
  EXPECT_THAT(unobserved({"sh", "-c", "no-such-validator -t"}), HasSubstr("could not be run: "));
  EXPECT_THAT(unobserved({"sh", "-c", "kill -SEGV $$"}), HasSubstr("signal 11"));
  settings_.timeout = 30ms;
  EXPECT_THAT(unobserved({"sleep", "20"}), HasSubstr("did not end within 30ms"));
}

TEST_F(ConfigCheckTest, AChangedFileIsValidatedAtOnceAndCounted) {
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(says(true));

  write(file_, "broken");

  ASSERT_TRUE(says(false));
  EXPECT_EQ(value(batches_.back(), "config_changes_total"), 1);
  EXPECT_EQ(runs(), 2U);
  write(file_, "valid again");
  ASSERT_TRUE(says(true));
  EXPECT_EQ(value(batches_.back(), "config_changes_total"), 2);
}

TEST_F(ConfigCheckTest, AFileThatIsReplacedGoneOrNewIsAChange) {
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(says(true));

  write(directory_ / "new", "broken");
  fs::rename(directory_ / "new", file_);
  ASSERT_TRUE(says(false));
  fs::remove(file_);
  const std::size_t before = batches_.size();
  ASSERT_TRUE(batches_arrive(before + 1));
  EXPECT_EQ(batches_.back().healthy, false);
  fs::remove_all(directory_ / "etc");
  fs::create_directory(directory_ / "etc");
  write(file_, "valid");
  EXPECT_TRUE(says(true)) << "its directory was another one, too";
}

TEST_F(ConfigCheckTest, DirectoriesAndPatternsAreWatchedForNewFiles) {
  settings_.paths = {directory_ / "etc", directory_ / "conf.d/*.conf"};
  fs::create_directory(directory_ / "conf.d");
  validator("/dev/null");
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(batches_arrive(1));

  write(directory_ / "etc/included", "x");
  ASSERT_TRUE(batches_arrive(2));
  write(directory_ / "conf.d/b.conf", "x");
  ASSERT_TRUE(batches_arrive(3));

  EXPECT_EQ(value(batches_.back(), "config_changes_total"), 2);
}

TEST_F(ConfigCheckTest, ASwitchedLinkOnTheWayIsAChange) {
  fs::create_directories(directory_ / "releases/v1");
  fs::create_directories(directory_ / "releases/v2");
  write(directory_ / "releases/v1/app.conf", "valid");
  write(directory_ / "releases/v2/app.conf", "broken");
  fs::create_symlink("releases/v1", directory_ / "current");
  settings_.paths = {directory_ / "current/app.conf"};
  validator(directory_ / "current/app.conf");
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(says(true));

  fs::create_symlink("releases/v2", directory_ / "next");
  fs::rename(directory_ / "next", directory_ / "current");

  ASSERT_TRUE(says(false));
  fs::create_symlink("releases/v1", directory_ / "next");
  fs::rename(directory_ / "next", directory_ / "current");
  EXPECT_TRUE(says(true));
}

TEST_F(ConfigCheckTest, AnEpochIsValidatedForItselfAndNothingIsRepeatedOfTheOneBefore) {
  settings_.interval = 20ms;
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(batches_arrive(3));
  EXPECT_EQ(runs(), 1U) << "what is known is repeated";

  const Instant at = clock_.now();
  check_->begin_epoch();
  const std::size_t before = batches_.size();
  ASSERT_TRUE(batches_arrive(before + 2));

  EXPECT_GE(batches_[before].began, at);
  EXPECT_EQ(runs(), 2U);
}

TEST_F(ConfigCheckTest, AValidatorThatCouldNotSpeakIsTriedAgain) {
  settings_.interval = 20ms;
  const std::string tool = directory_ / "tool";
  settings_.command = {tool};
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(batches_arrive(2));
  EXPECT_NE(batches_.back().unobserved, "");

  write(tool + ".new", "#!/bin/sh\nexit 0\n");
  fs::permissions(tool + ".new", fs::perms::owner_all);
  fs::rename(tool + ".new", tool);

  EXPECT_TRUE(says(true));
}

TEST_F(ConfigCheckTest, WhatTouchesNothingIsNoChange) {
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(says(true));
  write(directory_ / "etc/other", "x");  // An event of the same directory.
  run_until(
      context_, [] { return false; }, 700ms);

  EXPECT_EQ(runs(), 1U);
}

TEST_F(ConfigCheckTest, ACommandIsNeeded) {
  settings_.command.clear();
  EXPECT_FALSE(make_check(context_of()).has_value());
  settings_.command = {"x"};
  settings_.paths = {"relative"};
  EXPECT_FALSE(make_check(context_of()).has_value());
}

TEST_F(ConfigCheckTest, EndsWhenCancelledWhileTheValidatorRuns) {
  settings_.command = {"sleep", "30"};
  make();
  test::Background running(context_, check_->run());
  run_until(
      context_, [] { return false; }, 50ms);

  EXPECT_TRUE(running.stop());
  EXPECT_TRUE(batches_.empty());
}

TEST(WatchedFiles, AFingerprintIsTheSameUntilSomethingChanges) {
  test::TempDir directory;
  write(directory / "a.conf", "1");
  const std::vector<std::string> paths{directory / "*.conf", directory / "missing/x"};
  const WatchedFiles before = look_at_files(paths);

  EXPECT_EQ(look_at_files(paths).fingerprint, before.fingerprint);
  EXPECT_TRUE(before.complete);
  write(directory / "b.conf", "");
  const std::uint64_t more = look_at_files(paths).fingerprint;
  EXPECT_NE(more, before.fingerprint);
  fs::permissions(directory / "a.conf", fs::perms::none);
  EXPECT_NE(look_at_files(paths).fingerprint, more);
}

TEST(WatchedFiles, EveryDirectoryThatTellsIsNamed) {
  test::TempDir directory;
  fs::create_directories(directory / "releases/v1/conf");
  fs::create_directories(directory / "sites/a/x");
  fs::create_directory_symlink("releases/v1", directory / "current");
  write(directory / "current/conf/a.conf", "");

  const auto of = [&](const std::string& path) { return look_at_files({directory / path}).directories; };

  const std::string top = directory.path().string();
  EXPECT_THAT(of("current/conf/a.conf"), testing::UnorderedElementsAre(top, top + "/current/conf"));
  EXPECT_THAT(of("current/conf"), testing::UnorderedElementsAre(top, top + "/current", top + "/current/conf"));
  EXPECT_THAT(of("not/yet/there"), ElementsAre(top));
  EXPECT_THAT(of("sites/*/x/*.conf"), testing::UnorderedElementsAre(top, top + "/sites", top + "/sites/a", top + "/sites/a/x"));
}

TEST(WatchedFiles, ThereIsABoundOnHowManyAreLookedAt) {
  test::TempDir directory;
  for (int i = 0; i < 4100; ++i) write(directory / std::to_string(i), "");

  EXPECT_FALSE(look_at_files({directory.path().string()}).complete);
}

}  // namespace
}  // namespace rollbackd::checks
