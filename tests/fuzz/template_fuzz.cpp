// A template of a label or an annotation: whatever it says, it is refused, or ends within its bounds in a text or in an error.
#include <cstdint>

#include "property.hpp"
#include "rules/template.hpp"

using namespace rollbackd;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4 << 10) return 0;
  const std::string text(data, data + size);
  const Labels labels{{"__name__", "up"}, {"instance", "a.b:80{{\"\\"}, {"job", "12.5"}}, external{{"cluster", "c"}};
  rules::TemplateContext context{labels, 1234.5678, &external, "https://a:1/b?c"};
  context.name = "X";
  context.query = [](std::string_view expr, Instant) -> Result<std::vector<promql::Element>> {
    if (expr.empty()) return Error(Errc::invalid_argument, "nothing asked");
    return std::vector<promql::Element>{{Labels{{"instance", "b"}}, 2}, {Labels{{"instance", "a"}}, -0.5}};
  };

  const bool taken = rules::check_template(text).has_value();
  const Result<std::string> expanded = rules::try_expand_template(text, context);
  fuzz::property(taken || !expanded, "what is refused at load is not expanded", text);
  fuzz::property(expanded || !expanded.error().why.empty(), "an error says why", text);
  fuzz::property(!expanded || expanded->size() <= std::max<std::size_t>(256 << 10, size), "the output is bounded", text);
  fuzz::property(text.find("{{") != std::string::npos || (expanded && *expanded == text), "a text without an action is itself", text);
  return 0;
}
