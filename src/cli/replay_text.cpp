// Line by line. What stands before the value is read once for each series and looked up from then on: that is what makes a million lines a
// matter of a second. checks/exposition reads it, so that a recording and a scrape mean the same.
#include "cli/replay_text.hpp"

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>

#include "base/text.hpp"
#include "checks/exposition.hpp"
#include "series/store.hpp"

namespace rollbackd::cli {

namespace {

constexpr std::size_t kLineBytesMax = 64 << 10;
constexpr std::int64_t kSecondsMax = 7'258'118'400;  // 2200
constexpr std::string_view kBlanks = " \t";
constexpr std::string_view kTsdbName = "{__name__=\"";

bool is_digits(std::string_view text) { return !text.empty() && text.find_first_not_of("0123456789") == text.npos; }

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

/// The bytes of a series at the beginning of `line`: its name and what stands in braces.
std::size_t series_end(std::string_view line) {
  std::size_t at = std::min(line.find_first_of(" \t{"), line.size());
  const std::size_t brace = line.find_first_not_of(kBlanks, at);
  if (brace == line.npos || line[brace] != '{') return at;
  bool quoted = false;
  for (at = brace + 1; at < line.size(); ++at) {
    const char c = line[at];
    if (quoted && c == '\\') {
      ++at;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == '}' && !quoted) {
      return at + 1;
    }
  }
  return line.size();
}

class Reader {
 public:
  Reader(std::string path, RecordedForm form, Recording& recording) : path_(std::move(path)), form_(form), recording_(recording) {}

  Result<> read(std::FILE* file) {
    const auto buffer = std::make_unique<std::array<char, std::size_t{1} << 20>>();
    std::string rest;
    std::size_t n = 0;
    while ((n = std::fread(buffer->data(), 1, buffer->size(), file)) > 0) {
      std::string_view bytes(buffer->data(), n);
      while (!bytes.empty()) {
        const std::size_t end = bytes.find('\n');
        const std::string_view piece = bytes.substr(0, end);
        if (rest.size() + piece.size() > kLineBytesMax) {
          ++line_;
          return fail("the line is over " + std::to_string(kLineBytesMax) + " bytes");
        }
        rest += piece;
        if (end == bytes.npos) break;
        bytes.remove_prefix(end + 1);
        if (auto done = read_line(rest); !done) return done;
        rest.clear();
      }
    }
    if (std::ferror(file) != 0) return Error::from_errno("cannot read " + path_, errno);
    if (!rest.empty()) {
      if (auto done = read_line(rest); !done) return done;
    }
    if (!ended_ && (form_ == RecordedForm::openmetrics || own_)) {
      ++line_;
      return Error(fail("the recording does not end with \"# EOF\"")).try_next("it is cut off: record it again");
    }
    return {};
  }

 private:
  Error fail(std::string why, Errc code = Errc::corrupt) const {
    return Error(code, "cannot read " + path_).because("line " + std::to_string(line_) + ": " + std::move(why));
  }
  Error fail_at(std::string_view line, const char* place, const std::string& why) const {
    return fail("column " + std::to_string(static_cast<std::size_t>(place - line.data()) + 1) + ": " + why);
  }

  Result<> read_line(std::string_view line) {
    ++line_;
    std::string_view left = line.substr(std::min(line.find_first_not_of(kBlanks), line.size()));
    if (left.empty()) return {};
    if (ended_) return fail("there is more after \"# EOF\"");
    if (left.front() == '#') return read_comment(line, left);
    auto series = take_series(line, left);
    if (!series) return series.error();
    auto value = take_word(left);
    const auto number = checks::parse_sample_value(value);
    if (!number) return fail_at(line, value.data(), "expected a value, found " + shown(value));
    const std::string_view time = take_word(left);
    if (time.empty() || time == "#") {
      return Error(fail("the sample has no timestamp"))
          .try_next("record with timestamps: rollbackctl dump, promtool tsdb dump-openmetrics");
    }
    const auto at = read_time(time);
    if (!at) return bad_time(line, time);
    const bool exemplar = form_ == RecordedForm::openmetrics && left.starts_with("# {");
    if (!left.empty() && !exemplar) return fail_at(line, left.data(), "expected the end of the line, found " + shown(left));
    return keep(*series, *at, *number);
  }

  /// `# EPOCH labels ts`, `# STALE series ts`, `# EOF`; any other comment is skipped.
  Result<> read_comment(std::string_view line, std::string_view left) {
    if (trim(left) == "# EOF") {
      ended_ = true;
      return {};
    }
    const bool epoch = left.starts_with("# EPOCH "), stale = left.starts_with("# STALE ");
    if (!epoch && !stale) return {};
    own_ = true;
    left.remove_prefix(std::strlen("# EPOCH "));
    if (epoch) return read_epoch(line, left);
    auto series = take_series(line, left);
    if (!series) return series.error();
    const std::string_view time = take_word(left);
    const auto at = read_time(time);
    if (!at || !left.empty()) return bad_time(line, time);
    return keep(*series, *at, series::stale_nan());
  }

  Result<> read_epoch(std::string_view line, std::string_view left) {
    const std::size_t blank = left.find_last_of(' ');
    const std::string_view time = left.substr(blank == left.npos ? left.size() : blank + 1);
    const auto at = read_time(time);
    if (!at) return bad_time(line, time);
    auto labels = labels_of("epoch{" + std::string(left.substr(0, blank)) + "}");
    if (!labels) return labels.error();
    RecordedEpoch out;
    out.service = {std::string(labels->get("service")), std::string(labels->get("environment"))};
    out.release = cut(labels->get("release"), 128);
    out.at = *at;
    return recording_.add_epoch(std::move(out));
  }

  /// The next word of `left`, which then stands at the one after.
  static std::string_view take_word(std::string_view& left) {
    left.remove_prefix(std::min(left.find_first_not_of(kBlanks), left.size()));
    const std::string_view word = left.substr(0, std::min(left.find_first_of(kBlanks), left.size()));
    left.remove_prefix(word.size());
    left.remove_prefix(std::min(left.find_first_not_of(kBlanks), left.size()));
    return word;
  }

  Result<std::uint32_t> take_series(std::string_view line, std::string_view& left) {
    const std::string_view text = left.substr(0, series_end(left));
    const std::size_t column = static_cast<std::size_t>(text.data() - line.data());
    left.remove_prefix(text.size());
    if (const auto known = known_.find(text); known != known_.end()) return known->second;
    auto labels = labels_of(text, column);
    if (!labels) return labels.error();
    auto place = recording_.series(std::move(*labels));
    if (!place) return place.error();
    known_.emplace(text, *place);
    return *place;
  }

  /// @param column  at which the text stands in the line, from 0
  Result<Labels> labels_of(std::string_view text, std::size_t column = 0) const {
    std::string sample(text);
    std::size_t moved = 0;
    if (text.starts_with(kTsdbName)) {  // What `promtool tsdb dump` writes.
      sample.replace(0, kTsdbName.size(), "{\"");
      moved = kTsdbName.size() - 2;
    }
    checks::ExpositionLimits limits;
    limits.line_bytes_max = 2 * kLineBytesMax;
    checks::ExpositionParser parser(checks::ExpositionFormat::text, limits, nullptr);
    auto read = parser.feed(sample + " 0\n");
    if (!read) return fail(moved_columns(read.error().what, column + moved), read.error().code);
    auto samples = parser.take();
    if (samples.empty()) return fail("expected a sample, found " + shown(text));
    return Labels(std::move(samples.front().labels));
  }

  /// "line 1, column 7: why" with its column where it really is.
  static std::string moved_columns(const std::string& why, std::size_t by) {
    constexpr std::string_view kBefore = "line 1, column ";
    if (!why.starts_with(kBefore)) return why;
    std::size_t column = 0;
    const char* from = why.data() + kBefore.size();
    const auto [end, error] = std::from_chars(from, why.data() + why.size(), column);
    if (error != std::errc()) return why;
    return "column " + std::to_string(column + by) + why.substr(static_cast<std::size_t>(end - why.data()));
  }

  static std::string shown(std::string_view text) { return text.empty() ? "nothing" : "\"" + printable(cut(text, 40)) + "\""; }

  std::optional<Instant> read_time(std::string_view text) const {
    if (form_ == RecordedForm::openmetrics) return parse_unix_seconds(text);
    if (!is_digits(text) || text.size() > 15) return std::nullopt;
    std::int64_t ms = 0;
    std::from_chars(text.data(), text.data() + text.size(), ms);
    if (ms > kSecondsMax * 1000) return std::nullopt;
    return Instant::from_millis(ms);
  }
  Error bad_time(std::string_view line, std::string_view text) const {
    const bool seconds = form_ == RecordedForm::openmetrics;
    Error error = fail_at(
        line, text.data(),
        std::string("expected a timestamp in ") + (seconds ? "seconds" : "milliseconds") + " from 1970 to 2200, found " + shown(text));
    if (!seconds && parse_unix_seconds(text))
      return std::move(error).try_next(
          "an OpenMetrics recording ends with \"# EOF\": this one is cut off, or name its form with --input-form");
    return error;
  }

  Result<> keep(std::uint32_t series, Instant at, double value) {
    auto kept = recording_.add(series, at, value);
    return kept ? Result<>() : fail(kept.error().what, kept.error().code);
  }

  std::string path_;
  RecordedForm form_;
  Recording& recording_;
  std::unordered_map<std::string, std::uint32_t, TextHash, std::equal_to<>> known_;
  std::size_t line_ = 0;
  bool ended_ = false;
  bool own_ = false;  ///< rollbackd's own recording, which always ends with `# EOF`
};

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

/// Whether the last line is `# EOF`. Leaves the file at its beginning.
bool ends_as_openmetrics(std::FILE* file) {
  std::array<char, 64> tail{};
  std::fseek(file, 0, SEEK_END);
  const long size = std::ftell(file);
  std::fseek(file, size > 64 ? size - 64 : 0, SEEK_SET);
  const std::size_t n = std::fread(tail.data(), 1, tail.size(), file);
  std::rewind(file);
  std::string_view text = trim(std::string_view(tail.data(), n));
  return text == "# EOF" || text.ends_with("\n# EOF");
}

/// The standard input may be a pipe, and only its end tells what it is.
Result<File> copy_of_stdin(std::size_t bytes_max) {
  File copy(std::tmpfile());
  if (!copy) return Error::from_errno("cannot make a temporary file", errno);
  const auto buffer = std::make_unique<std::array<char, std::size_t{1} << 20>>();
  std::size_t n = 0, all = 0;
  while ((n = std::fread(buffer->data(), 1, buffer->size(), stdin)) > 0 && all <= bytes_max) {
    all += n;
    if (std::fwrite(buffer->data(), 1, n, copy.get()) != n) return Error::from_errno("cannot write a temporary file", errno);
  }
  std::rewind(copy.get());
  return copy;
}

}  // namespace

std::optional<Instant> parse_unix_seconds(std::string_view text) {
  if (text.find_first_of("eE") != text.npos) {
    double seconds = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc() || end != text.data() + text.size() || !(seconds >= 0) || seconds > static_cast<double>(kSecondsMax))
      return std::nullopt;
    return Instant::from_millis(static_cast<std::int64_t>(seconds * 1000 + 0.5));
  }
  const std::size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  std::string fraction(point == text.npos ? "" : text.substr(point + 1));
  if (!is_digits(whole) || whole.size() > 10 || (point != text.npos && !is_digits(fraction))) return std::nullopt;
  fraction.resize(9, '0');  // Finer than a nanosecond is nothing here.
  std::int64_t seconds = 0, ns = 0;
  std::from_chars(whole.data(), whole.data() + whole.size(), seconds);
  std::from_chars(fraction.data(), fraction.data() + fraction.size(), ns);
  if (seconds > kSecondsMax) return std::nullopt;
  return Instant(seconds * 1'000'000'000 + ns);
}

Result<> read_recording(const std::string& path, std::optional<RecordedForm> form, Recording& recording) {
  const std::size_t bytes_max = recording.options().limits.bytes_max;
  const std::string name = path == "-" ? "the standard input" : path;
  File file;
  if (path == "-") {
    auto copy = copy_of_stdin(bytes_max);
    if (!copy) return copy.error();
    file = std::move(*copy);
  } else {
    file.reset(std::fopen(path.c_str(), "re"));
    if (!file) return Error::from_errno("cannot read " + path, errno);
  }
  if (std::fseek(file.get(), 0, SEEK_END) != 0) return Error::from_errno("cannot read " + name, errno);
  if (std::ftell(file.get()) > static_cast<long>(bytes_max)) {
    return Error(Errc::too_large, name + " is larger than " + std::to_string(bytes_max >> 20) + " MiB").try_next("record a shorter time");
  }
  const RecordedForm is = form ? *form : ends_as_openmetrics(file.get()) ? RecordedForm::openmetrics : RecordedForm::text;
  std::rewind(file.get());
  return Reader(name, is, recording).read(file.get());
}

}  // namespace rollbackd::cli
