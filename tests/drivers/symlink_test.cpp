#include "drivers/symlink.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/detached.hpp>
#include <cerrno>
#include <filesystem>
#include <mutex>

#include "tests/drivers/helpers.hpp"

namespace rollbackd::drivers {
namespace {

namespace fs = std::filesystem;
using rollbackd::testing::run_until;
using rollbackd::testing::run_until_done;
using rollbackd::testing::TempDir;
using rollbackd::testing::write_file;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Status = Outcome::Status;

class SymlinkTest : public ::testing::Test {
 protected:
  SymlinkTest() {
    for (const char* id : {"v1", "v2", "v3"}) {
      fs::create_directories(dir / ("releases/" + std::string(id)));
      write_file(dir / ("releases/" + std::string(id) + "/app"), id);
    }
    fs::create_directory_symlink(dir / "releases/v2", dir / "current");
    make();
  }
  void make(Exchange exchange = exchange_names, bool guarded = false) {
    DriverContext made;
    made.guarded = guarded;
    made.executor = context.get_executor();
    made.clock = &clock;
    made.steps = &steps;
    made.bulk = &bulk;
    made.service = {"shop", "prod"};
    made.settings.releases = dir / "releases";
    made.settings.current = dir / "current";
    driver = std::move(make_symlink_driver(made, std::move(exchange)).value());
  }
  World world() { return run_until_done(context, driver->inspect())->value(); }
  Step step_to(const std::string& release) {
    Step step = driver->plan(world(), release).value().at(0);
    step.operation = "op";
    step.number = 1;
    return step;
  }
  Outcome run(Step step) { return *run_until_done(context, driver->run(std::move(step), 10s)); }
  TargetFacts look(const std::string& release, const std::string& digest) {
    return *run_until_done(context, driver->look(release, digest));
  }
  std::string current() { return fs::read_symlink(dir / "current").string(); }
  std::string armed() { return fs::read_symlink(dir / ".current.rollbackd-armed").string(); }
  void relink(const std::string& value) {
    fs::remove(dir / "current");
    fs::create_directory_symlink(value, dir / "current");
  }

  TempDir dir;
  boost::asio::io_context context;
  io::Clock clock;
  io::Worker steps{1}, bulk{1};
  std::unique_ptr<Driver> driver;
};

TEST_F(SymlinkTest, InspectsWhatIsLiveAndWhatIsThere) {
  fs::create_directories(dir / "releases/..bad");
  write_file(dir / "releases/file", "");
  fs::create_directory_symlink("v1", dir / "releases/alias");

  const World seen = world();

  EXPECT_EQ(seen.link, World::Link::present);
  EXPECT_EQ(seen.link_value, dir / "releases/v2");
  EXPECT_EQ(seen.live, "v2");
  EXPECT_NE(seen.link_inode, 0U);
  EXPECT_THAT(seen.releases, ElementsAre("v1", "v2", "v3"));
}

TEST_F(SymlinkTest, ALinkThatLeadsElsewhereIsNoRelease) {
  relink("/etc");
  EXPECT_EQ(world().live, "");
  relink(dir / "releases/v1/app");
  EXPECT_EQ(world().live, "");
  relink("releases/../releases/v1/");
  EXPECT_EQ(world().live, "v1");
}

TEST_F(SymlinkTest, AReleasesDirectoryMayHaveTwoNames) {
  fs::create_directory_symlink(dir / "releases", dir / "other");
  relink(dir / "other/v1");

  EXPECT_EQ(world().live, "v1");
  EXPECT_EQ(step_to("v3").arguments["to_value"].string_or(""), dir / "other/v3");
}

TEST_F(SymlinkTest, TheSwitchExchangesTheLinks) {
  const Outcome outcome = run(step_to("v1"));

  ASSERT_EQ(outcome.status, Status::done) << outcome.error.text();
  EXPECT_EQ(current(), dir / "releases/v1");
  EXPECT_EQ(armed(), dir / "releases/v2") << "the old link stays under the armed name";
  EXPECT_EQ(outcome.facts["came_out"].string_or(""), dir / "releases/v2");
  EXPECT_EQ(outcome.facts["link_value"].string_or(""), dir / "releases/v1");
  EXPECT_EQ(static_cast<std::uint64_t>(outcome.facts["link_inode"].int_or(0)), world().link_inode);
  EXPECT_TRUE(outcome.facts["exchange"].bool_or(false));
  EXPECT_TRUE(outcome.facts["durable"].bool_or(false));
}

TEST_F(SymlinkTest, ARepeatedStepIsAlreadyDone) {
  const Step step = step_to("v1");
  EXPECT_EQ(run(step).status, Status::done);

  EXPECT_EQ(run(step).status, Status::already_done);
  EXPECT_EQ(current(), dir / "releases/v1");
}

TEST_F(SymlinkTest, BackAndForthWorksThoughTheArmedNameHoldsTheOldLink) {
  EXPECT_EQ(run(step_to("v1")).status, Status::done);
  EXPECT_EQ(run(step_to("v3")).status, Status::done);
  EXPECT_EQ(run(step_to("v2")).status, Status::done);

  EXPECT_EQ(current(), dir / "releases/v2");
  EXPECT_EQ(armed(), dir / "releases/v3");
}

TEST_F(SymlinkTest, AnOutsideDeploymentBeforeTheStepWins) {
  const Step step = step_to("v1");
  relink(dir / "releases/v3");

  const Outcome outcome = run(step);

  EXPECT_EQ(outcome.status, Status::conflict);
  EXPECT_EQ(current(), dir / "releases/v3");
  EXPECT_THAT(outcome.error.text(), HasSubstr("releases/v3"));
}

TEST_F(SymlinkTest, AnOutsideDeploymentInTheVeryMomentIsPutBack) {
  int calls = 0;
  make([&](int directory, const char* a, const char* b) {
    if (++calls == 1) relink(dir / "releases/v3");  // after the step looked, before it exchanges
    return exchange_names(directory, a, b);
  });

  const Outcome outcome = run(step_to("v1"));

  EXPECT_EQ(outcome.status, Status::conflict);
  EXPECT_EQ(current(), dir / "releases/v3");
  EXPECT_EQ(outcome.facts["came_out"].string_or(""), dir / "releases/v3");
  EXPECT_EQ(calls, 2);
}

TEST_F(SymlinkTest, OfTwoOutsideDeploymentsTheLastWins) {
  int calls = 0;
  make([&](int directory, const char* a, const char* b) {
    ++calls;
    if (calls == 1) relink(dir / "releases/v3");
    if (calls == 2) relink("releases/v3");
    return exchange_names(directory, a, b);
  });

  EXPECT_EQ(run(step_to("v1")).status, Status::conflict);
  EXPECT_EQ(current(), "releases/v3");
}

TEST_F(SymlinkTest, WhatCannotBePutBackIsUnknown) {
  int calls = 0;
  make([&](int directory, const char* a, const char* b) {
    if (++calls > 1) return EIO;
    relink(dir / "releases/v3");
    return exchange_names(directory, a, b);
  });

  EXPECT_EQ(run(step_to("v1")).status, Status::unknown);
}

TEST_F(SymlinkTest, ADiskThatHangsLeavesTheOutcomeUnknownAtTheDeadline) {
  const Step step = step_to("v1");
  std::mutex disk;
  std::unique_lock hangs(disk);
  auto blocked = steps.run([&disk] {
    const std::scoped_lock wait(disk);
    return 0;
  });
  boost::asio::co_spawn(context, std::move(blocked), boost::asio::detached);
  const auto began = std::chrono::steady_clock::now();

  const Outcome outcome = *run_until_done(context, driver->run(step, 200ms));

  EXPECT_EQ(outcome.status, Status::unknown);
  EXPECT_EQ(outcome.error.code, Errc::outcome_unknown);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 10s);
  EXPECT_EQ(current(), dir / "releases/v2");
  hangs.unlock();  // It happens after all; asked once more, the same step says so and does nothing twice.
  EXPECT_TRUE(run(step).ok());
  EXPECT_EQ(current(), dir / "releases/v1");
  EXPECT_EQ(armed(), dir / "releases/v2");
}

TEST_F(SymlinkTest, WithoutExchangeItRenamesAndSaysSo) {
  make([](int, const char*, const char*) { return EINVAL; });

  const TargetFacts facts = *run_until_done(context, driver->arm("v1", ""));
  const Outcome outcome = run(step_to("v1"));

  EXPECT_TRUE(facts.intact);
  EXPECT_THAT(facts.why, HasSubstr("cannot exchange"));
  ASSERT_EQ(outcome.status, Status::done) << outcome.error.text();
  EXPECT_FALSE(outcome.facts["exchange"].bool_or(true));
  EXPECT_EQ(current(), dir / "releases/v1");
}

TEST_F(SymlinkTest, AMissingLinkIsAConflictUnlessItIsToBeMade) {
  const Step step = step_to("v1");
  fs::remove(dir / "current");
  EXPECT_EQ(run(step).status, Status::conflict);
  EXPECT_FALSE(fs::exists(fs::symlink_status(dir / "current")));

  const Outcome made = run(step_to("v1"));

  EXPECT_EQ(made.status, Status::done) << made.error.text();
  EXPECT_EQ(current(), dir / "releases/v1");
}

TEST_F(SymlinkTest, ADirectoryInPlaceOfTheLinkIsRefused) {
  const Step step = step_to("v1");
  fs::remove(dir / "current");
  fs::create_directory(dir / "current");

  EXPECT_EQ(run(step).status, Status::refused);
  EXPECT_EQ(driver->plan(world(), "v1").error().code, Errc::refused);
}

TEST_F(SymlinkTest, ARelativeLinkStaysRelative) {
  relink("releases/v2");
  EXPECT_EQ(run(step_to("v1")).status, Status::done);
  EXPECT_EQ(current(), "releases/v1");

  relink("somewhere/else");
  EXPECT_EQ(step_to("v1").arguments["to_value"].string_or(""), "releases/v1");
}

TEST_F(SymlinkTest, StepsThatWereNotPlannedHereAreRefused) {
  Step elsewhere = step_to("v1");
  elsewhere.arguments.set("current", "/etc/passwd");
  Step outside = step_to("v1");
  outside.arguments.set("to_value", "/etc");
  Step tricky = step_to("v1");
  tricky.arguments.set("to_value", dir / "releases/../etc");
  Step version = step_to("v1");
  version.version = 2;
  Step gone = step_to("v1");
  fs::remove_all(dir / "releases/v1");

  for (const Step& step : {elsewhere, outside, tricky, version, gone})
    EXPECT_EQ(run(step).status, Status::refused) << step.to_json().dump();
  EXPECT_EQ(current(), dir / "releases/v2");
}

TEST_F(SymlinkTest, PlansOnlyWhatIsThere) {
  EXPECT_EQ(driver->plan(world(), "v9").error().code, Errc::not_found);
  EXPECT_EQ(driver->plan(world(), "../v1").error().code, Errc::invalid_argument);
}

TEST_F(SymlinkTest, UndoPutsBackWhatItsOwnStepSwitchedAndNothingElse) {
  const Step step = step_to("v1");
  EXPECT_EQ(run_until_done(context, driver->undo(step, 5s))->status, Status::already_done);
  run(step);
  EXPECT_EQ(run_until_done(context, driver->undo(step, 5s))->status, Status::done);
  EXPECT_EQ(current(), dir / "releases/v2");
  EXPECT_EQ(armed(), dir / "releases/v1") << "the switch can be made again without a new disk block";
  EXPECT_EQ(run_until_done(context, driver->undo(step, 5s))->status, Status::already_done);

  run(step);
  fs::create_directory(dir / "releases/v9");
  fs::remove(dir / "current");
  fs::create_symlink(dir / "releases/v9", dir / "current");
  EXPECT_EQ(run_until_done(context, driver->undo(step, 5s))->status, Status::conflict);
  EXPECT_EQ(current(), dir / "releases/v9");
}

TEST_F(SymlinkTest, ArmingHashesAndMakesTheLink) {
  const std::string digest = run_until_done(context, driver->digest("v1"))->value();
  const TargetFacts facts = *run_until_done(context, driver->arm("v1", digest));

  EXPECT_TRUE(facts.present);
  EXPECT_TRUE(facts.intact);
  EXPECT_EQ(facts.why, "");
  EXPECT_EQ(armed(), dir / "releases/v1");
  EXPECT_EQ(current(), dir / "releases/v2");
  for (const auto& entry : fs::directory_iterator(dir.path())) EXPECT_THAT(entry.path().string(), ::testing::Not(HasSubstr(".probe")));
}

TEST_F(SymlinkTest, AReleaseOfAnotherDigestIsNotArmed) {
  const TargetFacts facts = *run_until_done(context, driver->arm("v1", std::string(64, '0')));

  EXPECT_TRUE(facts.present);
  EXPECT_FALSE(facts.intact);
  EXPECT_THAT(facts.why, HasSubstr("digest"));
  EXPECT_FALSE(fs::exists(fs::symlink_status(dir / ".current.rollbackd-armed")));
}

TEST_F(SymlinkTest, ALookIsQuickWhileNothingChanged) {
  write_file(dir / "releases/v1/big", std::string(64 << 20, 'x'));
  const auto time = [&](auto work) {
    const auto began = std::chrono::steady_clock::now();
    work();
    return std::chrono::steady_clock::now() - began;
  };
  std::string digest;
  const auto full = time([&] { digest = run_until_done(context, driver->digest("v1"))->value(); });
  TargetFacts facts;
  auto quick = full;
  for (int i = 0; i < 5; ++i)  // The best of a few: a busy machine may stand still in any of them.
    quick = std::min(quick, time([&] { facts = look("v1", digest); }));

  EXPECT_TRUE(facts.intact);
  EXPECT_LT(quick * 3, full);
}

TEST_F(SymlinkTest, ALookFindsAChangeAndForgivesATouch) {
  const std::string digest = run_until_done(context, driver->digest("v1"))->value();

  fs::last_write_time(dir / "releases/v1/app", fs::file_time_type::clock::now());
  EXPECT_TRUE(look("v1", digest).intact) << "hashed again, and it is the same";
  write_file(dir / "releases/v1/app", "XX");
  EXPECT_FALSE(look("v1", digest).intact);
  fs::remove_all(dir / "releases/v1");
  const TargetFacts gone = look("v1", digest);
  EXPECT_FALSE(gone.present);
  EXPECT_FALSE(gone.intact);
}

TEST_F(SymlinkTest, DescribesAReleaseByItsOwnWordsAndIgnoresBadOnes) {
  write_file(dir / "releases/v1/release.json",
             R"({"commit":"abc","created":"2026-01-01T00:00:00Z","irreversible":true,"security_epoch":3,"min_compatible":"../x",
                 "artifacts":[{"name":"app","locator":"https://x/y@z","size":7,"sha256":"00"}]})");
  write_file(dir / "releases/v2/release.json", "{not json");
  write_file(dir / "releases/v3/release.json", std::string(100'000, ' '));

  const Release v1 = driver->describe("v1").value();

  EXPECT_EQ(v1.commit, "abc");
  EXPECT_TRUE(v1.irreversible);
  EXPECT_EQ(v1.security_epoch, 3);
  EXPECT_EQ(v1.min_compatible, "");
  ASSERT_EQ(v1.artifacts.size(), 1U);
  EXPECT_EQ(v1.artifacts[0].locator, "https://x/y@z");
  EXPECT_EQ(v1.path, dir / "releases/v1");
  EXPECT_EQ(driver->describe("v2").value().commit, "");
  EXPECT_TRUE(driver->describe("v3").has_value());
  EXPECT_EQ(driver->describe("v9").error().code, Errc::not_found);
}

TEST_F(SymlinkTest, MarksABadReleaseBesideItNotInIt) {
  const std::string digest = run_until_done(context, driver->digest("v1"))->value();

  ASSERT_TRUE(run_until_done(context, driver->mark_bad("v1", "crashed\ntwice"))->has_value());

  EXPECT_THAT(rollbackd::testing::read_file(dir / "releases/.v1.BAD_RELEASE"), HasSubstr("crashed\\x0atwice"));
  EXPECT_TRUE(look("v1", digest).intact);
  EXPECT_THAT(world().releases, ElementsAre("v1", "v2", "v3"));

  ASSERT_TRUE(run_until_done(context, driver->mark_bad("v1", ""))->has_value());
  EXPECT_FALSE(std::filesystem::exists(dir / "releases/.v1.BAD_RELEASE")) << "without a reason the note goes";
  EXPECT_TRUE(run_until_done(context, driver->mark_bad("v1", ""))->has_value()) << "and again";
}

TEST_F(SymlinkTest, ANoteIsAFileOfItsOwnWhateverLiesUnderItsName) {
  rollbackd::testing::write_file(dir / "others", "theirs");
  std::filesystem::create_hard_link(dir / "others", dir / "releases/.v1.BAD_RELEASE.new");
  std::filesystem::create_symlink(dir / "others", dir / "releases/.v1.BAD_RELEASE");

  ASSERT_TRUE(run_until_done(context, driver->mark_bad("v1", "crashed"))->has_value());

  EXPECT_EQ(rollbackd::testing::read_file(dir / "others"), "theirs");
  EXPECT_THAT(rollbackd::testing::read_file(dir / "releases/.v1.BAD_RELEASE"), HasSubstr("crashed"));
}

TEST_F(SymlinkTest, AGuardedDriverWritesNoNoteThroughALinkOfSomebodyElse) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can make another's link";
  std::filesystem::rename(dir / "releases", dir / "elsewhere");
  std::filesystem::create_symlink(dir / "elsewhere", dir / "releases");
  ASSERT_EQ(::lchown((dir / "releases").c_str(), 65534, 65534), 0);
  make(exchange_names, true);

  EXPECT_EQ(run_until_done(context, driver->mark_bad("v1", "crashed"))->error().code, Errc::refused);
  EXPECT_EQ(run_until_done(context, driver->mark_bad("v1", ""))->error().code, Errc::refused);
  EXPECT_FALSE(std::filesystem::exists(dir / "elsewhere/.v1.BAD_RELEASE"));
  make();
  EXPECT_TRUE(run_until_done(context, driver->mark_bad("v1", "crashed"))->has_value()) << "without more rights than the others";
}

/// Runs a watch beside the test's own doing.
class SymlinkWatch : public SymlinkTest {
 protected:
  void begin() {
    auto work = [](Driver* watched, std::vector<LinkSeen>* out) -> boost::asio::awaitable<void> {
      co_await watched->watch([out](LinkSeen link) { out->push_back(std::move(link)); });
    };
    boost::asio::co_spawn(context, work(driver.get(), &seen),
                          boost::asio::bind_cancellation_slot(stop.slot(), [this](const std::exception_ptr&) { ended = true; }));
  }
  bool wait_for(std::size_t count) {
    return run_until(context, [&] { return seen.size() >= count; });
  }
  void TearDown() override {
    stop.emit(boost::asio::cancellation_type::terminal);
    run_until(context, [&] { return ended; });
  }
  boost::asio::cancellation_signal stop;
  std::vector<LinkSeen> seen;
  bool ended = false;
};

TEST_F(SymlinkWatch, ReportsAtOnceAndThenWhatChanged) {
  begin();
  ASSERT_TRUE(wait_for(1));
  EXPECT_EQ(seen[0].live, "v2");

  ASSERT_EQ(std::system(("ln -sfn releases/v3 " + dir / "current").c_str()), 0);

  ASSERT_TRUE(wait_for(2));
  EXPECT_EQ(seen[1].live, "v3");
  EXPECT_EQ(seen[1].value, "releases/v3");
  EXPECT_NE(seen[1].inode, seen[0].inode);
}

TEST_F(SymlinkWatch, SeesOurOwnSwitchOnceWithTheJournaledInode) {
  begin();
  ASSERT_TRUE(wait_for(1));

  const Outcome outcome = run(step_to("v1"));

  ASSERT_TRUE(wait_for(2));
  EXPECT_EQ(static_cast<std::int64_t>(seen[1].inode), outcome.facts["link_inode"].int_or(0));
  EXPECT_EQ(seen[1].live, "v1");
  write_file(dir / "unrelated", "");
  fs::create_directory_symlink(dir / "releases/v3", dir / "next");
  fs::rename(dir / "next", dir / "current");
  ASSERT_TRUE(wait_for(3));
  EXPECT_EQ(seen[2].live, "v3");
}

TEST_F(SymlinkWatch, AMissingLinkIsReportedAfterASecond) {
  begin();
  ASSERT_TRUE(wait_for(1));
  const auto began = std::chrono::steady_clock::now();
  fs::remove(dir / "current");

  ASSERT_TRUE(wait_for(2));

  EXPECT_EQ(seen[1].link, World::Link::missing);
  EXPECT_GE(std::chrono::steady_clock::now() - began, 900ms);
}

TEST_F(SymlinkWatch, GoesOnWhenTheDirectoryWasReplaced) {
  begin();
  ASSERT_TRUE(wait_for(1));
  const std::string moved = dir.path() + "-moved";
  fs::rename(dir.path(), moved);
  ASSERT_TRUE(wait_for(2));
  EXPECT_EQ(seen[1].link, World::Link::missing);

  fs::rename(moved, dir.path());

  ASSERT_TRUE(wait_for(3));
  EXPECT_EQ(seen[2].live, "v2");
}

}  // namespace
}  // namespace rollbackd::drivers
