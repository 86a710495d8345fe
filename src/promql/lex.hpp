// PromQL text to tokens. Keywords are identifiers here: whether `by` is a keyword or a metric's name depends on where it stands.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace rollbackd::promql {

enum class TokenKind {
  end,
  identifier,
  number,
  string,
  left_paren,
  right_paren,
  left_brace,
  right_brace,
  left_bracket,
  right_bracket,
  comma,
  colon,
  at,
  assign,
  equal,
  not_equal,
  match,
  not_match,
  less,
  less_equal,
  greater,
  greater_equal,
  add,
  sub,
  mul,
  div,
  mod,
  pow,
  trim_upper,
  trim_lower,
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::uint32_t begin = 0, end = 0;  ///< byte range in the text
  std::string text;                  ///< an identifier as written; a string without quotes, escapes resolved
  double number = 0;                 ///< a number; a duration in seconds
  bool as_duration = false;          ///< a number that was written as `5m`
};

/// Cuts `text` into tokens, `end` last.
/// @return `invalid_argument` with "column N: ..." for what is no token
Result<std::vector<Token>> lex(std::string_view text);

/// A parse error at byte `at` of `text`: `why` is "column N: message", N counting characters from 1.
Error parse_error(std::string_view text, std::size_t at, std::string message);

/// Whether `text` is valid UTF-8.
bool is_utf8(std::string_view text);

/// `text` as PromQL writes a string: in double quotes, escaped.
std::string quoted(std::string_view text);

/// `[a-zA-Z_][a-zA-Z0-9_]*`: a label name that needs no quotes; with `colons`, a metric name.
bool is_plain_name(std::string_view text, bool colons);

/// Lower case, ASCII alone.
std::string lower(std::string_view text);

}  // namespace rollbackd::promql
