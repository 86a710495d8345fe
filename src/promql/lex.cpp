// Text to tokens, the way Prometheus reads numbers, durations and strings. First step of parse().
#include "promql/lex.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/time.hpp"

namespace rollbackd::promql {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&out](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

/// How many bytes the character at `i` has; 0 for what is none in UTF-8.
std::size_t character_bytes(std::string_view text, std::size_t i) {
  const auto lead = static_cast<unsigned char>(text[i]);
  const auto second = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : '\0');
  std::size_t length = 0;
  if (lead < 0x80) length = 1;
  if (lead >= 0xC2 && lead < 0xE0) length = 2;
  if (lead >= 0xE0 && lead < 0xF0) length = (lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ? 0 : 3;
  if (lead >= 0xF0 && lead < 0xF5) length = (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F) ? 0 : 4;
  if (i + length > text.size()) return 0;
  for (std::size_t j = 1; j < length; ++j)
    if ((static_cast<unsigned char>(text[i + j]) & 0xC0U) != 0x80U) return 0;
  return length;
}

/// Of one valid character.
std::uint32_t code_point(std::string_view one) {
  constexpr std::array<std::uint32_t, 5> kLeadBits{0, 0x7F, 0x1F, 0x0F, 0x07};
  std::uint32_t code = static_cast<unsigned char>(one[0]) & kLeadBits[one.size()];
  for (std::size_t i = 1; i < one.size(); ++i) code = code << 6 | (static_cast<unsigned char>(one[i]) & 0x3FU);
  return code;
}

/// Blanks and marks that Go's quoting writes as numbers, so that they can be seen.
bool is_invisible(std::uint32_t code) {
  return (code >= 0x80 && code <= 0xA0) || code == 0xAD || (code >= 0x2000 && code <= 0x200F) || (code >= 0x2028 && code <= 0x202F) ||
         (code >= 0x205F && code <= 0x206F) || code == 0x3000 || code == 0xFEFF || (code >= 0xE000 && code <= 0xF8FF);
}

void append_hex(std::string& out, char kind, std::uint32_t value, int digits) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += '\\';
  out += kind;
  for (int i = digits - 1; i >= 0; --i) out += kHex[value >> (4 * i) & 15U];
}

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  Result<std::vector<Token>> run() {
    while (true) {
      skip_blank();
      begin_ = at_;
      if (at_ >= text_.size()) break;
      if (!one()) return std::move(failure_);
    }
    push(TokenKind::end);
    return std::move(tokens_);
  }

 private:
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool push(TokenKind kind, std::string text = {}, double number = 0, bool as_duration = false) {
    tokens_.push_back({kind, static_cast<std::uint32_t>(begin_), static_cast<std::uint32_t>(at_), std::move(text), number, as_duration});
    return true;
  }
  bool take(TokenKind kind, std::size_t bytes = 1) {
    at_ += bytes;
    return push(kind);
  }
  bool fail(std::size_t at, std::string message) {
    failure_ = parse_error(text_, at, std::move(message));
    return false;
  }

  /// The character at byte `at`, all its bytes.
  std::string_view character(std::size_t at) const {
    std::size_t end = at + 1;
    while (end < text_.size() && (static_cast<unsigned char>(text_[end]) & 0xC0U) == 0x80U) ++end;
    return text_.substr(at, end - at);
  }

  void skip_blank() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n' && text_[at_] != '\r') ++at_;
      } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        ++at_;
      } else {
        return;
      }
    }
  }

  bool one() {
    const char c = peek();
    if (is_digit(c) || (c == '.' && is_digit(peek(1)))) return number();
    if (is_letter(c) || (c == ':' && brackets_ == 0)) return identifier();
    switch (c) {
      case '"':
      case '\'':
      case '`': return string(c);
      case '(': return take(TokenKind::left_paren);
      case ')': return take(TokenKind::right_paren);
      case '{': return take(TokenKind::left_brace);
      case '}': return take(TokenKind::right_brace);
      case '[': ++brackets_; return take(TokenKind::left_bracket);
      case ']': brackets_ = brackets_ > 0 ? brackets_ - 1 : 0; return take(TokenKind::right_bracket);
      case ',': return take(TokenKind::comma);
      case ':': return take(TokenKind::colon);
      case '@': return take(TokenKind::at);
      case '+': return take(TokenKind::add);
      case '-': return take(TokenKind::sub);
      case '*': return take(TokenKind::mul);
      case '/': return take(TokenKind::div);
      case '%': return take(TokenKind::mod);
      case '^': return take(TokenKind::pow);
      case '=':
        if (peek(1) == '=') return take(TokenKind::equal, 2);
        if (peek(1) == '~') return take(TokenKind::match, 2);
        return take(TokenKind::assign);
      case '!':
        if (peek(1) == '=') return take(TokenKind::not_equal, 2);
        if (peek(1) == '~') return take(TokenKind::not_match, 2);
        return fail(at_, "unexpected character after '!'");
      case '<':
        if (peek(1) == '/') return take(TokenKind::trim_upper, 2);
        return peek(1) == '=' ? take(TokenKind::less_equal, 2) : take(TokenKind::less);
      case '>':
        if (peek(1) == '/') return take(TokenKind::trim_lower, 2);
        return peek(1) == '=' ? take(TokenKind::greater_equal, 2) : take(TokenKind::greater);
      default: return fail(at_, "unexpected character: '" + std::string(character(at_)) + "'");
    }
  }

  bool identifier() {
    while (is_letter(peek()) || is_digit(peek()) || (peek() == ':' && brackets_ == 0)) ++at_;
    return push(TokenKind::identifier, std::string(text_.substr(begin_, at_ - begin_)));
  }

  bool bad_number() {
    while (is_letter(peek()) || is_digit(peek()) || peek() == '.') ++at_;
    return fail(begin_, "bad number or duration syntax: \"" + std::string(text_.substr(begin_, at_ - begin_)) + "\"");
  }

  /// Digits of one base; an underscore may stand between two of them.
  std::string digits(bool (*is)(char)) {
    std::string out;
    while (is(peek()) || (peek() == '_' && !out.empty() && is(peek(1)))) {
      if (peek() != '_') out += peek();
      ++at_;
    }
    return out;
  }

  bool number() {
    if (peek() == '0' && (peek(1) == 'x' || peek(1) == 'X')) {
      at_ += peek(2) == '_' ? 3 : 2;
      const std::string hex = digits(is_hex);
      if (hex.empty() || hex.size() > 16 || is_letter(peek()) || is_digit(peek())) return bad_number();
      std::uint64_t value = 0;
      std::from_chars(hex.data(), hex.data() + hex.size(), value, 16);
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return bad_number();
      return push(TokenKind::number, {}, static_cast<double>(value));
    }
    std::string form = digits(is_digit);
    const bool whole = !form.empty();
    if (whole && std::string_view("smhdwy").find(peek()) != std::string_view::npos && peek() != '\0') return duration();
    bool integer = whole;
    if (peek() == '.') {
      integer = false;
      ++at_;
      form += '.' + digits(is_digit);
    }
    if (peek() == 'e' || peek() == 'E') {
      integer = false;
      ++at_;
      form += 'e';
      if (peek() == '+' || peek() == '-') {
        if (peek() == '-') form += '-';
        ++at_;
      }
      const std::string exponent = digits(is_digit);
      if (exponent.empty()) return bad_number();
      form += exponent;
    }
    if (is_letter(peek()) || is_digit(peek())) return bad_number();
    if (integer && form.size() > 1 && form[0] == '0' && form.find_first_of("89") == std::string::npos && form.size() <= 21) {
      std::uint64_t octal = 0;  // As Go reads it.
      std::from_chars(form.data(), form.data() + form.size(), octal, 8);
      return push(TokenKind::number, {}, static_cast<double>(octal));
    }
    double value = 0;
    const auto read = std::from_chars(form.data(), form.data() + form.size(), value);
    if (read.ec == std::errc::result_out_of_range) {
      const auto exponent = form.find('e');
      const bool tiny = exponent != std::string::npos && exponent + 1 < form.size() && form[exponent + 1] == '-';
      if (!tiny) return fail(begin_, "error parsing number: \"" + form + "\" is out of range");
      value = 0;
    } else if (read.ec != std::errc{}) {
      return bad_number();
    }
    return push(TokenKind::number, {}, value);
  }

  bool duration() {
    at_ = begin_;
    while (is_digit(peek()) || (peek() >= 'a' && peek() <= 'z')) ++at_;
    if (is_letter(peek()) || peek() == '.') return bad_number();
    const auto parsed = parse_duration(text_.substr(begin_, at_ - begin_));
    if (parsed.has_error()) return bad_number();
    return push(TokenKind::number, {}, static_cast<double>(parsed->count()) / 1e9, true);
  }

  bool string(char quote) {
    ++at_;
    std::string out;
    while (true) {
      if (at_ >= text_.size()) return fail(begin_, "unterminated quoted string");
      const char c = text_[at_];
      if (c == quote) break;
      if (quote != '`') {
        if (c == '\n') return fail(begin_, "unterminated quoted string");
        if (c == '\\') {
          if (!escape(out, quote)) return false;
          continue;
        }
      }
      out += c;
      ++at_;
    }
    ++at_;
    if (!is_utf8(text_.substr(begin_, at_ - begin_))) return fail(begin_, "invalid UTF-8 rune");
    return push(TokenKind::string, std::move(out));
  }

  bool escape(std::string& out, char quote) {
    const std::size_t from = at_;
    const char c = peek(1);
    at_ += 2;
    switch (c) {
      case 'a': out += '\a'; return true;
      case 'b': out += '\b'; return true;
      case 'f': out += '\f'; return true;
      case 'n': out += '\n'; return true;
      case 'r': out += '\r'; return true;
      case 't': out += '\t'; return true;
      case 'v': out += '\v'; return true;
      case '\\': out += '\\'; return true;
      case 'x': return coded(out, from, 2, 16, false);
      case 'u': return coded(out, from, 4, 16, true);
      case 'U': return coded(out, from, 8, 16, true);
      default: break;
    }
    if (c == quote) {
      out += c;
      return true;
    }
    if (c >= '0' && c <= '7') {
      --at_;
      return coded(out, from, 3, 8, false);
    }
    return fail(from, "unknown escape sequence in string");
  }

  bool coded(std::string& out, std::size_t from, std::size_t length, int base, bool code_point) {
    std::uint32_t code = 0;
    const std::string_view form = text_.substr(std::min(at_, text_.size()), length);
    const auto read = std::from_chars(form.data(), form.data() + form.size(), code, base);
    if (form.size() != length || read.ec != std::errc{} || read.ptr != form.data() + form.size())
      return fail(from, "illegal character in escape sequence");
    if (code > (code_point ? 0x10FFFFU : 0xFFU) || (code_point && code >= 0xD800 && code < 0xE000))
      return fail(from, "escape sequence is an invalid Unicode code point");
    at_ += length;
    if (code_point) {
      append_utf8(out, code);
    } else {
      out += static_cast<char>(code);
    }
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0, begin_ = 0;
  int brackets_ = 0;
  std::vector<Token> tokens_;
  Error failure_;
};

}  // namespace

Result<std::vector<Token>> lex(std::string_view text) { return Lexer(text).run(); }

Error parse_error(std::string_view text, std::size_t at, std::string message) {
  std::size_t column = 1;
  for (const char c : text.substr(0, std::min(at, text.size()))) column += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  return Error(Errc::invalid_argument, "cannot parse the expression")
      .because("column " + std::to_string(column) + ": " + std::move(message));
}

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = character_bytes(text, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = character_bytes(text, i);
    const std::string_view one = text.substr(i, std::max<std::size_t>(length, 1));
    i += one.size();
    const char c = one[0];
    const auto at = std::string_view("\a\b\f\n\r\t\v").find(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (at != std::string_view::npos) {
      out += '\\';
      out += "abfnrtv"[at];
    } else if (length == 0 || static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      append_hex(out, 'x', static_cast<unsigned char>(c), 2);  // No character at all, or none to look at.
    } else if (const std::uint32_t code = code_point(one); is_invisible(code)) {
      append_hex(out, 'u', code, 4);
    } else {
      out += one;
    }
  }
  return out + '"';
}

bool is_plain_name(std::string_view text, bool colons) {
  if (text.empty() || is_digit(text[0])) return false;
  for (const char c : text)
    if (!is_letter(c) && !is_digit(c) && !(colons && c == ':')) return false;
  return true;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

}  // namespace rollbackd::promql
