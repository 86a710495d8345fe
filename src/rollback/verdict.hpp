// What verification says: one result a test, and the verdict over all. Pure.
#pragma once

#include <string>
#include <vector>

#include "base/time.hpp"

namespace rollbackd::rollback {

struct TestResult {
  /// `unknown`: it could not look (the test's program missing, no answer about the release): neither passed nor failed.
  enum class Kind : int { passed = 1, failed = 2, timed_out = 3, unknown = 4 };
  std::string test;
  Kind kind = Kind::unknown;
  std::string detail;
  Duration took{};
};
const char* to_string(TestResult::Kind kind);

struct VerificationVerdict {
  enum class Kind : int { verified = 1, failed = 2, unverified = 3, unknown = 4 };
  Kind kind = Kind::unknown;
  std::string failed_how;  ///< "TEST:KIND" of the first test that failed: what tells "the same way" from another
  std::string detail;      ///< for people
  std::vector<TestResult> results;
};

/// The world checks count as tests too: "release_on_disk", "process_younger", "identity". Another release on disk than the one verified is
/// unknown, not failed: somebody deployed meanwhile, which says nothing of this one.
/// failed: any failed or timed out. unknown: nothing failed, but one of the world checks is unknown. unverified: no test ran at all beyond
/// the world checks, or a test is unknown. verified: everything passed and at least one test or identity looked at the running service.
VerificationVerdict judge_verification(std::vector<TestResult> world, std::vector<TestResult> tests);

}  // namespace rollbackd::rollback
