// `rollbackctl replay`: recordings whose incident is known to the second, and what is said of them.
#include "cli/replay.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/replay_fetch.hpp"
#include "cli/replay_text.hpp"
#include "tests/cli/run_ctl.hpp"

namespace rollbackd::cli {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr std::int64_t kStart = 1'795'176'000;  // 2026-11-20T12:00:00Z
const std::string kApp = R"(check="app",environment="prod",instance="a:80",job="shop",service="shop")";

/// 2026-11-20T12:00:00.000Z and so many seconds.
std::string at(double seconds) { return format_rfc3339(Instant::from_seconds(static_cast<double>(kStart) + seconds)); }
std::string unix_at(double seconds) {
  std::string text = std::to_string(static_cast<double>(kStart) + seconds);
  return text.substr(0, text.find('.') + 4);
}

class Replay : public testing::Test {
 protected:
  Replay() {
    std::filesystem::create_directories(directory_);
    ::setenv("ROLLBACKD_RULES_DIRECTORY", (std::string(ROLLBACKD_SOURCE_DIR) + "/rules").c_str(), 1);  // NOLINT: before any thread
  }
  ~Replay() override { std::filesystem::remove_all(directory_); }

  std::string file(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / name) << text;
    return directory_ / name;
  }
  void sample(const std::string& series, double value, double seconds) {
    text_ += series + " " + Json(value).dump() + " " + unix_at(seconds) + "\n";
  }
  /// One series with a sample every `step` seconds in [0, end).
  void series(const std::string& name, int step, int end, const std::function<std::optional<double>(int)>& value) {
    for (int t = 0; t < end; t += step)
      if (const auto v = value(t)) sample(name, *v, t);
  }
  void epoch(const std::string& release, double seconds) {
    text_ += "# EPOCH service=\"shop\",environment=\"prod\",release=\"" + release + "\" " + unix_at(seconds) + "\n";
  }
  /// 20 requests a second, of which `errors` a second fail from `from` on; scraped every 5 s, with `up`.
  void requests(int end, int from, int to, int errors = 2, int each = 20, const std::function<bool(int)>& silent = nullptr) {
    const auto bad = [=](int t) { return std::max(0, std::min(t, to) - from) * errors; };
    const auto seen = [&](int t, double v) { return silent && silent(t) ? std::nullopt : std::optional(v); };
    series("http_requests_total{code=\"200\"," + kApp + "}", 5, end, [&](int t) { return seen(t, t * each - bad(t)); });
    series("http_requests_total{code=\"500\"," + kApp + "}", 5, end, [&](int t) { return seen(t, bad(t)); });
    series("up{" + kApp + "}", 5, end, [&](int t) { return seen(t, 1); });
  }
  std::string rules(const std::string& body) { return file("rules.yml", "groups:\n- name: mine\n  rules:\n" + body); }
  std::string recording() { return file("recording.om", text_ + "# EOF\n"); }

  static Ran replay(std::vector<std::string> arguments, bool json = false) {
    arguments.insert(arguments.begin(), "replay");
    if (json) arguments.insert(arguments.begin(), {"--format", "json"});
    return ctl(std::move(arguments));
  }
  Json replayed(std::vector<std::string> arguments) {
    const Ran ran = replay(std::move(arguments), true);
    EXPECT_EQ(ran.code, 0) << ran.err;
    auto json = Json::parse(ran.out);
    return json ? *json : Json();
  }
  static Json row(const Json& answer, const std::string& rule) {
    for (const Json& r : answer["rules"].elements())
      if (r["rule"].string_or("") == rule) return r;
    return {};
  }
  /// "TIME what" of one kind.
  static std::vector<std::string> events(const Json& answer, const std::string& kind) {
    std::vector<std::string> out;
    for (const Json& e : answer["events"].elements())
      if (e["kind"].string_or("") == kind) out.push_back(e["time"].string_or("") + " " + e["text"].string_or(""));
    return out;
  }
  static std::vector<std::string> refusing(const Json& answer) {
    std::vector<std::string> out;
    for (const Json& e : answer["events"].elements())
      for (const Json& g : e["details"]["guards"].elements())
        if (g["asked"].bool_or(false) && !g["yes"].bool_or(true)) out.push_back(g["guard"].string_or(""));
    return out;
  }

  std::filesystem::path directory_ = testing::TempDir() + "replay_" + testing::UnitTest::GetInstance()->current_test_info()->name();
  std::string text_;
};

TEST_F(Replay, AnErrorRatioIncidentFiresThePacksRuleAtItsInstantAndIsDecidedARollback) {
  epoch("v1", 0);
  epoch("v2", 600.5);
  requests(1200, 660, 900, 4);

  const std::string path = recording();
  const Json answer = replayed({path});

  // 20 % of the requests fail from 660 s on: that is 10 % of a minute's after 30 s, and 30 s after their end it is no more.
  const Json high = row(answer, "HighErrorRatio");
  EXPECT_EQ(high["first_fired"].string_or(""), at(690));
  EXPECT_EQ(high["times_fired"].int_or(0), 1);
  EXPECT_EQ(high["firing"].elements().front()["to"].string_or(""), at(930));
  EXPECT_EQ(high["longest_seconds"].number_or(0), 240);
  EXPECT_EQ(high["timeline"].string_or("").size(), 60U);
  EXPECT_THAT(events(answer, "decision"), ElementsAre(at(690) + " DECISION rollback: v2 fails and every guard says yes: back to v1"));
  EXPECT_THAT(events(answer, "release"),
              ElementsAre(HasSubstr("release v1 is live (good)"), at(600.5) + " release v2 is live, after v1 (new)"));
  EXPECT_THAT(events(answer, "incident"), ElementsAre(HasSubstr(at(690) + " incident opens on v2: quality_gate, cause metric"),
                                                      HasSubstr("the decided rollback was not carried out")));

  const Ran text = replay({path, "--rule", "HighErrorRatio"});
  EXPECT_EQ(text.code, 0);
  EXPECT_THAT(text.out, HasSubstr(at(690) + "  shop/prod  HighErrorRatio FIRING value 0.1"));
  EXPECT_THAT(text.out, HasSubstr("shop/prod: 10.09% of its requests fail"));
  EXPECT_THAT(text.out, HasSubstr("22 guards asked, every one says yes"));
  EXPECT_THAT(text.out, HasSubstr("HighErrorRatio shop/prod  |"));
  EXPECT_THAT(text.out, Not(HasSubstr("ProcessCrashed")));
  EXPECT_EQ(text.out, replay({path, "--rule", "HighErrorRatio"}).out) << "the same input gives the same output";
  EXPECT_EQ(replay({path, "--fail-on", "rollback"}).code, 1);
  EXPECT_EQ(replay({path, "--fail-on", "firing"}).code, 1);
  EXPECT_EQ(replay({path, "--fail-on", "firing", "--rule", "ProcessCrashed"}).code, 0);
  EXPECT_EQ(replay({path, "--fail-on", "rollback", "--end", at(680)}).code, 0);
  EXPECT_THAT(replay({path, "--rule", "NoSuchRule"}).err, HasSubstr("no alerting rule matches"));
}

TEST_F(Replay, AGapIsBlindAndNeverOk) {
  epoch("v1", 0);
  requests(1200, 9999, 9999, 0, 20, [](int t) { return t >= 300 && t < 900; });
  const std::string mine = rules(
      "  - {alert: Gone, expr: 'absent(http_requests_total)'}\n"
      "  - {alert: Slow, expr: 'rate(http_requests_total{code=\"200\"}[1m]) < 1'}\n");

  const Json answer = replayed({recording(), "--rules", mine});

  // The last sample is at 295, and 12.5 s after it the source is silent.
  const Json slow = row(answer, "Slow");
  EXPECT_NEAR(slow["blind_seconds"].number_or(0), 900 - 307.5, 0.2);
  EXPECT_EQ(slow["timeline"].string_or(""), std::string(15, '.') + std::string(31, '?') + std::string(14, '.'));
  EXPECT_THAT(events(answer, "blind"), Contains(AllOf(HasSubstr("blind for 9m52s"), HasSubstr("Slow"))));
  // What absent() looks for is there for a lookback, then nobody knows.
  const Json gone = row(answer, "Gone");
  EXPECT_EQ(gone["timeline"].string_or("").substr(31, 13), std::string(13, '?'));
  for (const Json& rule : {slow, gone}) EXPECT_EQ(rule["times_fired"].int_or(-1), 0);
}

TEST_F(Replay, ATargetThatIsDownBlindsWhatItSaysAndNotUp) {
  const auto up = [](int t) { return t < 300; };
  series("queue_length{instance=\"a:80\",job=\"shop\"}", 15, 900, [&](int t) { return up(t) ? std::optional(99.0) : std::nullopt; });
  series("up{instance=\"a:80\",job=\"shop\"}", 15, 900, [&](int t) { return up(t) ? 1.0 : 0.0; });
  const std::string mine = rules(
      "  - {alert: Down, expr: 'up == 0', for: 1m}\n"
      "  - {alert: Empty, expr: 'absent(queue_length)'}\n");

  const Json answer = replayed({recording(), "--rules", mine, "--service", "shop", "--env", "prod"});

  EXPECT_EQ(row(answer, "Down")["first_pending"].string_or(""), at(300));
  EXPECT_EQ(row(answer, "Down")["first_fired"].string_or(""), at(360));
  EXPECT_EQ(row(answer, "Down")["service"].string_or(""), "shop");
  const Json nameless = replayed({recording(), "--rules", mine});
  EXPECT_EQ(row(nameless, "Down")["first_fired"].string_or(""), at(360)) << "a recording without services is judged as it is";
  EXPECT_EQ(row(answer, "Empty")["times_fired"].int_or(-1), 0);
  // It runs every 15 s; what was there at 285 is there for 5 minutes.
  EXPECT_NEAR(row(answer, "Empty")["blind_seconds"].number_or(0), 15 + 885 - 585, 0.2);
}

TEST_F(Replay, EpochsClipWindowsOnTheWayThereAndBack) {
  const std::string mine = rules("  - {alert: Errors, expr: 'max_over_time(errors[10m]) > 5', labels: {rollbackd_action: rollback}}\n");
  series("errors{" + kApp + "}", 5, 900, [](int t) { return t >= 305 && t < 600 ? 9.0 : 0.0; });
  const std::string without = text_;
  epoch("v1", 0);
  epoch("v2", 302);
  epoch("v1", 602);

  const Json answer = replayed({recording(), "--rules", mine});
  text_ = without;
  const Json unclipped = replayed({recording(), "--rules", mine, "--service", "shop"});

  const Json clipped = row(answer, "Errors")["firing"];
  ASSERT_EQ(clipped.elements().size(), 1U);
  EXPECT_EQ(clipped.elements()[0]["from"].string_or(""), at(305));
  EXPECT_EQ(clipped.elements()[0]["to"].string_or(""), at(602)) << "the window of v1 holds nothing of v2";
  EXPECT_TRUE(row(unclipped, "Errors")["firing"].elements().at(0)["to"].is_null());
  EXPECT_THAT(events(answer, "release"),
              ElementsAre(HasSubstr("v1 is live (good)"), HasSubstr("v2 is live"),
                          at(602) + " release v1 is live, after v2: the rollback that was decided, as it was recorded (good)"));
  EXPECT_THAT(events(answer, "incident"), Contains(HasSubstr("rolled back to v1, verified")));
}

TEST_F(Replay, FewRequestsSayNothingHoweverManyOfThemFail) {
  epoch("v1", 0);
  epoch("v2", 300);
  series("http_requests_total{code=\"200\"," + kApp + "}", 5, 900, [](int t) { return t / 10; });
  series("http_requests_total{code=\"500\"," + kApp + "}", 5, 900, [](int t) { return t / 3; });

  const Json answer = replayed({recording()});

  EXPECT_TRUE(row(answer, "HighErrorRatio")["fed"].bool_or(false));
  EXPECT_EQ(row(answer, "HighErrorRatio")["times_fired"].int_or(-1), 0);
  EXPECT_THAT(events(answer, "decision"), IsEmpty());
}

TEST_F(Replay, AGuardThatRefusesIsNamed) {
  requests(1500, 900, 1200, 4);
  const std::string path = recording();

  EXPECT_THAT(refusing(replayed({path})), ElementsAre("recent_release")) << "it was good by then";
  EXPECT_THAT(events(replayed({path, "--service", "shop", "--env", "prod", "--release", "v9@" + unix_at(700)}), "decision"),
              ElementsAre(HasSubstr("DECISION rollback: v9 fails")));
  EXPECT_THAT(events(replayed({path, "--release", "shop/prod:v9@" + at(700)}), "decision"),
              ElementsAre(HasSubstr("DECISION rollback: v9")));

  const std::string config = file("rollbackd.json", R"({"services": [{"name": "shop", "environment": "prod", "automation": "observe",
      "policy": {"bake_time": "1h"}, "components": [{"name": "app", "driver": "symlink", "releases": "/srv/r", "current": "/srv/c"}],
      "checks": [{"name": "app", "type": "scrape", "url": "http://127.0.0.1:9/metrics", "interval": "5s"}]}]})");
  const Json configured = replayed({path, "--config", config});
  EXPECT_THAT(refusing(configured), ElementsAre("automation_allows"));
  EXPECT_THAT(replay({path, "--config", config}).out, HasSubstr("automation_allows: automation: observe"));
}

TEST_F(Replay, TheSecondOpinionIsWhatTheCheckRecordedNext) {
  const std::string health = R"(check="health",environment="prod",instance="a:80",service="shop"})";
  const auto failing = [](int from, int to) { return [=](int t) { return t >= from && t < to; }; };
  const auto record = [&](const std::function<bool(int)>& fails) {
    text_.clear();
    epoch("v1", 0);
    epoch("v2", 60);
    series("probe_success{" + health, 1, 300, [&](int t) { return fails(t) ? 0.0 : 1.0; });
    series("probe_consecutive_failures{" + health, 1, 300, [&](int t) {
      int n = 0;
      while (t - n >= 0 && fails(t - n)) ++n;
      return n;
    });
    series("probe_failing_seconds{" + health, 1, 300, [&](int t) {
      int n = 0;
      while (t - n >= 0 && fails(t - n)) ++n;
      return std::max(0, n - 1);
    });
    series("probe_timed_out{" + health, 1, 300, [](int) { return 0.0; });
    return recording();
  };

  const Json bad = replayed({record(failing(120, 140))});
  EXPECT_EQ(row(bad, "HealthCheckFailing")["first_fired"].string_or(""), at(122));
  EXPECT_THAT(events(bad, "decision"), ElementsAre(at(122) + " DECISION rollback: v2 fails and every guard says yes: back to v1"));

  const Json short_one = replayed({record(failing(120, 123))});
  EXPECT_EQ(row(short_one, "HealthCheckFailing")["first_fired"].string_or(""), at(122));
  EXPECT_THAT(events(short_one, "decision"),
              ElementsAre(at(122) + " DECISION none: the failing check answered healthy when it was asked again"));
}

TEST_F(Replay, ActingBeginsAnEpochOfTheTarget) {
  epoch("v1", 0);
  epoch("v2", 600);
  requests(1200, 660, 900, 4);

  const Json answer = replayed({recording(), "--act"});

  EXPECT_THAT(events(answer, "release"), Contains(at(690) + " release v1 is live, after v2: rolled back by the replay"));
  EXPECT_THAT(events(answer, "incident"), Contains(HasSubstr("rolled back to v1, verified")));
}

TEST_F(Replay, EveryFormAndOrderOfTheSameSamplesSaysTheSame) {
  epoch("v1", 0);
  epoch("v2", 600);
  requests(1200, 660, 900, 4);
  const std::vector<std::string> release{"--release", "shop/prod:v1@" + at(0), "--release", "shop/prod:v2@" + at(600)};
  const Json expected = replayed({recording()});
  std::vector<std::string> lines, tsdb;
  for (const std::string& line : split(text_, '\n')) {
    if (line.empty() || line.front() == '#') continue;
    const std::size_t blank = line.rfind(' ');
    const std::string in_ms = line.substr(0, blank) + " " + line.substr(blank + 1, 10) + "000";
    lines.push_back(in_ms);
    tsdb.push_back("{__name__=\"" + in_ms.substr(0, in_ms.find('{')) + "\"," + in_ms.substr(in_ms.find('{') + 1));
  }
  std::shuffle(lines.begin(), lines.end(), std::mt19937(7));  // NOLINT: the same every time

  const auto with_releases = [&](const std::string& path) {
    std::vector<std::string> arguments = release;
    arguments.push_back(path);
    return replayed(arguments);
  };
  for (const Json& same :
       {with_releases(file("text.prom", "# HELP a b\n# TYPE a counter\n\n" + join(lines, "\n") + "\n")),
        with_releases(file("tsdb.txt", join(tsdb, "\n"))), with_releases(file("twice.txt", join(tsdb, "\n") + "\n" + join(lines, "\n")))}) {
    EXPECT_EQ(same["events"], expected["events"]);
    EXPECT_EQ(same["rules"], expected["rules"]);
  }
}

TEST_F(Replay, AStalenessMarkerEndsItsSeries) {
  const std::string job = "job_running{" + kApp + "}";
  series(job, 15, 120, [](int) { return 1.0; });
  series("heartbeat{" + kApp + "}", 15, 600, [](int) { return 1.0; });
  const std::string open = text_;
  text_ += "# STALE " + job + " " + unix_at(120) + "\n# some other comment\n";
  const std::string mine = rules("  - {alert: Running, expr: 'job_running == 1'}\n");

  const Json ended = replayed({recording(), "--rules", mine});
  text_ = open;
  const Json lingering = replayed({recording(), "--rules", mine});

  EXPECT_EQ(row(ended, "Running")["firing"].elements().at(0)["to"].string_or(""), at(120));
  EXPECT_EQ(row(lingering, "Running")["firing"].elements().at(0)["to"].string_or(""), at(405)) << "5 minutes after its last sample";
}

TEST_F(Replay, MalformedLinesAreClearErrors) {
  struct Case {
    const char *text, *says;
  };
  const std::vector<Case> cases{
      {"up 1 1000\nup{a=\"b} 1 2000\n", "line 2: column 6: this quoted text does not end"},
      {"up 1 1000\nup 1\n", "line 2: the sample has no timestamp"},
      {"up x 1000\n", "line 1: column 4: expected a value, found \"x\""},
      {"up 1 tomorrow\n", "line 1: column 6: expected a timestamp in milliseconds from 1970 to 2200, found \"tomorrow\""},
      {"up 1 1795176000.5\n", "name its form with --input-form"},
      {"up 1 1000 2000\n", "line 1: column 11: expected the end of the line, found \"2000\""},
      {"up{a=\"b\",a=\"c\"} 1 1000\n", "line 1: column 10: the label \"a\" is given twice"},
      {"# only a comment\n", "the recording has no samples"},
      {"up 1 1000\n# EPOCH service=\"a\" 1000\n", "does not end with \"# EOF\""},
      {"# EPOCH service=\"a\n# EOF\n", "line 1: column"},
      {"up 1 1000\n# EOF\nup 1 2000\n# EOF\n", "line 3: there is more after \"# EOF\""},
      {"up 1 1000\r\n", "expected a timestamp"},
      {"up 1 0\nup 1 1795176000000\n", "the recording is 20777d"},
  };
  for (const Case& c : cases) {
    const Ran ran = replay({file("bad.txt", c.text)});
    EXPECT_EQ(ran.code, 1) << c.text;
    EXPECT_THAT(ran.err, HasSubstr(c.says)) << c.text;
  }
  EXPECT_THAT(replay({"/no/such/file"}).err, HasSubstr("cannot read /no/such/file"));
  EXPECT_THAT(replay({}).err, HasSubstr("name files with recorded samples"));
  EXPECT_THAT(replay({file("a.txt", "up 1 1000\n"), "--release", "v2"}).err, HasSubstr("names no release and time"));
  EXPECT_THAT(replay({"--from", "http://127.0.0.1:1", "--start", "1000", "--end", "2000"}).err, HasSubstr("does not give"));
}

TEST_F(Replay, AnUnixTimeKeepsItsNanoseconds) {
  EXPECT_EQ(parse_unix_seconds("1795176000.123456789"), Instant(1'795'176'000'123'456'789));
  EXPECT_EQ(parse_unix_seconds("1795176000.5"), Instant(1'795'176'000'500'000'000));
  EXPECT_EQ(parse_unix_seconds("1.795176e9"), Instant(1'795'176'000'000'000'000));
  for (const char* bad : {"", ".", "1.", ".5", "-1", "1.5.5", "1e99", "99999999999", "1 "}) EXPECT_FALSE(parse_unix_seconds(bad)) << bad;
}

TEST_F(Replay, OfAServerIsAskedWhatTheRulesReadAndNoRuleRecords) {
  std::vector<config::Problem> problems;
  const auto groups = rules::parse_groups(R"(groups:
- name: g
  rules:
  - {record: 'job:errors:rate5m', expr: 'sum by (job) (rate(errors_total{code=~"5.."}[5m] offset 1h))'}
  - {alert: A, expr: 'job:errors:rate5m > 1 and on (job) max_over_time(errors_total[1h:1m]) > 0'}
  - {alert: B, expr: '{__name__=~"x.*"} > 1 or up == 0 or queue{a="b"} > queue{a="c"}'}
)",
                                          "g.yml", std::nullopt, problems);
  EXPECT_THAT(selectors_to_fetch(groups), ElementsAre("errors_total", "queue{a=\"b\"}", "queue{a=\"c\"}", "{__name__=~\"x.*\"}", "up"));
}

}  // namespace
}  // namespace rollbackd::cli
