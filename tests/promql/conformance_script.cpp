#include "tests/promql/conformance_script.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>

#include "base/text.hpp"
#include "promql/lex.hpp"
#include "series/store.hpp"

namespace rollbackd::promql::conformance {
namespace {

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
bool append_item(std::string_view item, Line& line) {
  if (item == "stale") {
    line.values.push_back(series::stale_nan());
    return true;
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
  if (times > 10'000'000) return false;
  if (form == "_" || form.starts_with("{{")) {
    line.native = line.native || form != "_";
    line.values.insert(line.values.end(), times, std::nullopt);
    return true;
  }
  double value = 0, step = 0;
  if (const auto whole = number(form)) {
    value = *whole;
  } else {
    auto sign = form.find_first_of("+-", 1);
    while (sign != std::string_view::npos && (form[sign - 1] == 'e' || form[sign - 1] == 'E')) sign = form.find_first_of("+-", sign + 1);
    if (sign == std::string_view::npos) return false;
    const auto first = number(form.substr(0, sign)), by = number(form.substr(sign));
    if (!first || !by) return false;
    value = *first;
    step = *by;
  }
  for (std::size_t i = 0; i < times; ++i, value += step) line.values.push_back(value);
  return true;
}

/// Where the labels of a series end.
std::size_t end_of_labels(const std::string& text) {
  char quote = '\0';
  bool braces = false;
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (quote != '\0') {
      if (c == '\\' && quote != '`') ++at;
      if (c == quote) quote = '\0';
    } else if (c == '"' || c == '\'' || c == '`') {
      quote = c;
    } else if (c == '{') {
      braces = true;
    } else if (c == '}') {
      return at + 1;
    } else if ((c == ' ' || c == '\t') && !braces) {
      const auto rest = text.find_first_not_of(" \t", at);  // "name {a="b"} 1" is allowed too.
      if (rest == std::string::npos || text[rest] != '{' || text.compare(rest, 2, "{{") == 0) break;
    }
  }
  return at;
}

}  // namespace

Line series_line(const std::string& text) {
  Line line;
  if (const auto v = number(text)) {
    line.scalar = true;
    line.values.push_back(*v);
    return line;
  }
  std::size_t at = end_of_labels(text);
  std::string_view labels = std::string_view(text).substr(0, at);
  line.starts = labels.ends_with("@st") || text.compare(at, 3, "@st") == 0;
  if (labels.ends_with("@st")) labels.remove_suffix(3);
  line.labels = labels_of(labels);
  if (line.starts) return line;
  std::string item;
  int depth = 0;
  for (; at <= text.size(); ++at) {
    const char c = at < text.size() ? text[at] : ' ';
    if (c == '#' && item.empty()) break;
    if (c == '{') ++depth;
    if (c == '}') --depth;
    if ((c != ' ' && c != '\t') || depth != 0) {
      item += c;
      continue;
    }
    if (!item.empty() && !append_item(item, line) && line.unreadable.empty()) line.unreadable = item;
    item.clear();
  }
  return line;
}

std::optional<Instant> instant(std::string_view text) {
  const bool negative = text.starts_with('-');
  const auto d = parse_duration(negative ? text.substr(1) : text);
  if (d.has_value()) return Instant(negative ? -d->count() : d->count());
  const auto seconds = number(text);
  if (!seconds) return std::nullopt;
  return Instant::from_seconds(*seconds);
}

bool Eval::expects(Expectation::What what) const {
  return std::any_of(expectations.begin(), expectations.end(), [what](const Expectation& e) { return e.what == what; });
}

Eval eval_line(const std::string& line, int number) {
  static const RE2 instant_form(R"(eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(\S+)\s+)?(.+))");
  static const RE2 range_form(R"(eval(?:_(fail|warn|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+))");
  Eval e;
  e.line = number;
  std::string kind, from, to, step;
  e.range = RE2::FullMatch(line, range_form, &kind, &from, &to, &step, &e.expression);
  if (!e.range && !RE2::FullMatch(line, instant_form, &kind, &from, &e.expression)) {
    e.unreadable = line;
    return e;
  }
  const auto first = instant(from.empty() ? "0" : from), last = e.range ? instant(to) : first;
  const auto by = e.range ? instant(step) : Instant(1);
  if (!first || !last || !by || by->ns() <= 0 || (*last - *first) / Duration(by->ns()) > 100'000) {
    e.unreadable = line;
    return e;
  }
  e.from = *first;
  e.to = *last;
  e.step = *by - Instant{};
  e.ordered = kind == "ordered";
  using What = Expectation::What;
  if (kind == "fail") e.expectations.push_back({What::fail, "", false});
  if (kind == "warn") e.expectations.push_back({What::warn, "", false});
  if (kind == "info") e.expectations.push_back({What::info, "", false});
  return e;
}

void expectation_line(Eval& e, const std::string& line) {
  static const RE2 form(R"(expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):\s*(.*))?)");
  static const RE2 old_form(R"(expected_fail_(message|regexp)\s+(.+))");
  static const RE2 string_form(R"(expect\s+string\s+(.+))");
  static const RE2 vector_form(R"(expect\s+range\s+vector\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+))");
  using What = Expectation::What;
  std::string what, how, rest;
  if (RE2::FullMatch(line, form, &what, &how, &rest)) {
    if (what == "ordered") {
      e.ordered = true;
      return;
    }
    const What kind = what == "fail" ? What::fail : what == "warn" ? What::warn : what == "info" ? What::info : What::no_info;
    e.expectations.push_back({what == "no_warn" ? What::no_warn : kind, rest, how == "regex"});
  } else if (RE2::FullMatch(line, old_form, &how, &rest)) {
    e.expectations.push_back({What::fail, rest, how == "regexp"});
  } else if (RE2::FullMatch(line, string_form, &rest)) {
    const auto tokens = lex(rest);
    e.string = tokens.has_value() ? tokens->front().text : rest;
  } else if (std::string from, to, step; RE2::FullMatch(line, vector_form, &from, &to, &step)) {
    e.range_vector = true;
    e.vector_from = instant(from).value_or(Instant{});
    e.vector_step = instant(step).value_or(Instant{}) - Instant{};
  } else if (line.starts_with("expect")) {
    e.unreadable = line;
  } else {
    e.lines.push_back(series_line(line));
    if (!e.lines.back().unreadable.empty()) e.unreadable = line;
  }
}

bool fits(const Expectation& expected, const std::string& actual) {
  if (expected.text.empty()) return true;
  if (expected.regex) return RE2::PartialMatch(actual, expected.text);
  return actual == expected.text;
}

std::string experimental(const std::string& expression) {
  static const RE2 calls(
      R"(\b(mad_over_time|sort_by_label|sort_by_label_desc|min_of|max_of|step|range|start|end|ts_of_(?:first|last|max|min)_over_time|)"
      R"(double_exponential_smoothing|limitk|limit_ratio|info|histogram_quantiles|start_timestamp|integral|fill|fill_left|fill_right)\s*)"
      R"((?:\(|by\b|without\b))");
  std::string what;
  if (RE2::PartialMatch(expression, calls, &what)) return what;
  return "";
}

}  // namespace rollbackd::promql::conformance
