// Text to tokens, by the rules of Go's text/template: what stands outside of {{ }} is text, and inside spaces are tokens too.
#include <algorithm>
#include <array>
#include <utility>

#include "rules/template_impl.hpp"

namespace rollbackd::rules::tmpl {
namespace {

constexpr int kEnd = -1;
constexpr std::string_view kLeft = "{{", kRight = "}}", kCommentLeft = "/*", kCommentRight = "*/";

constexpr std::array<std::pair<std::string_view, Tok>, 11> kKeywords{{{"block", Tok::block},
                                                                      {"break", Tok::break_},
                                                                      {"continue", Tok::continue_},
                                                                      {"define", Tok::define},
                                                                      {"else", Tok::else_},
                                                                      {"end", Tok::end},
                                                                      {"if", Tok::if_},
                                                                      {"range", Tok::range},
                                                                      {"nil", Tok::nil},
                                                                      {"template", Tok::template_},
                                                                      {"with", Tok::with}}};

bool is_blank(int c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
bool is_digit(int c) { return c >= '0' && c <= '9'; }

/// A character and its bytes; a byte that begins none stands alone, as U+FFFD.
std::pair<std::uint32_t, std::size_t> decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  std::uint32_t code = byte(0);
  const std::size_t size = code >= 0xf0 ? 4 : code >= 0xe0 ? 3 : code >= 0xc0 ? 2 : 1;
  if (size == 1) return {code < 0x80 ? code : 0xfffd, 1};
  if (size > text.size()) return {0xfffd, 1};
  code &= 0x7fU >> size;
  for (std::size_t i = 1; i < size; ++i) code = code << 6 | (byte(i) & 0x3fU);
  return {code, size};
}

/// Beyond ASCII everything counts as a letter but what is surely none: spaces, punctuation, arrows, symbols, private use. Go asks Unicode.
bool is_letter_beyond_ascii(std::uint32_t c) {
  constexpr std::array<std::pair<std::uint32_t, std::uint32_t>, 14> kNone{{{0x80, 0xa9},
                                                                           {0xab, 0xb4},
                                                                           {0xb6, 0xb9},
                                                                           {0xbb, 0xbf},
                                                                           {0xd7, 0xd7},
                                                                           {0xf7, 0xf7},
                                                                           {0x300, 0x36f},
                                                                           {0x2000, 0x2070},
                                                                           {0x20a0, 0x20ff},
                                                                           {0x2190, 0x2bff},
                                                                           {0x3000, 0x3004},
                                                                           {0x3007, 0x3030},
                                                                           {0xe000, 0xf8ff},
                                                                           {0xfe00, 0xfe6f}}};
  if (c == 0xfeff || (c >= 0xff01 && c <= 0xff0f) || (c >= 0xfff0 && c <= 0xffff) || (c >= 0x1d100 && c <= 0x1d3ff) ||
      (c >= 0x1f000 && c <= 0x1fbff) || c >= 0xe0000)
    return false;
  return std::none_of(kNone.begin(), kNone.end(), [c](const auto& range) { return c >= range.first && c <= range.second; });
}

/// The bytes of the letter, digit or underscore that `text` begins with; 0 where it begins with something else.
std::size_t word_bytes(std::string_view text) {
  if (text.empty()) return 0;
  const int c = static_cast<unsigned char>(text[0]);
  if (c < 0x80) return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ? 1 : 0;
  const auto [code, size] = decode(text);
  return is_letter_beyond_ascii(code) ? size : 0;
}

/// "U+007D '}'", as Go names a character in errors.
std::string name_of(std::string_view text) {
  if (text.empty()) return "U+FFFFFFFFFFFFFFFF";
  auto [code, size] = decode(text);
  const bool shows = code > 0x20 && code != 0x7f && (code < 0x80 || is_letter_beyond_ascii(code));
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string hex;
  for (; code != 0 || hex.size() < 4; code >>= 4) hex.insert(hex.begin(), kHex[code & 15]);
  return "U+" + hex + (shows ? " '" + std::string(text.substr(0, size)) + "'" : "");
}

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  std::vector<Token> run() {
    while (!done_) {
      lex_text();
      while (!done_ && inside_) lex_inside();
    }
    return std::move(tokens_);
  }

 private:
  int peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? static_cast<unsigned char>(text_[at_ + ahead]) : kEnd; }
  std::string_view rest() const { return text_.substr(at_); }
  bool skip_word_character() {
    const std::size_t size = word_bytes(rest());
    at_ += size;
    return size > 0;
  }
  void skip_word() {
    while (skip_word_character()) continue;
  }

  void emit(Tok kind) {
    tokens_.push_back({kind, start_, line_, std::string(text_.substr(start_, at_ - start_))});
    skip();
  }
  void skip() {
    line_ += static_cast<int>(
        std::count(text_.begin() + static_cast<std::ptrdiff_t>(start_), text_.begin() + static_cast<std::ptrdiff_t>(at_), '\n'));
    start_ = at_;
  }
  void fail(std::string message) {
    tokens_.push_back({Tok::error, start_, line_, std::move(message)});
    done_ = true;
  }

  void lex_text() {
    const std::size_t open = text_.find(kLeft, at_);
    if (open == std::string_view::npos) {
      at_ = text_.size();
      if (at_ > start_) emit(Tok::text);
      emit(Tok::eof);
      done_ = true;
      return;
    }
    const bool trims = open + 3 < text_.size() && text_[open + 2] == '-' && is_blank(static_cast<unsigned char>(text_[open + 3]));
    at_ = open;
    if (trims)
      while (at_ > start_ && is_blank(static_cast<unsigned char>(text_[at_ - 1]))) --at_;
    if (at_ > start_) emit(Tok::text);
    at_ = open;
    skip();
    const std::size_t marker = trims ? 2 : 0;
    if (text_.substr(open + 2 + marker).starts_with(kCommentLeft)) {
      at_ = open + 2 + marker;
      skip();
      return lex_comment();
    }
    at_ = open + 2;
    emit(Tok::left_delim);
    at_ += marker;
    skip();
    inside_ = true;
    parens_ = 0;
  }

  void lex_comment() {
    const std::size_t close = text_.find(kCommentRight, at_ + 2);
    if (close == std::string_view::npos) return fail("unclosed comment");
    at_ = close + 2;
    const auto [delim, trims] = at_right_delim();
    if (!delim) return fail("comment ends before closing delimiter");
    after_right_delim(trims);
    skip();
  }

  /// Whether the action ends here, and whether with a marker that trims the text behind it.
  std::pair<bool, bool> at_right_delim() const {
    if (is_blank(peek()) && peek(1) == '-' && text_.substr(std::min(at_ + 2, text_.size())).starts_with(kRight)) return {true, true};
    return {rest().starts_with(kRight), false};
  }
  void after_right_delim(bool trims) {
    at_ += (trims ? 2 : 0) + kRight.size();
    if (!trims) return;
    while (is_blank(peek())) ++at_;
  }
  void lex_right_delim(bool trims) {
    if (trims) {
      at_ += 2;
      skip();
    }
    at_ += kRight.size();
    emit(Tok::right_delim);
    if (trims) {
      while (is_blank(peek())) ++at_;
      skip();
    }
    inside_ = false;
  }

  void lex_inside() {
    if (const auto [delim, trims] = at_right_delim(); delim) {
      if (parens_ > 0) return fail("unclosed left paren");
      return lex_right_delim(trims);
    }
    const int c = peek();
    if (c == kEnd) return fail("unclosed action");
    if (is_blank(c)) return lex_space();
    if (is_digit(c) || c == '+' || c == '-' || (c == '.' && is_digit(peek(1)))) return lex_number();
    if (word_bytes(rest()) > 0) return lex_identifier();
    switch (c) {
      case '=': return single(Tok::assign);
      case '|': return single(Tok::pipe);
      case ':':
        ++at_;
        if (peek() != '=') return fail("expected :=");
        return single(Tok::declare);
      case '"': return lex_quoted('"', Tok::string, "unterminated quoted string");
      case '\'': return lex_quoted('\'', Tok::char_constant, "unterminated character constant");
      case '`': return lex_raw();
      case '$': return lex_name(Tok::variable);
      case '.': return lex_name(word_bytes(rest().substr(1)) > 0 ? Tok::field : Tok::dot);
      case '(': ++parens_; return single(Tok::left_paren);
      case ')':
        single(Tok::right_paren);
        if (--parens_ < 0) fail("unexpected right paren");
        return;
      default: break;
    }
    if (c >= 0x21 && c < 0x7f) return single(Tok::character);
    fail("unrecognized character in action: " + name_of(rest()));
  }

  void single(Tok kind) {
    ++at_;
    emit(kind);
  }

  void lex_space() {
    while (is_blank(peek())) {
      // The last blank may belong to a marker that trims.
      if (at_ > start_ && at_right_delim().first && at_right_delim().second) break;
      ++at_;
    }
    if (at_ > start_) emit(Tok::space);
  }

  bool at_terminator() const {
    const int c = peek();
    if (c == kEnd || is_blank(c)) return true;
    return std::string_view(".,|:)(").find(static_cast<char>(c)) != std::string_view::npos || rest().starts_with(kRight);
  }
  void lex_name(Tok kind) {
    ++at_;
    skip_word();
    if (!at_terminator()) return fail("bad character " + name_of(rest()));
    emit(kind);
  }
  void lex_identifier() {
    skip_word();
    if (!at_terminator()) return fail("bad character " + name_of(rest()));
    const std::string_view word = text_.substr(start_, at_ - start_);
    const auto* const keyword = std::find_if(kKeywords.begin(), kKeywords.end(), [&](const auto& k) { return k.first == word; });
    if (keyword != kKeywords.end()) return emit(keyword->second);
    emit(word == "true" || word == "false" ? Tok::boolean : Tok::identifier);
  }

  void lex_quoted(char mark, Tok kind, const char* unterminated) {
    for (++at_;; ++at_) {
      if (peek() == '\\' && peek(1) != kEnd && peek(1) != '\n') {
        ++at_;
        continue;
      }
      if (peek() == kEnd || peek() == '\n') return fail(unterminated);
      if (peek() == mark) break;
      if (peek() == '\\') return fail(unterminated);
    }
    single(kind);
  }
  void lex_raw() {
    const std::size_t close = text_.find('`', at_ + 1);
    if (close == std::string_view::npos) return fail("unterminated raw quoted string");
    at_ = close;
    single(Tok::raw_string);
  }

  bool accept(std::string_view set) {
    const int c = peek();
    if (c == kEnd || set.find(static_cast<char>(c)) == std::string_view::npos) return false;
    ++at_;
    return true;
  }
  bool scan_number() {
    accept("+-");
    std::string_view digits = "0123456789_";
    if (accept("0")) {
      if (accept("xX"))
        digits = "0123456789abcdefABCDEF_";
      else if (accept("oO"))
        digits = "01234567_";
      else if (accept("bB"))
        digits = "01_";
    }
    const auto run = [&](std::string_view set) {
      while (accept(set)) continue;
    };
    run(digits);
    if (accept(".")) run(digits);
    const bool exponent = (digits.size() == 11 && accept("eE")) || (digits.size() == 23 && accept("pP"));
    if (exponent) {
      accept("+-");
      run("0123456789_");
    }
    accept("i");
    return !skip_word_character();
  }
  void lex_number() {
    Tok kind = Tok::number;
    bool good = scan_number();
    if (good && (peek() == '+' || peek() == '-')) {
      kind = Tok::complex;
      good = scan_number() && text_[at_ - 1] == 'i';
    }
    if (!good) return fail("bad number syntax: " + quote(text_.substr(start_, at_ - start_)));
    emit(kind);
  }

  std::string_view text_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0, start_ = 0;
  int line_ = 1, parens_ = 0;
  bool inside_ = false, done_ = false;
};

void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

/// Reads `count` digits of `base` at `at`. @return none where one is missing
std::optional<std::uint32_t> digits(std::string_view text, std::size_t at, std::size_t count, std::uint32_t base) {
  if (at + count > text.size()) return std::nullopt;
  std::uint32_t value = 0;
  for (const char c : text.substr(at, count)) {
    const std::uint32_t digit = is_digit(c)            ? static_cast<std::uint32_t>(c - '0')
                                : c >= 'a' && c <= 'f' ? static_cast<std::uint32_t>(c - 'a' + 10)
                                : c >= 'A' && c <= 'F' ? static_cast<std::uint32_t>(c - 'A' + 10)
                                                       : 99;
    if (digit >= base) return std::nullopt;
    value = value * base + digit;
  }
  return value;
}

/// Reads what a backslash at `at` - 1 escapes, and moves `at` behind it. @return false where Go knows no such escape
bool unescape(std::string_view text, std::size_t& at, char mark, std::string& out) {
  constexpr std::string_view kNames = "abfnrtv\\", kMeant = "\a\b\f\n\r\t\v\\";
  const char c = text[at++];
  if (const std::size_t found = kNames.find(c); found != std::string_view::npos) {
    out += kMeant[found];
    return true;
  }
  if (c == mark) {
    out += c;
    return true;
  }
  const std::size_t count = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : c >= '0' && c <= '7' ? 3 : 0;
  if (count == 0) return false;
  const std::size_t from = count == 3 ? at - 1 : at;
  const std::optional<std::uint32_t> value = digits(text, from, count, count == 3 ? 8 : 16);
  if (!value || (count == 3 && *value > 255) || *value > 0x10ffff || (count > 3 && *value >= 0xd800 && *value < 0xe000)) return false;
  if (count <= 3)
    out += static_cast<char>(*value);  // A byte, not a character.
  else
    append_utf8(out, *value);
  at = from + count;
  return true;
}

}  // namespace

std::vector<Token> lex(std::string_view text) { return Lexer(text).run(); }

std::optional<std::string> unquote(std::string_view literal) {
  const char mark = literal.front();
  const std::string_view body = literal.substr(1, literal.size() - 2);
  std::string out;
  if (mark == '`') {
    std::copy_if(body.begin(), body.end(), std::back_inserter(out), [](char c) { return c != '\r'; });
    return out;
  }
  for (std::size_t at = 0; at < body.size();) {
    const char c = body[at++];
    if (c != '\\') {
      out += c;
    } else if (at >= body.size() || !unescape(body, at, mark, out)) {
      return std::nullopt;
    }
  }
  return out;
}

}  // namespace rollbackd::rules::tmpl
