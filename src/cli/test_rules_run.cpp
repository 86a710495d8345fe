// One test group, in promtool's order: load the series, evaluate tick by tick, compare alerts on the way and expressions at the end.
#include "cli/test_rules_run.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "base/text.hpp"
#include "cli/test_rules_series.hpp"
#include "promql/lex.hpp"
#include "rules/template.hpp"
#include "rules/tick_run.hpp"

namespace rollbackd::cli {
namespace {

using Pairs = std::vector<Labels::Pair>;

constexpr std::int64_t kTicksMax = 5'000'000;
constexpr const char* kNoHistograms = "native histograms are out of scope";

/// A series that is fed into the store as the ticks pass.
struct Feed {
  Labels labels;
  std::vector<std::optional<double>> values;
  std::size_t next = 0;
};

struct Alerted {
  Pairs labels, annotations;
  auto operator<=>(const Alerted&) const = default;
};

struct Sampled {
  Pairs labels;
  double value = 0;
};

std::string go_string(const Pairs& pairs) {
  std::string out = "{";
  for (const auto& [name, value] : pairs) {
    if (out.size() > 1) out += ", ";
    out += (promql::is_plain_name(name, false) ? name : promql::quoted(name)) + "=" + promql::quoted(value);
  }
  return out + "}";
}

std::string indented(const std::string& text, const std::string& by) {
  std::string out;
  for (const std::string& line : split(text, '\n')) out += (out.empty() ? "" : "\n" + by) + line;
  return out;
}

std::string describe(const std::vector<Alerted>& alerts) {
  if (alerts.empty()) return "[]";
  std::string out = "[";
  for (std::size_t i = 0; i < alerts.size(); ++i) {
    out += (i == 0 ? "\n" : ",\n") + std::to_string(i) + ":\n  Labels:" + go_string(alerts[i].labels) +
           "\n  Annotations:" + go_string(alerts[i].annotations);
  }
  return out + "\n]";
}

/// A float as Go's %E with the shortest digits: "1E+00".
std::string scientific(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "+Inf" : "-Inf";
  std::array<char, 64> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), v, std::chars_format::scientific);
  std::string out(buffer.data(), end.ptr);
  std::replace(out.begin(), out.end(), 'e', 'E');
  return out;
}

std::string describe(const std::vector<Sampled>& samples) {
  if (samples.empty()) return "nil";
  std::string out;
  for (const Sampled& s : samples) out += (out.empty() ? "" : ", ") + go_string(s.labels) + " " + scientific(s.value);
  return out;
}

/// Lines of `want` that are not in `got` with "-", the others of `got` with "+": the longest common part is plain.
std::string difference(const std::string& want, const std::string& got) {
  const std::vector<std::string> a = split(want, '\n'), b = split(got, '\n');
  constexpr std::size_t kLinesMax = 2000;
  if (a.size() > kLinesMax || b.size() > kLinesMax) return "\n- " + want + "\n+ " + got;
  std::vector<std::vector<std::uint16_t>> common(a.size() + 1, std::vector<std::uint16_t>(b.size() + 1));
  for (std::size_t i = a.size(); i-- > 0;)
    for (std::size_t j = b.size(); j-- > 0;)
      common[i][j] = a[i] == b[j] ? static_cast<std::uint16_t>(common[i + 1][j + 1] + 1) : std::max(common[i + 1][j], common[i][j + 1]);
  std::string out;
  for (std::size_t i = 0, j = 0; i < a.size() || j < b.size();) {
    if (i < a.size() && j < b.size() && a[i] == b[j]) {
      out += "\n  " + a[i++];
      ++j;
    } else if (j == b.size() || (i < a.size() && common[i + 1][j] >= common[i][j + 1])) {
      out += "\n- " + a[i++];
    } else {
      out += "\n+ " + b[j++];
    }
  }
  return out;
}

/// As Go's time.Duration prints it, which promtool uses in one place: "2m0s", "1h0m0s", "1.5s", "500ms".
std::string go_time(Duration d) {
  const std::int64_t ms = d.count() / 1'000'000;
  if (ms != 0 && ms < 1000) return std::to_string(ms) + "ms";
  const std::int64_t minutes = ms / 60'000;
  std::string out = minutes >= 60 ? std::to_string(minutes / 60) + "h" : "";
  if (minutes > 0) out += std::to_string(minutes % 60) + "m";
  out += std::to_string(ms / 1000 % 60);
  if (ms % 1000 != 0) {
    std::string fraction = std::to_string(1000 + ms % 1000).substr(1);
    fraction.erase(fraction.find_last_not_of('0') + 1);
    out += "." + fraction;
  }
  return out + "s";
}

std::string words_of(const Error& error) { return error.why.empty() ? error.what : error.why; }

/// One run of one group.
class Run {
 public:
  Run(const TestGroup& test, Duration interval, const TestOptions& options) : test_(test), interval_(interval), options_(options) {}

  TestOutcome go(const rules::Groups& groups) {
    if (!load_series() || !check_alertnames()) return std::move(out_);
    rules::TickSetup setup;
    for (const auto& [name, value] : test_.external_labels) setup.external_labels.set(name, value);
    setup.external_url = test_.external_url;
    setup.subquery_step = interval_;
    rules::TickRun run(without_histograms(groups), setup);
    if (tick_all(run)) {
      for (const ExprTest& test : test_.expr_tests) check_expression(run, test);
      if (options_.debug) dump(run);
    }
    return std::move(out_);
  }

 private:
  void fail(std::string what) { out_.failures.push_back(std::move(what)); }
  bool refuse(std::string what) {
    fail(std::move(what));
    return false;
  }
  Instant at(Duration since_start) const { return test_.start + since_start; }
  Duration last_test() const {
    Duration last{};
    for (const AlertTest& t : test_.alert_tests) last = std::max(last, t.at);
    for (const ExprTest& t : test_.expr_tests) last = std::max(last, t.at);
    return last;
  }

  /// promtool writes all series into one text and reads that line by line: a line that is empty or a comment ends it, and of two lines
  /// with the same series the later counts.
  bool load_series() {
    std::string text;
    for (const InputSeries& series : test_.input) text += series.series + " " + series.values + "\n";
    std::map<Labels, std::size_t> places;
    for (const std::string& whole : split(text, '\n')) {
      const std::string_view line = trim(whole);
      if (line.empty() || line.front() == '#') break;
      auto read = parse_series(line);
      if (!read) return refuse("    series " + promql::quoted(line.substr(0, 200)) + ": " + words_of(read.error()));
      if (read->metric.repeats) return refuse("    series " + promql::quoted(line.substr(0, 200)) + ": a label is named twice");
      Labels labels(std::move(read->metric.pairs));
      if (read->histogram) {
        histograms_.push_back(std::move(labels));
        continue;
      }
      if (labels.empty() && !read->values.empty()) return refuse("    series " + promql::quoted(line) + ": empty labelset: invalid sample");
      const auto [place, is_new] = places.emplace(labels, feeds_.size());
      if (is_new) feeds_.emplace_back();
      feeds_[place->second] = Feed{std::move(labels), std::move(read->values), 0};
    }
    return true;
  }

  bool check_alertnames() {
    for (const AlertTest& t : test_.alert_tests) {
      if (!t.alertname.empty()) continue;
      return refuse("an item under alert_rule_test misses required attribute alertname at eval_time " + promql::duration_text(t.at) +
                    (test_.name.empty() ? "" : " (in TestGroup " + test_.name + ")"));
    }
    return true;
  }

  // Native histograms: whatever reads one, even by way of a recording rule, is neither evaluated nor compared.

  bool reads_histogram(const promql::Expr& expr) const {
    if (histograms_.empty()) return false;
    for (const promql::Expr* selector : promql::selectors(expr)) {
      for (const Labels& series : histograms_) {
        if (std::all_of(selector->matchers.begin(), selector->matchers.end(), [&](const auto& m) { return m.matches(series); }))
          return true;
      }
    }
    return false;
  }
  rules::Groups without_histograms(rules::Groups groups) {
    bool changed = !histograms_.empty();
    while (changed) {
      changed = false;
      for (rules::Group& group : groups) {
        std::erase_if(group.rules, [&](const rules::Rule& rule) {
          if (!reads_histogram(*rule.expr)) return false;
          changed = true;
          Labels made = rule.labels;
          if (rule.alerting) {
            skipped_alerts_.insert(rule.name);
            made.set("alertname", rule.name);
          }
          made.set(kNameLabel, rule.alerting ? "ALERTS" : rule.name);
          histograms_.push_back(std::move(made));
          return true;
        });
      }
    }
    return groups;
  }

  bool feed_until(rules::TickRun& run, Instant now) {
    for (Feed& feed : feeds_) {
      for (; feed.next < feed.values.size(); ++feed.next) {
        std::int64_t since = 0, when = 0;
        if (__builtin_mul_overflow(test_.interval.count(), static_cast<std::int64_t>(feed.next), &since) ||
            __builtin_add_overflow(test_.start.ns(), since, &when) || when > now.ns())
          break;
        if (!feed.values[feed.next]) continue;
        const auto written = run.append(feed.labels, {Instant(when), *feed.values[feed.next]});
        if (!written) return refuse("    series " + feed.labels.to_string() + ": " + words_of(written.error()));
      }
    }
    return true;
  }

  /// @return false when a rule could not be evaluated: promtool ends the group there
  bool tick_all(rules::TickRun& run) {
    const Duration end = last_test();
    std::int64_t last = 0;
    if (end / interval_ >= kTicksMax || __builtin_add_overflow(test_.start.ns(), end.count(), &last))
      return refuse("    over " + std::to_string(kTicksMax) + " evaluations, or past the year 2262: the test is too long");
    std::vector<const AlertTest*> tests;
    for (const AlertTest& t : test_.alert_tests) tests.push_back(&t);
    std::stable_sort(tests.begin(), tests.end(), [](const auto* a, const auto* b) { return a->at < b->at; });
    std::size_t next = 0;
    for (std::int64_t i = 0; i <= end / interval_; ++i) {
      const Duration since = interval_ * i;
      if (feed_until(run, at(since))) {
        const auto failures = run.tick(at(since));
        for (const rules::TickFailure& f : failures) fail("    rule: " + f.rule + ", time: " + go_time(since) + ", err: " + f.why);
        if (!failures.empty()) return false;
      }
      for (; next < tests.size() && tests[next]->at - since < interval_; ++next) check_alerts(run, *tests[next]);
    }
    return true;
  }

  void check_alerts(const rules::TickRun& run, const AlertTest& test) {
    if (skipped_alerts_.contains(test.alertname)) {
      out_.skipped.push_back("alertname: " + test.alertname + ", time: " + promql::duration_text(test.at) + ": " + kNoHistograms);
      return;
    }
    std::vector<Alerted> got, want;
    for (rules::TickAlert& alert : run.alerts(test.alertname)) {
      if (alert.phase == AlertPhase::firing) got.push_back({alert.labels.pairs(), std::move(alert.annotations)});
    }
    for (const ExpectedAlert& expected : test.alerts) {
      auto labels = expected.labels;
      labels["alertname"] = test.alertname;  // People give only the labels that the rule has.
      want.push_back({{labels.begin(), labels.end()}, {expected.annotations.begin(), expected.annotations.end()}});
    }
    std::sort(got.begin(), got.end());
    std::sort(want.begin(), want.end());
    if (got == want) return;
    std::string message = (test_.name.empty() ? "" : "    name: " + test_.name + ",\n") + "    alertname: " + test.alertname +
                          ", time: " + promql::duration_text(test.at) + ", \n";
    const std::string by(12, ' ');
    if (options_.diff) {
      message += "        diff (- expected, + got):" + indented(difference(describe(want), describe(got)), by);
    } else {
      message += "        exp:" + indented(describe(want), by) + ", \n        got:" + indented(describe(got), by);
    }
    fail(std::move(message));
  }

  bool same(double a, double b) const {
    constexpr double kInf = std::numeric_limits<double>::infinity();
    return a == b || (options_.fuzzy_compare && (std::nextafter(a, -kInf) == b || std::nextafter(a, kInf) == b));
  }

  void check_expression(const rules::TickRun& run, const ExprTest& test) {
    const std::string head = "    expr: " + promql::quoted(test.expr) + ", time: " + promql::duration_text(test.at) + ",";
    const auto parsed = promql::parse(test.expr);
    if (!parsed) return fail(head + " err: " + words_of(parsed.error()));
    const bool expects_histogram =
        std::any_of(test.samples.begin(), test.samples.end(), [](const ExpectedSample& s) { return !s.histogram.empty(); });
    if (expects_histogram || reads_histogram(**parsed)) {
      out_.skipped.push_back("expr: " + promql::quoted(test.expr) + ", time: " + promql::duration_text(test.at) + ": " + kNoHistograms);
      return;
    }
    const auto value = run.query(*parsed, at(test.at));
    if (!value) return fail(head + " err: " + words_of(value.error()));
    if (value->type == promql::Value::Type::string) return fail(head + " err: rule result is not a vector or scalar");

    std::vector<Sampled> got, want;
    if (value->type == promql::Value::Type::scalar) got.push_back({{}, value->scalar});
    for (const promql::Element& element : value->vector) got.push_back({element.labels.pairs(), element.value});
    for (const ExpectedSample& expected : test.samples) {
      auto metric = parse_metric(expected.labels);
      if (!metric) return fail(head + " err: labels " + promql::quoted(expected.labels) + ": " + words_of(metric.error()));
      want.push_back({std::move(metric->pairs), expected.value});
    }
    const auto by_labels = [](const Sampled& a, const Sampled& b) { return a.labels < b.labels; };
    std::stable_sort(got.begin(), got.end(), by_labels);
    std::stable_sort(want.begin(), want.end(), by_labels);
    const bool equal = std::equal(got.begin(), got.end(), want.begin(), want.end(),
                                  [this](const Sampled& a, const Sampled& b) { return a.labels == b.labels && same(a.value, b.value); });
    if (!equal) fail(head + "\n        exp: " + describe(want) + "\n        got: " + describe(got));
  }

  void dump(const rules::TickRun& run) {
    for (const series::Selected& s : run.store().dump(0, run.store().series_count())) {
      out_.dump += s.labels->to_string() + " =>";
      for (const series::Point& p : s.points)
        out_.dump +=
            " " + (series::is_stale_nan(p.value) ? "stale" : rules::format_go(p.value)) + " @[" + std::to_string(p.at.millis()) + "]";
      out_.dump += "\n";
    }
  }

  const TestGroup& test_;
  Duration interval_;
  const TestOptions& options_;
  TestOutcome out_;
  std::vector<Feed> feeds_;
  std::vector<Labels> histograms_;  ///< native ones, and what rules would make of them
  std::set<std::string> skipped_alerts_;
};

}  // namespace

TestOutcome run_test_group(const TestGroup& test, const rules::Groups& groups, Duration evaluation_interval, const TestOptions& options) {
  return Run(test, evaluation_interval, options).go(groups);
}

}  // namespace rollbackd::cli
