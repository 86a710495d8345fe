// Label matchers: equality, and RE2 regular expressions anchored at both ends.
#include <re2/re2.h>

#include "series/store.hpp"

namespace rollbackd::series {
namespace {

constexpr std::int64_t kRegexBytesMax = 1 << 20;

bool has_no_metacharacter(std::string_view text) { return text.find_first_of("\\.+*?()|[]{}^$") == std::string_view::npos; }

}  // namespace

/// A compiled expression; the common shapes that need no engine are told apart once.
struct Matcher::Regex {
  enum class Shape { anything, something, literal, pattern };
  Shape shape = Shape::pattern;
  std::unique_ptr<const RE2> pattern;
};

Result<Matcher> Matcher::make(std::string label, Op op, std::string value) {
  Matcher matcher;
  matcher.label_ = std::move(label);
  matcher.op_ = op;
  matcher.value_ = std::move(value);
  if (op == Op::equal || op == Op::not_equal) return matcher;

  auto regex = std::make_shared<Regex>();
  if (matcher.value_ == ".*") {
    regex->shape = Regex::Shape::anything;
  } else if (matcher.value_ == ".+") {
    regex->shape = Regex::Shape::something;
  } else if (has_no_metacharacter(matcher.value_)) {
    regex->shape = Regex::Shape::literal;
  } else {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_dot_nl(true);
    options.set_max_mem(kRegexBytesMax);
    regex->pattern = std::make_unique<const RE2>(matcher.value_, options);
    if (!regex->pattern->ok()) {
      return Error(Errc::invalid_argument, "bad regular expression \"" + matcher.value_ + "\" for label \"" + matcher.label_ + "\"")
          .because(regex->pattern->error())
          .try_next("use RE2 syntax: no back references, no look-around");
    }
  }
  matcher.regex_ = std::move(regex);
  return matcher;
}

bool Matcher::matches(std::string_view value) const {
  if (op_ == Op::equal) return value == value_;
  if (op_ == Op::not_equal) return value != value_;
  bool found = false;
  switch (regex_->shape) {
    case Regex::Shape::anything: found = true; break;
    case Regex::Shape::something: found = !value.empty(); break;
    case Regex::Shape::literal: found = value == value_; break;
    case Regex::Shape::pattern: found = RE2::FullMatch(re2::StringPiece(value.data(), value.size()), *regex_->pattern); break;
  }
  return found == (op_ == Op::regex);
}

}  // namespace rollbackd::series
