// Folds the tests' results into one verdict. Pure.
// Flow: checks run the tests -> [verdict] -> operation.
#include "rollback/verdict.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/text.hpp"

namespace rollbackd::rollback {
namespace {

using Kind = TestResult::Kind;

constexpr std::size_t kDetailBytesMax = 1024;  // Of the verdict's text for people: it goes into a record and a page.

bool did_fail(const TestResult& result) { return result.kind == Kind::failed || result.kind == Kind::timed_out; }

/// Asks the running service for its release. It is a world check wherever it was run: not knowing what runs is not knowing the outcome.
bool is_identity(const TestResult& result) { return result.test == "identity"; }

/// "http failed (status 500); identity unknown (connection refused)": everything that did not pass, the first failure first.
std::string what_did_not_pass(const std::vector<TestResult>& results) {
  std::string failures, others;
  for (const TestResult& result : results) {
    if (result.kind == Kind::passed) continue;
    std::string& text = did_fail(result) ? failures : others;
    if (!text.empty()) text += "; ";
    text += result.test + " " + to_string(result.kind);
    if (!result.detail.empty()) text += " (" + result.detail + ")";
  }
  if (failures.empty() || others.empty()) return failures + others;
  return failures + "; " + others;
}

}  // namespace

const char* to_string(TestResult::Kind kind) {
  switch (kind) {
    case Kind::passed: return "passed";
    case Kind::failed: return "failed";
    case Kind::timed_out: return "timed_out";
    case Kind::unknown: return "unknown";
  }
  return "unknown";
}

VerificationVerdict judge_verification(std::vector<TestResult> world, std::vector<TestResult> tests) {
  const auto is_unknown = [](const TestResult& result) { return result.kind == Kind::unknown; };
  const bool world_unknown = std::any_of(world.begin(), world.end(), is_unknown) ||
                             std::any_of(tests.begin(), tests.end(), [&](const TestResult& t) { return is_unknown(t) && is_identity(t); });
  const bool test_unknown = std::any_of(tests.begin(), tests.end(), is_unknown);
  const bool looked = !tests.empty() || std::any_of(world.begin(), world.end(), is_identity);

  VerificationVerdict verdict;
  verdict.results = std::move(world);
  std::move(tests.begin(), tests.end(), std::back_inserter(verdict.results));
  verdict.detail = cut(what_did_not_pass(verdict.results), kDetailBytesMax);

  // Our switch is on record, so whoever moved the link since has deployed something: the release verified is blameless, and what runs is
  // not it.
  const auto moved = std::find_if(verdict.results.begin(), verdict.results.end(),
                                  [](const TestResult& result) { return result.test == "release_on_disk" && did_fail(result); });
  if (moved != verdict.results.end()) {
    verdict.kind = VerificationVerdict::Kind::unknown;
    verdict.detail = cut("it is not live any more, somebody else moved the link: " + verdict.detail, kDetailBytesMax);
    return verdict;
  }
  const auto failure = std::find_if(verdict.results.begin(), verdict.results.end(), did_fail);
  if (failure != verdict.results.end()) {
    verdict.kind = VerificationVerdict::Kind::failed;
    verdict.failed_how = failure->test + ":" + to_string(failure->kind);
  } else if (world_unknown) {
    verdict.kind = VerificationVerdict::Kind::unknown;
  } else if (test_unknown) {
    verdict.kind = VerificationVerdict::Kind::unverified;
  } else if (!looked) {
    verdict.kind = VerificationVerdict::Kind::unverified;
    verdict.detail = "no test looked at the running service; add one to \"verify\", or \"identity\"";
  } else {
    verdict.kind = VerificationVerdict::Kind::verified;
    verdict.detail = "all " + std::to_string(verdict.results.size()) + " tests passed";
  }
  return verdict;
}

}  // namespace rollbackd::rollback
