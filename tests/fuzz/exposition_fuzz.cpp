// What a scraped target says. First byte: bit 0 the format (OpenMetrics or text), the rest the slices; then the exposition.
#include <algorithm>
#include <bit>
#include <cstdint>

#include "checks/exposition.hpp"
#include "property.hpp"

using namespace rollbackd;

namespace {

struct Read {
  std::vector<checks::ExpositionSample> samples;
  std::size_t seen = 0;
  std::string error;
};

bool same(const checks::ExpositionSample& a, const checks::ExpositionSample& b) {
  return a.labels == b.labels && std::bit_cast<std::uint64_t>(a.value) == std::bit_cast<std::uint64_t>(b.value) &&
         a.timestamp_ms == b.timestamp_ms;
}

/// @param slices  the next slice's size, each turned into another
Read read(std::string_view text, checks::ExpositionFormat format, std::size_t slices) {
  constexpr checks::ExpositionLimits kLimits{.samples_max = 50, .line_bytes_max = 1'000, .labels_max = 8, .label_bytes_max = 200};
  checks::ExpositionParser parser(format, kLimits, [](const std::string& name) { return name.front() != 'd'; });
  Read out;
  Result<> result;
  while (!text.empty() && result.has_value()) {
    const std::size_t size = std::min<std::size_t>(slices % 61 + 1, text.size());
    slices = slices * 31 + 7;
    result = parser.feed(text.substr(0, size));
    text.remove_prefix(size);
    for (checks::ExpositionSample& s : parser.take()) out.samples.push_back(std::move(s));
  }
  if (result.has_value()) {
    result = parser.finish();
    for (checks::ExpositionSample& s : parser.take()) out.samples.push_back(std::move(s));
  }
  out.seen = parser.seen();
  if (result.has_error()) {
    out.error = result.error().text();
    fuzz::property(out.error.starts_with("line "), "an error says where", out.error);
    fuzz::property(parser.feed("x 1\n").has_error() && parser.finish().has_error(), "an error stays", out.error);
    fuzz::property(parser.take().empty(), "a refused scrape has no samples", out.error);
  }
  fuzz::property(out.samples.size() <= kLimits.samples_max, "never more than the limit");
  fuzz::property(out.samples.size() <= out.seen, "what is kept was seen");
  for (const checks::ExpositionSample& s : out.samples) {
    fuzz::property(s.labels.front().first == kNameLabel && !s.name().empty(), "a sample has a name");
    fuzz::property(s.labels.size() <= kLimits.labels_max + 1, "never more labels than the limit", s.name());
    for (std::size_t i = 0; i < s.labels.size(); ++i)
      for (std::size_t k = 0; k < i; ++k) fuzz::property(s.labels[i].first != s.labels[k].first, "each label once", s.labels[i].first);
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 16 << 10) return 0;
  const std::string text(data + 1, data + size);
  const auto format = data[0] & 1 ? checks::ExpositionFormat::openmetrics : checks::ExpositionFormat::text;
  const Read sliced = read(text, format, data[0] >> 1), otherwise = read(text, format, (data[0] >> 1) + 17);

  fuzz::property(sliced.error == otherwise.error, "the same error whatever the slices", sliced.error + "\n" + otherwise.error);
  if (!sliced.error.empty()) return 0;
  fuzz::property(std::equal(sliced.samples.begin(), sliced.samples.end(), otherwise.samples.begin(), otherwise.samples.end(), same),
                 "the same samples whatever the slices", text);
  return 0;
}
