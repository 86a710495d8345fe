#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <set>

#include "drivers/driver.hpp"
#include "drivers/keeper_protocol.hpp"
#include "io/process.hpp"
#include "tests/drivers/helpers.hpp"

namespace rollbackd::drivers {
namespace {

namespace fs = std::filesystem;
using rollbackd::testing::read_file;
using rollbackd::testing::TempDir;
using rollbackd::testing::write_file;
using ::testing::HasSubstr;

constexpr int kLimitMillis = 20'000;

/// A blocking client of a keeper's socket.
class Client {
 public:
  explicit Client(const std::string& directory) : fd_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    const io::Fd place(::open(directory.c_str(), O_PATH | O_CLOEXEC));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    keeper::short_socket_path(place.get()).copy(address.sun_path, sizeof address.sun_path - 1);
    connected_ = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  bool connected() const { return connected_; }
  void send(const std::string& text) { ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL); }
  /// Null when the keeper has closed, or says nothing within the limit.
  Json receive(int limit_millis = kLimitMillis) {
    pollfd wait{fd_.get(), POLLIN, 0};
    if (::poll(&wait, 1, limit_millis) <= 0) return {};
    std::vector<char> buffer(keeper::kMessageBytesMax);
    const ssize_t n = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    return n <= 0 ? Json() : Json::parse(std::string_view(buffer.data(), static_cast<std::size_t>(n))).value();
  }
  Json ask(const std::string& what, const std::string& token = "") {
    Json request = Json::object();
    request.set("do", what).set("token", token);
    send(request.dump());
    return receive();
  }
  /// The next event of this kind; others are passed by.
  Json event(const std::string& kind) {
    for (int i = 0; i < 50; ++i) {
      Json json = receive();
      if (json.is_null() || json["event"].string_or("") == kind) return json;
    }
    return {};
  }

 private:
  io::Fd fd_;
  bool connected_ = false;
};

class KeeperTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // What a killed keeper leaves comes here, so that it can be ended.
    settings.argv = {"/bin/sh", "-c", "echo up; exec sleep 1000"};
    settings.working_directory = dir.path();
    settings.restart_delay = 10ms;
    settings.output = dir / "output.log";
  }
  void TearDown() override {
    if (keeper > 0) {
      if (Client last(dir.path()); last.connected()) last.ask("end");
      ::waitpid(keeper, nullptr, 0);
    }
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a process was left behind";
  }
  void save() { ASSERT_TRUE(keeper::replace_file(dir / keeper::kSettingsName, settings.to_json().dump()).has_value()); }
  void begin() {
    save();
    const int events = ::inotify_init1(IN_CLOEXEC);
    ::inotify_add_watch(events, dir.path().c_str(), IN_CREATE);
    keeper = ::fork();
    if (keeper == 0) ::_exit(run_keeper(dir.path()));
    for (int i = 0; i < 100 && !Client(dir.path()).connected(); ++i) {
      pollfd wait{events, POLLIN, 0};
      ::poll(&wait, 1, 100);
      char drop[4096];
      if (wait.revents && ::read(events, drop, sizeof drop) < 0) break;
    }
    ::close(events);
  }
  static int pid_of(const Json& json) { return static_cast<int>(json["pid"].int_or(0)); }
  static bool runs(int pid) { return io::process_facts(pid).has_value(); }

  TempDir dir;
  keeper::Settings settings;
  int keeper = 0;
};

TEST_F(KeeperTest, StartsAndTellsTheExactStart) {
  begin();
  Client client(dir.path());

  const Json before = client.ask("status");
  const Json started = client.ask("start");

  EXPECT_FALSE(before["running"].bool_or(true));
  ASSERT_TRUE(started["ok"].bool_or(false)) << started.dump();
  const auto facts = io::process_facts(pid_of(started));
  ASSERT_TRUE(facts.has_value());
  EXPECT_LT(std::abs(facts.value().started_boot_ns - started["started_boot_ns"].int_or(0)), 1'000'000'000);
  EXPECT_EQ(pid_of(client.ask("start")), pid_of(started)) << "it runs already";
  const Json state = Json::parse(read_file(dir / keeper::kStateName)).value();
  EXPECT_EQ(state["pid"], started["pid"]);
  EXPECT_EQ(state["started_boot_ns"], started["started_boot_ns"]);
}

TEST_F(KeeperTest, ARestartEndsTheWholeGroupAndStartsAnew) {
  settings.argv = {"/bin/sh", "-c", "sleep 1000 & echo $! > child; exec sleep 1000"};
  begin();
  Client client(dir.path()), watcher(dir.path());
  const int first = pid_of(client.ask("start"));
  watcher.ask("watch");
  ASSERT_EQ(pid_of(watcher.event("running")), first);
  for (int i = 0; i < 500 && read_file(dir / "child").empty(); ++i) ::poll(nullptr, 0, 10);
  const int child = std::stoi(read_file(dir / "child"));

  const Json answer = client.ask("restart", "op:1");

  ASSERT_TRUE(answer["ok"].bool_or(false)) << answer.dump();
  EXPECT_NE(pid_of(answer), first);
  EXPECT_FALSE(runs(first));
  EXPECT_FALSE(runs(child));
  const Json exited = watcher.event("exited");
  EXPECT_TRUE(exited["requested"].bool_or(false));
  EXPECT_EQ(exited["signal"].int_or(0), SIGTERM);
  EXPECT_EQ(pid_of(watcher.event("running")), pid_of(answer));
}

TEST_F(KeeperTest, ARepeatedTokenGetsItsFirstAnswer) {
  begin();
  Client client(dir.path());
  client.ask("start");
  const Json first = client.ask("restart", "op:1");
  const Json other = client.ask("restart", "op:2");

  const Json again = client.ask("restart", "op:1");

  EXPECT_EQ(again, first);
  EXPECT_NE(pid_of(other), pid_of(first));
  EXPECT_TRUE(runs(pid_of(other))) << "nothing was done for it";
}

TEST_F(KeeperTest, KillsWhatIgnoresTerm) {
  settings.argv = {"/bin/sh", "-c", "trap '' TERM; echo ready > ready; while :; do sleep 0.1; done"};
  settings.stop_timeout = 200ms;
  begin();
  Client client(dir.path()), watcher(dir.path());
  watcher.ask("watch");
  client.ask("start");
  for (int i = 0; i < 500 && read_file(dir / "ready").empty(); ++i) ::poll(nullptr, 0, 10);

  EXPECT_TRUE(client.ask("restart", "op:1")["ok"].bool_or(false));

  watcher.event("running");
  EXPECT_EQ(watcher.event("exited")["signal"].int_or(0), SIGKILL);
}

TEST_F(KeeperTest, ACrashIsToldAtOnceAndTheServiceStartedAgain) {
  begin();
  Client client(dir.path()), watcher(dir.path());
  watcher.ask("watch");
  const int first = pid_of(client.ask("start"));
  watcher.event("running");

  ::kill(first, SIGSEGV);

  const Json exited = watcher.event("exited");
  EXPECT_EQ(exited["signal"].int_or(0), SIGSEGV);
  EXPECT_FALSE(exited["requested"].bool_or(true));
  EXPECT_THAT(exited["detail"].string_or(""), HasSubstr("Segmentation"));
  const Json running = watcher.event("running");
  EXPECT_NE(pid_of(running), first);
  EXPECT_GT(running["started_boot_ns"].int_or(0), exited["at_boot_ns"].int_or(0));
}

TEST_F(KeeperTest, AnExitCodeIsACrashToo) {
  settings.argv = {"/bin/sh", "-c", "exit 7"};
  settings.restart_delay = Duration{0};
  begin();
  Client client(dir.path()), watcher(dir.path());
  watcher.ask("watch");
  client.ask("start");
  watcher.event("running");

  EXPECT_EQ(watcher.event("exited")["code"].int_or(0), 7);
  EXPECT_EQ(client.ask("status")["last_exit"].string_or(""), "exit 7");
  EXPECT_FALSE(client.ask("status")["stopped_by_person"].bool_or(true));
}

TEST_F(KeeperTest, ACleanStopByAPersonStays) {
  begin();
  Client client(dir.path()), watcher(dir.path());
  watcher.ask("watch");
  const int pid = pid_of(client.ask("start"));
  watcher.event("running");

  ::kill(pid, SIGTERM);

  const Json exited = watcher.event("exited");
  EXPECT_FALSE(exited["requested"].bool_or(true));
  const Json status = client.ask("status");
  EXPECT_TRUE(status["stopped_by_person"].bool_or(false));
  EXPECT_TRUE(watcher.receive(300).is_null()) << "it must not be started again";
  EXPECT_TRUE(client.ask("start")["ok"].bool_or(false));
  EXPECT_FALSE(client.ask("status")["stopped_by_person"].bool_or(true));
}

TEST_F(KeeperTest, WhatCannotBeExecutedIsSaid) {
  settings.argv = {dir / "no-such-program"};
  begin();
  Client client(dir.path()), watcher(dir.path());
  watcher.ask("watch");

  const Json answer = client.ask("start");

  EXPECT_FALSE(answer["ok"].bool_or(true));
  EXPECT_THAT(answer["error"].string_or(""), HasSubstr("No such file"));
  EXPECT_THAT(watcher.event("start_failed")["detail"].string_or(""), HasSubstr("no-such-program"));
}

TEST_F(KeeperTest, AFailedStartIsTriedAgain) {
  settings.argv = {dir / "program"};
  begin();
  Client client(dir.path()), watcher(dir.path());
  watcher.ask("watch");
  client.ask("start");
  watcher.event("start_failed");

  write_file(dir / "next", "#!/bin/sh\nexec sleep 1000\n", 0755);
  fs::rename(dir / "next", dir / "program");

  EXPECT_TRUE(runs(pid_of(watcher.event("running"))));
}

TEST_F(KeeperTest, ARestartFollowsTheLink) {
  for (const char* id : {"v1", "v2"}) {
    fs::create_directory(dir / id);
    write_file(dir / id + "/run", "#!/bin/sh\npwd -P > ../where\nexec sleep 1000\n", 0755);
  }
  fs::create_directory_symlink("v1", dir / "current");
  settings.working_directory = dir / "current";
  settings.argv = {dir / "current/run"};
  begin();
  Client client(dir.path());
  client.ask("start");
  fs::create_directory_symlink("v2", dir / "next");
  fs::rename(dir / "next", dir / "current");

  ASSERT_TRUE(client.ask("restart", "op:1")["ok"].bool_or(false));

  for (int i = 0; i < 500 && read_file(dir / "where") != dir / "v2\n"; ++i) ::poll(nullptr, 0, 10);
  EXPECT_EQ(read_file(dir / "where"), dir / "v2\n");
}

TEST_F(KeeperTest, TheOutputIsCappedAndRotatedOnce) {
  settings.argv = {"/bin/sh", "-c", "head -c 300000 /dev/zero; echo; echo done; echo ready > ready; exec sleep 1000"};
  settings.output_bytes_max = 100'000;
  begin();
  Client client(dir.path());
  client.ask("start");
  for (int i = 0; i < 500 && (read_file(dir / "ready").empty() || !read_file(dir / "output.log").ends_with("done\n")); ++i)
    ::poll(nullptr, 0, 10);

  EXPECT_THAT(read_file(dir / "output.log"), ::testing::EndsWith("done\n"));
  EXPECT_LE(fs::file_size(dir / "output.log"), 100'000U);
  EXPECT_LE(fs::file_size(dir / "output.log.1"), 100'000U);
}

TEST_F(KeeperTest, NewSettingsCountFromTheNextStart) {
  begin();
  Client client(dir.path());
  const int first = pid_of(client.ask("start"));
  settings.argv = {"/bin/sleep", "2000"};
  save();

  const Json reloaded = client.ask("reload_settings");

  EXPECT_EQ(reloaded["settings"].string_or(""), settings.fingerprint());
  EXPECT_TRUE(runs(first));
  const int second = pid_of(client.ask("restart", "op:1"));
  EXPECT_EQ(read_file("/proc/" + std::to_string(second) + "/cmdline"), std::string("/bin/sleep\0002000\0", 16));
}

TEST_F(KeeperTest, TheServiceHasACleanEnvironmentAndNoFilesOfOurs) {
  const io::Fd leaky(::open("/dev/null", O_RDONLY));
  ::setenv("ROLLBACKD_TEST_LEAK", "1", 1);
  settings.environment = {{"MINE", "yes"}};
  settings.argv = {"/bin/sh", "-c", "env > env; exec sleep 1000"};
  begin();
  Client client(dir.path());
  const std::string process = "/proc/" + std::to_string(pid_of(client.ask("start")));
  for (int i = 0; i < 6000 && read_file(process + "/comm") != "sleep\n"; ++i) ::poll(nullptr, 0, 10);

  EXPECT_THAT(read_file(dir / "env"), HasSubstr("MINE=yes"));
  EXPECT_THAT(read_file(dir / "env"), ::testing::Not(HasSubstr("ROLLBACKD_TEST_LEAK")));
  std::set<std::string> open;
  for (const auto& file : std::filesystem::directory_iterator(process + "/fd")) open.insert(file.path().filename());
  EXPECT_THAT(open, ::testing::ElementsAre("0", "1", "2"));
}

TEST_F(KeeperTest, AUserThatIsNotThereIsRefused) {
  settings.user = "no-such-user-here";
  begin();
  Client client(dir.path());

  const Json answer = client.ask("start");

  EXPECT_FALSE(answer["ok"].bool_or(true));
  EXPECT_THAT(answer["error"].string_or(""), HasSubstr("no-such-user-here"));
}

TEST_F(KeeperTest, RunsAsTheUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  settings.user = "nobody";
  settings.working_directory = "/";
  begin();
  Client client(dir.path());

  const int pid = pid_of(client.ask("start"));

  ASSERT_GT(pid, 0);
  EXPECT_THAT(read_file("/proc/" + std::to_string(pid) + "/status"), HasSubstr("Uid:\t65534\t65534\t65534\t65534"));
}

TEST_F(KeeperTest, ASecondKeeperLeavesAtOnce) {
  begin();
  const int second = ::fork();
  if (second == 0) ::_exit(run_keeper(dir.path()));
  int status = -1;
  ::waitpid(second, &status, 0);

  EXPECT_EQ(status, 0);
  EXPECT_TRUE(Client(dir.path()).ask("status")["ok"].bool_or(false));
}

TEST_F(KeeperTest, TheNextKeeperKeepsOnWhatAKilledOneStarted) {
  begin();
  const int service = pid_of(Client(dir.path()).ask("start"));
  ::kill(keeper, SIGKILL);
  ::waitpid(keeper, nullptr, 0);
  EXPECT_TRUE(runs(service));

  begin();
  Client client(dir.path());
  EXPECT_EQ(pid_of(client.ask("status")), service);
  const Json answer = client.ask("restart", "op:1");

  EXPECT_TRUE(answer["ok"].bool_or(false)) << answer.dump();
  EXPECT_FALSE(runs(service));
  EXPECT_TRUE(runs(pid_of(answer)));
}

TEST_F(KeeperTest, EndStopsTheServiceFirst) {
  begin();
  Client client(dir.path());
  const int service = pid_of(client.ask("start"));

  client.ask("end");

  int status = -1;
  ::waitpid(keeper, &status, 0);
  keeper = 0;
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(runs(service));
  EXPECT_FALSE(fs::exists(dir / keeper::kSocketName));
}

TEST_F(KeeperTest, NonsenseOnTheSocketIsCutOff) {
  begin();
  Client bad(dir.path()), good(dir.path());

  bad.send("{nonsense");

  EXPECT_TRUE(bad.receive().is_null());
  EXPECT_FALSE(good.ask("dance")["ok"].bool_or(true));
}

}  // namespace
}  // namespace rollbackd::drivers
