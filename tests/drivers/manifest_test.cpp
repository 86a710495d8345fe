#include "drivers/manifest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include "base/digest.hpp"
#include "drivers/release_reading.hpp"
#include "tests/drivers/helpers.hpp"

namespace rollbackd::drivers {
namespace {

namespace fs = std::filesystem;
using rollbackd::testing::TempDir;
using rollbackd::testing::write_file;
using ::testing::HasSubstr;

void fill(const std::string& path) {
  fs::create_directories(path + "/lib");
  fs::permissions(path, fs::perms(0755));
  fs::permissions(path + "/lib", fs::perms(0755));
  write_file(path + "/run.sh", "#!/bin/sh\n", 0755);
  write_file(path + "/lib/data", "one");
  fs::create_symlink("lib/data", path + "/data");
}

TEST(Manifest, IsMadeOfTypeModeSizeContentAndPath) {
  const TempDir dir;
  fill(dir / "v1");

  const auto manifest = hash_tree(dir / "v1");

  ASSERT_TRUE(manifest.has_value()) << manifest.error().text();
  const std::string text =
      "d\t0755\t0\t-\t.\n"
      "l\t0777\t8\tlib/data\tdata\n"
      "d\t0755\t0\t-\tlib\n"
      "f\t0644\t3\t" +
      sha256_hex("one") +
      "\tlib/data\n"
      "f\t0755\t10\t" +
      sha256_hex("#!/bin/sh\n") + "\trun.sh\n";
  EXPECT_EQ(manifest.value().digest, sha256_hex(text));
}

TEST(Manifest, ACopyElsewhereHasTheSameDigest) {
  const TempDir dir;
  fill(dir / "v1");
  fill(dir / "copy");

  EXPECT_EQ(hash_tree(dir / "v1").value().digest, hash_tree(dir / "copy").value().digest);
}

TEST(Manifest, ContentModeAdditionAndLinkTargetEachChangeTheDigest) {
  const TempDir dir;
  fill(dir / "v1");
  const std::string before = hash_tree(dir / "v1").value().digest;

  write_file(dir / "v1/lib/data", "two");
  const std::string content = hash_tree(dir / "v1").value().digest;
  fs::permissions(dir / "v1/run.sh", fs::perms(0644));
  const std::string mode = hash_tree(dir / "v1").value().digest;
  write_file(dir / "v1/more", "");
  const std::string added = hash_tree(dir / "v1").value().digest;
  fs::remove(dir / "v1/data");
  fs::create_symlink("run.sh", dir / "v1/data");
  const std::string link = hash_tree(dir / "v1").value().digest;

  EXPECT_EQ((std::set<std::string>{before, content, mode, added, link}.size()), 5U);
}

TEST(Manifest, AQuickLookSeesWhatChanged) {
  const TempDir dir;
  fill(dir / "v1");
  const Manifest known = hash_tree(dir / "v1").value();

  EXPECT_EQ(first_change(dir / "v1", known).value(), "");
  fs::permissions(dir / "v1/run.sh", fs::perms(0700));
  EXPECT_THAT(first_change(dir / "v1", known).value(), HasSubstr("run.sh has another mode"));
  fs::permissions(dir / "v1/run.sh", fs::perms(0755));
  EXPECT_THAT(first_change(dir / "v1", known).value(), HasSubstr("run.sh was touched")) << "put back, but the inode's change time tells";
}

TEST(Manifest, AQuickLookSeesAddedAndMissingFiles) {
  const TempDir dir;
  fill(dir / "v1");
  const Manifest known = hash_tree(dir / "v1").value();

  write_file(dir / "v1/lib/aaa", "");
  EXPECT_THAT(first_change(dir / "v1", known).value(), HasSubstr("lib/aaa was added"));
  fs::remove(dir / "v1/lib/aaa");
  fs::remove(dir / "v1/lib/data");
  EXPECT_THAT(first_change(dir / "v1", known).value(), HasSubstr("lib/data is missing"));
}

TEST(Manifest, AQuickLookSeesARewriteOfTheSameSizeAndTime) {
  const TempDir dir;
  fill(dir / "v1");
  const auto time = fs::last_write_time(dir / "v1/lib/data");
  const Manifest known = hash_tree(dir / "v1").value();

  write_file(dir / "v1/lib/data", "two");
  fs::last_write_time(dir / "v1/lib/data", time);

  EXPECT_THAT(first_change(dir / "v1", known).value(), HasSubstr("lib/data"));
}

TEST(Manifest, NeverFollowsALink) {
  const TempDir dir;
  fill(dir / "v1");
  fs::create_directory_symlink("/etc", dir / "v1/etc");
  const auto manifest = hash_tree(dir / "v1");
  fs::create_directory_symlink(dir / "v1", dir / "alias");

  ASSERT_TRUE(manifest.has_value());
  EXPECT_EQ(manifest.value().entries.size(), 6U);
  EXPECT_EQ(hash_tree(dir / "alias").error().code, Errc::not_found) << "a release that is a link is none";
}

TEST(Manifest, RefusesAPipe) {
  const TempDir dir;
  fill(dir / "v1");
  ASSERT_EQ(::mkfifo((dir / "v1/pipe").c_str(), 0600), 0);

  EXPECT_EQ(hash_tree(dir / "v1").error().code, Errc::refused);
}

TEST(Manifest, HoldsItsBounds) {
  const TempDir dir;
  fill(dir / "v1");
  fs::create_directories(dir / "v1/a/b/c");

  EXPECT_EQ(hash_tree(dir / "v1", TreeLimits{.files_max = 4, .depth_max = 64}).error().code, Errc::too_large);
  EXPECT_EQ(hash_tree(dir / "v1", TreeLimits{.files_max = 100, .depth_max = 3}).error().code, Errc::too_large);
  EXPECT_TRUE(hash_tree(dir / "v1", TreeLimits{.files_max = 100, .depth_max = 4}).has_value());
}

TEST(Manifest, SeveralThreadsAndASlowPaceFindTheSame) {
  const TempDir dir;
  fill(dir / "v1");
  for (int i = 0; i < 200; ++i) write_file(dir / ("v1/lib/" + std::to_string(i)), std::string(static_cast<std::size_t>(i) * 100, 'x'));
  const Manifest one = hash_tree(dir / "v1").value();

  EXPECT_EQ(hash_tree(dir / "v1", {}, ReadPace{.threads = 4}).value().text, one.text);
  EXPECT_EQ(hash_tree(dir / "v1", {}, ReadPace{.bytes_per_second = 100 << 20}).value().digest, one.digest);
  EXPECT_EQ(sha256_hex(one.text), one.digest);
}

TEST(Manifest, ASlowReadingKeepsItsPaceAndStopsWhenAsked) {
  const TempDir dir;
  fill(dir / "v1");
  write_file(dir / "v1/big", std::string(1 << 20, 'x'));
  const auto began = std::chrono::steady_clock::now();
  ASSERT_TRUE(hash_tree(dir / "v1", {}, ReadPace{.bytes_per_second = 10 << 20}).has_value());
  EXPECT_GE(std::chrono::steady_clock::now() - began, 90ms);

  const std::atomic<bool> stop{true};
  EXPECT_EQ(hash_tree(dir / "v1", {}, ReadPace{.bytes_per_second = 1, .stop = &stop}).error().code, Errc::cancelled);
}

TEST(Manifest, SeveralWorkersMayReadAndKeepOneReleaseAtATime) {
  const TempDir dir;
  fill(dir / "releases/v1");
  for (int i = 0; i < 100; ++i) write_file(dir / ("releases/v1/" + std::to_string(i) + std::string(200, 'x')), "");
  const Layout layout{{}, dir / "releases"};
  std::atomic<int> changed{0}, failed{0};

  const auto read = [&] {
    for (int i = 0; i < 100; ++i) {
      const auto found = read_release(layout, "v1", {}, nullptr, dir / "kept");
      if (!found) {
        ++failed;
      } else if (!found.value().reading.change.empty()) {
        ++changed;  // It saw half of what another was writing.
      }
      ::unlink((dir / "kept/v1").c_str());  // So that it is written anew each time.
    }
  };
  std::vector<std::thread> workers;
  for (int i = 0; i < 4; ++i) workers.emplace_back(read);
  for (std::thread& worker : workers) worker.join();

  EXPECT_EQ(failed, 0);
  EXPECT_EQ(changed, 0);
}

TEST(Manifest, WhatTheServiceWritesForItselfIsNoPartOfIt) {
  const TempDir dir;
  fill(dir / "v1");
  const LeftOut left_out = {"tmp", "lib/cache.db"};
  const std::string before = hash_tree(dir / "v1", {}, {}, left_out).value().digest;
  fs::create_directories(dir / "v1/lib/__pycache__");
  write_file(dir / "v1/lib/__pycache__/app.pyc", "x");
  fs::create_directories(dir / "v1/tmp/deep");
  ASSERT_EQ(::mkfifo((dir / "v1/tmp/socket").c_str(), 0600), 0);
  write_file(dir / "v1/lib/cache.db", "x");

  EXPECT_EQ(hash_tree(dir / "v1", {}, {}, left_out).value().digest, before);
  write_file(dir / "v1/lib/tmp", "x");
  EXPECT_NE(hash_tree(dir / "v1", {}, {}, left_out).value().digest, before) << "a path, not a name";
}

TEST(Manifest, SaysWhichFilesDiffer) {
  const TempDir dir;
  fill(dir / "v1");
  const std::string before = hash_tree(dir / "v1").value().text;
  write_file(dir / "v1/lib/data", "two");
  fs::permissions(dir / "v1/run.sh", fs::perms(0700));
  write_file(dir / "v1/new\tname", "");
  fs::remove(dir / "v1/data");
  const std::string after = hash_tree(dir / "v1").value().text;

  EXPECT_EQ(differences(before, after),
            (std::vector<std::string>{"data is missing", "lib/data has other content", "run.sh has another mode", "new\\tname was added"}));
  EXPECT_EQ(differences(before, after, 1), (std::vector<std::string>{"data is missing", "3 more"}));
  EXPECT_TRUE(differences(before, before).empty());
}

}  // namespace
}  // namespace rollbackd::drivers
