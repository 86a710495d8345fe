// Prometheus's templates in labels and annotations: Go's text/template with Prometheus's functions.
// Flow: an alert's labels and value -> [template] -> the text that people read. Pure: what it may ask for comes with the call.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"
#include "model/labels.hpp"
#include "promql/evaluate.hpp"

namespace rollbackd::rules {

/// What a template sees besides its own text.
struct TemplateContext {
  const Labels& labels;                     ///< `$labels`: of the result's element
  double value = 0;                         ///< `$value`
  const Labels* external_labels = nullptr;  ///< `$externalLabels`; empty when not given
  std::string_view external_url{};          ///< `$externalURL`, `externalURL`, `pathPrefix`
  Instant now{};                            ///< `now`, and the instant of `query`
  /// Answers `query`; when not given, a template that asks fails.
  std::function<Result<std::vector<promql::Element>>(std::string_view expr, Instant at)> query{};
  std::string_view name{};  ///< the alert's, as it stands in errors
};

/// Expands `text`. What cannot be expanded is "<error expanding template: ...>", as Prometheus writes it.
/// Bounded: 256 KiB of output, 1,000,000 steps, 100 levels.
std::string expand_template(std::string_view text, const TemplateContext& context);

/// Expands `text`, and says what was wrong with it where it cannot be expanded.
Result<std::string> try_expand_template(std::string_view text, const TemplateContext& context);

/// Whether Prometheus takes `text` as a template. Like promtool it parses alone: what fails with some labels or values is no error here.
/// @return `invalid_argument` where Prometheus refuses it, with its words in `why`
Result<> check_template(std::string_view text);

/// `v` as Go prints a float64 with %v: "0.5", "1e+06", "+Inf", "NaN".
std::string format_go(double v);

}  // namespace rollbackd::rules
