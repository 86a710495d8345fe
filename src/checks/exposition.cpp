// Reads what scraped targets say. Line by line: a newline within a label's value is escaped in both formats, so a line is never cut by one.
#include "checks/exposition.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include "base/text.hpp"

namespace rollbackd::checks {

namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Whether `text` is UTF-8 as RFC 3629 allows it: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned char c = byte(i);
    if (c < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = c >= 0xc2 && c <= 0xdf ? 2 : c >= 0xe0 && c <= 0xef ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (length == 0 || text.size() - i < length) return false;
    for (std::size_t k = 1; k < length; ++k)
      if ((byte(i + k) & 0xc0) != 0x80) return false;
    const unsigned char next = byte(i + 1);
    if ((c == 0xe0 && next < 0xa0) || (c == 0xed && next > 0x9f) || (c == 0xf0 && next < 0x90) || (c == 0xf4 && next > 0x8f)) return false;
    i += length;
  }
  return true;
}

constexpr std::array<std::string_view, 6> kTextTypes{"counter", "gauge", "histogram", "summary", "untyped", "unknown"};
constexpr std::array<std::string_view, 8> kOpenMetricsTypes{"counter", "gauge", "histogram", "gaugehistogram",
                                                            "summary", "info",  "stateset",  "unknown"};

template <class List>
bool is_one_of(const List& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

}  // namespace

ExpositionFormat format_of(std::string_view content_type) {
  std::string type(trim(content_type.substr(0, content_type.find(';'))));
  for (char& c : type) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return type == "application/openmetrics-text" ? ExpositionFormat::openmetrics : ExpositionFormat::text;
}

std::optional<double> parse_sample_value(std::string_view text) {
  constexpr std::size_t kBytesMax = 400;  // More digits than any double has.
  if (text.empty() || text.size() > kBytesMax) return std::nullopt;
  std::string_view digits = text;
  const bool has_sign = digits.front() == '+' || digits.front() == '-';
  if (digits.front() == '+') digits.remove_prefix(1);
  if (has_sign && text.size() > 1 && !is_digit(text[1]) && text[1] != '.' && text[1] != 'i' && text[1] != 'I') return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (end != digits.data() + digits.size() || digits.empty() || digits.back() == ')') return std::nullopt;
  if (error == std::errc::result_out_of_range) {  // Too small is 0 or nearly; too large is no number.
    value = std::strtod(std::string(digits).c_str(), nullptr);
    if (std::abs(value) > 1) return std::nullopt;
    return value;
  }
  if (error != std::errc()) return std::nullopt;
  return std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : value;
}

/// One line with a place in it. What it reads it gives to a sample; what it cannot read it says in `why`, at `column()`.
class ExpositionParser::Line {
 public:
  Line(std::string_view text, const ExpositionLimits& limits) : text_(text), limits_(&limits) {}

  bool at_end() const { return at_ == text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }
  bool take(char c) {
    if (at_end() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  void skip_blanks() {
    while (!at_end() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  std::string_view rest() const { return text_.substr(at_); }
  std::size_t column() const { return at_ + 1; }
  bool fail(std::string reason, Errc what = Errc::corrupt) {
    if (why.empty()) {
      why = std::move(reason);
      code = what;
    }
    return false;
  }
  /// `expected X, found Y`
  bool expected(std::string_view what) {
    std::string found = "the end of the line";
    if (peek() == '\r') {
      found = "a carriage return (lines end with \\n alone)";
    } else if (!at_end()) {
      found = "\"" + printable(text_.substr(at_, 1)) + "\"";
    }
    return fail("expected " + std::string(what) + ", found " + found);
  }

  std::string_view word(bool colons) {
    const std::size_t from = at_;
    while (!at_end() && (is_letter(peek()) || (colons && peek() == ':') || (at_ > from && is_digit(peek())))) ++at_;
    return text_.substr(from, at_ - from);
  }
  std::string_view until_blank(std::string_view blanks) {
    const std::size_t from = at_;
    at_ = std::min(text_.find_first_of(blanks, at_), text_.size());
    return text_.substr(from, at_ - from);
  }

  /// A text in double quotes with \" \\ \n; any other escape stands for itself, as in Prometheus.
  bool quoted(std::string& out) {
    const std::size_t from = at_;
    ++at_;  // The opening quote.
    while (!at_end() && peek() != '"') {
      const char c = text_[at_++];
      if (c != '\\') {
        out += c;
        continue;
      }
      if (at_end()) break;
      const char escaped = text_[at_++];
      if (escaped != '"' && escaped != '\\' && escaped != 'n') out += '\\';
      out += escaped == 'n' ? '\n' : escaped;
    }
    if (!take('"')) {
      at_ = from;
      return fail("this quoted text does not end");
    }
    if (is_utf8(out)) return true;
    at_ = from;
    return fail("this quoted text is not valid UTF-8");
  }

  /// The name, where the line begins with one, and what stands in braces.
  bool series(ExpositionSample& out, bool strict) {
    out.labels.emplace_back(kNameLabel, "");
    std::string& name = out.labels.front().second;
    name = std::string(word(true));
    if (name.empty() && peek() != '{') return expected("a metric's name");
    if (!strict) skip_blanks();
    if (take('{') && !labels(out, strict)) return false;
    if (out.labels.front().second.empty()) return fail("the sample has no name");
    return true;
  }

  /// What stands between braces, the closing one included.
  bool labels(ExpositionSample& out, bool strict) {
    const auto blanks = [&] {
      if (!strict) skip_blanks();
    };
    std::size_t bytes = out.labels.empty() ? 0 : out.labels.front().second.size();
    blanks();
    bool first = true;
    while (!take('}')) {
      if (!first) {
        if (!take(',')) return expected("\",\" or \"}\"");
        blanks();
        if (!strict && take('}')) return true;
      }
      first = false;
      const std::size_t from = at_;
      std::string name;
      const bool in_quotes = peek() == '"';
      if (in_quotes) {
        if (!quoted(name)) return false;
      } else {
        name = std::string(word(false));
      }
      if (name.empty()) return expected("a label's name");
      blanks();
      if (in_quotes && peek() != '=' && !out.labels.empty() && out.labels.front().second.empty()) {
        bytes += name.size();
        out.labels.front().second = std::move(name);
        if (bytes > limits_->label_bytes_max) return too_many("bytes in the labels of a sample", limits_->label_bytes_max);
        blanks();
        continue;
      }
      if (!take('=')) return expected("\"=\" after a label's name");
      blanks();
      if (peek() != '"') return expected("a label's value in double quotes");
      std::string value;
      if (!quoted(value)) return false;
      const auto same = [&](const Labels::Pair& p) { return p.first == name; };
      if (name == kNameLabel || std::any_of(out.labels.begin(), out.labels.end(), same)) {
        at_ = from;
        return fail("the label \"" + printable(cut(name, 100)) + "\" is given twice");
      }
      bytes += name.size() + value.size();
      out.labels.emplace_back(std::move(name), std::move(value));
      if (out.labels.size() > limits_->labels_max + 1) return too_many("labels", limits_->labels_max);
      if (bytes > limits_->label_bytes_max) return too_many("bytes in the labels of a sample", limits_->label_bytes_max);
      blanks();
    }
    return true;
  }

  /// A number, up to the next blank.
  bool number(double& out, std::string_view blanks, std::string_view what) {
    const std::size_t from = at_;
    const std::string_view text = until_blank(blanks);
    const auto value = parse_sample_value(text);
    if (value) {
      out = *value;
      return true;
    }
    at_ = from;
    if (text.empty()) return expected(what);
    if (const std::size_t cr = text.find('\r'); cr != text.npos) {
      at_ += cr;
      return expected("the end of the line");
    }
    return fail("\"" + printable(cut(text, 40)) + "\" is not " + std::string(what));
  }

  std::string why;
  Errc code = Errc::corrupt;

 private:
  bool too_many(std::string_view what, std::size_t most) {
    return fail("more than " + std::to_string(most) + " " + std::string(what), Errc::too_large);
  }

  std::string_view text_;
  const ExpositionLimits* limits_;
  std::size_t at_ = 0;
};

ExpositionParser::ExpositionParser(ExpositionFormat format, ExpositionLimits limits, Wanted wanted)
    : format_(format), limits_(limits), wanted_(std::move(wanted)) {}

Result<> ExpositionParser::fail(Errc code, std::size_t column, std::string why) {
  pending_.clear();
  samples_.clear();
  failed_ = Error(code, "line " + std::to_string(line_) + ", column " + std::to_string(column) + ": " + std::move(why));
  return *failed_;
}

Result<> ExpositionParser::feed(std::string_view bytes) {
  if (failed_) return *failed_;
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, end);
    if (pending_.size() + piece.size() > limits_.line_bytes_max) {
      ++line_;
      return fail(Errc::too_large, limits_.line_bytes_max + 1, "the line is over " + std::to_string(limits_.line_bytes_max) + " bytes");
    }
    if (end == bytes.npos) {
      pending_ += piece;
      return {};
    }
    bytes.remove_prefix(end + 1);
    Result<> read;
    if (pending_.empty()) {
      read = read_line(piece);
    } else {
      pending_ += piece;
      const std::string line = std::exchange(pending_, {});
      read = read_line(line);
    }
    if (read.has_error()) return read;
  }
  return {};
}

Result<> ExpositionParser::finish() {
  if (failed_) return *failed_;
  if (!pending_.empty()) {
    const std::string line = std::exchange(pending_, {});
    if (auto read = read_line(line); read.has_error()) return read;
  }
  if (format_ == ExpositionFormat::openmetrics && !ended_) {
    ++line_;
    return fail(Errc::corrupt, 1, "the data does not end with \"# EOF\"");
  }
  return {};
}

std::vector<ExpositionSample> ExpositionParser::take() { return std::exchange(samples_, {}); }

Result<> ExpositionParser::read_line(std::string_view text) {
  ++line_;
  const Line line(text, limits_);
  return format_ == ExpositionFormat::text ? read_text(line) : read_openmetrics(line);
}

Result<> ExpositionParser::keep(ExpositionSample sample) {
  ++seen_;
  if (sample.name() != last_name_) {
    last_name_ = sample.name();
    last_wanted_ = wanted_ == nullptr || wanted_(last_name_);
  }
  if (!last_wanted_) return {};
  if (++kept_ > limits_.samples_max) {
    return fail(Errc::too_large, 1, "more than " + std::to_string(limits_.samples_max) + " samples");
  }
  samples_.push_back(std::move(sample));
  return {};
}

// Blanks (spaces and tabs) may stand between any two parts, comments are free, and a timestamp is in milliseconds.
Result<> ExpositionParser::read_text(Line line) {
  const auto wrong = [&] { return fail(line.code, line.column(), line.why); };
  constexpr std::string_view kBlanks = " \t";
  line.skip_blanks();
  if (line.at_end()) return {};
  if (line.take('#')) {
    line.skip_blanks();
    const bool type = line.take("TYPE ") || line.take("TYPE\t");
    if (!type && !line.take("HELP ") && !line.take("HELP\t")) return {};
    line.skip_blanks();
    std::string name;
    if (line.peek() == '"' ? !line.quoted(name) : line.word(true).empty()) {
      line.expected("a metric's name");
      return wrong();
    }
    if (!line.at_end() && line.peek() != ' ' && line.peek() != '\t') {
      line.expected("a blank after the metric's name");
      return wrong();
    }
    line.skip_blanks();
    if (type && !is_one_of(kTextTypes, trim(line.rest()))) {
      line.fail("\"" + printable(cut(line.rest(), 40)) + "\" is no type");
      return wrong();
    }
    if (!type && !is_utf8(line.rest())) {
      line.fail("the help text is not valid UTF-8");
      return wrong();
    }
    return {};
  }

  ExpositionSample sample;
  if (!line.series(sample, false)) return wrong();
  line.skip_blanks();
  if (!line.number(sample.value, kBlanks, "a value")) return wrong();
  line.skip_blanks();
  if (!line.at_end()) {
    const std::string_view digits = line.rest().substr(0, line.rest().find_first_of(kBlanks));
    std::int64_t at = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), at);
    if (error != std::errc() || end != digits.data() + digits.size()) {
      line.fail("expected a timestamp in milliseconds, found \"" + printable(cut(digits, 40)) + "\"");
      return wrong();
    }
    sample.timestamp_ms = at;
    line.until_blank(kBlanks);
    line.skip_blanks();
    if (!line.at_end()) {
      line.expected("the end of the line");
      return wrong();
    }
  }
  return keep(std::move(sample));
}

// One space between the parts and nowhere else, no free comments, no empty lines, `# EOF` last; a timestamp is in seconds.
Result<> ExpositionParser::read_openmetrics(Line line) {
  const auto wrong = [&] { return fail(line.code, line.column(), line.why); };
  constexpr std::string_view kBlank = " ";
  if (ended_) {
    line.fail("there is more after \"# EOF\"");
    return wrong();
  }
  if (line.rest() == "# EOF") {
    ended_ = true;
    return {};
  }
  if (line.take('#')) {
    const bool type = line.take(" TYPE ");
    const bool unit = !type && line.take(" UNIT ");
    if (!type && !unit && !line.take(" HELP ")) {
      line.expected("\" HELP \", \" TYPE \", \" UNIT \" or \" EOF\"");
      return wrong();
    }
    std::string quoted_name;
    std::string_view name;
    if (line.peek() == '"') {
      if (!line.quoted(quoted_name)) return wrong();
      name = quoted_name;
    } else {
      name = line.word(true);
    }
    if (name.empty() || (!line.take(' ') && !line.at_end())) {
      line.expected(name.empty() ? "a metric's name" : "a space after the metric's name");
      return wrong();
    }
    if (type && !is_one_of(kOpenMetricsTypes, line.rest())) {
      line.fail("\"" + printable(cut(line.rest(), 40)) + "\" is no type");
    } else if (unit && !line.rest().empty() && !name.ends_with("_" + std::string(line.rest()))) {
      line.fail("the unit \"" + printable(cut(line.rest(), 40)) + "\" is not the end of the metric's name");
    } else if (!type && !unit && !is_utf8(line.rest())) {
      line.fail("the help text is not valid UTF-8");
    }
    return line.why.empty() ? Result<>() : wrong();
  }

  ExpositionSample sample;
  /// " VALUE", then perhaps " TIMESTAMP"
  const auto value_and_time = [&](double& value, std::optional<std::int64_t>& time) {
    if (!line.take(' ')) return line.expected("a space and a value");
    if (!line.number(value, kBlank, "a value")) return false;
    if (line.at_end() || line.rest().starts_with(" # {")) return true;
    if (!line.take(' ')) return line.expected("a space");
    double seconds = 0;
    if (!line.number(seconds, kBlank, "a timestamp in seconds")) return false;
    constexpr double kSecondsMax = 9e15;  // In milliseconds that still is an int64.
    if (std::isnan(seconds) || std::abs(seconds) > kSecondsMax) return line.fail("this timestamp cannot be meant");
    time = static_cast<std::int64_t>(seconds * 1000);
    return true;
  };
  if (!line.series(sample, true) || !value_and_time(sample.value, sample.timestamp_ms)) return wrong();
  if (line.take(" # {")) {  // An exemplar: it must be one, and that is all.
    ExpositionSample exemplar;
    if (!line.labels(exemplar, true) || !value_and_time(exemplar.value, exemplar.timestamp_ms)) return wrong();
  }
  if (!line.at_end()) {
    line.expected("the end of the line");
    return wrong();
  }
  return keep(std::move(sample));
}

}  // namespace rollbackd::checks
