// What a monitoring plugin prints.
#include <cmath>
#include <cstdint>
#include <set>

#include "base/text.hpp"
#include "checks/nagios.hpp"
#include "property.hpp"

using namespace rollbackd;

namespace {

void check_data(const checks::PerfData& data) {
  const bool whole = !data.label.empty() && data.label.size() <= 128 && printable(data.label) == data.label;
  fuzz::property(whole, "a label is printable and short", data.label);
  fuzz::property(data.unit.size() <= 16 && printable(data.unit) == data.unit, "a unit is printable and short", data.unit);
  for (const auto& number : {std::optional<double>(data.value), data.warning, data.critical, data.min, data.max})
    fuzz::property(!number || std::isfinite(*number), "every number is finite", data.label);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 16 << 10) return 0;
  const std::string text(data, data + size);

  const checks::PluginOutput output = checks::parse_plugin_output(text);

  fuzz::property(output.text.find('\n') == std::string::npos, "the text is one line", output.text);
  fuzz::property(output.data.size() <= 256, "the values are bounded");
  std::set<std::string> labels;
  for (const checks::PerfData& entry : output.data) {
    check_data(entry);
    fuzz::property(labels.insert(entry.label).second, "each label comes once", entry.label);
  }
  return 0;
}
