#include "tests/promql/conformance.hpp"

#include <re2/re2.h>

#include <charconv>
#include <cmath>
#include <functional>
#include <optional>
#include <set>

#include "base/text.hpp"
#include "promql/evaluate.hpp"
#include "promql/lex.hpp"
#include "promql/parse.hpp"
#include "series/store.hpp"

namespace rollbackd::promql::conformance {
namespace {

constexpr double kTolerance = 1e-6;
constexpr std::string_view kNative = "native histograms";

/// Functions that upstream marks experimental and the engine does not have.
const std::set<std::string> kExperimental{"mad_over_time",
                                          "sort_by_label",
                                          "sort_by_label_desc",
                                          "min_of",
                                          "max_of",
                                          "step",
                                          "range",
                                          "start",
                                          "end",
                                          "ts_of_first_over_time",
                                          "ts_of_last_over_time",
                                          "ts_of_max_over_time",
                                          "ts_of_min_over_time",
                                          "first_over_time",
                                          "double_exponential_smoothing",
                                          "limitk",
                                          "limit_ratio",
                                          "info",
                                          "histogram_quantiles"};
/// Functions that take native histograms alone.
const std::set<std::string> kNativeOnly{"histogram_count", "histogram_sum", "histogram_avg", "histogram_stddev", "histogram_stdvar"};

/// One position of a series: a value, or nothing ("_", or a native histogram).
using Values = std::vector<std::optional<double>>;

struct Line {
  Labels labels;
  Values values;
  bool native = false;
  bool scalar = false;
};

std::optional<double> number(std::string_view text) {
  if (!text.empty() && text[0] == '+') text.remove_prefix(1);
  const std::string low = lower(text);
  double v = 0;
  const auto read = std::from_chars(low.data(), low.data() + low.size(), v);
  if (read.ec != std::errc{} || read.ptr != low.data() + low.size()) return std::nullopt;
  return v;
}

Labels labels_of(std::string_view text) {
  Labels out;
  const auto tokens = lex(text);
  if (tokens.has_error()) return out;
  for (std::size_t i = 0; i < tokens->size(); ++i) {
    const Token& t = (*tokens)[i];
    const bool named = t.kind == TokenKind::identifier || t.kind == TokenKind::string;
    if (!named) continue;
    if (i + 2 < tokens->size() && (*tokens)[i + 1].kind == TokenKind::assign) {
      out.set(t.text, (*tokens)[i + 2].text);
      i += 2;
    } else {
      out.set(kNameLabel, t.text);
    }
  }
  return out;
}

/// Appends what one item of a series says: "1", "_", "_x3", "1x3", "0+10x10", "stale", "{{...}}", "{{...}}x3".
void append_item(std::string_view item, Line& line) {
  if (item == "stale") {
    line.values.push_back(series::stale_nan());
    return;
  }
  std::size_t times = 1;
  std::string_view form = item;
  const auto x = item.rfind('x');
  if (x != std::string_view::npos) {
    std::size_t n = 0;
    const auto read = std::from_chars(item.data() + x + 1, item.data() + item.size(), n);
    if (read.ec == std::errc{} && read.ptr == item.data() + item.size()) {
      form = item.substr(0, x);
      times = form == "_" ? n : n + 1;
    }
  }
  if (form == "_" || form.starts_with("{{")) {
    line.native = line.native || form != "_";
    line.values.insert(line.values.end(), times, std::nullopt);
    return;
  }
  double first = 0, step = 0;
  if (const auto whole = number(form)) {
    first = *whole;
  } else {
    auto sign = form.find_first_of("+-", 1);
    while (sign != std::string_view::npos && (form[sign - 1] == 'e' || form[sign - 1] == 'E')) sign = form.find_first_of("+-", sign + 1);
    if (sign == std::string_view::npos) return;
    first = number(form.substr(0, sign)).value_or(0);
    step = number(form.substr(sign)).value_or(0);
  }
  for (std::size_t i = 0; i < times; ++i) line.values.push_back(first + step * static_cast<double>(i));
}

/// "name{a="b"} 1 2 3", "{...} 1", or a number alone.
Line series_line(const std::string& text) {
  Line line;
  if (const auto v = number(text)) {
    line.scalar = true;
    line.values.push_back(*v);
    return line;
  }
  std::size_t at = 0;
  char quote = '\0';
  bool braces = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (quote != '\0') {
      if (c == '\\') ++at;
      if (c == quote) quote = '\0';
    } else if (c == '"' || c == '\'' || c == '`') {
      quote = c;
    } else if (c == '{') {
      braces = true;
    } else if (c == '}') {
      braces = false;
      ++at;
      break;
    } else if ((c == ' ' || c == '\t') && !braces) {
      const auto rest = text.find_first_not_of(" \t", at);  // "name {a="b"} 1" is allowed too.
      if (rest == std::string::npos || text[rest] != '{' || text.compare(rest, 2, "{{") == 0) break;
    }
  }
  line.labels = labels_of(std::string_view(text).substr(0, at));
  std::string item;
  int depth = 0;
  for (; at <= text.size(); ++at) {
    const char c = at < text.size() ? text[at] : ' ';
    if (c == '{') ++depth;
    if (c == '}') --depth;
    if ((c == ' ' || c == '\t') && depth == 0) {
      if (!item.empty()) append_item(item, line);
      item.clear();
    } else {
      item += c;
    }
  }
  return line;
}

bool close_to(double a, double b) {
  if (std::isnan(a) && std::isnan(b)) return true;
  if (a == b) return true;
  const double off = std::abs(a - b), size = std::abs(a) + std::abs(b);
  if (a == 0 || b == 0 || size < 2.3e-308) return off < kTolerance * 2.3e-308;
  return off / std::min(size, 1.7e308) < kTolerance;
}

struct Eval {
  int line = 0;
  bool range = false, fails = false, ordered = false;
  Instant from, to;
  Duration step{};
  std::string expression;
  std::string message, message_regex;  ///< of `expect fail`
  std::optional<std::string> string;
  std::vector<Line> lines;
};

Instant instant(std::string_view text) {
  const auto d = parse_duration(text);
  return Instant(d.has_error() ? 0 : d->count());
}

class Runner {
 public:
  Report run(std::string_view script) {
    for (const std::string& l : split(script, '\n')) {
      std::string line(trim(l));
      if (line.starts_with("#")) line.clear();
      lines_.push_back(std::move(line));
    }
    for (at_ = 0; at_ < lines_.size(); ++at_) {
      const std::string& line = lines_[at_];
      if (line == "clear") {
        store_ = std::make_unique<series::Store>(kEverything);
        native_.clear();
      } else if (line.starts_with("load")) {
        load(line);
      } else if (line.starts_with("eval")) {
        judge(read_eval());
      }
    }
    return std::move(report_);
  }

 private:
  static constexpr series::Limits kEverything{.series_max = 1'000'000, .points_per_series_max = 10'000'000, .retention = 24h * 3650};

  /// The lines of the block after the current one: up to an empty line.
  bool next_in_block() {
    if (at_ + 1 >= lines_.size() || lines_[at_ + 1].empty()) return false;
    ++at_;
    return true;
  }

  void load(const std::string& head) {
    const bool with_nhcb = head.starts_with("load_with_nhcb");
    const Duration gap = instant(trim(head.substr(head.find(' ')))) - Instant{};
    std::map<Labels, Values> series;  // A second line for the same series replaces the first.
    while (next_in_block()) {
      Line line = series_line(lines_[at_]);
      if (line.native) native_.push_back(line.labels);
      if (with_nhcb) add_custom_buckets(line.labels);
      series[line.labels] = std::move(line.values);
    }
    for (const auto& [labels, values] : series)
      for (std::size_t i = 0; i < values.size(); ++i)
        if (values[i]) store_->append(labels, {Instant{} + gap * static_cast<std::int64_t>(i), *values[i]});
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
    static const RE2 instant_form(R"(eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(\S+))?\s+(.+))");
    static const RE2 range_form(R"(eval(?:_(fail|warn|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+))");
    Eval e;
    e.line = static_cast<int>(at_) + 1;
    std::string kind, from, to, step;
    if (RE2::FullMatch(lines_[at_], range_form, &kind, &from, &to, &step, &e.expression)) {
      e.range = true;
      e.from = instant(from);
      e.to = instant(to);
      e.step = instant(step) - Instant{};
    } else if (RE2::FullMatch(lines_[at_], instant_form, &kind, &from, &e.expression)) {
      e.from = e.to = instant(from);
    }
    e.fails = kind == "fail";
    e.ordered = kind == "ordered";
    while (next_in_block()) read_expectation(e, lines_[at_]);
    return e;
  }

  static void read_expectation(Eval& e, const std::string& line) {
    static const RE2 form(R"(expect\s+(\w+)\s*(?:(regex|msg):\s*)?(.*))");
    std::string what, how, rest;
    if (!RE2::FullMatch(line, form, &what, &how, &rest)) {
      e.lines.push_back(series_line(line));
      return;
    }
    if (what == "fail") {
      e.fails = true;
      (how == "regex" ? e.message_regex : e.message) = rest;
    }
    if (what == "ordered") e.ordered = true;
    if (what == "string") {
      const auto tokens = lex(rest);
      e.string = tokens.has_value() ? (*tokens)[0].text : rest;
    }
  }

  void fail(const Eval& e, std::string why) { report_.failed.push_back({e.line, e.expression, std::move(why)}); }
  void skip(std::string_view reason) { ++report_.skipped[std::string(reason)]; }

  void judge(const Eval& e) {
    for (const Line& line : e.lines)
      if (line.native) return skip(kNative);
    const auto parsed = parse(e.expression);
    if (parsed.has_error()) return judge_error(e, parsed.error());
    const auto why = e.range ? mismatch_of_range(e, **parsed) : mismatch_of_instant(e, **parsed);
    const bool native = touches_native(**parsed);
    const bool says_nothing = e.lines.empty() && !e.fails && !e.string;  // Empty because the store holds no native histogram.
    if (native && (why || says_nothing)) {
      skip(kNative);
    } else if (!why) {
      ++report_.passed;
    } else {
      fail(e, *why);
    }
  }

  void judge_error(const Eval& e, const Error& error) {
    std::string function;
    if (RE2::PartialMatch(error.why, R"re(unknown function with name "(\w+)")re", &function)) {
      if (kExperimental.contains(function)) return skip("experimental: " + function);
      if (kNativeOnly.contains(function)) return skip(kNative);
      return skip("not built: " + function);
    }
    if (const auto why = mismatch_of_error(e, error)) {
      fail(e, *why);
    } else {
      ++report_.passed;
    }
  }

  bool touches_native(const Expr& e) const {
    for (const Expr* s : selectors(e))
      for (const Labels& labels : native_)
        if (std::all_of(s->matchers.begin(), s->matchers.end(), [&](const series::Matcher& m) { return m.matches(labels); })) return true;
    return false;
  }

  static std::optional<std::string> mismatch_of_error(const Eval& e, const Error& error) {
    if (!e.fails) return error.text();
    if (!e.message.empty() && error.why.find(e.message) == std::string::npos) return "failed with " + error.why + ", expected " + e.message;
    if (!e.message_regex.empty() && !RE2::PartialMatch(error.why, e.message_regex)) return "failed with " + error.why;
    return std::nullopt;
  }

  std::optional<std::string> mismatch_of_instant(const Eval& e, const Expr& expr) {
    const StoreQuerier querier(*store_);
    const auto value = evaluate(expr, querier, EvalOptions{.at = e.from});
    if (value.has_error()) return mismatch_of_error(e, value.error());
    if (e.fails) return "expected to fail";
    if (value->blind) return "blind: " + value->blind_reason;
    if (e.string)
      return value->type == Value::Type::string && value->string == *e.string ? std::nullopt : std::optional("got string " + value->string);
    if (value->type == Value::Type::scalar) {
      if (e.lines.size() != 1) return "expected " + std::to_string(e.lines.size()) + " lines, got a scalar";
      return close_to(*e.lines[0].values.at(0), value->scalar) ? std::nullopt : std::optional("got " + std::to_string(value->scalar));
    }
    if (value->vector.size() != e.lines.size()) return sizes(e.lines.size(), value->vector);
    for (std::size_t i = 0; i < e.lines.size(); ++i) {
      const Element* found = nullptr;
      for (std::size_t j = 0; j < value->vector.size(); ++j)
        if (value->vector[j].labels == e.lines[i].labels && (!e.ordered || i == j)) found = &value->vector[j];
      if (found == nullptr) return "missing " + e.lines[i].labels.to_string() + ", " + sizes(e.lines.size(), value->vector);
      if (e.lines[i].values.empty() || !e.lines[i].values[0]) return "no value expected for " + e.lines[i].labels.to_string();
      if (!close_to(*e.lines[i].values[0], found->value))
        return e.lines[i].labels.to_string() + ": expected " + std::to_string(*e.lines[i].values[0]) + ", got " +
               std::to_string(found->value);
    }
    return std::nullopt;
  }

  static std::string sizes(std::size_t expected, const std::vector<Element>& got) {
    std::string out = "expected " + std::to_string(expected) + " elements, got " + std::to_string(got.size());
    for (std::size_t i = 0; i < std::min<std::size_t>(got.size(), 4); ++i)
      out += " " + got[i].labels.to_string() + "=" + std::to_string(got[i].value);
    return out;
  }

  std::optional<std::string> mismatch_of_range(const Eval& e, const Expr& expr) {
    const StoreQuerier querier(*store_);
    std::map<Labels, Values> got;
    std::size_t steps = 0;
    for (Instant t = e.from; t <= e.to; t = t + e.step, ++steps) {
      const auto value = evaluate(expr, querier, EvalOptions{.at = t, .start = e.from, .end = e.to});
      if (value.has_error()) return mismatch_of_error(e, value.error());
      std::vector<Element> elements = value->vector;
      if (value->type == Value::Type::scalar) elements.push_back({{}, value->scalar});
      for (const Element& element : elements) {
        Values& values = got[element.labels];
        values.resize(steps);
        values.push_back(element.value);
      }
    }
    if (e.fails) return "expected to fail";
    std::map<Labels, Values> wanted;
    for (const Line& line : e.lines) wanted[line.labels] = line.values;
    if (wanted.size() != got.size()) return "expected " + std::to_string(wanted.size()) + " series, got " + std::to_string(got.size());
    for (auto& [labels, values] : wanted) {
      const auto found = got.find(labels);
      if (found == got.end()) return "missing " + labels.to_string() + ", got " + got.begin()->first.to_string();
      values.resize(steps);
      found->second.resize(steps);
      for (std::size_t i = 0; i < steps; ++i) {
        const auto &want = values[i], &have = found->second[i];
        if (want.has_value() != have.has_value() || (want && !close_to(*want, *have)))
          return labels.to_string() + " at step " + std::to_string(i) + ": expected " + (want ? std::to_string(*want) : "_") + ", got " +
                 (have ? std::to_string(*have) : "_");
      }
    }
    return std::nullopt;
  }

  std::vector<std::string> lines_;
  std::size_t at_ = 0;
  std::unique_ptr<series::Store> store_ = std::make_unique<series::Store>(kEverything);
  std::vector<Labels> native_;  ///< series that hold native histograms, which the store does not have
  Report report_;
};

}  // namespace

int Report::skipped_total() const {
  int n = 0;
  for (const auto& [reason, count] : skipped) n += count;
  return n;
}

Report run(std::string_view script) { return Runner().run(script); }

}  // namespace rollbackd::promql::conformance
