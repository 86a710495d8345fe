// What single values must look like: addresses, regular expressions, names. Each answers with nothing, or with what is wrong and the
// remedy.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rollbackd::config {

struct Complaint {
  std::string what, remedy;
};
using Complaints = std::optional<Complaint>;
using ValueCheck = Complaints (*)(std::string_view value);

Complaints check_name(std::string_view value);               ///< `is_name`
Complaints check_not_empty(std::string_view value);          ///< also no control characters
Complaints check_text(std::string_view value);               ///< no zero byte: it goes into argv or the environment
Complaints check_not_empty_text(std::string_view value);     ///< not only blanks; may go over several lines
Complaints check_http_url(std::string_view value);           ///< http://HOST[:PORT][/PATH]; https is refused with the reason
Complaints check_webhook_url(std::string_view value);        ///< the same with the remedy for webhooks
Complaints check_address(std::string_view value);            ///< HOST:PORT or [IPv6]:PORT, any host
Complaints check_listen(std::string_view value);             ///< HOST:PORT on loopback
Complaints check_regex(std::string_view value);              ///< RE2
Complaints check_status(std::string_view value);             ///< "200", "2xx", "200-299"
Complaints check_alert_matcher(std::string_view value);      ///< parse_alert_matchers
Complaints check_label_name(std::string_view value);         ///< Prometheus's: [A-Za-z_][A-Za-z0-9_]*
Complaints check_metric_name(std::string_view value);        ///< Prometheus's: [A-Za-z_:][A-Za-z0-9_:]*
Complaints check_username(std::string_view value);           ///< what basic authentication can send: no colon, no control character
Complaints check_json_pointer(std::string_view value);       ///< RFC 6901
Complaints check_service_reference(std::string_view value);  ///< NAME/ENVIRONMENT
Complaints check_header_name(std::string_view value);        ///< a token that rollbackd does not set itself
Complaints check_header_value(std::string_view value);       ///< no control characters: a line break would be another header
Complaints check_variable_name(std::string_view value);      ///< [A-Za-z_][A-Za-z0-9_]*
Complaints check_unit(std::string_view value);               ///< a unit name that systemctl cannot take for an option
Complaints check_actor(std::string_view value);              ///< auto, inline, fork or an absolute path
Complaints check_user(std::string_view value);               ///< a user name or number

}  // namespace rollbackd::config
