#include "config/value_checks.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>

#include "base/ids.hpp"
#include "base/text.hpp"
#include "config/matchers.hpp"

namespace rollbackd::config {
namespace {

constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr std::string_view kDigits = "0123456789";

std::string quoted(std::string_view value) { return "\"" + printable(cut(value, 200)) + "\""; }

bool only_of(std::string_view value, std::string_view more) {
  return std::all_of(value.begin(), value.end(), [&](char c) {
    return kLetters.find(c) != kLetters.npos || kDigits.find(c) != kDigits.npos || more.find(c) != more.npos;
  });
}

bool has_control(std::string_view value) {
  return std::any_of(value.begin(), value.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

struct Address {
  std::string_view host, port;  ///< an IPv6 host without its brackets
  bool has_port = false;
};

/// Splits HOST[:PORT]; nothing when it is neither.
std::optional<Address> split_address(std::string_view text) {
  Address out;
  std::size_t end = 0;
  if (text.starts_with('[')) {
    end = text.find(']');
    if (end == text.npos) return {};
    out.host = text.substr(1, end - 1);
    ++end;
    if (out.host.empty() || out.host.find_first_not_of("0123456789abcdefABCDEF:.") != out.host.npos) return {};
  } else {
    end = std::min(text.find(':'), text.size());
    out.host = text.substr(0, end);
    if (out.host.empty() || out.host.size() > 253 || !only_of(out.host, ".-_")) return {};
  }
  if (end == text.size()) return out;
  if (text[end] != ':') return {};
  out.has_port = true;
  out.port = text.substr(end + 1);
  return out;
}

std::optional<int> port_number(std::string_view text) {
  int port = 0;
  const auto r = std::from_chars(text.data(), text.data() + text.size(), port);
  if (r.ec != std::errc{} || r.ptr != text.data() + text.size() || port < 0 || port > 65535) return {};
  return port;
}

Complaints check_url(std::string_view value, const std::string& https_remedy) {
  const std::string form = "write it like http://127.0.0.1:8080/health";
  if (value.starts_with("https://")) return Complaint{"an https address is not available in this version: " + quoted(value), https_remedy};
  if (!value.starts_with("http://")) return Complaint{quoted(value) + " is not an http address", form};
  const std::string_view rest = value.substr(7);
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
  if (has_control(value) || value.find(' ') != value.npos)
    return Complaint{quoted(value) + " holds a blank or a control character", "write it as %20"};
  if (value.find('#') != value.npos) return Complaint{quoted(value) + " holds a fragment (#), which no server sees", "remove it"};
  if (authority.find('@') != authority.npos)
    return Complaint{quoted(value) + " holds a user name", "give it as an Authorization header under \"headers\""};
  const auto address = split_address(authority);
  if (!address) return Complaint{quoted(value) + " has no valid host", form};
  if (address->has_port && port_number(address->port).value_or(0) == 0)
    return Complaint{quoted(value) + " has no valid port", "a port is a number from 1 to 65535"};
  return {};
}

}  // namespace

Complaints check_name(std::string_view value) {
  if (is_name(value)) return {};
  return Complaint{quoted(value) + " is not a valid name",
                   "use up to 64 letters, digits, \".\", \"_\" and \"-\", the first a letter or digit"};
}

Complaints check_text(std::string_view value) {
  if (value.find('\0') != value.npos) return Complaint{quoted(value) + " holds a zero byte", "remove \\u0000"};
  return {};
}

Complaints check_not_empty(std::string_view value) {
  if (value.empty()) return Complaint{"this text is empty", "give a value or remove the key"};
  if (has_control(value)) return Complaint{quoted(value) + " holds a control character", "remove it"};
  return {};
}

Complaints check_not_empty_text(std::string_view value) {
  if (trim(value).empty()) return Complaint{"this text is empty", "give a value or remove the key"};
  return check_text(value);
}

Complaints check_http_url(std::string_view value) { return check_url(value, "probe the service's plain http port on this machine"); }

Complaints check_webhook_url(std::string_view value) {
  return check_url(value, "use \"type\": \"exec\" with a command such as [\"curl\", \"--data\", \"@-\", \"https://...\"]");
}

Complaints check_address(std::string_view value) {
  const auto address = split_address(value);
  if (address && address->has_port && port_number(address->port).value_or(0) > 0) return {};
  return Complaint{quoted(value) + " is not an address to connect to", "write it like 127.0.0.1:5432, db.example:5432 or [::1]:5432"};
}

Complaints check_listen(std::string_view value) {
  const auto address = split_address(value);
  if (!address || !address->has_port || !port_number(address->port))
    return Complaint{quoted(value) + " is not an address to listen on", "write it like 127.0.0.1:9474"};
  const std::string_view host = address->host;
  const bool dotted = host.find_first_not_of("0123456789.") == host.npos && std::count(host.begin(), host.end(), '.') == 3;
  if (host == "localhost" || host == "::1" || (dotted && host.starts_with("127."))) return {};
  return Complaint{quoted(value) + " is not a loopback address; listening elsewhere needs TLS, which is not available in this version",
                   "listen on 127.0.0.1 and put a proxy with TLS in front"};
}

Complaints check_regex(std::string_view value) {
  RE2::Options options;
  options.set_log_errors(false);
  const RE2 regex(re2::StringPiece(value.data(), value.size()), options);
  if (regex.ok()) return {};
  return Complaint{quoted(value) + " is not a regular expression: " + printable(regex.error()),
                   "RE2's syntax counts (no back-references, no look-around); a backslash in a JSON string is written \\\\"};
}

Complaints check_status(std::string_view value) {
  const auto digits = [](std::string_view s) {
    return s.size() == 3 && s.find_first_not_of(kDigits) == s.npos && s[0] >= '1' && s[0] <= '5';
  };
  if (digits(value)) return {};
  if (value.size() == 3 && value[0] >= '1' && value[0] <= '5' && value.substr(1) == "xx") return {};
  if (value.size() == 7 && value[3] == '-' && digits(value.substr(0, 3)) && digits(value.substr(4)) &&
      value.substr(0, 3) <= value.substr(4))
    return {};
  return Complaint{quoted(value) + " is not a status", "write it like \"200\", \"2xx\" or \"200-299\""};
}

Complaints check_alert_matcher(std::string_view value) {
  const auto matchers = parse_alert_matchers(value);
  if (matchers) return {};
  return Complaint{matchers.error().what + ", " + matchers.error().why, matchers.error().next_step};
}

Complaints check_label_name(std::string_view value) {
  if (!value.empty() && kDigits.find(value.front()) == kDigits.npos && only_of(value, "_")) return {};
  return Complaint{quoted(value) + " is not a label's name", "use letters, digits and \"_\", the first no digit"};
}

Complaints check_metric_name(std::string_view value) {
  if (!value.empty() && kDigits.find(value.front()) == kDigits.npos && only_of(value, "_:")) return {};
  return Complaint{quoted(value) + " is not a metric's name", "use letters, digits, \"_\" and \":\", the first no digit"};
}

Complaints check_username(std::string_view value) {
  if (!value.empty() && !has_control(value) && value.find(':') == value.npos) return {};
  return Complaint{quoted(value) + " is not a user name for basic authentication", "give a name without \":\" and control characters"};
}

Complaints check_json_pointer(std::string_view value) {
  bool ok = value.empty() || value.starts_with('/');
  for (std::size_t i = 0; i < value.size(); ++i)
    if (value[i] == '~' && (i + 1 == value.size() || (value[i + 1] != '0' && value[i + 1] != '1'))) ok = false;
  if (ok) return {};
  return Complaint{quoted(value) + " is not a JSON pointer", "write it like /release or /build/version"};
}

Complaints check_service_reference(std::string_view value) {
  const std::size_t slash = value.find('/');
  if (slash != value.npos && is_name(value.substr(0, slash)) && is_name(value.substr(slash + 1))) return {};
  return Complaint{quoted(value) + " does not name a service", "write it like db/prod: name, slash, environment"};
}

Complaints check_header_name(std::string_view value) {
  if (value.empty() || !only_of(value, "!#$%&'*+-.^_`|~"))
    return Complaint{quoted(value) + " is not a header's name", "use letters, digits and \"-\""};
  std::string lower(value);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (lower == "connection" || lower == "content-length" || lower == "transfer-encoding")
    return Complaint{quoted(value) + " is set by rollbackd itself", "remove it; \"keep_alive\" decides about connections"};
  return {};
}

Complaints check_header_value(std::string_view value) {
  if (has_control(value)) return Complaint{"this header's value holds a control character", "remove it"};
  return {};
}

Complaints check_variable_name(std::string_view value) {
  if (!value.empty() && kDigits.find(value.front()) == kDigits.npos && only_of(value, "_")) return {};
  return Complaint{quoted(value) + " is not an environment variable's name", "use letters, digits and \"_\", the first no digit"};
}

Complaints check_unit(std::string_view value) {
  if (!value.empty() && value.size() <= 255 && value.front() != '-' && only_of(value, ":_.@\\-")) return {};
  return Complaint{quoted(value) + " is not a unit's name", "write it like shop-api.service"};
}

Complaints check_actor(std::string_view value) {
  const std::vector<std::string> words{"auto", "inline", "fork"};
  if (value.starts_with('/') && !has_control(value)) return {};
  if (std::find(words.begin(), words.end(), value) != words.end()) return {};
  const std::string near = nearest(std::string(value), words);
  return Complaint{
      quoted(value) + " is none of " + join(words, ", ") + ", and no absolute path",
      near.empty() ? "choose one of them, or write the absolute path of the actor's socket" : "did you mean \"" + near + "\"?"};
}

Complaints check_user(std::string_view value) {
  if (!value.empty() && value.size() <= 64 && value.front() != '-' && only_of(value, "_.-")) return {};
  return Complaint{quoted(value) + " is not a user's name", "write it like www-data, or remove the key to run as the daemon's user"};
}

}  // namespace rollbackd::config
