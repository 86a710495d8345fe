// Changes beside the releases, seen by a real engine.
#include "engine/changes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/daemon.hpp"

namespace rollbackd::engine {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

void put(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

TEST(UnitPatterns, AreTheUnitsFileItsDropInsAndItsTemplates) {
  const auto patterns = unit_patterns("shop@blue.service");
  for (const char* wanted :
       {"/etc/systemd/system/shop@blue.service", "/etc/systemd/system/shop@blue.service.d/*.conf", "/usr/lib/systemd/system/shop@.service",
        "/run/systemd/system/shop@.service.d/*.conf", "/etc/systemd/system/service.d/*.conf"})
    EXPECT_THAT(patterns, Contains(wanted));
  EXPECT_TRUE(unit_patterns("../x.service").empty());
  EXPECT_TRUE(unit_patterns("").empty());
}

TEST(WatchedFilesTest, AreThoseThatThePathsMeanButNoneOfARelease) {
  const TempDir dir;
  fs::create_directories(dir / "conf.d/deeper");
  fs::create_directories(dir / "releases/v1");
  fs::create_symlink("releases/v1", dir / "current");
  for (const char* file :
       {"conf.d/a.conf", "conf.d/.b.conf.swp", "conf.d/c.conf~", "conf.d/deeper/d.conf", "releases/v1/app.conf", "x.ini", "y.txt"})
    put(dir / file, "x");
  config::ServiceSettings settings;
  settings.components.emplace_back();
  settings.components.front().releases = dir / "releases";
  settings.changes.paths = {dir / "conf.d", dir / "*.ini", dir / "current/app.conf", dir / "missing", "relative"};
  std::set<std::string> directories;

  const WatchedFiles files = watched_files(settings, directories);

  std::vector<std::string> names;
  for (const auto& [name, facts] : files) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{dir / "conf.d/a.conf", dir / "x.ini"}));
  EXPECT_THAT(directories, Contains(dir / "conf.d"));
}

TEST(ChangeWatchTest, TellsOfConfigurationFilesAndPackagesAsTheyChange) {
  const TempDir dir;
  const Place place(dir / "shop");
  place.release("v1");
  place.link("v1");
  put(dir / "shop.conf", "one");
  put(dir / "dpkg.log", "");
  config::Settings settings;
  settings.state_directory = dir / "state";
  settings.services.push_back(service_on(place, {"shop", "prod"}));
  settings.services.front().changes.paths = {dir / "shop.conf"};
  settings.services.front().changes.packages = dir / "dpkg.log";
  const std::set<std::string> broken;
  Daemon daemon(settings, groups_of(kRules), place, broken);
  ASSERT_TRUE(daemon.start());
  const auto says = [&] { return daemon.shop()["other_changes"].dump(); };
  const auto state_has = [&](const std::string& what) { return daemon.until([&] { return says().find(what) != std::string::npos; }); };
  // Its file is younger than a day: told at first sight. From then on by inotify.
  ASSERT_TRUE(state_has("shop.conf")) << says();

  const std::time_t now = std::time(nullptr);
  char stamp[32];
  std::tm local{};
  ::localtime_r(&now, &local);
  std::strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &local);
  put(dir / "dpkg.log",
      std::string(stamp) + " upgrade libssl3:amd64 3.0.11-1 3.0.15-1\n" + stamp + " status installed libssl3:amd64 3.0.15-1\n");
  EXPECT_TRUE(state_has("libssl3:amd64 3.0.11-1 -> 3.0.15-1")) << says();

  fs::remove(dir / "shop.conf");
  EXPECT_TRUE(state_has("shop.conf (removed)")) << says();
}

}  // namespace
}  // namespace rollbackd::engine
