#include "engine/kill_switch.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/run_for.hpp"

namespace rollbackd::engine {
namespace {

namespace fs = std::filesystem;

struct KillSwitches : testing::Test {
  test::TempDir directory;
  std::string path = directory / "kill-switch";
  KillSwitch kill{path};
};

TEST_F(KillSwitches, AFileIsOnWhateverIsInIt) {
  EXPECT_FALSE(kill.look());
  EXPECT_FALSE(kill.on());
  std::ofstream(path).flush();
  EXPECT_TRUE(kill.look());
  EXPECT_TRUE(kill.on());
  EXPECT_EQ(kill.why(), path + " is there");
  EXPECT_FALSE(kill.look()) << "nothing is new";

  ASSERT_TRUE(KillSwitch::put(path, "odd graphs (uid:0)\nsecond line\n"));
  EXPECT_TRUE(kill.look());
  EXPECT_EQ(kill.why(), "odd graphs (uid:0)");

  ASSERT_TRUE(KillSwitch::take_away(path));
  ASSERT_TRUE(KillSwitch::take_away(path)) << "nothing there is fine";
  EXPECT_TRUE(kill.look());
  EXPECT_FALSE(kill.on());
  EXPECT_EQ(kill.why(), "");
}

TEST_F(KillSwitches, WhatCannotBeLookedAtOrReadCountsAsThere) {
  fs::create_symlink("/nowhere", path);
  kill.look();
  EXPECT_TRUE(kill.on());
  EXPECT_FALSE(KillSwitch::put(path, "x")) << "it is not written through a link";
  fs::remove(path);
  fs::create_directory(path);
  kill.look();
  EXPECT_TRUE(kill.on());
  std::ofstream(directory / "file") << "x";
  KillSwitch below(directory / "file/kill-switch");  // ENOTDIR: neither there nor not there.
  EXPECT_TRUE(below.look());
  EXPECT_TRUE(below.on());
  EXPECT_NE(below.why().find("cannot be looked at"), std::string::npos);
}

TEST_F(KillSwitches, AnOrderThatCouldNotBeWrittenStandsUntilItIsTakenBack) {
  kill.force("the disk is full");
  kill.look();
  EXPECT_TRUE(kill.on());
  EXPECT_EQ(kill.why(), "the disk is full");
  kill.release();
  kill.look();
  EXPECT_FALSE(kill.on());
}

}  // namespace
}  // namespace rollbackd::engine
