// Keeping a release in the page cache, against real files: what was let go of is read again, and no more than the cap.
#include "drivers/warm.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "io/process.hpp"
#include "tests/drivers/helpers.hpp"

namespace rollbackd::drivers {
namespace {

namespace fs = std::filesystem;
using rollbackd::testing::TempDir;
using rollbackd::testing::write_file;

/// Drops the pages of a file, as memory pressure does; a tmpfs keeps them.
void let_go(const std::string& path) {
  const io::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ::fsync(fd.get());
  ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
}

TEST(Warm, WhatMemoryLetGoOfIsReadAgainWithinTheCap) {
  const TempDir dir;
  fs::create_directory(dir / "lib");
  write_file(dir / "a", std::string(1 << 20, 'a'));
  write_file(dir / "lib/b", std::string(2 << 20, 'b'));
  write_file(dir / "lib/empty", "");
  fs::create_symlink("/etc/passwd", dir / "link");
  for (const char* file : {"a", "lib/b"}) let_go(dir / file);
  const auto first = warm_tree(dir.path(), {});
  ASSERT_TRUE(first.has_value()) << first.error().text();
  if (first->warm()) GTEST_SKIP() << "this file system lets go of nothing";
  EXPECT_EQ(first->bytes, 3 << 20) << "links are not followed";
  EXPECT_EQ(first->wanted_bytes, 3 << 20);
  EXPECT_EQ(first->warm_bytes + first->read_bytes, 3 << 20);

  const auto until = std::chrono::steady_clock::now() + 10s;
  auto now = warm_tree(dir.path(), {});
  while (!now->warm() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(1ms);
    now = warm_tree(dir.path(), {});
  }
  EXPECT_TRUE(now->warm()) << now->warm_bytes;

  let_go(dir / "a");
  let_go(dir / "lib/b");
  WarmOptions small;
  small.bytes_max = (1 << 20) + 4096 + 1;
  const auto capped = warm_tree(dir.path(), small);
  EXPECT_EQ(capped->bytes, 3 << 20);
  EXPECT_EQ(capped->wanted_bytes, (1 << 20) + 4096) << "whole pages, no more than the cap";
  EXPECT_LE(capped->read_bytes, capped->wanted_bytes);
}

TEST(Warm, NoReleaseTooManyFilesAndBeingStoppedAreErrors) {
  const TempDir dir;
  write_file(dir / "a", "a");
  write_file(dir / "b", "b");
  fs::create_directory_symlink(dir.path(), dir / "link");

  EXPECT_EQ(warm_tree(dir / "none", {}).error().code, Errc::not_found);
  EXPECT_EQ(warm_tree(dir / "link", {}).error().code, Errc::not_found);
  WarmOptions few;
  few.files_max = 1;
  EXPECT_EQ(warm_tree(dir.path(), few).error().code, Errc::too_large);
  const std::atomic<bool> stop = true;
  WarmOptions stopped;
  stopped.stop = &stop;
  EXPECT_EQ(warm_tree(dir.path(), stopped).error().code, Errc::cancelled);
}

}  // namespace
}  // namespace rollbackd::drivers
