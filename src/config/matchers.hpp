// Alertmanager's matchers, as the routes of pushed alerts hold them: severity="critical", team!="x", service=~"shop.*".
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace rollbackd::config {

/// One condition on one label of an alert. A label that the alert lacks has the empty text as its value, as in Alertmanager.
struct AlertMatcher {
  enum class Op : int { equal = 1, not_equal = 2, matches = 3, not_matches = 4 };

  std::string label;
  Op op = Op::equal;
  std::string value;  ///< of `matches` and `not_matches` an RE2 expression that must match the whole value
  bool operator==(const AlertMatcher&) const = default;
};

/// The operator as it is written: "=", "!=", "=~", "!~".
const char* to_string(AlertMatcher::Op op);

/// Reads one text as Alertmanager does: LABEL OP VALUE, or several in a row separated by commas, with or without braces around them.
/// A value without quotes holds no blanks, quotes, commas, braces or operators; one in quotes knows \", \\ and \n.
/// @return at least one matcher; invalid_argument with the column (from 1) and the remedy otherwise, also for a broken expression
Result<std::vector<AlertMatcher>> parse_alert_matchers(std::string_view text);

/// The same for a list of such texts (`routes[].match`): all that they say must hold. An empty list gives an empty answer.
Result<std::vector<AlertMatcher>> parse_alert_matchers(std::span<const std::string> texts);

}  // namespace rollbackd::config
