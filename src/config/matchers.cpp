// Alertmanager's matchers from text. Pure.
// Flow: `routes[].match` -> [matchers] -> the configuration's errors when it is loaded, and the API's choice of a route for an alert.
#include "config/matchers.hpp"

#include <re2/re2.h>

#include <algorithm>

#include "base/text.hpp"

namespace rollbackd::config {
namespace {

constexpr std::size_t kMatchersMax = 64;
constexpr std::size_t kShownBytesMax = 200;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/// Reads from left to right; the first thing that is wrong ends it.
class MatcherReader {
 public:
  explicit MatcherReader(std::string_view text) : text_(text) {}

  Result<std::vector<AlertMatcher>> all() {
    std::vector<AlertMatcher> out;
    const bool braces = take_after_blanks('{');
    while (true) {
      auto matcher = one();
      if (!matcher) return matcher.error();
      if (out.size() == kMatchersMax) return wrong("there are more than 64 conditions", "make it two routes");
      out.push_back(std::move(*matcher));
      if (!take_after_blanks(',')) break;
      skip_blanks();
      if (at_ == text_.size() || text_[at_] == '}') break;  // A comma after the last one is allowed.
    }
    if (braces && !take_after_blanks('}')) return wrong("the brace is not closed", "write \"}\" at the end, or no braces");
    skip_blanks();
    if (at_ < text_.size())
      return wrong("this was not expected after a condition", "separate conditions by commas, or put the value in quotes");
    return out;
  }

 private:
  Error wrong(const std::string& why, std::string remedy) const {
    const std::string rest(text_.substr(std::min(at_, text_.size())));
    return Error(Errc::invalid_argument, "\"" + printable(cut(text_, kShownBytesMax)) + "\" is not a matcher")
        .because("column " + std::to_string(at_ + 1) + ": " + why + (rest.empty() ? "" : " at \"" + printable(cut(rest, 40)) + "\""))
        .try_next(std::move(remedy));
  }

  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }

  bool take_after_blanks(char c) {
    skip_blanks();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  Result<AlertMatcher> one() {
    AlertMatcher out;
    skip_blanks();
    const std::size_t label = at_;
    while (at_ < text_.size() && (is_letter(text_[at_]) || (at_ > label && is_digit(text_[at_])))) ++at_;
    if (at_ == label) return wrong("a label's name is missing", "write it like severity=\"critical\"");
    out.label = text_.substr(label, at_ - label);
    skip_blanks();
    if (!take_operator(out.op)) return wrong("an operator is missing", "use one of =, !=, =~ and !~");
    skip_blanks();
    const std::size_t value = at_;
    if (auto read = at_ < text_.size() && text_[at_] == '"' ? quoted(out.value) : plain(out.value); !read) return read.error();
    if (out.op == AlertMatcher::Op::matches || out.op == AlertMatcher::Op::not_matches) {
      RE2::Options options;
      options.set_log_errors(false);
      const RE2 regex(out.value, options);
      at_ = regex.ok() ? at_ : value;
      if (!regex.ok())
        return wrong("no regular expression: " + printable(regex.error()), "RE2's syntax counts; in quotes \\ is written \\\\");
    }
    return out;
  }

  bool take_operator(AlertMatcher::Op& op) {
    using Op = AlertMatcher::Op;
    for (const Op candidate : {Op::matches, Op::not_matches, Op::not_equal, Op::equal}) {  // The longer ones first.
      const std::string_view word = to_string(candidate);
      if (text_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      op = candidate;
      return true;
    }
    return false;
  }

  Result<> quoted(std::string& out) {
    const std::size_t start = at_++;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] != '\\') {
        out += text_[at_++];
        continue;
      }
      const char next = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
      if (next != '"' && next != '\\' && next != 'n')
        return wrong("only \\\", \\\\ and \\n are known in quotes", "write \\\\ for a backslash");
      out += next == 'n' ? '\n' : next;
      at_ += 2;
    }
    if (at_ == text_.size()) {
      at_ = start;
      return wrong("the quotes are not closed", "end the value with \"");
    }
    ++at_;
    return {};
  }

  Result<> plain(std::string& out) {
    const std::size_t start = at_;
    while (at_ < text_.size() && !is_blank(text_[at_]) && std::string_view("{}!=~,\\\"'`").find(text_[at_]) == std::string_view::npos)
      ++at_;
    if (at_ == start) return wrong("a value is missing", "put it in quotes; the empty one is written \"\"");
    out = text_.substr(start, at_ - start);
    return {};
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

const char* to_string(AlertMatcher::Op op) {
  switch (op) {
    case AlertMatcher::Op::equal: return "=";
    case AlertMatcher::Op::not_equal: return "!=";
    case AlertMatcher::Op::matches: return "=~";
    case AlertMatcher::Op::not_matches: return "!~";
  }
  return "?";
}

Result<std::vector<AlertMatcher>> parse_alert_matchers(std::string_view text) { return MatcherReader(text).all(); }

Result<std::vector<AlertMatcher>> parse_alert_matchers(std::span<const std::string> texts) {
  std::vector<AlertMatcher> out;
  for (const std::string& text : texts) {
    auto matchers = parse_alert_matchers(text);
    if (!matchers) return matchers.error();
    for (AlertMatcher& matcher : *matchers) out.push_back(std::move(matcher));
  }
  return out;
}

}  // namespace rollbackd::config
