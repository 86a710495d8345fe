// Verification's verdict: what the tests' results add up to.
#include "rollback/verdict.hpp"

#include <gmock/gmock.h>

namespace rollbackd::rollback {
namespace {

using Kind = TestResult::Kind;
using Verdict = VerificationVerdict::Kind;
using testing::HasSubstr;

TestResult result(const char* test, Kind kind, const char* detail = "") { return {test, kind, detail, 5ms}; }

const std::vector<TestResult> kWorldIsWell{result("release_on_disk", Kind::passed), result("process_younger", Kind::passed)};

TEST(Verdict, EverythingPassedAndATestLookedIsVerified) {
  const auto verdict = judge_verification(kWorldIsWell, {result("checks_healthy", Kind::passed)});

  EXPECT_EQ(verdict.kind, Verdict::verified);
  EXPECT_EQ(verdict.failed_how, "");
  EXPECT_EQ(verdict.results.size(), 3U);
}

TEST(Verdict, IdentityAloneLooksAtTheRunningServiceToo) {
  auto world = kWorldIsWell;
  world.push_back(result("identity", Kind::passed));

  EXPECT_EQ(judge_verification(world, {}).kind, Verdict::verified);
}

TEST(Verdict, WithNoTestBeyondTheWorldNothingIsVerified) {
  const auto verdict = judge_verification(kWorldIsWell, {});

  EXPECT_EQ(verdict.kind, Verdict::unverified);
  EXPECT_THAT(verdict.detail, HasSubstr("no test looked"));
  EXPECT_EQ(judge_verification({}, {}).kind, Verdict::unverified);
}

TEST(Verdict, OneFailureAmongPassesIsFailedAndNamed) {
  const auto verdict = judge_verification(
      kWorldIsWell, {result("http", Kind::passed), result("exec", Kind::failed, "exit 3"), result("checks_healthy", Kind::timed_out)});

  EXPECT_EQ(verdict.kind, Verdict::failed);
  EXPECT_EQ(verdict.failed_how, "exec:failed");
  EXPECT_THAT(verdict.detail, HasSubstr("exec failed (exit 3); checks_healthy timed_out"));
}

TEST(Verdict, ATimeoutIsAFailureOfItsOwnKind) {
  const auto verdict = judge_verification(kWorldIsWell, {result("http", Kind::timed_out)});

  EXPECT_EQ(verdict.kind, Verdict::failed);
  EXPECT_EQ(verdict.failed_how, "http:timed_out");
}

TEST(Verdict, AFailureOfTheWorldComesBeforeTheTests) {
  const auto verdict = judge_verification({result("process_younger", Kind::failed)}, {result("http", Kind::failed)});

  EXPECT_EQ(verdict.failed_how, "process_younger:failed");
}

TEST(Verdict, AReleaseThatSomebodyElseTookAwayHasNotFailed) {
  const auto verdict =
      judge_verification({result("release_on_disk", Kind::failed, "current leads to v3"), result("process_younger", Kind::failed)},
                         {result("identity", Kind::failed), result("checks_healthy", Kind::passed)});

  EXPECT_EQ(verdict.kind, Verdict::unknown) << "what was deployed meanwhile says nothing of the release that was put back";
  EXPECT_EQ(verdict.failed_how, "");
  EXPECT_THAT(verdict.detail, HasSubstr("somebody else moved the link: release_on_disk failed (current leads to v3)"));
}

TEST(Verdict, AFailureWeighsMoreThanAnUnknown) {
  const auto verdict = judge_verification({result("process_younger", Kind::unknown)}, {result("http", Kind::failed)});

  EXPECT_EQ(verdict.kind, Verdict::failed);
  EXPECT_THAT(verdict.detail, HasSubstr("http failed; process_younger unknown"));
}

TEST(Verdict, AnUnknownWorldIsUnknown) {
  EXPECT_EQ(judge_verification({result("process_younger", Kind::unknown)}, {result("http", Kind::passed)}).kind, Verdict::unknown);
}

TEST(Verdict, AnUnknownIdentityIsUnknownWhereverItWasAsked) {
  EXPECT_EQ(judge_verification(kWorldIsWell, {result("http", Kind::passed), result("identity", Kind::unknown)}).kind, Verdict::unknown);
}

TEST(Verdict, AnUnknownTestIsUnverified) {
  EXPECT_EQ(judge_verification(kWorldIsWell, {result("http", Kind::passed), result("exec", Kind::unknown)}).kind, Verdict::unverified);
}

TEST(Verdict, ItsTextIsBoundedHoweverMuchTheTestsSay) {
  const std::string much(100'000, 'x');

  EXPECT_LE(judge_verification({}, {result("exec", Kind::failed, much.c_str())}).detail.size(), 1100U);
}

}  // namespace
}  // namespace rollbackd::rollback
