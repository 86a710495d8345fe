// Recorded samples as `rollbackctl replay` reads them. By the first byte's low bits: which form it is ('0' text, '1' OpenMetrics, '2' the
// last line tells); then the file.
#include <cstdint>

#include "cli/replay_recording.hpp"
#include "cli/replay_text.hpp"
#include "property.hpp"
#include "temporary.hpp"

using namespace rollbackd;

namespace {

cli::RecordingOptions options() {
  cli::RecordingOptions out;
  out.service = "shop";
  out.environment = "prod";
  out.limits.samples_max = 200;
  out.limits.series_max = 50;
  out.limits.epochs_max = 20;
  return out;
}

void check_recording(const cli::Recording& recording) {
  fuzz::property(!recording.samples().empty(), "what is left has samples");
  fuzz::property(recording.begins() <= recording.ends(), "it begins before it ends");
  Instant last = recording.begins();
  for (const cli::RecordedSample& sample : recording.samples()) {
    fuzz::property(sample.at >= last && sample.at <= recording.ends(), "samples are in order, within the recording");
    fuzz::property(sample.series < recording.all_series().size(), "a sample has a series");
    last = sample.at;
  }
  for (const cli::RecordedSeries& series : recording.all_series())
    fuzz::property(series.source < recording.sources().size(), "a series has a source");
  for (const cli::RecordedEpoch& epoch : recording.epochs())
    fuzz::property(epoch.at >= recording.begins(), "an epoch lies within the recording", epoch.release);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 16 << 10) return 0;
  static const fuzz::TemporaryDirectory directory;
  const std::string path = directory.path() + "/recording";
  fuzz::write_file(path, std::string(data + 1, data + size));
  std::optional<cli::RecordedForm> form;
  if ((data[0] & 3) == 0) form = cli::RecordedForm::text;
  if ((data[0] & 3) == 1) form = cli::RecordedForm::openmetrics;

  cli::Recording recording(options());
  const auto read = cli::read_recording(path, form, recording);
  if (!read) {
    fuzz::property(read.error().code == Errc::corrupt || read.error().code == Errc::too_large, "it is called corrupt or too large",
                   read.error().text());
    fuzz::property(!read.error().why.empty() && read.error().why.starts_with("line "), "an error says where", read.error().text());
  }
  if (!recording.finish({"recorded"}, {})) return 0;
  check_recording(recording);
  return 0;
}
