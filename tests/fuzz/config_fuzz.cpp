// A configuration, JSON or YAML by the first byte's lowest bit ('j', 'y'), as main file and as a file of services.d.
#include <cstdint>

#include "config/load.hpp"
#include "property.hpp"

using namespace rollbackd;

namespace {

void check_document(const std::string& text, const std::string& file) {
  std::vector<config::Problem> problems;
  const auto node = config::parse_document(text, file, config::dialect_of(file, false), problems);
  if (!node) return;
  const Json json = config::to_json(*node);
  const auto again = Json::parse(json.dump(), 70);
  fuzz::property(again.has_value(), "a document as JSON can be read again", json.dump());
}

void check_loaded(const config::Loaded& loaded) {
  bool error = false;
  for (const config::Problem& problem : loaded.problems) {
    fuzz::property(!problem.what.empty() && !problem.file.empty(), "a problem says what and in which file", problem.text());
    error = error || !problem.warning;
  }
  fuzz::property(loaded.ok() == !error, "ok means that no problem is an error");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 16 << 10) return 0;
  const std::string text(data + 1, data + size);
  const std::string ending = data[0] % 2 == 0 ? ".json" : ".yaml";
  const config::Glob glob = [](const std::string& pattern) { return std::vector<std::string>{"/etc/rollbackd/rules/" + pattern}; };

  check_document(text, "/etc/rollbackd/rollbackd" + ending);
  check_loaded(config::load({"/etc/rollbackd/rollbackd" + ending, text}, {}, glob));
  check_loaded(config::load({"/etc/rollbackd/rollbackd.json", "{}"}, {{"/etc/rollbackd/services.d/shop" + ending, text}}, glob));
  return 0;
}
