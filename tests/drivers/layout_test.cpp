#include "drivers/layout.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "drivers/removal.hpp"
#include "tests/drivers/helpers.hpp"

namespace rollbackd::drivers {
namespace {

namespace fs = std::filesystem;
using rollbackd::testing::TempDir;
using rollbackd::testing::write_file;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The tree of one deployment tool.
struct Tree {
  TempDir dir;
  Layout layout{LinkPlace{dir.path(), "current"}, dir / "releases"};
  void release(const std::string& id) {
    fs::create_directories(dir / ("releases/" + id + "/app"));
    write_file(dir / ("releases/" + id + "/app/main"), id);
  }
  void link(const std::string& name, const std::string& value) { fs::create_directory_symlink(value, dir / name); }
};

TEST(Layouts, CapistranosIsReadWithItsCommits) {
  Tree tree;
  for (const char* id : {"20261119080000", "20261120080000"}) {
    tree.release(id);
    write_file(tree.dir / ("releases/" + std::string(id) + "/REVISION"), "8d1c0b2fdc1b39a2e3ca7f0e6f9a5a3b4f1d2e3c\n");
    tree.link("releases/" + std::string(id) + "/log", tree.dir / "shared/log");
  }
  fs::create_directories(tree.dir / "shared/log");
  fs::create_directories(tree.dir / "repo/objects");
  write_file(tree.dir / "revisions.log", "Branch main (at 8d1c0b2) deployed as release 20261120080000 by ops\n");
  tree.link("current", tree.dir / "releases/20261120080000");

  const World world = tree.layout.look().value();
  EXPECT_EQ(world.live, "20261120080000");
  EXPECT_THAT(world.releases, ElementsAre("20261119080000", "20261120080000"));
  EXPECT_EQ(describe_release(tree.layout, "20261119080000").release.commit, "8d1c0b2fdc1b39a2e3ca7f0e6f9a5a3b4f1d2e3c");
  EXPECT_EQ(tree.layout.value_for(LinkFacts{world.link, world.link_value, 1}, "20261119080000"), tree.dir / "releases/20261119080000");
}

TEST(Layouts, DeployersReleaseThatIsBeingWrittenIsNone) {
  Tree tree;
  for (const char* id : {"1", "2", "3"}) tree.release(id);
  write_file(tree.dir / "releases/2/REVISION", "abc\n");
  fs::create_directories(tree.dir / ".dep");
  fs::create_directories(tree.dir / "shared");
  write_file(tree.dir / ".dep/latest_release", "3\n");
  write_file(tree.dir / ".dep/deploy.lock", "ops\n");
  write_file(tree.dir / ".dep/releases_log",
             "{\"created_at\":\"2026-11-19T08:00:00+0000\",\"release_name\":\"1\",\"user\":\"ops\",\"target\":\"main\"}\n"
             "not json\n"
             "{\"created_at\":\"2026-11-20T08:00:00+0100\",\"release_name\":\"2\",\"user\":\"ops\",\"target\":\"main\"}\n");
  tree.link("current", "releases/2");
  tree.link("release", "releases/3");

  World world = tree.layout.look().value();
  EXPECT_EQ(world.live, "2");
  EXPECT_THAT(world.releases, ElementsAre("1", "2"));
  EXPECT_THAT(tree.layout.why_unfinished("3"), HasSubstr("/release leads to it"));
  EXPECT_EQ(tree.layout.held_lock(), tree.dir / ".dep/deploy.lock");
  EXPECT_EQ(describe_release(tree.layout, "2").release.created, "2026-11-20T08:00:00+01:00");
  EXPECT_EQ(describe_release(tree.layout, "2").release.commit, "abc");
  EXPECT_EQ(tree.layout.value_for(LinkFacts{world.link, world.link_value, 1}, "1"), "releases/1") << "relative stays relative";

  // It is published: the link `release` becomes `current`.
  fs::rename(tree.dir / "release", tree.dir / "current");
  world = tree.layout.look().value();
  EXPECT_EQ(world.live, "3");
  EXPECT_THAT(world.releases, ElementsAre("1", "2", "3"));
  // Where links cannot be renamed, both lead to it for a moment.
  tree.link("release", "releases/3");
  EXPECT_EQ(tree.layout.why_unfinished("3"), "");
}

TEST(Layouts, AnsistranosDottedRelativeLinkStaysSo) {
  Tree tree;
  for (const char* id : {"20261119080000Z", "20261120080000Z"}) tree.release(id);
  fs::create_directories(tree.dir / "shared/log");
  tree.link("current", "./releases/20261120080000Z");
  write_file(tree.dir / "releases/20261119080000Z/REVISION", "main\n");

  const World world = tree.layout.look().value();
  EXPECT_EQ(world.live, "20261120080000Z");
  EXPECT_EQ(tree.layout.value_for(LinkFacts{world.link, world.link_value, 1}, "20261119080000Z"), "./releases/20261119080000Z");
  EXPECT_EQ(describe_release(tree.layout, "20261119080000Z").release.commit, "main");
  tree.release("20261121080000Z");
  write_file(tree.dir / "releases/20261121080000Z/DEPLOY_UNFINISHED", "");
  EXPECT_THAT(tree.layout.look().value().releases, ElementsAre("20261119080000Z", "20261120080000Z"));
}

TEST(Layouts, PathsThatAReleaseCallsMutableLieWithinIt) {
  Tree tree;
  tree.release("1");
  write_file(tree.dir / "releases/1/release.json", R"({"mutable": ["tmp", "var/cache", "/etc", "../x", "a/./b", "", "x/"]})");
  EXPECT_THAT(describe_release(tree.layout, "1").left_out, ElementsAre("tmp", "var/cache"));
}

TEST(Removal, TakesAReleaseAwayWholeAndFollowsNoLink) {
  Tree tree;
  for (const char* id : {"1", "2"}) tree.release(id);
  tree.link("current", "releases/2");
  fs::create_directories(tree.dir / "precious");
  write_file(tree.dir / "precious/data", "keep me");
  tree.link("releases/1/app/out", tree.dir / "precious");
  write_file(tree.dir / "releases/.1.BAD_RELEASE", "x");
  fs::permissions(tree.dir / "releases/1/app/main", fs::perms(0400));

  EXPECT_EQ(remove_release(tree.layout, "1").status, Outcome::Status::done);
  EXPECT_FALSE(fs::exists(tree.dir / "releases/1"));
  EXPECT_EQ(std::distance(fs::directory_iterator(tree.dir / "releases"), {}), 1);
  EXPECT_TRUE(fs::exists(tree.dir / "precious/data"));
  EXPECT_EQ(remove_release(tree.layout, "1").status, Outcome::Status::already_done);
}

TEST(Removal, NeverOfWhatAnythingLeadsToOrIsBeingWritten) {
  Tree tree;
  for (const char* id : {"1", "2", "3", "4", "5"}) tree.release(id);
  tree.link("current", "releases/2");
  tree.link("stable", "releases/3/");
  tree.link("release", "releases/4");
  tree.link(".current.rollbackd-armed", tree.dir / "releases/5");
  for (const char* id : {"2", "3", "4", "5", "..", "x/y", ""}) {
    const Outcome outcome = remove_release(tree.layout, id);
    EXPECT_EQ(outcome.status, Outcome::Status::refused) << id;
  }
  fs::create_directories(tree.dir / ".dep");
  write_file(tree.dir / ".dep/deploy.lock", "ops\n");
  EXPECT_THAT(remove_release(tree.layout, "1").error.why, HasSubstr("somebody deploys"));
  for (const char* id : {"1", "2", "3", "4", "5"}) EXPECT_TRUE(fs::exists(tree.dir / ("releases/" + std::string(id) + "/app/main"))) << id;
}

TEST(Removal, GoesOnWithOneThatWasCutOffAndLeavesAReleaseThatCameAgain) {
  Tree tree;
  for (const char* id : {"1", "2"}) tree.release(id);
  tree.link("current", "releases/2");
  fs::rename(tree.dir / "releases/1", tree.dir / "releases/.1.removing");
  EXPECT_THAT(half_removed(tree.layout.releases), ElementsAre("1"));
  EXPECT_THAT(tree.layout.look().value().releases, ElementsAre("2"));
  tree.release("1");

  EXPECT_EQ(remove_release(tree.layout, "1").status, Outcome::Status::conflict);
  EXPECT_TRUE(fs::exists(tree.dir / "releases/1/app/main"));
  EXPECT_TRUE(half_removed(tree.layout.releases).empty());
}

}  // namespace
}  // namespace rollbackd::drivers
