// Plugin output to text and values. Pure, and of outside text: every bound is here.
// Flow: plugin -> io::run_command -> [nagios] -> exec check.
#include "checks/nagios.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "base/text.hpp"

namespace rollbackd::checks {
namespace {

constexpr std::size_t kDataMax = 256;
constexpr std::size_t kLabelBytesMax = 128;
constexpr std::size_t kUnitBytesMax = 16;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

struct Unit {
  const char* word;
  const char* base;
  double factor;
};
/// A K is a thousand, a Ki is 1024. "u" stands for micro.
constexpr Unit kUnits[] = {{"s", "s", 1},
                           {"ms", "s", 1e-3},
                           {"us", "s", 1e-6},
                           {"ns", "s", 1e-9},
                           {"B", "B", 1},
                           {"kB", "B", 1e3},
                           {"KB", "B", 1e3},
                           {"MB", "B", 1e6},
                           {"GB", "B", 1e9},
                           {"TB", "B", 1e12},
                           {"PB", "B", 1e15},
                           {"KiB", "B", 1024},
                           {"MiB", "B", 1048576},
                           {"GiB", "B", 1073741824},
                           {"TiB", "B", 1099511627776},
                           {"PiB", "B", 1125899906842624}};

/// A number at the beginning of `text`, which is taken off. Nothing when there is none, or when it is not finite.
std::optional<double> take_number(std::string_view& text) {
  std::string_view rest = text;
  if (rest.starts_with('+')) rest.remove_prefix(1);
  const std::size_t digits = rest.starts_with('-') ? 1 : 0;
  if (rest.size() <= digits || !((rest[digits] >= '0' && rest[digits] <= '9') || rest[digits] == '.')) return {};  // No "inf", no "nan".
  double value = 0;
  const auto read = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (read.ec != std::errc{} || !std::isfinite(value)) return {};
  text = rest.substr(static_cast<std::size_t>(read.ptr - rest.data()));
  return value;
}

/// A whole field that is one number.
std::optional<double> number(std::string_view text) {
  const auto value = take_number(text);
  return text.empty() ? value : std::nullopt;
}

/// The upper end of a range: "10" and "5:10" alert above 10, "5:" has none, "@5:10" alerts inside.
std::optional<double> upper_end(std::string_view range) {
  if (range.starts_with('@')) return {};
  const std::size_t colon = range.find(':');
  return number(colon == range.npos ? range : range.substr(colon + 1));
}

std::optional<double> scaled(std::optional<double> value, double factor) {
  if (!value || !std::isfinite(*value * factor)) return {};
  return *value * factor;
}

/// "value[unit];[warn];[crit];[min];[max]"
std::optional<PerfData> values(std::string_view text) {
  std::vector<std::string> fields = split(text, ';');
  std::string_view rest = fields[0];
  const auto value = take_number(rest);
  if (!value || rest.size() > kUnitBytesMax || rest.find_first_of("0123456789'\"=") != rest.npos) return {};
  PerfData out;
  out.unit = printable(rest);
  double factor = 1;
  for (const Unit& unit : kUnits)
    if (rest == unit.word) {
      out.unit = unit.base;
      factor = unit.factor;
    }
  const auto in_base_unit = scaled(value, factor);
  if (!in_base_unit || out.unit.size() > kUnitBytesMax || out.unit.find_first_of("0123456789") != std::string::npos) return {};
  out.value = *in_base_unit;
  fields.resize(5);
  out.warning = scaled(upper_end(fields[1]), factor);
  out.critical = scaled(upper_end(fields[2]), factor);
  out.min = scaled(number(fields[3]), factor);
  out.max = scaled(number(fields[4]), factor);
  return out;
}

/// Reads entries separated by blanks, each LABEL=VALUES.
class DataReader {
 public:
  explicit DataReader(PluginOutput& out) : out_(out) {}

  void read(std::string_view text) {
    while (true) {
      while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
      if (text.empty()) return;
      std::string label;
      bool whole = text.front() == '\'' ? quoted(text, label) : plain(text, label);
      const std::size_t end = std::min(text.find_first_of(" \t\r\n"), text.size());
      whole = whole && text.starts_with('=');
      auto data = whole ? values(text.substr(1, end - 1)) : std::nullopt;
      text.remove_prefix(end);
      label = cut(printable(label), kLabelBytesMax - 3);  // cut() appends three bytes.
      if (!data || label.empty() || out_.data.size() == kDataMax || !seen_.insert(label).second) {
        ++out_.dropped;
        continue;
      }
      data->label = std::move(label);
      out_.data.push_back(std::move(*data));
    }
  }

 private:
  /// 'a label', in which '' is one quote. Takes it off the text. @return false when the quotes are not closed
  static bool quoted(std::string_view& text, std::string& label) {
    text.remove_prefix(1);
    while (!text.empty()) {
      const char c = text.front();
      text.remove_prefix(1);
      if (c != '\'') {
        label += c;
        continue;
      }
      if (!text.starts_with('\'')) return true;
      label += c;
      text.remove_prefix(1);
    }
    return false;
  }
  static bool plain(std::string_view& text, std::string& label) {
    const std::size_t end = std::min(text.find_first_of("= \t\r\n"), text.size());
    label = text.substr(0, end);
    text.remove_prefix(end);
    return true;
  }

  PluginOutput& out_;
  std::set<std::string> seen_;
};

}  // namespace

PluginOutput parse_plugin_output(std::string_view output) {
  PluginOutput out;
  DataReader data(out);
  const std::size_t first_end = std::min(output.find('\n'), output.size());
  const std::string_view first = output.substr(0, first_end), more = output.substr(std::min(first_end + 1, output.size()));
  const std::size_t bar = std::min(first.find('|'), first.size());
  out.text = trim(first.substr(0, bar));
  data.read(first.substr(std::min(bar + 1, first.size())));
  const std::size_t more_bar = more.find('|');  // All that comes after the second bar is data, over as many lines as there are.
  if (more_bar != more.npos) data.read(more.substr(more_bar + 1));
  return out;
}

}  // namespace rollbackd::checks
