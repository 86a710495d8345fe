// The actor's guards and memory, and a daemon's side that talks to a real server over a socket pair.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>
#include <thread>

#include "drivers/actor_client.hpp"
#include "drivers/actor_config.hpp"
#include "drivers/actor_guard.hpp"
#include "drivers/actor_memory.hpp"
#include "drivers/actor_server.hpp"
#include "tests/drivers/helpers.hpp"

namespace rollbackd::drivers {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using actor::Memory;
using actor::MemoryFile;
using actor::Request;
using actor::Verb;
using testing::run_until;
using testing::run_until_done;
using testing::TempDir;
using testing::write_file;
using Status = Outcome::Status;

/// An actor with a thread of its own, as it is a process of its own.
struct RunningActor {
  asio::io_context context;
  std::shared_ptr<ActorServer> server;
  std::thread thread;

  explicit RunningActor(const std::string& root) {
    ActorOptions options;
    options.config = root + "/rollbackd.json";
    options.directory = root + "/actor";
    server = std::make_shared<ActorServer>(context.get_executor(), options);
    const auto ready = server->prepare();
    EXPECT_TRUE(ready.has_value()) << ready.error().text();
    thread = std::thread([this] {
      const auto work = asio::make_work_guard(context);
      context.run();
    });
  }
  ~RunningActor() {
    context.stop();
    thread.join();
    server->join();
  }
  /// A connection to it; the caller's end.
  io::Seqpacket connect(const asio::any_io_executor& executor) {
    auto pair = io::seqpacket_pair();
    serve(std::move(pair->second));
    return io::Seqpacket(executor, std::move(pair->first), actor::kMessageBytesMax);
  }
  void serve(io::Fd fd) {
    io::Seqpacket connection(context.get_executor(), std::move(fd), actor::kMessageBytesMax);
    asio::co_spawn(context, server->serve(std::move(connection)), asio::detached);
  }
};

/// A service on disk, the configuration that names it, an actor over it and the daemon's side, all in one context.
struct Scene {
  TempDir directory;
  std::string root = fs::canonical(directory.path()).string();
  asio::io_context context;
  io::Worker steps{1}, bulk{1};
  io::Clock clock;
  std::unique_ptr<RunningActor> actor;
  std::shared_ptr<ActorLink> link;
  std::unique_ptr<Driver> driver;
  Json policy = Json::object().set("budget", Json::object().set("rollbacks", 1).set("per", "1h"));
  std::string automation = "automatic", current = root + "/current";

  explicit Scene(const std::string& links = "") {
    if (!links.empty()) {
      fs::create_directories(root + "/" + links);
      current = root + "/" + links + "/current";
    }
    for (const char* release : {"v1", "v2", "v3"}) {
      fs::create_directories(root + "/releases/" + release);
      write_file(root + "/releases/" + release + "/file", release);
    }
    fs::create_symlink(links.empty() ? "releases/v2" : root + "/releases/v2", current);
    configure();
    start();
  }
  ~Scene() {
    link.reset();
    ActorLink::set(context.get_executor(), nullptr);
  }

  void configure() const {
    Json component = Json::object();
    component.set("name", "app").set("driver", "symlink").set("releases", root + "/releases").set("current", current);
    Json service = Json::object();
    service.set("name", "shop").set("environment", "prod").set("automation", automation).set("policy", policy);
    service.set("components", Json::array().push(component));
    service.set("checks", Json::array().push(Json::object().set("name", "c").set("type", "tcp").set("address", "127.0.0.1:1")));
    const Json main = Json::object().set("state_directory", root + "/state").set("services", Json::array().push(service));
    write_file(root + "/rollbackd.json.new", main.dump());
    fs::rename(root + "/rollbackd.json.new", root + "/rollbackd.json");
  }

  /// A new actor, as after a kill of the one before, and a daemon's side that does not know of it.
  void start() {
    actor.reset();
    actor = std::make_unique<RunningActor>(root);
    if (link) return;
    auto connect = [this]() -> Result<io::Seqpacket> { return actor->connect(context.get_executor()); };
    link = std::make_shared<ActorLink>(context.get_executor(), connect);
    ActorLink::set(context.get_executor(), link);
    DriverContext c;
    c.executor = context.get_executor();
    c.clock = &clock;
    c.steps = &steps;
    c.bulk = &bulk;
    c.service = {"shop", "prod"};
    c.settings.name = "app";
    c.settings.releases = root + "/releases";
    c.settings.current = current;
    c.service_directory = root + "/state/services/shop.prod";
    auto made = make_driver(c);
    ASSERT_TRUE(made.has_value());
    driver = std::move(*made);
  }

  Step step(const std::string& operation, const std::string& to, const std::string& from = "releases/v2") const {
    Step out;
    out.operation = operation;
    out.number = 1;
    out.component = "app";
    out.driver = "symlink";
    out.action = "switch";
    out.arguments = Json::object();
    out.arguments.set("current", current).set("armed", fs::path(current).parent_path().string() + "/.current.rollbackd-armed");
    out.arguments.set("from_value", from).set("to_value", to);
    return out;
  }

  void announce(const std::string& operation, Trigger trigger = Trigger::automatic, std::int64_t fence = 0, bool forced = false) const {
    OperationRequest request;
    request.operation = operation;
    request.trigger = trigger;
    request.from = "v2";
    request.to = "v1";
    if (forced) request.overrides = {"target_not_bad"};
    link->announce(request, fence);
  }

  Outcome run(const Step& step) {
    auto out = run_until_done(context, driver->run(step, 5s));
    return out ? *out : Outcome{};
  }
  std::string live() const { return fs::read_symlink(root + "/current").string(); }
};

TEST(Actor, ADriverOverTheSocketInspectsArmsSwitchesAndIsAnsweredTheSameWhenAskedAgain) {
  Scene w;
  auto world = run_until_done(w.context, w.driver->inspect());
  ASSERT_TRUE(world && world->has_value()) << (world ? world->error().text() : "");
  EXPECT_EQ((*world)->live, "v2");
  EXPECT_EQ((*world)->releases, (std::vector<std::string>{"v1", "v2", "v3"}));
  const auto armed = run_until_done(w.context, w.driver->arm("v1", ""));
  EXPECT_TRUE(armed->intact) << armed->why;
  const auto digest = run_until_done(w.context, w.driver->digest("v1"));
  EXPECT_EQ((*digest)->size(), 64u);
  const auto reading = run_until_done(w.context, w.driver->read("v1", {}));
  EXPECT_EQ((*reading)->digest, **digest);
  EXPECT_FALSE(run_until_done(w.context, w.driver->look("v1", std::string(64, '0')))->intact);
  EXPECT_EQ(run_until_done(w.context, w.driver->digest("v9"))->error().code, Errc::not_found);

  auto steps = w.driver->plan(**world, "v1");
  ASSERT_TRUE(steps.has_value());
  Step step = steps->front();
  step.operation = "op-1";
  step.number = 1;
  w.announce("op-1");
  const Outcome first = w.run(step);
  EXPECT_EQ(first.status, Status::done) << first.error.text();
  EXPECT_EQ(w.live(), "releases/v1");

  // Somebody deploys; the repeated step must not undo that, whoever asks and however often the actor was restarted.
  fs::remove(w.root + "/current");
  fs::create_symlink("releases/v3", w.root + "/current");
  EXPECT_EQ(w.run(step).facts, first.facts);
  w.start();
  EXPECT_EQ(w.run(step).facts, first.facts);
  EXPECT_EQ(w.live(), "releases/v3");
  step.arguments.set("to_value", "releases/v2");
  const Outcome other = w.run(step);
  EXPECT_EQ(other.status, Status::refused);
  EXPECT_NE(other.error.text().find("another one before"), std::string::npos) << other.error.text();

  EXPECT_TRUE(run_until_done(w.context, w.driver->mark_bad("v2", "it was bad"))->has_value());
  EXPECT_TRUE(fs::exists(w.root + "/releases/.v2.BAD_RELEASE"));
  EXPECT_TRUE(run_until_done(w.context, w.driver->mark_bad("v9", "it was bad"))->has_error());
}

TEST(Actor, StepsThatLeadElsewhereAreRefusedAndNothingIsChanged) {
  Scene w;
  w.policy.set("budget", Json::object().set("rollbacks", 50).set("per", "1h"));
  w.configure();
  fs::create_directories(w.root + "/elsewhere/v1");
  fs::create_symlink(w.root + "/elsewhere/v1", w.root + "/releases/v4");
  write_file(w.root + "/releases/v5", "a file");
  int number = 0;
  const auto refused = [&](Step step, const char* says) {
    step.operation = "op-" + std::to_string(++number);
    w.announce(step.operation);
    const Outcome outcome = w.run(step);
    EXPECT_EQ(outcome.status, Status::refused) << says << ": " << to_string(outcome.status) << " " << outcome.error.text();
    EXPECT_NE(outcome.error.text().find(says), std::string::npos) << outcome.error.text();
    EXPECT_EQ(w.live(), "releases/v2");
  };
  const auto with = [&](const char* key, const char* value) {
    Step step = w.step("", "releases/v1");
    step.arguments.set(key, value);
    return step;
  };
  refused(with("current", "/etc/passwd"), "paths");
  refused(with("armed", "/etc/cron.d/x"), "paths");
  refused(w.step("", "elsewhere/v1"), "would not lead");
  refused(w.step("", "releases/../elsewhere/v1"), "would not lead");
  refused(w.step("", "/etc"), "no release etc");
  refused(w.step("", "releases/.."), "release id");
  refused(w.step("", "releases/v4"), "no release");  // A link among the releases.
  refused(w.step("", "releases/v5"), "no release");
  refused(w.step("", "releases/v9"), "no release v9");
  Step step = w.step("", "releases/v1");
  step.driver = "files";
  refused(step, "none of symlink's");
  step = w.step("", "releases/v1");
  step.action = "remove";
  step.arguments.set("release", "v1").set("releases", w.root + "/releases");
  refused(step, "keep_releases");
  w.policy.set("keep_releases", 2);
  w.configure();
  step.arguments.set("release", "v2");
  refused(step, "live");
  w.policy.set("keep_releases", 7);
  w.configure();
  step.arguments.set("release", "v1");
  refused(step, "are kept");

  fs::create_directories(w.root + "/state");
  write_file(w.root + "/state/kill-switch", "");
  refused(w.step("", "releases/v1"), "kill switch");
  fs::remove(w.root + "/state/kill-switch");

  // The directory of releases is exchanged for a link to where somebody else has a release of that name.
  fs::rename(w.root + "/releases", w.root + "/real");
  fs::create_symlink(w.root + "/elsewhere", w.root + "/releases");
  refused(w.step("", "releases/v1"), "is no directory");
  EXPECT_FALSE(run_until_done(w.context, w.driver->arm("v1", ""))->intact);
}

TEST(Actor, OnlyASwitchThatThisActorBeganIsTakenBackAndOnlyToWhereItCameFrom) {
  Scene w;
  const auto undo = [&](const Step& step) {
    auto out = run_until_done(w.context, w.driver->undo(step, 5s));
    return out ? *out : Outcome{};
  };
  const auto refused = [&](const Step& step, const std::string& stays) {
    const Outcome outcome = undo(step);
    EXPECT_EQ(outcome.status, Status::refused) << to_string(outcome.status);
    EXPECT_NE(outcome.error.text().find("has not begun"), std::string::npos) << outcome.error.text();
    EXPECT_EQ(w.live(), stays);
  };
  w.announce("op-1");
  refused(w.step("op-1", "releases/v2", "releases/v3"), "releases/v2");  // Nothing was begun.
  // A switch that moves nothing, because the link leads there already, is no leave to go where it says that it came from.
  EXPECT_EQ(w.run(w.step("op-1", "releases/v2", "releases/v3")).status, Status::already_done);
  refused(w.step("op-1", "releases/v2", "releases/v3"), "releases/v2");

  w.announce("op-2");
  EXPECT_EQ(w.run(w.step("op-2", "releases/v1")).status, Status::done);
  refused(w.step("op-2", "releases/v1", "releases/v3"), "releases/v1");
  refused(w.step("op-3", "releases/v1"), "releases/v1");  // Of another operation.
  // What is begun is ended, whatever was marked or stopped meanwhile, and whichever actor began it.
  write_file(w.root + "/releases/.v2.BAD_RELEASE", "bad");
  fs::create_directories(w.root + "/state");
  write_file(w.root + "/state/kill-switch", "");
  w.start();
  EXPECT_EQ(undo(w.step("op-2", "releases/v1")).status, Status::done);
  EXPECT_EQ(w.live(), "releases/v2");
  // One that was never asked for, and whose link is where it began, is no trouble.
  EXPECT_EQ(undo(w.step("op-4", "releases/v3")).status, Status::already_done);
}

TEST(Actor, OneOperationCannotGoOnForEver) {
  Scene w;
  w.announce("op-1", Trigger::manual);
  int refused = 0;
  for (int i = 0; i <= actor::kStepsOfOneMax; ++i) {
    Step step = w.step("op-1", i % 2 == 0 ? "releases/v1" : "releases/v2", i % 2 == 0 ? "releases/v2" : "releases/v1");
    step.number = i + 1;
    const Outcome outcome = w.run(step);
    if (outcome.status == Status::done) continue;
    EXPECT_EQ(i, actor::kStepsOfOneMax);
    EXPECT_NE(outcome.error.text().find("which is the limit"), std::string::npos) << outcome.error.text();
    ++refused;
  }
  EXPECT_EQ(refused, 1);
}

/// Others may put what they like in place of the directory that `current` lies in: here a link to a directory that is not theirs.
struct Swapped {
  Scene w{"theirs/links"};
  std::string way = w.root + "/theirs/links", decoy = w.root + "/theirs/decoy", victim = w.root + "/victim";
  const std::string v1 = w.root + "/releases/v1", v2 = w.root + "/releases/v2";

  Swapped() {
    fs::permissions(w.root + "/theirs", fs::perms::all);
    fs::create_directories(victim);
    fs::create_symlink(v2, victim + "/current");
    fs::create_symlink(victim, decoy);
    w.policy.set("budget", Json::object().set("rollbacks", 100).set("per", "1h"));
    w.configure();
  }
  void swap() const { EXPECT_EQ(::renameat2(AT_FDCWD, way.c_str(), AT_FDCWD, decoy.c_str(), RENAME_EXCHANGE), 0); }
  void victim_is_as_it_was() const {
    EXPECT_EQ(std::distance(fs::directory_iterator(victim), fs::directory_iterator()), 1) << "nothing was made in it";
    EXPECT_EQ(fs::read_symlink(victim + "/current").string(), v2);
  }
};

TEST(Actor, ALinkInPlaceOfTheLinksDirectoryRedirectsNothing) {
  Swapped s;
  s.w.announce("op-1");
  EXPECT_TRUE(s.w.run(s.w.step("op-1", s.v1, s.v2)).ok()) << "as long as it is a directory";

  s.swap();

  s.w.announce("op-2");
  const Outcome outcome = s.w.run(s.w.step("op-2", s.v2, s.v1));
  EXPECT_EQ(outcome.status, Status::refused) << outcome.error.text();
  EXPECT_NE(outcome.error.text().find("others than root can turn"), std::string::npos) << outcome.error.text();
  const auto armed = run_until_done(s.w.context, s.w.driver->arm("v1", ""));
  EXPECT_NE(armed->why.find("not armed"), std::string::npos) << armed->why;
  s.victim_is_as_it_was();
}

TEST(Actor, WhoeverSwapsTheLinksDirectoryWhileStepsRunNeverRedirectsOne) {
  Swapped s;
  std::atomic<bool> enough = false;
  std::thread swapping([&] {
    while (!enough) s.swap();
  });
  int done = 0, refused = 0;
  std::string from = s.v2, to = s.v1;
  for (int i = 0; i < 100; ++i) {
    const std::string operation = "op-" + std::to_string(i);
    s.w.announce(operation);
    const Outcome outcome = s.w.run(s.w.step(operation, to, from));
    done += outcome.ok() ? 1 : 0;
    refused += outcome.status == Status::refused ? 1 : 0;
    if (outcome.ok()) std::swap(from, to);
  }
  enough = true;
  swapping.join();

  s.victim_is_as_it_was();
  EXPECT_GT(done + refused, 0);
}

TEST(Actor, TheActorHasLimitsOfItsOwnAndKeepsThemOverItsRestart) {
  Scene w;  // A budget of 1 within an hour, and two beyond it.
  const auto there_and_back = [&](const std::string& operation, Trigger trigger, std::int64_t fence = 0, bool forced = false) {
    const bool on_v2 = w.live() == "releases/v2";
    w.announce(operation, trigger, fence, forced);
    return w.run(w.step(operation, on_v2 ? "releases/v1" : "releases/v2", on_v2 ? "releases/v2" : "releases/v1"));
  };
  for (const char* operation : {"a-1", "a-2", "a-3"}) EXPECT_TRUE(there_and_back(operation, Trigger::automatic).ok());
  w.start();
  Outcome no = there_and_back("a-4", Trigger::alert);
  EXPECT_EQ(no.status, Status::refused);
  EXPECT_NE(no.error.text().find("more than 3 automatic"), std::string::npos) << no.error.text();
  EXPECT_TRUE(there_and_back("m-1", Trigger::manual).ok());

  // Who was never announced counts as automatic.
  EXPECT_EQ(w.run(w.step("unknown-1", "releases/v3", w.live())).status, Status::refused);

  EXPECT_TRUE(there_and_back("m-2", Trigger::manual, 7).ok());
  w.start();
  no = there_and_back("m-3", Trigger::manual, 6);
  EXPECT_NE(no.error.text().find("fencing token 6 is lower than 7"), std::string::npos) << no.error.text();
  EXPECT_TRUE(there_and_back("m-4", Trigger::manual, 7).ok());

  const std::string note = w.live() == "releases/v2" ? "v1" : "v2";
  write_file(w.root + "/releases/." + note + ".BAD_RELEASE", "bad");
  no = there_and_back("m-5", Trigger::manual, 7);
  EXPECT_NE(no.error.text().find("marked bad"), std::string::npos) << no.error.text();
  EXPECT_TRUE(there_and_back("m-6", Trigger::manual, 7, true).ok());

  w.policy.set("budget", Json::object().set("rollbacks", 9).set("per", "1h"));
  w.automation = "observe";
  w.configure();
  no = there_and_back("a-5", Trigger::automatic, 7);
  EXPECT_NE(no.error.text().find("observe"), std::string::npos) << no.error.text();
  w.automation = "automatic";
  w.configure();  // Read again by itself.
  fs::remove(w.root + "/releases/.v1.BAD_RELEASE");
  fs::remove(w.root + "/releases/.v2.BAD_RELEASE");
  EXPECT_TRUE(there_and_back("a-6", Trigger::automatic, 7).ok());
}

TEST(Actor, AMemoryThatCannotBeReadOrWrittenMeansThatNothingIsDone) {
  Scene w;
  w.announce("a-1");
  ASSERT_TRUE(w.run(w.step("a-1", "releases/v1")).ok());
  const std::string file = w.root + "/actor/services/shop.prod/actor.memory";
  std::string bytes = testing::read_file(file);
  ASSERT_EQ(bytes.size(), 2 * MemoryFile::kSlotBytes);
  for (std::size_t at = 0; at < bytes.size(); at += MemoryFile::kSlotBytes) bytes[at + 200] ^= 1;
  write_file(file, bytes);
  w.start();
  w.announce("a-2");
  const Outcome no = w.run(w.step("a-2", "releases/v2", "releases/v1"));
  EXPECT_FALSE(no.ok());
  EXPECT_NE(no.error.text().find("damaged"), std::string::npos) << no.error.text();
  EXPECT_EQ(w.live(), "releases/v1");
}

TEST(Actor, AConfigurationThatOthersMayWriteIsNotReadAndOneThatBecomesSoEndsAllActing) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  Scene w;
  w.announce("a-1");
  const std::string config = w.root + "/rollbackd.json";
  const auto said = [&] {
    const Outcome outcome = w.run(w.step("a-1", "releases/v1"));
    EXPECT_EQ(w.live(), "releases/v2");
    return outcome.error.text();
  };
  ASSERT_EQ(::chmod(config.c_str(), 0666), 0);
  EXPECT_NE(said().find("others may write it"), std::string::npos);
  ASSERT_EQ(::chmod(config.c_str(), 0644), 0);
  ASSERT_EQ(::chown(config.c_str(), 65534, 0), 0);
  EXPECT_NE(said().find("belongs to the user 65534"), std::string::npos);
  ASSERT_EQ(::chown(config.c_str(), 0, 0), 0);
  ASSERT_EQ(::chmod(w.root.c_str(), 0777), 0);
  fs::rename(config, config + ".old");
  fs::copy_file(config + ".old", config);
  EXPECT_NE(said().find("others may write it"), std::string::npos);
  ASSERT_EQ(::chmod(w.root.c_str(), 0700), 0);
  fs::remove(config);
  fs::create_symlink(config + ".old", config);
  EXPECT_NE(said().find("link"), std::string::npos);
  fs::remove(config);
  write_file(config, "{ not json");  // The list of before stays, as the daemon's does.
  EXPECT_TRUE(w.run(w.step("a-1", "releases/v1")).ok());
}

TEST(Actor, AStrangerIsToldThatItIsNotServed) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can be somebody else for a moment";
  Scene w;
  const std::string path = w.root + "/s";
  auto socket = io::listen_seqpacket(path, 0666);
  ASSERT_TRUE(socket.has_value());
  ASSERT_EQ(::chmod(w.root.c_str(), 0711), 0);
  ASSERT_EQ(::seteuid(65534), 0);
  auto stranger = io::Seqpacket::connect(w.context.get_executor(), path, actor::kMessageBytesMax);
  ASSERT_EQ(::seteuid(0), 0);
  ASSERT_TRUE(stranger.has_value()) << stranger.error().text();
  io::Fd accepted(::accept4(socket->get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(accepted);
  w.actor->serve(std::move(accepted));

  auto answer = run_until_done(w.context, stranger->receive());
  ASSERT_TRUE(answer && answer->has_value());
  EXPECT_EQ(actor::Answer::decode(**answer)->error.code, Errc::unauthorized);
  EXPECT_TRUE(run_until_done(w.context, stranger->receive())->has_error());
}

TEST(Actor, GarbageIsAnsweredWhereItNamesAnIdAndTheConnectionGoesOn) {
  Scene w;
  io::Seqpacket mine = w.actor->connect(w.context.get_executor());
  const char* garbage[] = {"\x01", "[]", "{\"v\":1,\"id\":5,\"do\":\"rm -rf\"}", "{\"v\":9,\"id\":6,\"do\":\"hello\"}",
                           "{\"v\":1,\"id\":7,\"do\":\"inspect\",\"service\":\"../x\",\"environment\":\"prod\",\"component\":\"app\"}"};
  const std::uint64_t ids[] = {0, 0, 5, 6, 7};
  for (std::size_t i = 0; i < std::size(ids); ++i) {
    ASSERT_TRUE(mine.post(garbage[i]).has_value());
    auto answer = run_until_done(w.context, mine.receive());
    ASSERT_TRUE(answer && answer->has_value());
    const auto decoded = actor::Answer::decode(**answer);
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(decoded->id, ids[i]);
    EXPECT_NE(decoded->error.code, Errc::none);
  }
  Request hello;
  hello.id = 8;
  ASSERT_TRUE(mine.post(*hello.encode()).has_value());
  EXPECT_EQ(actor::Answer::decode(**run_until_done(w.context, mine.receive()))->result["version"].int_or(0), actor::kVersion);
}

TEST(ActorClient, WhatTheActorSaysIsNotThereIsNotWaitedForAsIfTheActorWereNotThere) {
  asio::io_context context;
  std::optional<io::Seqpacket> actor_end;
  auto connect = [&]() -> Result<io::Seqpacket> {
    auto pair = io::seqpacket_pair();
    actor_end = io::Seqpacket(context.get_executor(), std::move(pair->second), actor::kMessageBytesMax);
    return io::Seqpacket(context.get_executor(), std::move(pair->first), actor::kMessageBytesMax);
  };
  io::Clock clock;
  DriverContext c;
  c.executor = context.get_executor();
  c.clock = &clock;
  c.service = {"shop", "prod"};
  c.settings.name = "app";
  auto manager = make_remote_manager(std::make_shared<ActorLink>(context.get_executor(), connect), c, nullptr);
  std::optional<Error> error;
  asio::co_spawn(context, manager->inspect(), [&](const std::exception_ptr&, Result<World::Process> r) {
    error = r.error();
    actor_end->close();
  });
  int asked = 0;
  auto answer = [&]() -> asio::awaitable<int> {
    while (true) {
      auto message = co_await actor_end->receive();
      if (message.has_error()) co_return 0;
      ++asked;
      actor::Answer no;
      no.id = Request::decode(*message)->id;
      no.error = Error(Errc::unavailable, "the keeper is not there");
      [[maybe_unused]] const auto posted = actor_end->post(no.encode());
    }
  };
  asio::post(context, [&] { asio::co_spawn(context, answer(), asio::detached); });
  context.run_for(10s);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->what, "the keeper is not there");
  EXPECT_EQ(asked, 1);
}

TEST(Actor, AStepWhoseActorDiesIsAskedAgainAndWithoutOneItFailsPlainly) {
  asio::io_context context;
  int tries = 0;
  std::optional<io::Seqpacket> actor_end;
  auto connect = [&]() -> Result<io::Seqpacket> {
    ++tries;
    if (tries > 2) return Error(Errc::unavailable, "nobody answers");
    auto pair = io::seqpacket_pair();
    actor_end = io::Seqpacket(context.get_executor(), std::move(pair->second), actor::kMessageBytesMax);
    return io::Seqpacket(context.get_executor(), std::move(pair->first), actor::kMessageBytesMax);
  };
  auto link = std::make_shared<ActorLink>(context.get_executor(), connect);
  DriverContext c;
  c.executor = context.get_executor();
  c.service = {"shop", "prod"};
  c.settings.name = "app";
  auto driver = make_remote_driver(link, c, nullptr);
  Step step;
  step.operation = "op";
  step.number = 1;
  step.driver = "symlink";
  step.action = "switch";
  std::optional<Outcome> outcome;
  asio::co_spawn(context, driver->run(step, 300ms), [&](const std::exception_ptr&, Outcome o) { outcome = std::move(o); });
  std::vector<std::string> asked;
  auto die = [&]() -> asio::awaitable<int> {
    for (int i = 0; i < 2; ++i) {
      asio::steady_timer timer(context);
      while (!actor_end || !actor_end->open()) {
        timer.expires_after(5ms);
        co_await timer.async_wait(asio::use_awaitable);
      }
      auto message = co_await actor_end->receive();
      if (message.has_value()) asked.push_back(Request::decode(*message)->step.operation);
      actor_end->close();
    }
    co_return 0;
  };
  run_until_done(context, die());
  run_until(context, [&] { return outcome.has_value(); });
  EXPECT_EQ(asked, (std::vector<std::string>{"op", "op"}));
  EXPECT_EQ(outcome->status, Status::unknown) << outcome->error.text();  // It was asked, and nobody can tell what came of it.

  outcome.reset();
  asio::co_spawn(context, driver->run(step, 100ms), [&](const std::exception_ptr&, Outcome o) { outcome = std::move(o); });
  run_until(context, [&] { return outcome.has_value(); });
  EXPECT_EQ(outcome->status, Status::failed);  // Never sent: nothing can have happened.
}

TEST(ActorMemory, WhatIsWrittenIsReadAgainAndATornWriteLeavesTheOneBefore) {
  const TempDir directory;
  const std::string path = directory / "memory";
  const io::Clock clock;
  Memory memory;
  {
    auto file = MemoryFile::open(path, memory);
    ASSERT_TRUE(file.has_value()) << file.error().text();
    for (int i = 1; i <= 300; ++i) {
      const std::string token = "op-" + std::to_string(i) + ":1";
      memory.fence = i;
      memory.begin(token, "what");
      memory.note_switch("op-" + std::to_string(i), i <= 10, clock.read());
      memory.end(token, Outcome{Status::done, Json::object().set("output", std::string(60'000, '\x02')), Error()});
      if (i > 290) {
        ASSERT_TRUE(file->write(memory).has_value());
      }
    }
  }
  const auto reread = [&](Memory& into) { return MemoryFile::open(path, into); };
  Memory back;
  ASSERT_TRUE(reread(back).has_value());
  EXPECT_EQ(back.fence, 300);
  EXPECT_EQ(back.steps.size(), Memory::kStepsMax);
  EXPECT_EQ(back.find("op-300:1")->outcome->status, Status::done);
  EXPECT_EQ(back.switched(true, 1h, clock.read(), ""), 10);  // However many people's there were.
  EXPECT_EQ(back.switched(true, 1h, clock.read(), "op-1"), 9);

  std::string bytes = testing::read_file(path);
  bytes[(10 % 2) * MemoryFile::kSlotBytes + 500] ^= 1;
  write_file(path, bytes);
  ASSERT_TRUE(reread(back).has_value());
  EXPECT_EQ(back.fence, 299);
  bytes[(9 % 2) * MemoryFile::kSlotBytes + 10] ^= 1;
  write_file(path, bytes);
  EXPECT_EQ(reread(back).error().code, Errc::corrupt);
  write_file(path, bytes.substr(0, 1000));
  EXPECT_EQ(reread(back).error().code, Errc::corrupt);

  Memory unsure;
  unsure.begin("t", "w");
  for (const Status status : {Status::unknown, Status::timed_out}) unsure.end("t", Outcome{status, Json(), Error()});
  EXPECT_FALSE(unsure.find("t")->outcome.has_value());
}

TEST(ActorPaths, TheActorsDirectoryLiesBesideTheStateDirectory) {
  EXPECT_EQ(actor_service_directory("/var/lib/rollbackd/services/shop.prod"), "/var/lib/rollbackd-actor/services/shop.prod");
  EXPECT_EQ(actor_service_directory("/s/services/shop.prod/worker"), "/s-actor/services/shop.prod/worker");
  EXPECT_EQ(actor_service_directory("x"), "x");
}

}  // namespace
}  // namespace rollbackd::drivers
