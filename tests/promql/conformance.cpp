#include "tests/promql/conformance.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <optional>

#include "base/text.hpp"
#include "promql/evaluate.hpp"
#include "promql/parse.hpp"
#include "series/store.hpp"
#include "tests/promql/conformance_script.hpp"

namespace rollbackd::promql::conformance {
namespace {

constexpr double kTolerance = 1e-6;
constexpr std::string_view kNative = "native histograms";

bool close_to(double a, double b) {
  if (std::isnan(a) && std::isnan(b)) return true;
  if (a == b) return true;
  const double off = std::abs(a - b), size = std::abs(a) + std::abs(b);
  if (a == 0 || b == 0 || size < 2.3e-308) return off < kTolerance * 2.3e-308;
  return off / std::min(size, 1.7e308) < kTolerance;
}

std::string shown(const std::optional<double>& v) { return v ? number_text(*v) : "_"; }

std::string shown(const std::vector<Element>& elements) {
  std::string out;
  for (std::size_t i = 0; i < std::min<std::size_t>(elements.size(), 4); ++i)
    out += " " + elements[i].labels.to_string() + "=" + number_text(elements[i].value);
  return out;
}

using Mismatch = std::optional<std::string>;

class Runner {
 public:
  Report run(std::string_view script) {
    for (const std::string& l : split(script, '\n')) {
      std::string line(trim(l));
      comments_.push_back(line.starts_with("#"));
      lines_.push_back(std::move(line));
    }
    for (at_ = 0; at_ < lines_.size(); ++at_) {
      const std::string& line = lines_[at_];
      if (line.empty() || comments_[at_]) continue;
      if (line == "clear") {
        store_ = std::make_unique<series::Store>(kEverything);
        native_.clear();
        starts_.clear();
      } else if (line.starts_with("load")) {
        load(line);
      } else if (line.starts_with("eval")) {
        judge(read_eval());
      } else {
        report_.failed.push_back({static_cast<int>(at_) + 1, line, "cannot read this line"});
      }
    }
    return std::move(report_);
  }

 private:
  static constexpr series::Limits kEverything{.series_max = 1'000'000, .points_per_series_max = 10'000'000, .retention = 24h * 3650};

  /// The lines of the block after the current one: up to an empty line.
  bool next_in_block() {
    while (at_ + 1 < lines_.size() && comments_[at_ + 1]) ++at_;
    if (at_ + 1 >= lines_.size() || lines_[at_ + 1].empty()) return false;
    ++at_;
    return true;
  }

  void load(const std::string& head) {
    const bool with_nhcb = head.starts_with("load_with_nhcb");
    const auto gap = instant(trim(head.substr(std::min(head.find(' '), head.size()))));
    if (!gap) report_.failed.push_back({static_cast<int>(at_) + 1, head, "cannot read the interval"});
    std::map<Labels, Values> series;  // A second line for the same series replaces the first.
    while (next_in_block()) {
      Line line = series_line(lines_[at_]);
      if (!line.unreadable.empty())
        report_.failed.push_back({static_cast<int>(at_) + 1, lines_[at_], "cannot read \"" + line.unreadable + "\""});
      if (line.starts) starts_.push_back(line.labels);
      if (line.starts) continue;
      if (line.native) native_.push_back(line.labels);
      if (with_nhcb) add_custom_buckets(line.labels);
      series[line.labels] = std::move(line.values);
    }
    for (const auto& [labels, values] : series)
      for (std::size_t i = 0; i < values.size(); ++i)
        if (values[i]) store_->append(labels, {Instant{} + (*gap - Instant{}) * static_cast<std::int64_t>(i), *values[i]});
  }

  /// What `load_with_nhcb` makes of a classic histogram's series beside them.
  void add_custom_buckets(Labels labels) {
    std::string name(labels.name());
    for (const std::string suffix : {"_bucket", "_count", "_sum"})
      if (name.ends_with(suffix)) name.resize(name.size() - suffix.size());
    labels.remove("le");
    labels.set(kNameLabel, name);
    native_.push_back(std::move(labels));
  }

  Eval read_eval() {
    Eval e = eval_line(lines_[at_], static_cast<int>(at_) + 1);
    while (next_in_block()) expectation_line(e, lines_[at_]);
    return e;
  }

  void fail(const Eval& e, std::string why) { report_.failed.push_back({e.line, e.expression, std::move(why)}); }
  void skip(std::string_view reason) { ++report_.skipped[std::string(reason)]; }

  void judge(const Eval& e) {
    for (const Line& line : e.lines)
      if (line.native) return skip(kNative);
    if (!e.unreadable.empty()) return fail(e, "cannot read \"" + e.unreadable + "\"");
    annotations_.clear();
    const auto parsed = parse(e.expression);
    if (parsed.has_error()) return judge_error(e, parsed.error());
    auto why = e.range          ? mismatch_of_range(e, **parsed)
               : e.range_vector ? mismatch_of_vector(e, **parsed)
                                : mismatch_of_instant(e, **parsed);
    if (!why) why = mismatch_of_annotations(e);
    const bool native = touches(native_, **parsed);
    if (why && touches(starts_, **parsed)) return skip("experimental: start timestamps");
    const bool says_nothing = e.lines.empty() && !e.expects(Expectation::What::fail) && !e.string;  // The store has no native histogram.
    if (native && (why || says_nothing)) {
      skip(kNative);
    } else if (!why) {
      ++report_.passed;
    } else {
      fail(e, *why);
    }
  }

  void judge_error(const Eval& e, const Error& error) {
    if (const std::string what = experimental(e.expression); !what.empty()) return skip("experimental: " + what);
    if (const auto why = mismatch_of_error(e, error)) {
      fail(e, *why);
    } else {
      ++report_.passed;
    }
  }

  static bool touches(const std::vector<Labels>& series, const Expr& e) {
    for (const Expr* s : selectors(e))
      for (const Labels& labels : series)
        if (std::all_of(s->matchers.begin(), s->matchers.end(), [&](const series::Matcher& m) { return m.matches(labels); })) return true;
    return false;
  }

  static Mismatch mismatch_of_error(const Eval& e, const Error& error) {
    if (!e.expects(Expectation::What::fail)) return error.text();
    const std::string message =
        error.why.substr(error.why.starts_with("column ") ? std::min(error.why.find(": ") + 2, error.why.size()) : 0);
    for (const Expectation& expected : e.expectations)
      if (expected.what == Expectation::What::fail && !fits(expected, message) && message.find(expected.text) == std::string::npos)
        return "failed with " + error.why + ", expected " + expected.text;
    return std::nullopt;
  }

  void remember(const std::vector<Annotation>& said) {
    for (const Annotation& a : said) {
      const bool warning = a.level == Annotation::Level::warning;
      // Expressions of scripts are of one line, so the column alone says where.
      annotations_.push_back(
          {warning, (warning ? "PromQL warning: " : "PromQL info: ") + a.text + " (1:" + std::to_string(a.begin + 1) + ")"});
    }
  }

  /// Each kind that is expected at all: every expectation finds an annotation, and every annotation an expectation.
  Mismatch mismatch_of_annotations(const Eval& e) const {
    using What = Expectation::What;
    if (e.expects(What::fail)) return std::nullopt;
    for (const bool warning : {true, false}) {
      const What wanted = warning ? What::warn : What::info, unwanted = warning ? What::no_warn : What::no_info;
      std::vector<std::string> said;
      for (const auto& [is_warning, text] : annotations_)
        if (is_warning == warning) said.push_back(text);
      if (e.expects(unwanted) && !said.empty()) return "says " + said[0];
      for (const Expectation& expected : e.expectations)
        if (expected.what == wanted &&
            std::none_of(said.begin(), said.end(), [&](const std::string& text) { return fits(expected, text); }))
          return "says no " + std::string(warning ? "warning " : "info ") + expected.text + (said.empty() ? "" : ", but " + said[0]);
      for (const std::string& text : said)
        if (e.expects(wanted) && std::none_of(e.expectations.begin(), e.expectations.end(),
                                              [&](const Expectation& expected) { return expected.what == wanted && fits(expected, text); }))
          return "says " + text;
    }
    return std::nullopt;
  }

  Mismatch mismatch_of_instant(const Eval& e, const Expr& expr) {
    const StoreQuerier querier(*store_);
    const auto value = evaluate(expr, querier, EvalOptions{.at = e.from});
    if (value.has_error()) return mismatch_of_error(e, value.error());
    if (e.expects(Expectation::What::fail)) return "expected to fail";
    if (value->blind) return "blind: " + value->blind_reason;
    remember(value->annotations);
    if (e.string)
      return value->type == Value::Type::string && value->string == *e.string ? std::nullopt : Mismatch("got string " + value->string);
    if (value->type == Value::Type::scalar) {
      if (e.lines.size() != 1) return "expected " + std::to_string(e.lines.size()) + " lines, got a scalar";
      return close_to(*e.lines[0].values.at(0), value->scalar) ? std::nullopt : Mismatch("got " + number_text(value->scalar));
    }
    const std::string got =
        "expected " + std::to_string(e.lines.size()) + " elements, got " + std::to_string(value->vector.size()) + shown(value->vector);
    if (value->vector.size() != e.lines.size()) return got;
    for (std::size_t i = 0; i < e.lines.size(); ++i) {
      const Element* found = nullptr;
      for (std::size_t j = 0; j < value->vector.size(); ++j)
        if (value->vector[j].labels == e.lines[i].labels && (!e.ordered || i == j)) found = &value->vector[j];
      if (found == nullptr) return "missing " + e.lines[i].labels.to_string() + ", " + got;
      const Values& values = e.lines[i].values;
      if (values.empty() || !values[0] || !close_to(*values[0], found->value))
        return e.lines[i].labels.to_string() + ": expected " + (values.empty() ? "nothing" : shown(values[0])) + ", got " +
               number_text(found->value);
    }
    return std::nullopt;
  }

  using Table = std::map<Labels, Values>;

  static Mismatch mismatch_of_tables(const Eval& e, Table got, std::size_t steps) {
    Table wanted;
    for (const Line& line : e.lines) wanted[line.labels] = line.values;
    if (wanted.size() != got.size())
      return "expected " + std::to_string(wanted.size()) + " series, got " + std::to_string(got.size()) +
             (got.empty() ? "" : " like " + got.begin()->first.to_string());
    for (auto& [labels, values] : wanted) {
      const auto found = got.find(labels);
      if (found == got.end()) return "missing " + labels.to_string() + ", got " + got.begin()->first.to_string();
      values.resize(steps);
      found->second.resize(steps);
      for (std::size_t i = 0; i < steps; ++i) {
        const auto &want = values[i], &have = found->second[i];
        if (want.has_value() != have.has_value() || (want && !close_to(*want, *have)))
          return labels.to_string() + " at step " + std::to_string(i) + ": expected " + shown(want) + ", got " + shown(have);
      }
    }
    return std::nullopt;
  }

  Mismatch mismatch_of_range(const Eval& e, const Expr& expr) {
    if (expr.type == ValueType::string) {
      const Error no_string = Error(Errc::invalid_argument, "cannot evaluate over a range")
                                  .because("invalid expression type \"string\" for range query, must be Scalar or instant Vector");
      return mismatch_of_error(e, no_string);
    }
    const StoreQuerier querier(*store_);
    Table got;
    std::size_t steps = 0;
    for (Instant t = e.from; t <= e.to; t = t + e.step, ++steps) {
      const auto value = evaluate(expr, querier, EvalOptions{.at = t, .start = e.from, .end = e.to, .step = e.step});
      if (value.has_error()) return mismatch_of_error(e, value.error());
      remember(value->annotations);
      std::vector<Element> elements = value->vector;
      if (value->type == Value::Type::scalar) elements.push_back({{}, value->scalar});
      for (const Element& element : elements) {
        Values& values = got[element.labels];
        values.resize(steps);
        values.push_back(element.value);
      }
    }
    if (e.expects(Expectation::What::fail)) return "expected to fail";
    return mismatch_of_tables(e, std::move(got), steps);
  }

  Mismatch mismatch_of_vector(const Eval& e, const Expr& expr) {
    const auto series = evaluate_range_vector(expr, StoreQuerier(*store_), EvalOptions{.at = e.from});
    if (series.has_error()) return mismatch_of_error(e, series.error());
    Table got;
    std::size_t steps = 0;
    for (const Series& s : *series)
      for (const series::Point& p : s.points) {
        const Duration after = p.at - e.vector_from;
        if (after < Duration{0} || after % e.vector_step != Duration{0}) return "a point off the expected grid";
        const auto step = static_cast<std::size_t>(after / e.vector_step);
        steps = std::max(steps, step + 1);
        Values& values = got[s.labels];
        values.resize(step);
        values.push_back(p.value);
      }
    for (const Line& line : e.lines) steps = std::max(steps, line.values.size());
    return mismatch_of_tables(e, std::move(got), steps);
  }

  std::vector<std::string> lines_;
  std::vector<bool> comments_;
  std::size_t at_ = 0;
  std::unique_ptr<series::Store> store_ = std::make_unique<series::Store>(kEverything);
  std::vector<Labels> native_;                             ///< series that hold native histograms, which the store does not have
  std::vector<Labels> starts_;                             ///< series whose start timestamps it does not have either
  std::vector<std::pair<bool, std::string>> annotations_;  ///< of the present eval: whether a warning, and its text
  Report report_;
};

}  // namespace

int Report::skipped_total() const {
  int n = 0;
  for (const auto& [reason, count] : skipped) n += count;
  return n;
}

std::string Report::text(std::string_view name) const {
  std::string out(name);
  out += ": " + std::to_string(passed) + " passed, " + std::to_string(skipped_total()) + " skipped, " + std::to_string(failed.size()) +
         " failed\n";
  for (const auto& [reason, count] : skipped) out += "  skipped " + std::to_string(count) + ": " + reason + '\n';
  for (const Failure& f : failed) out += "  failed: line " + std::to_string(f.line) + ": " + f.expression + "\n    " + f.why + '\n';
  return out;
}

Report run(std::string_view script) { return Runner().run(script); }

}  // namespace rollbackd::promql::conformance
