#include "checks/dpkg_log.hpp"

#include <gtest/gtest.h>

namespace rollbackd::checks {
namespace {

std::vector<std::string> whats(std::string_view text, std::size_t max = 64) {
  std::vector<std::string> out;
  for (const PackageChange& change : parse_dpkg_log(text, max)) out.push_back(change.what);
  return out;
}
using Whats = std::vector<std::string>;

TEST(DpkgLog, TellsUpgradesInstallationsAndRemovalsOnceEach) {
  constexpr std::string_view kLog =
      "2026-11-20 06:12:01 startup archives unpack\n"
      "2026-11-20 06:12:01 upgrade libssl3:amd64 3.0.11-1 3.0.15-1\n"
      "2026-11-20 06:12:01 status half-configured libssl3:amd64 3.0.11-1\n"
      "2026-11-20 06:12:01 status unpacked libssl3:amd64 3.0.11-1\n"
      "2026-11-20 06:12:02 status half-installed libssl3:amd64 3.0.11-1\n"
      "2026-11-20 06:12:02 status unpacked libssl3:amd64 3.0.15-1\n"
      "2026-11-20 06:12:03 configure libssl3:amd64 3.0.15-1 <none>\n"
      "2026-11-20 06:12:03 status installed libssl3:amd64 3.0.15-1\n"
      "2026-11-20 06:12:04 trigproc libc-bin:amd64 2.36-9 <none>\n"
      "2026-11-20 06:12:04 status half-configured libc-bin:amd64 2.36-9\n"
      "2026-11-20 06:12:04 status installed libc-bin:amd64 2.36-9\n"
      "2026-11-20 07:00:00 install jq:amd64 <none> 1.6-2.1\n"
      "2026-11-20 07:00:01 status installed jq:amd64 1.6-2.1\n"
      "2026-11-20 08:00:00 remove jq:amd64 1.6-2.1 <none>\n"
      "2026-11-20 08:00:00 status config-files jq:amd64 1.6-2.1\n"
      "2026-11-20 08:00:00 status not-installed jq:amd64 <none>\n";
  EXPECT_EQ(whats(kLog), (Whats{"libssl3:amd64 3.0.11-1 -> 3.0.15-1", "jq:amd64 1.6-2.1 installed", "jq:amd64 1.6-2.1 removed"}));
  EXPECT_EQ(parse_dpkg_log(kLog).front().local_seconds, 1'795'155'123);
  EXPECT_EQ(whats(kLog, 1), (Whats{"jq:amd64 1.6-2.1 removed"})) << "the newest";
}

TEST(DpkgLog, AReinstallationOfTheSameVersionAndTriggersAreNoChange) {
  EXPECT_EQ(whats("2026-11-20 06:12:01 upgrade nginx:amd64 1.22 1.22\n"
                  "2026-11-20 06:12:03 status installed nginx:amd64 1.22\n"),
            Whats{});
}

TEST(DpkgLog, WhatIsCutOffOrNonsenseIsPassedOver) {
  for (const char* text : {"", "\n\n", "x", "2026-11-20 06:12:03 status installed a", "2026-99-20 06:12:03 upgrade a 1 2\n",
                           "2026-11-20 06:12:03\n", "2026-11-20 06:12:03 status\n", "garbage that is long enough to be a line of it\n",
                           "2026-11-20 06:12:03 upgrade a 1 2\n2026-11-20 06:12:03 status installed a 2"})
    EXPECT_EQ(whats(text), Whats{}) << text;
  std::string junk = "2026-11-20 06:12:01 upgrade a 1 2\n2026-11-20 06:12:03 status installed a ";
  junk += std::string(10'000, '\x01') + "\n";
  ASSERT_EQ(whats(junk).size(), 1U);
  EXPECT_LT(whats(junk).front().size(), 200U);
}

}  // namespace
}  // namespace rollbackd::checks
