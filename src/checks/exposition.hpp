// What a scraped target says: Prometheus's text format 0.0.4 and OpenMetrics 1.0, read in slices of any size.
// Flow: scrape -bytes-> [exposition] -samples-> scrape. Pure: no clock, no I/O. Internal to checks/.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "model/labels.hpp"

namespace rollbackd::checks {

enum class ExpositionFormat { text, openmetrics };

/// The format that a Content-Type names; anything but OpenMetrics is read as the text format, as Prometheus does.
ExpositionFormat format_of(std::string_view content_type);

/// A number as both formats (and PromQL's JSON answers) write it: Go's floats without hexadecimal ones; any NaN is the ordinary one.
std::optional<double> parse_sample_value(std::string_view text);

/// One line's sample, as the target named it.
struct ExpositionSample {
  std::vector<Labels::Pair> labels;  ///< the name first, as `__name__`; none twice, some perhaps with an empty value
  double value = 0;
  std::optional<std::int64_t> timestamp_ms;  ///< the target's own, of the Unix epoch
  const std::string& name() const { return labels.front().second; }
};

/// Beyond one of these the whole scrape is refused with `too_large`.
struct ExpositionLimits {
  std::size_t samples_max = 10'000;  ///< of those that are wanted
  std::size_t line_bytes_max = 64 << 10;
  std::size_t labels_max = 64;          ///< of one sample
  std::size_t label_bytes_max = 4'096;  ///< of one sample, names and values together
};

/// Reads one exposition. It is strict where Prometheus is: a carriage return, a label given twice, invalid UTF-8 or (OpenMetrics) a missing
/// `# EOF` refuse the whole. Names outside [a-zA-Z0-9_:] come quoted within the braces. Exemplars are checked and left out, `_created` is a
/// series like any other, of the metadata only the form is looked at.
/// Errors are `corrupt`, with line and column (in bytes, from 1); after one, every call says the same.
class ExpositionParser {
 public:
  /// Whether samples of a name are kept; the others are read, counted in `seen()`, and left out. Asked once for a run of equal names.
  using Wanted = std::function<bool(const std::string& name)>;

  ExpositionParser(ExpositionFormat format, ExpositionLimits limits, Wanted wanted);

  /// Reads on; what is cut off in the middle of a line waits for the next call.
  Result<> feed(std::string_view bytes);
  /// No more bytes come: reads a last line without its end, and sees that nothing is missing.
  Result<> finish();
  /// The wanted samples since the last call, in the order of the text.
  std::vector<ExpositionSample> take();
  /// Samples read so far, wanted or not.
  std::size_t seen() const { return seen_; }

 private:
  class Line;
  Result<> fail(Errc code, std::size_t column, std::string why);
  Result<> read_line(std::string_view line);
  Result<> read_text(Line line);
  Result<> read_openmetrics(Line line);
  Result<> keep(ExpositionSample sample);

  ExpositionFormat format_;
  ExpositionLimits limits_;
  Wanted wanted_;
  std::string pending_;  ///< a line without its end yet
  std::vector<ExpositionSample> samples_;
  std::size_t line_ = 0, seen_ = 0, kept_ = 0;
  bool ended_ = false;  ///< `# EOF` was read
  std::optional<Error> failed_;
  std::string last_name_;  ///< that `wanted_` was asked about
  bool last_wanted_ = false;
};

}  // namespace rollbackd::checks
