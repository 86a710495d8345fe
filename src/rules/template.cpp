#include "rules/template.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "rules/groups.hpp"

namespace rollbackd::rules {
namespace {

/// What a template's expression gives: a number, a text, or a whole label set.
using Operand = std::variant<double, std::string, Labels>;

constexpr int kNestingMax = 16;

Error bad(std::string why) { return Error(Errc::invalid_argument, "not a template").because(std::move(why)); }

/// C's format for one double, with Go's names for what is not a number.
std::string format_c(const std::string& format, double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "+Inf" : "-Inf";
  std::array<char, 512> buffer{};
  const int n = std::snprintf(buffer.data(), buffer.size(), format.c_str(), v);
  return std::string(buffer.data(), std::min<std::size_t>(static_cast<std::size_t>(std::max(n, 0)), buffer.size() - 1));
}

std::string four_digits(double v) { return format_c("%.4g", v); }

template <std::size_t N>
std::string scaled(double v, double step, const std::array<const char*, N>& prefixes, bool down) {
  std::string prefix;
  for (const char* p : prefixes) {
    if (down ? std::fabs(v) >= 1 : std::fabs(v) < step) break;
    prefix = p;
    v = down ? v * step : v / step;
  }
  return four_digits(v) + prefix;
}

constexpr std::array<const char*, 8> kLarge{"k", "M", "G", "T", "P", "E", "Z", "Y"};
constexpr std::array<const char*, 8> kBinary{"ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"};
constexpr std::array<const char*, 8> kSmall{"m", "u", "n", "p", "f", "a", "z", "y"};

std::string humanize(double v) {
  if (v == 0 || !std::isfinite(v)) return four_digits(v);
  return std::fabs(v) >= 1 ? scaled(v, 1000, kLarge, false) : scaled(v, 1000, kSmall, true);
}

std::string humanize_1024(double v) {
  if (std::fabs(v) <= 1 || !std::isfinite(v)) return four_digits(v);
  return scaled(v, 1024, kBinary, false);
}

std::string humanize_duration(double v) {
  if (!std::isfinite(v)) return four_digits(v);
  if (v == 0) return "0s";
  if (std::fabs(v) < 1) return scaled(v, 1000, kSmall, true) + "s";
  const std::string sign = v < 0 ? "-" : "";
  v = std::fabs(v);
  if (v >= 9e18) return sign + four_digits(v) + "s";  // Beyond an int64 of seconds.
  const auto total = static_cast<long long>(v);
  const long long s = total % 60, m = total / 60 % 60, h = total / 3600 % 24, d = total / 86400;
  if (d != 0) return sign + std::to_string(d) + "d " + std::to_string(h) + "h " + std::to_string(m) + "m " + std::to_string(s) + "s";
  if (h != 0) return sign + std::to_string(h) + "h " + std::to_string(m) + "m " + std::to_string(s) + "s";
  if (m != 0) return sign + std::to_string(m) + "m " + std::to_string(s) + "s";
  return sign + four_digits(v) + "s";
}

std::string show(const Operand& operand) {
  if (const double* v = std::get_if<double>(&operand)) return format_go(*v);
  if (const std::string* s = std::get_if<std::string>(&operand)) return *s;
  std::string out = "map[";  // Go's form of a map.
  for (const auto& [name, value] : std::get<Labels>(operand).pairs()) out += (out.size() > 4 ? " " : "") + name + ":" + value;
  return out + "]";
}

std::optional<double> as_number(const Operand& operand) {
  if (const double* v = std::get_if<double>(&operand)) return *v;
  const std::string* s = std::get_if<std::string>(&operand);
  if (s == nullptr) return std::nullopt;
  double v = 0;
  const auto [end, error] = std::from_chars(s->data(), s->data() + s->size(), v);
  if (error != std::errc() || end != s->data() + s->size()) return std::nullopt;
  return v;
}

/// Go's printf for the operands that a template can have. A verb that does not fit its operand is shown as Go shows it.
std::string go_printf(const std::string& format, std::span<const Operand> args) {
  std::string out;
  std::size_t next = 0;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    std::string spec = "%";
    while (++i < format.size() && std::string_view("+-# 0123456789.").find(format[i]) != std::string_view::npos) spec += format[i];
    if (spec.size() > 16) spec.resize(16);  // Nobody's width; keeps the buffer's bound.
    if (i >= format.size()) return out + "%!(NOVERB)";
    const char verb = format[i];
    if (verb == '%') {
      out += '%';
      continue;
    }
    if (next >= args.size()) {
      out += std::string("%!") + verb + "(MISSING)";
      continue;
    }
    const Operand& arg = args[next++];
    const double* number = std::get_if<double>(&arg);
    if (verb == 'v' && spec == "%") {
      out += show(arg);
    } else if (number != nullptr && std::string_view("feEgGFv").find(verb) != std::string_view::npos) {
      out += format_c(spec + (verb == 'v' ? 'g' : verb), *number);
    } else if (number == nullptr && (verb == 's' || verb == 'v')) {
      std::array<char, 4096> buffer{};
      std::snprintf(buffer.data(), buffer.size(), (spec + "s").c_str(), show(arg).c_str());
      out += buffer.data();
    } else if (number == nullptr && verb == 'q') {
      out += "\"" + show(arg) + "\"";
    } else {
      out += std::string("%!") + verb + (number != nullptr ? "(float64=" : "(string=") + show(arg) + ")";
    }
  }
  if (next < args.size()) {
    out += "%!(EXTRA ";
    for (std::size_t i = next; i < args.size(); ++i) {
      out += (i > next ? ", " : "") + std::string(std::holds_alternative<double>(args[i]) ? "float64=" : "string=") + show(args[i]);
    }
    out += ")";
  }
  return out;
}

constexpr std::array kOfPrometheusAlone{"query",       "first",      "label",        "value",
                                        "strvalue",    "args",       "reReplaceAll", "safeHtml",
                                        "match",       "title",      "graphLink",    "tableLink",
                                        "sortByLabel", "stripPort",  "stripDomain",  "humanizeTimestamp",
                                        "toTime",      "pathPrefix", "externalURL",  "parseDuration",
                                        "tmpl",        "and",        "or",           "not",
                                        "len",         "index",      "slice",        "html",
                                        "js",          "urlquery",   "print",        "println",
                                        "eq",          "ne",         "lt",           "le",
                                        "gt",          "ge",         "call",         "if",
                                        "else",        "end",        "range",        "with",
                                        "define",      "template",   "block",        "break",
                                        "continue"};

Result<Operand> call(const std::string& name, std::span<const Operand> args) {
  if (name == "printf") {
    if (args.empty() || !std::holds_alternative<std::string>(args[0])) return bad("printf needs a format first");
    return Operand(go_printf(std::get<std::string>(args[0]), args.subspan(1)));
  }
  if (args.size() != 1) return bad(name + " takes one argument, not " + std::to_string(args.size()));
  if (name == "toUpper" || name == "toLower") {
    std::string text = show(args[0]);
    for (char& c : text) {
      if (name == "toUpper" ? (c >= 'a' && c <= 'z') : (c >= 'A' && c <= 'Z')) c = static_cast<char>(c ^ 0x20);
    }
    return Operand(std::move(text));
  }
  const std::optional<double> v = as_number(args[0]);
  if (!v) return bad(name + ": \"" + show(args[0]) + "\" is not a number");
  if (name == "humanize") return Operand(humanize(*v));
  if (name == "humanize1024") return Operand(humanize_1024(*v));
  if (name == "humanizeDuration") return Operand(humanize_duration(*v));
  return Operand(four_digits(*v * 100) + "%");
}

bool is_function(std::string_view name) {
  constexpr std::array kOurs{"printf", "toUpper", "toLower", "humanize", "humanize1024", "humanizeDuration", "humanizePercentage"};
  return std::find(kOurs.begin(), kOurs.end(), name) != kOurs.end();
}

/// Reads and evaluates what stands between {{ and }}. With no labels given (`check`) it looks at the form alone.
class Action {
 public:
  Action(std::string_view text, const Labels& labels, double value, bool check)
      : text_(text), labels_(labels), value_(value), check_(check) {}

  Result<Operand> run() {
    Result<Operand> result = pipeline();
    if (!result) return result;
    if (at_ != text_.size()) return bad("unexpected \"" + std::string(text_.substr(at_)) + "\"");
    return result;
  }

 private:
  void space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }
  char peek() {
    space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  static bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }
  std::string word() {
    const std::size_t from = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    return std::string(text_.substr(from, at_ - from));
  }

  /// command { "|" command }; the value before a bar is the last argument of the command behind it.
  Result<Operand> pipeline() {
    if (++depth_ > kNestingMax) return bad("nested too deep");
    Result<Operand> value = command(std::nullopt);
    while (value && peek() == '|') {
      ++at_;
      value = command(std::move(*value));
    }
    --depth_;
    return value;
  }

  Result<Operand> command(std::optional<Operand> piped) {
    const char c = peek();
    if (c == '\0') return bad(piped ? "missing command after |" : "missing value");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_') {
      const std::string name = word();
      if (name == "true" || name == "false") return Operand(name);
      if (!is_function(name)) {
        if (std::find(kOfPrometheusAlone.begin(), kOfPrometheusAlone.end(), name) != kOfPrometheusAlone.end()) {
          return Error(Errc::unsupported, "cannot expand the template").because("\"" + name + "\" is not supported here");
        }
        return bad("function \"" + name + "\" not defined");
      }
      std::vector<Operand> args;
      while (peek() != '\0' && peek() != '|' && peek() != ')') {
        Result<Operand> arg = operand();
        if (!arg) return arg;
        args.push_back(std::move(*arg));
        if (args.size() > 32) return bad("too many arguments");
      }
      if (piped) args.push_back(std::move(*piped));
      Result<Operand> result = call(name, args);
      // Values are not known yet while checking: only the number of arguments can be wrong.
      if (!result && check_ && args.size() == 1 && name != "printf") return Operand(std::string());
      return result;
    }
    if (piped) return bad("a value cannot take another through |");
    Result<Operand> value = operand();
    if (value && peek() != '\0' && peek() != '|' && peek() != ')') return bad("can't give argument to a value");
    return value;
  }

  Result<Operand> operand() {
    const char c = peek();
    if (c == '(') {
      ++at_;
      Result<Operand> inner = pipeline();
      if (inner && peek() != ')') return bad("unclosed left paren");
      ++at_;
      return inner;
    }
    if (c == '"' || c == '`') return literal(c);
    if (c == '$' || c == '.') return variable();
    if ((c >= '0' && c <= '9') || c == '-' || c == '+') {
      const std::size_t from = at_++;
      while (at_ < text_.size() && (is_word(text_[at_]) || text_[at_] == '.')) ++at_;
      const std::string number(text_.substr(c == '+' ? from + 1 : from, at_ - from - (c == '+' ? 1 : 0)));
      const std::optional<double> v = as_number(Operand(number));
      if (!v) return bad("bad number \"" + number + "\"");
      return Operand(*v);
    }
    return bad(std::string("unexpected \"") + c + "\"");
  }

  Result<Operand> literal(char quote) {
    std::string out;
    for (++at_; at_ < text_.size() && text_[at_] != quote; ++at_) {
      if (text_[at_] == '\\' && quote == '"' && at_ + 1 < text_.size()) {
        ++at_;
        out += text_[at_] == 'n' ? '\n' : text_[at_] == 't' ? '\t' : text_[at_];
      } else {
        out += text_[at_];
      }
    }
    if (at_ >= text_.size()) return bad("unterminated quoted string");
    ++at_;
    return Operand(std::move(out));
  }

  Result<Operand> variable() {
    const bool dollar = text_[at_] == '$';
    ++at_;
    const std::string name = word();
    std::optional<std::string> field;
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      field = word();
      if (field->empty() || (at_ < text_.size() && text_[at_] == '.')) return bad("bad field of " + name);
    }
    if (name == (dollar ? "value" : "Value")) {
      if (field) return bad("$value has no fields");
      return Operand(value_);
    }
    const bool external = name == (dollar ? "externalLabels" : "ExternalLabels");
    if (name == (dollar ? "labels" : "Labels") || external) {
      if (!field) return Operand(external ? Labels() : labels_);
      return Operand(std::string(external ? std::string_view() : labels_.get(*field)));
    }
    if (name == (dollar ? "externalURL" : "ExternalURL")) return Operand(std::string());
    return bad(dollar ? "undefined variable \"$" + name + "\"" : "can't evaluate field " + name);
  }

  std::string_view text_;
  const Labels& labels_;
  double value_;
  bool check_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

/// Where the action that opens before `from` ends: the offset of its "}}", npos when it is not closed. Quoted text may hold braces.
std::size_t end_of_action(std::string_view text, std::size_t from) {
  char quote = '\0';
  for (std::size_t i = from; i < text.size(); ++i) {
    const char c = text[i];
    if (quote != '\0') {
      if (c == '\\' && quote == '"')
        ++i;
      else if (c == quote)
        quote = '\0';
    } else if (c == '"' || c == '`') {
      quote = c;
    } else if (c == '}' && i + 1 < text.size() && text[i + 1] == '}') {
      return i;
    }
  }
  return std::string_view::npos;
}

std::string_view trim_end(std::string_view text) {
  const std::size_t last = text.find_last_not_of(" \t\r\n");
  return last == text.npos ? std::string_view() : text.substr(0, last + 1);
}

Result<std::string> expand(std::string_view text, const Labels& labels, double value, bool check) {
  std::string out;
  std::size_t at = 0;
  bool trim_left = false;  // the action before ended in "-}}"
  while (true) {
    const std::size_t open = text.find("{{", at);
    std::string_view plain = text.substr(at, open == text.npos ? text.npos : open - at);
    if (trim_left) plain.remove_prefix(std::min(plain.find_first_not_of(" \t\r\n"), plain.size()));
    if (open == text.npos) {
      out += plain;
      return out;
    }
    std::size_t body_from = open + 2;
    const bool trims = text.substr(body_from).starts_with("- ");
    if (trims) {
      plain = trim_end(plain);
      ++body_from;
    }
    out += plain;
    const bool comment = text.substr(body_from).starts_with("/*");
    const std::size_t comment_end = comment ? text.find("*/", body_from) : 0;
    const std::size_t close =
        comment ? (comment_end == text.npos ? text.npos : text.find("}}", comment_end)) : end_of_action(text, body_from);
    if (close == text.npos) return bad("unclosed action");
    std::string_view body = text.substr(body_from, close - body_from);
    trim_left = body.ends_with(" -");
    if (trim_left) body.remove_suffix(1);
    at = close + 2;
    if (comment) continue;
    Result<Operand> result = Action(trim_end(body), labels, value, check).run();
    if (!result) return result.error();
    out += show(*result);
  }
}

}  // namespace

std::string format_go(double v) {
  if (!std::isfinite(v)) return format_c("%g", v);
  // Go takes the exponent form below 1e-4 and from 1e6 on (promtool 2.42 agrees); to_chars gives the same shortest digits.
  std::array<char, 64> buffer{};
  const auto scientific = std::to_chars(buffer.data(), buffer.data() + buffer.size(), v, std::chars_format::scientific);
  std::string text(buffer.data(), scientific.ptr);
  const int exponent = v == 0 ? 0 : std::atoi(text.c_str() + text.find('e') + 1);
  if (exponent < -4 || exponent >= 6) return text;
  const auto fixed = std::to_chars(buffer.data(), buffer.data() + buffer.size(), v, std::chars_format::fixed);
  return std::string(buffer.data(), fixed.ptr);
}

Result<> check_template(std::string_view text) {
  const Labels none;
  const Result<std::string> result = expand(text, none, 0, true);
  if (!result) return result.error();
  return {};
}

Result<std::string> try_expand_template(std::string_view text, const TemplateContext& context) { return expand_template(text, context); }

std::string expand_template(std::string_view text, const TemplateContext& context) {
  const Labels& labels = context.labels;
  const double value = context.value;
  if (text.find("{{") == text.npos) return std::string(text);
  Result<std::string> result = expand(text, labels, value, false);
  if (!result) return "<error expanding template: " + result.error().why + "> " + std::string(text);
  return std::move(*result);
}

}  // namespace rollbackd::rules
