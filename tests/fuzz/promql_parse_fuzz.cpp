// Any bytes as PromQL: no crash, and what parses prints as text that parses to the same text again.
#include <cstdint>

#include "promql/parse.hpp"
#include "property.hpp"

using namespace rollbackd;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(data, data + size);
  const auto tree = promql::parse(text);
  if (!tree) {
    fuzz::property(!tree.error().why.empty(), "a parse error says why", tree.error().text());
    return 0;
  }

  const std::string printed = promql::to_text(**tree);
  const auto again = promql::parse(printed);

  fuzz::property(again.has_value(), "printed text parses", printed + "\n" + (again ? "" : again.error().text()));
  fuzz::property(promql::to_text(**again) == printed, "printed text prints alike", printed + "\n" + promql::to_text(**again));
  for (const promql::Expr* selector : promql::selectors(**tree))
    fuzz::property(selector->begin <= selector->end && selector->end <= size, "a selector lies within the text", text);
  return 0;
}
