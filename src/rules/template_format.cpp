// Go's fmt for the values that a template can hold: Sprint, Sprintln and Sprintf with its verbs, flags and complaints.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "rules/template_impl.hpp"

namespace rollbackd::rules::tmpl {
namespace {

constexpr int kWidthMax = 1'000'000;  // Go's.

struct Spec {
  bool plus = false, minus = false, sharp = false, space = false, zero = false;
  int width = -1, precision = -1;
};

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string padded(std::string text, const Spec& spec, char with = ' ') {
  const std::size_t width = spec.width < 0 ? 0 : static_cast<std::size_t>(spec.width), size = characters(text);
  if (size >= width) return text;
  if (spec.minus) return text + std::string(width - size, ' ');
  return std::string(width - size, with) + text;
}

/// Puts the sign in front of `digits`, and zeros between them where the flags ask for it.
std::string with_sign(std::string digits, bool negative, const Spec& spec, bool zeros) {
  const std::string sign = negative ? "-" : spec.plus ? "+" : spec.space ? " " : "";
  if (zeros && spec.zero && !spec.minus && spec.width > 0) {
    const auto width = static_cast<std::size_t>(spec.width);
    if (digits.size() + sign.size() < width) digits.insert(0, width - digits.size() - sign.size(), '0');
  }
  return padded(sign + digits, spec);
}

std::string format_c(char verb, int precision, double v) {
  std::array<char, 2048> buffer{};  // The longest double has 309 digits before its point; the precision is bounded below.
  const std::string format = std::string("%.*") + verb;
  const int n = std::snprintf(buffer.data(), buffer.size(), format.c_str(), std::min(precision, 1500), v);
  return std::string(buffer.data(), std::min<std::size_t>(static_cast<std::size_t>(std::max(n, 0)), buffer.size() - 1));
}

std::string float_text(double v, char verb, const Spec& spec) {
  Spec plain = spec;
  const double size = std::fabs(v);
  if (std::isnan(v)) return with_sign("NaN", false, plain, false);
  if (std::isinf(v)) {
    plain.plus = plain.plus || (v > 0 && !spec.space);
    return with_sign("Inf", v < 0, plain, false);
  }
  if (verb == 'F') verb = 'f';
  const bool general = verb == 'g' || verb == 'G' || verb == 'v';
  std::string digits;
  if (general && spec.precision < 0) {
    digits = format_go(size);
    if (verb == 'G') std::replace(digits.begin(), digits.end(), 'e', 'E');
  } else if (verb == 'x' || verb == 'X') {
    digits = format_c(verb == 'x' ? 'a' : 'A', spec.precision < 0 ? 13 : spec.precision, size);
  } else {
    digits = format_c(verb == 'v' ? 'g' : verb, spec.precision < 0 ? 6 : spec.precision, size);
  }
  return with_sign(std::move(digits), std::signbit(v), spec, true);
}

std::string whole_text(std::uint64_t size, bool negative, char verb, const Spec& spec) {
  const int base = verb == 'b' ? 2 : verb == 'o' || verb == 'O' ? 8 : verb == 'x' || verb == 'X' ? 16 : 10;
  std::array<char, 65> buffer{};
  std::string digits(buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), size, base).ptr);
  if (verb == 'X')
    for (char& c : digits) c = c >= 'a' ? static_cast<char>(c ^ 0x20) : c;
  if (spec.precision > static_cast<int>(digits.size())) digits.insert(0, static_cast<std::size_t>(spec.precision) - digits.size(), '0');
  if (spec.precision == 0 && size == 0) digits.clear();
  if (verb == 'O') digits.insert(0, "0o");
  if (spec.sharp) digits.insert(0, base == 2 ? "0b" : base == 8 ? "0" : verb == 'x' ? "0x" : verb == 'X' ? "0X" : "");
  return with_sign(std::move(digits), negative, spec, spec.precision < 0);
}

std::string utf8(std::uint64_t code) {
  std::string out = "\"\\U00";
  std::array<char, 8> hex{};
  std::snprintf(hex.data(), hex.size(), "%06x", static_cast<unsigned>(std::min<std::uint64_t>(code, 0x110000)));
  return unquote(out + hex.data() + "\"").value_or("\xef\xbf\xbd");
}

/// The first `count` characters; all of them when it is negative.
std::string_view first(std::string_view text, int count) {
  if (count < 0) return text;
  std::size_t at = 0;
  for (int i = 0; i < count && at < text.size(); ++i)
    for (++at; at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;) ++at;
  return text.substr(0, at);
}

std::string hex_of(std::string_view text, char verb, const Spec& spec) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::array<char, 4> byte{};
    std::snprintf(byte.data(), byte.size(), verb == 'x' ? "%02x" : "%02X", static_cast<unsigned>(static_cast<unsigned char>(text[i])));
    if (i > 0 && spec.space) out += ' ';
    if (spec.sharp && (i == 0 || spec.space)) out += verb == 'x' ? "0x" : "0X";
    out += byte.data();
  }
  return out;
}

/// One value under one verb. A verb that does not fit is told of as Go does: "%!d(string=x)".
class Formatter {
 public:
  Formatter(char verb, const Spec& spec) : verb_(verb), spec_(spec) {
    if (verb == 'v') spec_.plus = spec_.sharp = false;  // These ask %v for more names, which our values have none of.
  }

  std::string operator()(const Value& value, bool top = true) const {
    return std::visit([&](const auto& v) { return one(v, value, top); }, value.v);
  }

 private:
  bool verb_in(std::string_view verbs) const { return verbs.find(verb_) != std::string_view::npos; }

  std::string misfit(const Value& value) const {
    if (value.is_none()) return std::string("%!") + verb_ + "(<nil>)";
    return std::string("%!") + verb_ + "(" + type_name(value) + "=" + Formatter('v', {})(value) + ")";
  }

  std::string one(const None&, const Value& value, bool) const { return verb_ == 'v' ? padded("<nil>", spec_) : misfit(value); }
  std::string one(bool b, const Value& value, bool) const { return verb_in("tv") ? padded(b ? "true" : "false", spec_) : misfit(value); }
  std::string one(std::int64_t i, const Value& value, bool) const {
    const bool negative = i < 0;
    return whole(negative ? 0 - static_cast<std::uint64_t>(i) : static_cast<std::uint64_t>(i), negative, value);
  }
  std::string one(Byte b, const Value& value, bool) const { return whole(b.value, false, value); }
  std::string whole(std::uint64_t size, bool negative, const Value& value) const {
    if (verb_in("vdboOxX")) return whole_text(size, negative, verb_ == 'v' ? 'd' : verb_, spec_);
    if (verb_ == 'c') return padded(utf8(negative ? 0x110000 : size), spec_);
    if (verb_ == 'q') return padded("'" + utf8(negative ? 0x110000 : size) + "'", spec_);
    if (verb_ != 'U') return misfit(value);
    std::array<char, 24> code{};
    std::snprintf(code.data(), code.size(), "U+%04llX", static_cast<unsigned long long>(size));
    return padded(code.data(), spec_);
  }
  std::string one(double v, const Value& value, bool) const { return verb_in("vgGeEfFxX") ? float_text(v, verb_, spec_) : misfit(value); }
  std::string one(const Complex& c, const Value& value, bool) const {
    if (!verb_in("vgGeEfF")) return misfit(value);
    Spec imaginary = spec_;
    imaginary.plus = true;
    return "(" + float_text(c.re, verb_, spec_) + float_text(c.im, verb_, imaginary) + "i)";
  }
  std::string one(const std::string& s, const Value& value, bool) const { return text(s, value); }
  std::string one(const Html& h, const Value& value, bool) const { return text(h.text, value); }
  std::string text(std::string_view s, const Value& value) const {
    const char zero = spec_.zero && !spec_.minus ? '0' : ' ';
    if (verb_in("vs")) return padded(std::string(first(s, spec_.precision)), spec_, zero);
    if (verb_in("xX"))
      return padded(hex_of(spec_.precision < 0 ? s : s.substr(0, static_cast<std::size_t>(spec_.precision)), verb_, spec_), spec_, zero);
    if (verb_ != 'q') return misfit(value);
    const std::string_view part = first(s, spec_.precision);
    const bool raw = spec_.sharp && part.find_first_of("`\n\r") == std::string_view::npos;
    return padded(raw ? "`" + std::string(part) + "`" : quote(part), spec_, zero);
  }

  // Go applies the verb to what a map, a list or a struct holds.
  std::string one(const std::shared_ptr<const StringMap>& map, const Value&, bool) const { return labels(*map); }
  std::string labels(const StringMap& map) const {
    std::string out;
    for (const auto& [name, value] : map) out += (out.empty() ? "" : " ") + (*this)(Value{name}) + ":" + (*this)(Value{value});
    return "map[" + out + "]";
  }
  std::string one(const std::shared_ptr<const ValueMap>& map, const Value&, bool) const {
    std::string out;
    for (const auto& [name, value] : map->items) out += (out.empty() ? "" : " ") + (*this)(Value{name}) + ":" + (*this)(value, false);
    return "map[" + out + "]";
  }
  /// Below the top Go shows where a pointer points to, which says nothing to anybody.
  std::string one(const SamplePtr& sample, const Value&, bool top) const {
    if (sample == nullptr) return "<nil>";
    return top ? "&{" + labels(sample->labels) + " " + (*this)(Value{sample->value}) + "}" : "0xc000000000";
  }
  std::string one(const std::shared_ptr<const Samples>& samples, const Value&, bool) const {
    std::string out;
    for (const SamplePtr& sample : *samples) out += (out.empty() ? "" : " ") + one(sample, Value{}, false);
    return "[" + out + "]";
  }
  std::string one(const Time& t, const Value& value, bool) const { return text(to_string(t), value); }
  std::string one(const GoDuration& d, const Value& value, bool) const { return text(to_string(d), value); }
  std::string one(const std::shared_ptr<const Root>& root, const Value&, bool) const {
    return "{" + labels(*root->labels) + " " + labels(*root->external_labels) + " " + (*this)(Value{root->external_url}) + " " +
           (*this)(Value{root->value}) + "}";
  }

  char verb_;
  Spec spec_;
};

/// Reads a format from left to right.
class Printf {
 public:
  Printf(std::string_view format, std::span<const Value> args) : format_(format), args_(args) {}

  std::string run() {
    while (at_ < format_.size()) {
      const std::size_t percent = std::min(format_.find('%', at_), format_.size());
      out_ += format_.substr(at_, percent - at_);
      at_ = percent;
      if (at_ < format_.size()) directive();
      if (out_.size() > kOutputBytesMax) throw Failure{"the text is longer than " + std::to_string(kOutputBytesMax) + " bytes"};
    }
    if (!reordered_ && next_ < args_.size()) extra();
    return std::move(out_);
  }

 private:
  char peek() const { return at_ < format_.size() ? format_[at_] : '\0'; }

  void directive() {
    ++at_;
    Spec spec;
    good_index_ = true;
    flags(spec);
    index();
    width(spec);
    precision(spec);
    index();
    if (at_ >= format_.size()) {
      out_ += "%!(NOVERB)";
      return;
    }
    const std::string_view verb = verb_at();
    at_ += verb.size();
    if (verb == "%") {
      out_ += '%';
    } else if (!good_index_) {
      out_ += "%!" + std::string(verb) + "(BADINDEX)";
    } else if (next_ >= args_.size()) {
      out_ += "%!" + std::string(verb) + "(MISSING)";
    } else {
      value(verb, spec, args_[next_++]);
    }
  }

  void value(std::string_view verb, const Spec& spec, const Value& arg) {
    if (verb == "T") {
      out_ += padded(arg.is_none() ? "<nil>" : type_name(arg), spec);
    } else if (verb.size() > 1) {  // No verb is beyond ASCII.
      out_ += "%!" + std::string(verb) + "(" + type_name(arg) + "=" + Formatter('v', {})(arg) + ")";
    } else {
      out_ += Formatter(verb[0], spec)(arg);
    }
  }

  std::string_view verb_at() const {
    std::size_t size = 1;
    while (at_ + size < format_.size() && (static_cast<unsigned char>(format_[at_ + size]) & 0xc0) == 0x80) ++size;
    return format_.substr(at_, size);
  }

  void flags(Spec& spec) {
    for (;; ++at_) {
      switch (peek()) {
        case '+': spec.plus = true; break;
        case '-': spec.minus = true; break;
        case '#': spec.sharp = true; break;
        case ' ': spec.space = true; break;
        case '0': spec.zero = true; break;
        default: return;
      }
    }
  }

  /// "[2]": which argument comes next.
  void index() {
    if (peek() != '[') return;
    reordered_ = true;
    const std::size_t close = format_.find(']', at_);
    int number = 0;
    const std::string_view digits = close == std::string_view::npos ? "" : format_.substr(at_ + 1, close - at_ - 1);
    const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    at_ = close == std::string_view::npos ? at_ + 1 : close + 1;
    good_index_ =
        failed == std::errc() && end == digits.data() + digits.size() && number >= 1 && static_cast<std::size_t>(number) <= args_.size();
    if (good_index_) next_ = static_cast<std::size_t>(number) - 1;
  }

  std::optional<int> number() {
    int value = 0;
    const auto [end, failed] = std::from_chars(format_.data() + at_, format_.data() + format_.size(), value);
    if (peek() < '0' || peek() > '9') return std::nullopt;
    at_ = static_cast<std::size_t>(end - format_.data());
    return failed == std::errc() && value <= kWidthMax ? value : kWidthMax;
  }
  std::optional<int> argument(const char* complaint) {
    ++at_;
    const std::int64_t* value = next_ < args_.size() ? args_[next_].as<std::int64_t>() : nullptr;
    if (next_ < args_.size()) ++next_;
    if (value != nullptr && std::abs(*value) <= kWidthMax) return static_cast<int>(*value);
    out_ += complaint;
    return std::nullopt;
  }

  void width(Spec& spec) {
    std::optional<int> found = peek() == '*' ? argument("%!(BADWIDTH)") : number();
    if (!found) return;
    if (*found < 0) {
      spec.minus = true;
      found = -*found;
    }
    spec.width = *found;
  }
  void precision(Spec& spec) {
    if (peek() != '.') return;
    ++at_;
    index();
    const std::optional<int> found = peek() == '*' ? argument("%!(BADPREC)") : std::optional(number().value_or(0));
    if (found && *found >= 0) spec.precision = *found;
  }

  void extra() {
    out_ += "%!(EXTRA ";
    for (std::size_t i = next_; i < args_.size(); ++i) {
      if (i > next_) out_ += ", ";
      out_ += args_[i].is_none() ? "<nil>" : type_name(args_[i]) + "=" + Formatter('v', {})(args_[i]);
    }
    out_ += ")";
  }

  std::string_view format_;
  std::span<const Value> args_;
  std::string out_;
  std::size_t at_ = 0, next_ = 0;
  bool reordered_ = false, good_index_ = true;
};

}  // namespace

std::string four_digits(double v) {
  Spec spec;
  spec.precision = 4;
  return float_text(v, 'g', spec);
}

std::string sprint(std::span<const Value> args) {
  std::string out;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const bool both_no_text = i > 0 && args[i].as<std::string>() == nullptr && args[i - 1].as<std::string>() == nullptr &&
                              args[i].as<Html>() == nullptr && args[i - 1].as<Html>() == nullptr;
    out += (both_no_text ? " " : "") + Formatter('v', {})(args[i]);
  }
  return out;
}

std::string sprintln(std::span<const Value> args) {
  std::string out;
  for (std::size_t i = 0; i < args.size(); ++i) out += (i > 0 ? " " : "") + Formatter('v', {})(args[i]);
  return out + "\n";
}

std::string sprintf(std::string_view format, std::span<const Value> args) { return Printf(format, args).run(); }

std::string print_action(const Value& value) {
  if (value.is_none()) return "<no value>";
  std::string out = Formatter('v', {})(value);
  const SamplePtr* sample = value.as<SamplePtr>();
  return sample != nullptr && *sample != nullptr ? out.substr(1) : out;  // An action prints what a pointer points to.
}

std::string quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    constexpr std::string_view kMeant = "\a\b\f\n\r\t\v\\\"", kNames = "abfnrtv\\\"";
    const std::size_t found = kMeant.find(c);
    if (found != std::string_view::npos) {
      out += '\\';
      out += kNames[found];
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      std::array<char, 5> hex{};
      std::snprintf(hex.data(), hex.size(), "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += hex.data();
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace rollbackd::rules::tmpl
