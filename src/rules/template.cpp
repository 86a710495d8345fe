// The templates' outside: puts Prometheus's definitions in front of a text, and turns what went wrong into its words.
#include "rules/template.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "rules/template_impl.hpp"

namespace rollbackd::rules {
namespace {

/// What Prometheus puts in front of every template; columns in errors count from here.
constexpr std::string_view kDefinitions =
    "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}";

bool is_plain(std::string_view text) { return text.find("{{") == std::string_view::npos; }

tmpl::Tree parse(const std::string& text, const std::string& name) {
  if (text.size() > tmpl::kTextBytesMax) throw tmpl::Failure{"it is longer than " + std::to_string(tmpl::kTextBytesMax) + " bytes"};
  return tmpl::parse(text, name);
}

}  // namespace

std::string format_go(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "+Inf" : "-Inf";
  // Go takes the exponent form below 1e-4 and from 1e6 on (promtool 2.42 agrees); to_chars gives the same shortest digits.
  std::array<char, 64> buffer{};
  const auto scientific = std::to_chars(buffer.data(), buffer.data() + buffer.size(), v, std::chars_format::scientific);
  std::string text(buffer.data(), scientific.ptr);
  const int exponent = v == 0 ? 0 : std::atoi(text.c_str() + text.find('e') + 1);
  if (exponent < -4 || exponent >= 6) return text;
  const auto fixed = std::to_chars(buffer.data(), buffer.data() + buffer.size(), v, std::chars_format::fixed);
  return std::string(buffer.data(), fixed.ptr);
}

Result<> check_template(std::string_view text) {
  if (is_plain(text)) return {};
  try {
    parse(std::string(kDefinitions) + std::string(text), "__alert");
    return {};
  } catch (const tmpl::Failure& failure) {
    return Error(Errc::invalid_argument, "not a template").because(failure.text);
  }
}

Result<std::string> try_expand_template(std::string_view text, const TemplateContext& context) {
  if (is_plain(text)) return std::string(text);
  const std::string name = "__alert_" + std::string(context.name);
  const std::string whole = std::string(kDefinitions) + std::string(text);
  const char* doing = "parsing";
  try {
    const tmpl::Tree tree = parse(whole, name);
    doing = "executing";
    return tmpl::execute(tree, whole, name, context);
  } catch (const tmpl::Failure& failure) {
    return Error(Errc::invalid_argument, "cannot expand the template")
        .because("error " + std::string(doing) + " template " + name + ": " + failure.text);
  }
}

std::string expand_template(std::string_view text, const TemplateContext& context) {
  Result<std::string> result = try_expand_template(text, context);
  if (!result) return "<error expanding template: " + result.error().why + ">";
  return std::move(*result);
}

}  // namespace rollbackd::rules
