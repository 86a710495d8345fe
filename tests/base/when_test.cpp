// Points of time as people write them.
#include "base/when.hpp"

#include <gtest/gtest.h>

namespace rollbackd {
namespace {

const Instant kNow = Instant::from_seconds(1'795'176'000);  // 2026-11-20T12:00:00Z

TEST(ParseWhen, ReadsRfc3339DaysAndHowLongAgo) {
  const std::vector<std::pair<std::string, std::string>> cases{{"2026-11-20T13:04:05Z", "2026-11-20T13:04:05.000Z"},
                                                               {"2026-11-20T13:04:05.25Z", "2026-11-20T13:04:05.250Z"},
                                                               {"2026-11-20T13:04:05+02:00", "2026-11-20T11:04:05.000Z"},
                                                               {"2026-11-20T23:30:00-01:30", "2026-11-21T01:00:00.000Z"},
                                                               {"2026-11-20", "2026-11-20T00:00:00.000Z"},
                                                               {"24h", "2026-11-19T12:00:00.000Z"},
                                                               {"1h30m", "2026-11-20T10:30:00.000Z"},
                                                               {"1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"},
                                                               {"100y", "1970-01-01T00:00:00.000Z"},
                                                               {"2024-02-29", "2024-02-29T00:00:00.000Z"}};

  for (const auto& [text, expected] : cases) {
    const auto when = parse_when(text, kNow);
    ASSERT_TRUE(when) << text << ": " << when.error().text();
    EXPECT_EQ(format_rfc3339(*when), expected) << text;
  }
}

TEST(ParseWhen, RefusesEverythingElseAndNamesTheForms) {
  for (const char* text : {"", "yesterday", "24", "-1h", "2026-13-01", "2026-02-30", "2026-11-20T25:00:00Z", "2026-11-20T13:04Z",
                           "2026-11-20 13:04:05Z", "2026-11-20T13:04:05", "2026-11-20T13:04:05.Z", "2026-11-20T13:04:05+2:00",
                           "1969-12-31T23:59:59Z", "3000-01-01", "T", "2026-11-20T", "2026-11-20T13:04:05Zulu"}) {
    const auto when = parse_when(text, kNow);
    ASSERT_FALSE(when) << text;
    EXPECT_EQ(when.error().code, Errc::invalid_argument);
    EXPECT_NE(when.error().why.find("RFC 3339"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace rollbackd
