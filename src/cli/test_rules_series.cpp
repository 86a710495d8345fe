// Reads the notation of series, character by character as promtool's reader does: a blank too many in the metric is an error there too.
#include "cli/test_rules_series.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "promql/lex.hpp"
#include "series/store.hpp"

namespace rollbackd::cli {
namespace {

using promql::Token;
using promql::TokenKind;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

Error bad(std::string_view text, std::string why) {
  return Error(Errc::invalid_argument, "\"" + std::string(text.substr(0, 200)) + "\" is not a series").because(std::move(why));
}

/// Where the metric ends that `text` begins with: its name, and braces that follow at once. Quoted text may hold braces.
std::size_t end_of_metric(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size() && (is_letter(text[at]) || is_digit(text[at]) || text[at] == ':')) ++at;
  if (at >= text.size() || text[at] != '{') return at;
  char quote = '\0';
  for (++at; at < text.size(); ++at) {
    const char c = text[at];
    if (quote != '\0') {
      if (c == '\\' && quote != '`') ++at;
      if (c == quote) quote = '\0';
    } else if (c == '"' || c == '\'' || c == '`') {
      quote = c;
    } else if (c == '}') {
      return at + 1;
    }
  }
  return text.size();
}

/// Reads values one after another.
class Values {
 public:
  Values(std::string_view text, SeriesDescription& out) : text_(text), out_(out) {}

  Result<> run() {
    while (at_ < text_.size()) {
      if (!is_blank(text_[at_])) return fail();
      while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
      if (at_ == text_.size()) break;
      if (const auto one = item(); !one) return one;
    }
    return {};
  }

 private:
  Error fail() const {
    std::size_t end = at_;
    while (end < text_.size() && !is_blank(text_[end])) ++end;
    return bad(text_.substr(at_, end - at_), "unexpected \"" + std::string(text_.substr(at_, std::min<std::size_t>(end - at_, 80))) +
                                                 "\" in the values; write 1, 1x3, 1+2x3, _, _x3 or stale");
  }
  bool take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  Result<> item() {
    if (text_.substr(at_).starts_with("{{")) return histogram();
    if (take("_")) {
      std::uint64_t times = 1;
      if (take("x") && !count(times)) return fail();
      return add(std::nullopt, 0, times);
    }
    double value = 0, step = 0;
    if (take_word("stale")) {
      value = series::stale_nan();
    } else if (!signed_number(value, false)) {
      return fail();
    }
    const bool steps = at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-');
    if (steps && !signed_number(step, true)) return fail();
    std::uint64_t times = 0;
    if (take("x")) {
      if (!count(times)) return fail();
    } else if (steps) {
      return fail();
    }
    return add(value, steps ? std::optional(step) : std::nullopt, times + 1);
  }

  /// The text of a native histogram, and what may follow it, is stepped over.
  Result<> histogram() {
    out_.histogram = true;
    while (at_ < text_.size()) {
      if (text_.substr(at_).starts_with("{{")) {
        const std::size_t close = text_.find("}}", at_);
        if (close == text_.npos) return fail();
        at_ = close + 2;
      } else if (is_blank(text_[at_])) {
        break;
      } else {
        ++at_;
      }
    }
    return {};
  }

  Result<> add(std::optional<double> value, std::optional<double> step, std::uint64_t times) {
    if (times > kValuesMax || out_.values.size() + times > kValuesMax)
      return Error(Errc::too_large, "a series of a test may have " + std::to_string(kValuesMax) + " values");
    for (std::uint64_t i = 0; i < times; ++i) {
      out_.values.push_back(value);
      if (value && step) *value += *step;  // Added up as promtool does, rounding and all.
    }
    return {};
  }

  bool count(std::uint64_t& out) {
    const auto read = std::from_chars(text_.data() + at_, text_.data() + text_.size(), out);
    if (read.ec != std::errc{}) return false;
    at_ = static_cast<std::size_t>(read.ptr - text_.data());
    return true;
  }
  /// A word that ends there: in `stalex3` the x belongs to the word, so promtool refuses it.
  bool take_word(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    const std::size_t end = at_ + word.size();
    if (end < text_.size() && (is_letter(text_[end]) || is_digit(text_[end]) || text_[end] == ':')) return false;
    at_ = end;
    return true;
  }

  bool signed_number(double& out, bool needs_sign) {
    const bool minus = at_ < text_.size() && text_[at_] == '-';
    const bool has_sign = minus || (at_ < text_.size() && text_[at_] == '+');
    if (needs_sign && !has_sign) return false;
    if (has_sign) ++at_;
    if (at_ < text_.size() && is_letter(text_[at_])) {
      std::size_t end = at_;
      while (end < text_.size() && (is_letter(text_[end]) || is_digit(text_[end]) || text_[end] == ':')) ++end;
      const std::string word = promql::lower(text_.substr(at_, end - at_));
      if (word != "nan" && word != "inf") return false;
      out = word == "nan" ? std::nan("") : std::numeric_limits<double>::infinity();
      at_ = end;
    } else if (!number(out)) {
      return false;
    }
    if (minus) out = -out;
    return true;
  }

  /// Digits, a point, an exponent. As Go reads it: a whole number that begins with 0 is octal; no hexadecimal, because x repeats.
  bool number(double& out) {
    const std::size_t from = at_;
    const auto digits = [&] {
      const auto digit_at = [this](std::size_t i) { return i < text_.size() && is_digit(text_[i]); };
      while (digit_at(at_) || (at_ > from && digit_at(at_ - 1) && text_.substr(at_).starts_with('_') && digit_at(at_ + 1))) ++at_;
    };
    digits();
    bool whole = at_ > from;
    if (at_ < text_.size() && text_[at_] == '.') {
      whole = false;
      ++at_;
      digits();
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E') && at_ > from) {
      whole = false;
      ++at_;
      if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
      digits();
    }
    if (at_ < text_.size() && text_[at_] != 'x' && (is_letter(text_[at_]) || is_digit(text_[at_]))) return false;
    std::string form(text_.substr(from, at_ - from));
    std::erase(form, '_');
    if (whole && form.size() > 1 && form[0] == '0' && form.find_first_of("89") == form.npos) {
      std::uint64_t octal = 0;
      if (std::from_chars(form.data(), form.data() + form.size(), octal, 8).ec != std::errc{}) return false;
      out = static_cast<double>(octal);
      return true;
    }
    const auto read = std::from_chars(form.data(), form.data() + form.size(), out);
    if (read.ec == std::errc::result_out_of_range) {  // Go takes what is too small for 0, and refuses what is too large.
      out = 0;
      return form.find("e-") != form.npos || form.find("E-") != form.npos;
    }
    return read.ec == std::errc{} && read.ptr == form.data() + form.size();
  }

  std::string_view text_;
  SeriesDescription& out_;
  std::size_t at_ = 0;
};

/// Between the braces: `label="value"`, `"label"="value"`, or a metric's name in quotes.
Result<> read_labels(std::string_view text, const std::vector<Token>& tokens, std::size_t at, std::vector<Labels::Pair>& out) {
  const auto is = [&](std::size_t i, TokenKind kind) { return i < tokens.size() && tokens[i].kind == kind; };
  while (!is(at, TokenKind::right_brace)) {
    const bool quoted = is(at, TokenKind::string);
    if (!quoted && !(is(at, TokenKind::identifier) && promql::is_plain_name(tokens[at].text, false)))
      return bad(text, "a label name is missing");
    const std::string& name = tokens[at].text;
    if (is(at + 1, TokenKind::assign)) {
      if (!is(at + 2, TokenKind::string)) return bad(text, "the value of \"" + name + "\" is missing");
      out.emplace_back(name, tokens[at + 2].text);
      at += 3;
    } else if (quoted) {
      out.emplace_back(std::string(kNameLabel), name);
      ++at;
    } else {
      return bad(text, "\"=\" is missing after \"" + name + "\"");
    }
    if (is(at, TokenKind::comma)) {
      ++at;
    } else if (!is(at, TokenKind::right_brace)) {
      return bad(text, "a comma or } is missing");
    }
  }
  if (!is(at + 1, TokenKind::end)) return bad(text, "something follows the metric");
  return {};
}

/// Words that mean something else even where only a metric can stand.
bool is_reserved(std::string_view name) {
  constexpr std::array<std::string_view, 8> kWords{"nan", "inf", "bool", "on", "ignoring", "group_left", "group_right", "atan2"};
  return std::find(kWords.begin(), kWords.end(), promql::lower(name)) != kWords.end();
}

}  // namespace

Result<Metric> parse_metric(std::string_view text) {
  const auto tokens = promql::lex(text);
  if (!tokens) return tokens.error();
  Metric out;
  std::size_t at = 0;
  const bool named = (*tokens)[0].kind == TokenKind::identifier;
  if (named && is_reserved((*tokens)[0].text)) return bad(text, "unexpected \"" + (*tokens)[0].text + "\"");
  if (named) ++at;
  if ((*tokens)[at].kind == TokenKind::left_brace) {
    if (const auto read = read_labels(text, *tokens, at + 1, out.pairs); !read) return read.error();
  } else if ((*tokens)[at].kind != TokenKind::end) {
    return bad(text, "unexpected \"" + std::string(text.substr((*tokens)[at].begin, 40)) + "\"");
  }
  if (named) {  // With a name in front the labels pass a builder, which takes the name from there and drops what is empty.
    std::erase_if(out.pairs, [](const Labels::Pair& p) { return p.second.empty() || p.first == kNameLabel; });
    out.pairs.emplace_back(std::string(kNameLabel), (*tokens)[0].text);
  }
  std::stable_sort(out.pairs.begin(), out.pairs.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
  out.repeats = std::adjacent_find(out.pairs.begin(), out.pairs.end(), same) != out.pairs.end();
  return out;
}

Result<SeriesDescription> parse_series(std::string_view line) {
  SeriesDescription out;
  const std::size_t end = end_of_metric(line);
  if (end == 0) return bad(line, "it begins with no metric");
  auto metric = parse_metric(line.substr(0, end));
  if (!metric) return metric.error();
  out.metric = std::move(*metric);
  if (const auto read = Values(line.substr(end), out).run(); !read) return read.error();
  if (out.histogram) out.values.clear();
  return out;
}

}  // namespace rollbackd::cli
