// YAML to test groups, as strict as promtool's reader: a field it does not know, or a value of another type, fails the file.
#include "cli/test_rules_file.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <functional>
#include <limits>
#include <optional>

#include "base/text.hpp"

namespace rollbackd::cli {
namespace {

using config::Node;

/// Go's ParseInt with base 0: 0x, 0o, 0b, a leading zero means octal; underscores were taken out before.
std::optional<double> go_integer(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  int base = 10;
  if (text.size() > 1 && text[0] == '0') {
    const char kind = static_cast<char>(text[1] | 0x20);
    base = kind == 'x' ? 16 : kind == 'b' ? 2 : 8;
    text.remove_prefix(kind == 'x' || kind == 'b' || kind == 'o' ? 2 : 1);
  }
  std::uint64_t whole = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), whole, base);
  if (read.ec != std::errc{} || read.ptr != text.data() + text.size()) return std::nullopt;
  return negative ? -static_cast<double>(whole) : static_cast<double>(whole);
}

/// A YAML number as Go's reader takes it for a float.
std::optional<double> yaml_number(std::string_view written) {
  std::string text(written);
  std::erase(text, '_');
  if (const auto whole = go_integer(text)) return whole;
  std::string_view digits = text;
  const double sign = digits.starts_with('-') ? -1 : 1;
  if (digits.starts_with('-') || digits.starts_with('+')) digits.remove_prefix(1);
  if (digits == ".inf" || digits == ".Inf" || digits == ".INF") return sign * std::numeric_limits<double>::infinity();
  if (text == ".nan" || text == ".NaN" || text == ".NAN") return std::nan("");
  if (digits.empty() || digits.find_first_not_of("0123456789.eE+-") != digits.npos) return std::nullopt;
  double value = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (read.ptr != digits.data() + digits.size()) return std::nullopt;
  if (read.ec == std::errc::result_out_of_range) {
    const auto exponent = digits.find_first_of("eE");
    value = exponent != digits.npos && digits.substr(exponent + 1).starts_with('-') ? 0 : std::numeric_limits<double>::infinity();
  } else if (read.ec != std::errc{}) {
    return std::nullopt;
  }
  return sign * value;
}

/// "2026-01-02T03:04:05.5Z" or Unix seconds.
std::optional<Instant> start_of(const std::string& text) {
  double seconds = 0;
  if (const auto read = std::from_chars(text.data(), text.data() + text.size(), seconds);
      read.ec == std::errc{} && read.ptr == text.data() + text.size())
    return std::abs(seconds) < 9e9 ? std::optional(Instant::from_millis(static_cast<std::int64_t>(std::floor(seconds * 1e3))))
                                   : std::nullopt;
  std::tm parts{};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return std::nullopt;
  std::int64_t ms = 0;
  if (*rest == '.') {
    std::int64_t unit = 100;
    for (++rest; *rest >= '0' && *rest <= '9'; ++rest, unit /= 10) ms += (*rest - '0') * unit;
  }
  std::int64_t offset = 0;
  if (*rest == '+' || *rest == '-') {
    int hours = 0, minutes = 0, taken = 0;
    if (std::sscanf(rest + 1, "%2d:%2d%n", &hours, &minutes, &taken) != 2 || taken != 5 || rest[6] != '\0') return std::nullopt;
    offset = (*rest == '-' ? -60 : 60) * (hours * 60 + minutes);
  } else if (std::string_view(rest) != "Z") {
    return std::nullopt;
  }
  return Instant::from_millis((static_cast<std::int64_t>(::timegm(&parts)) - offset) * 1000 + ms);
}

/// Reads one file's tree. Every problem is added to the list; reading goes on, so that all are found at once.
class Reader {
 public:
  using Fields = std::vector<std::pair<std::string, std::function<void(const Node&)>>>;

  Reader(const std::string& file, std::vector<config::Problem>& problems) : file_(file), problems_(problems) {}

  TestFile read(const Node& root) {
    TestFile out;
    object(root, "the test file",
           {{"rule_files", [&](const Node& n) { texts(n, "rule_files", out.rule_files); }},
            {"evaluation_interval", [&](const Node& n) { duration(n, "evaluation_interval", out.evaluation_interval); }},
            {"group_eval_order", [&](const Node& n) { texts(n, "group_eval_order", out.group_eval_order); }},
            {"tests", [&](const Node& n) { list(n, "tests", [&](const Node& t) { out.tests.push_back(group(t)); }); }},
            {"fuzzy_compare", [&](const Node& n) { boolean(n, "fuzzy_compare", out.fuzzy_compare); }}});
    if (out.evaluation_interval <= Duration{0}) out.evaluation_interval = 1min;
    for (TestGroup& test : out.tests) {
      if (test.interval <= Duration{0}) test.interval = out.evaluation_interval;
    }
    for (auto at = out.group_eval_order.begin(); at != out.group_eval_order.end(); ++at) {
      if (std::find(out.group_eval_order.begin(), at, *at) != at)
        error(*root.find("group_eval_order"), "group name repeated in evaluation order: " + *at, "name each group once");
    }
    return out;
  }

 private:
  void error(const Node& node, std::string what, std::string remedy) {
    config::Problem problem;
    problem.file = file_;
    problem.position = node.position;
    problem.what = std::move(what);
    problem.remedy = std::move(remedy);
    problems_.push_back(std::move(problem));
  }
  void wrong(const Node& node, const std::string& name, const std::string& wanted) {
    error(node,
          "\"" + name + "\" is not " + wanted + " but " + (node.kind == Node::Kind::array ? "an array" : config::to_string(node.kind)),
          "write " + wanted);
  }

  void object(const Node& node, const std::string& what, const Fields& fields) {
    if (node.kind == Node::Kind::null) return;
    if (node.kind != Node::Kind::object) return wrong(node, what, "an object");
    for (const Node::Member& member : node.members) {
      const auto field = std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.first == member.key; });
      if (field != fields.end()) {
        field->second(member.value);
        continue;
      }
      std::vector<std::string> names;
      for (const auto& known : fields) names.push_back(known.first);
      const std::string meant = nearest(member.key, names);
      error(member.value, "unknown field \"" + member.key + "\" in " + what,
            meant.empty() ? "the fields are " + join(names, ", ") : "did you mean \"" + meant + "\"?");
    }
  }
  void list(const Node& node, const std::string& name, const std::function<void(const Node&)>& each) {
    if (node.kind == Node::Kind::null) return;
    if (node.kind != Node::Kind::array) return wrong(node, name, "a list");
    for (const Node& element : node.elements) each(element);
  }
  /// Like Go's YAML reader it takes any scalar for a text.
  void text(const Node& node, const std::string& name, std::string& out) {
    if (node.kind == Node::Kind::null) return;
    if (node.kind == Node::Kind::array || node.kind == Node::Kind::object) return wrong(node, name, "a text");
    out = node.text;
  }
  void texts(const Node& node, const std::string& name, std::vector<std::string>& out) {
    list(node, name, [&](const Node& n) { text(n, name, out.emplace_back()); });
  }
  void map(const Node& node, const std::string& name, std::map<std::string, std::string>& out) {
    if (node.kind == Node::Kind::null) return;
    if (node.kind != Node::Kind::object) return wrong(node, name, "an object of texts");
    for (const Node::Member& member : node.members) text(member.value, member.key, out[member.key]);
  }
  void duration(const Node& node, const std::string& name, Duration& out) {
    if (node.kind == Node::Kind::null) return;
    std::string written;
    text(node, name, written);
    if (node.kind == Node::Kind::array || node.kind == Node::Kind::object) return;
    const auto parsed = parse_duration(written);
    if (parsed) {
      out = *parsed;
    } else {
      error(node, "\"" + name + "\": " + parsed.error().what, parsed.error().next_step);
    }
  }
  void number(const Node& node, const std::string& name, double& out) {
    if (node.kind == Node::Kind::null) return;
    const bool scalar = node.kind == Node::Kind::number || node.kind == Node::Kind::string;
    const auto value = scalar && !node.quoted ? yaml_number(node.text) : std::nullopt;
    if (!value) return wrong(node, name, "a number");
    out = *value;
  }
  void boolean(const Node& node, const std::string& name, bool& out) {
    if (node.kind == Node::Kind::null) return;
    std::string word = node.text;
    std::transform(word.begin(), word.end(), word.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
    const bool yes = word == "true" || word == "yes" || word == "on" || word == "y";
    if (node.quoted || (!yes && word != "false" && word != "no" && word != "off" && word != "n")) return wrong(node, name, "true or false");
    out = yes;
  }
  void start(const Node& node, Instant& out) {
    std::string written;
    text(node, "start_timestamp", written);
    if (node.kind == Node::Kind::null) return;
    const auto parsed = start_of(written);
    if (!parsed) return error(node, "cannot parse \"" + written + "\" to a valid timestamp", "write 2026-01-02T03:04:05Z or Unix seconds");
    out = *parsed;
  }

  TestGroup group(const Node& node) {
    TestGroup out;
    object(node, "a test",
           {{"interval", [&](const Node& n) { duration(n, "interval", out.interval); }},
            {"input_series", [&](const Node& n) { list(n, "input_series", [&](const Node& s) { out.input.push_back(input(s)); }); }},
            {"alert_rule_test",
             [&](const Node& n) { list(n, "alert_rule_test", [&](const Node& t) { out.alert_tests.push_back(alert_test(t)); }); }},
            {"promql_expr_test",
             [&](const Node& n) { list(n, "promql_expr_test", [&](const Node& t) { out.expr_tests.push_back(expr_test(t)); }); }},
            {"external_labels", [&](const Node& n) { map(n, "external_labels", out.external_labels); }},
            {"external_url", [&](const Node& n) { text(n, "external_url", out.external_url); }},
            {"name", [&](const Node& n) { text(n, "name", out.name); }},
            {"start_timestamp", [&](const Node& n) { start(n, out.start); }}});
    return out;
  }
  InputSeries input(const Node& node) {
    InputSeries out;
    object(node, "an input series", {{"series", [&](const Node& n) { text(n, "series", out.series); }}, {"values", [&](const Node& n) {
                                                                                                           text(n, "values", out.values);
                                                                                                         }}});
    return out;
  }
  AlertTest alert_test(const Node& node) {
    AlertTest out;
    object(
        node, "an alert_rule_test",
        {{"eval_time", [&](const Node& n) { duration(n, "eval_time", out.at); }},
         {"alertname", [&](const Node& n) { text(n, "alertname", out.alertname); }},
         {"exp_alerts", [&](const Node& n) { list(n, "exp_alerts", [&](const Node& a) { out.alerts.push_back(expected_alert(a)); }); }}});
    return out;
  }
  ExpectedAlert expected_alert(const Node& node) {
    ExpectedAlert out;
    object(node, "an expected alert",
           {{"exp_labels", [&](const Node& n) { map(n, "exp_labels", out.labels); }},
            {"exp_annotations", [&](const Node& n) { map(n, "exp_annotations", out.annotations); }}});
    return out;
  }
  ExprTest expr_test(const Node& node) {
    ExprTest out;
    object(node, "a promql_expr_test",
           {{"expr", [&](const Node& n) { text(n, "expr", out.expr); }},
            {"eval_time", [&](const Node& n) { duration(n, "eval_time", out.at); }},
            {"exp_samples", [&](const Node& n) { list(n, "exp_samples", [&](const Node& s) { out.samples.push_back(sample(s)); }); }}});
    return out;
  }
  ExpectedSample sample(const Node& node) {
    ExpectedSample out;
    object(node, "an expected sample",
           {{"labels", [&](const Node& n) { text(n, "labels", out.labels); }},
            {"value", [&](const Node& n) { number(n, "value", out.value); }},
            {"histogram", [&](const Node& n) { text(n, "histogram", out.histogram); }}});
    return out;
  }

  const std::string& file_;
  std::vector<config::Problem>& problems_;
};

}  // namespace

std::string_view first_document(std::string_view text) {
  bool content = false;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    const bool marker = line.starts_with("---") && (line.size() == 3 || line[3] == ' ' || line[3] == '\r' || line[3] == '\t');
    if (marker && content) return text.substr(0, at);
    const std::string_view said = trim(line);
    content = content || marker || !(said.empty() || said.front() == '#' || said.front() == '%');
    at = end + 1;
  }
  return text;
}

TestFile parse_test_file(std::string_view text, const std::string& file, std::vector<config::Problem>& problems) {
  const bool json = file.ends_with(".json");  // promtool takes any other ending for YAML.
  if (!json) text = first_document(text);
  const auto root = config::parse_document(text, file, json ? config::Dialect::strict_json : config::Dialect::yaml, problems);
  if (!root) return {};
  return Reader(file, problems).read(*root);
}

}  // namespace rollbackd::cli
