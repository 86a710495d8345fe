#include "io/inotify.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>

#include <filesystem>
#include <fstream>

#include "tests/support/run_for.hpp"

namespace rollbackd::io {
namespace {

using test::run_for;

class InotifyTest : public testing::Test {
 protected:
  boost::asio::io_context context_;
  test::TempDir dir_;
};

TEST_F(InotifyTest, TellsTheNameOfAFileThatAppeared) {
  Inotify inotify = Inotify::open(context_.get_executor()).value();
  const int watch = inotify.add(dir_.path(), IN_CREATE).value();
  std::ofstream(dir_ / "app.log") << "line\n";

  const auto events = run_for(context_, inotify.next()).value();

  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].watch, watch);
  EXPECT_EQ(events[0].name, "app.log");
  EXPECT_TRUE(events[0].mask & IN_CREATE);
}

TEST_F(InotifyTest, GivesSeveralEventsAtOnceInTheirOrder) {
  Inotify inotify = Inotify::open(context_.get_executor()).value();
  ASSERT_TRUE(inotify.add(dir_.path(), IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE).has_value());
  std::ofstream(dir_ / "a");
  std::filesystem::rename(dir_ / "a", dir_ / "b");

  const auto events = run_for(context_, inotify.next()).value();

  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].name, "a");
  EXPECT_TRUE(events[1].mask & IN_MOVED_FROM);
  EXPECT_EQ(events[2].name, "b");
}

TEST_F(InotifyTest, WaitsForTheNextChange) {
  Inotify inotify = Inotify::open(context_.get_executor()).value();
  ASSERT_TRUE(inotify.add(dir_.path(), IN_CREATE).has_value());
  boost::asio::post(context_, [this] { std::ofstream(dir_ / "late"); });

  const auto events = run_for(context_, inotify.next()).value();

  EXPECT_EQ(events.at(0).name, "late");
}

TEST_F(InotifyTest, AMissingDirectoryIsNotFound) {
  Inotify inotify = Inotify::open(context_.get_executor()).value();

  const auto watch = inotify.add(dir_ / "nowhere", IN_CREATE);

  ASSERT_TRUE(watch.has_error());
  EXPECT_EQ(watch.error().code, Errc::not_found);
}

TEST_F(InotifyTest, ARemovedDirectorySaysSoItself) {
  std::filesystem::create_directory(dir_ / "sub");
  Inotify inotify = Inotify::open(context_.get_executor()).value();
  ASSERT_TRUE(inotify.add(dir_ / "sub", IN_DELETE_SELF).has_value());
  std::filesystem::remove(dir_ / "sub");

  const auto events = run_for(context_, inotify.next()).value();

  EXPECT_TRUE(events.at(0).mask & IN_DELETE_SELF);
}

}  // namespace
}  // namespace rollbackd::io
