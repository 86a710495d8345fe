// Directories by handles, as a process opens them that has more rights than those who own the way there.
#include "drivers/guarded_path.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "drivers/link_switch.hpp"
#include "drivers/removal.hpp"
#include "tests/drivers/helpers.hpp"

namespace rollbackd::drivers {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;

struct Way {
  TempDir directory;
  std::string root = fs::canonical(directory.path()).string();
  Way() { fs::create_directories(root + "/a/b/c"); }
  static ino_t inode(int fd) {
    struct stat facts {};
    return ::fstat(fd, &facts) == 0 ? facts.st_ino : 0;
  }
  bool leads_to_c(const std::string& path) const {
    const auto opened = open_by_parts(root + path, O_PATH);
    struct stat c {};
    return opened.has_value() && ::stat((root + "/a/b/c").c_str(), &c) == 0 && inode(opened->get()) == c.st_ino;
  }
};

TEST(GuardedPath, ADirectoryIsOpenedByItsPartsAndLinksOfOursAreFollowed) {
  const Way way;
  fs::create_symlink("b/./c", way.root + "/a/relative");
  fs::create_symlink(way.root + "/a/b", way.root + "/absolute");
  fs::create_symlink("../../absolute/c", way.root + "/a/b/up");

  for (const char* path : {"/a/b/c", "//a/./b/c/", "/a/relative", "/absolute/c", "/a/b/up", "/a/b/../b/c"})
    EXPECT_TRUE(way.leads_to_c(path)) << path;

  EXPECT_TRUE(open_by_parts(way.root + "/a/none/c", O_PATH).has_error());
  testing::write_file(way.root + "/a/file", "");
  EXPECT_TRUE(open_by_parts(way.root + "/a/file", O_PATH).has_error());
  fs::create_symlink("round", way.root + "/a/round");
  EXPECT_EQ(open_by_parts(way.root + "/a/round", O_PATH).error().code, Errc::refused);
  EXPECT_TRUE(open_by_parts("a/b", O_PATH).has_error());
}

TEST(GuardedPath, ALinkThatOthersCanTurnIsNotFollowed) {
  const Way way;
  fs::create_symlink("b/c", way.root + "/a/link");
  ASSERT_TRUE(way.leads_to_c("/a/link"));

  fs::permissions(way.root + "/a", fs::perms::all);
  EXPECT_EQ(open_by_parts(way.root + "/a/link", O_PATH).error().code, Errc::refused);
  EXPECT_TRUE(way.leads_to_c("/a/b/c")) << "directories may be anybody's";

  fs::permissions(way.root + "/a", fs::perms::all | fs::perms::sticky_bit);
  EXPECT_TRUE(way.leads_to_c("/a/link")) << "there nobody turns what is ours";
  if (::geteuid() != 0) return;
  ASSERT_EQ(::lchown((way.root + "/a/link").c_str(), 65534, 65534), 0);
  EXPECT_EQ(open_by_parts(way.root + "/a/link", O_PATH).error().code, Errc::refused);
}

TEST(GuardedPath, ADirectorySwappedBetweenCheckAndSwitchDoesNotRedirectTheSwitch) {
  const Way way;
  const std::string links = way.root + "/links", victim = way.root + "/victim";
  for (const std::string& each : {links, victim}) {
    fs::create_directories(each);
    fs::create_symlink("releases/v2", each + "/current");
  }
  bool looked = false;
  const auto swap = [&](int directory) -> Result<> {
    looked = Way::inode(directory) != 0;
    fs::rename(links, way.root + "/moved");
    fs::create_symlink(victim, links);
    return {};
  };

  const Outcome outcome = switch_link(LinkPlace{links, "current", true}, "releases/v2", "releases/v1", exchange_names, swap);

  EXPECT_TRUE(looked);
  EXPECT_TRUE(outcome.ok()) << outcome.error.text();
  EXPECT_EQ(fs::read_symlink(way.root + "/moved/current").string(), "releases/v1") << "where it was looked at";
  EXPECT_EQ(fs::read_symlink(victim + "/current").string(), "releases/v2");
  EXPECT_EQ(std::distance(fs::directory_iterator(victim), fs::directory_iterator()), 1) << "nothing was made in it";
}

TEST(GuardedPath, NothingIsRemovedWhereALinkThatOthersCanTurnLeads) {
  const Way way;
  const std::string theirs = way.root + "/theirs", victim = way.root + "/victim";
  for (const std::string& each : {theirs + "/releases", victim}) fs::create_directories(each + "/v1");
  fs::permissions(theirs, fs::perms::all);
  const Layout layout{LinkPlace{theirs, "current", true}, theirs + "/releases"};
  fs::rename(theirs + "/releases", theirs + "/moved");
  fs::create_symlink(victim, theirs + "/releases");

  EXPECT_EQ(remove_release(layout, "v1").status, Outcome::Status::refused);
  EXPECT_TRUE(fs::exists(victim + "/v1"));

  fs::remove(theirs + "/releases");
  fs::rename(theirs + "/moved", theirs + "/releases");
  EXPECT_TRUE(remove_release(layout, "v1").ok());
  EXPECT_FALSE(fs::exists(theirs + "/releases/v1"));
}

}  // namespace
}  // namespace rollbackd::drivers
