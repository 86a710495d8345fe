#include "engine/secrets.hpp"

#include <algorithm>
#include <array>

namespace rollbackd::engine {
namespace {

constexpr std::string_view kMask = "***";
/// Compared without case and with "-" as "_"; the longer first where one ends another.
constexpr std::array<std::string_view, 14> kSecretNames{
    "authorization", "proxy_authorization", "cookie",    "set_cookie", "password", "passwd", "pwd", "secret", "token", "api_key",
    "apikey",        "access_key",          "signature", "credential"};

char folded(char c) { return c == '-' ? '_' : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; }

/// "X-Api-Key", "client_secret", "db-password", "tokens": the name ends like a secret's.
bool is_secret_name(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(), folded);
  if (lower.ends_with('s')) lower.pop_back();
  return std::any_of(kSecretNames.begin(), kSecretNames.end(), [&](std::string_view secret) { return lower.ends_with(secret); });
}

/// Where the value that begins at `at` ends: a quoted one at its quote; a header's "Bearer x" takes two words.
std::size_t value_end(std::string_view text, std::size_t at, bool header) {
  if (at < text.size() && (text[at] == '"' || text[at] == '\'')) {
    const std::size_t quote = text.find(text[at], at + 1);
    return quote == std::string_view::npos ? text.size() : quote;
  }
  if (header) return std::min(text.find_first_of("\r\n\"'", at), text.size());
  return std::min(text.find_first_of(" \t\r\n&;,\"'})]", at), text.size());
}

/// "//user:pass@host": from after the "//" to the "@", when there is one before the authority ends.
std::size_t userinfo_end(std::string_view text, std::size_t authority) {
  const std::size_t end = std::min(text.find_first_of("/?# \t\r\n\"'<>", authority), text.size());
  const std::size_t at = text.substr(authority, end - authority).rfind('@');
  return at == std::string_view::npos ? authority : authority + at;
}

}  // namespace

std::string masked_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::size_t i = 0;
  while (i < text.size()) {
    if (text.substr(i).starts_with("://")) {
      out += "://";
      i += 3;
      if (const std::size_t end = userinfo_end(text, i); end > i) {
        out += kMask;
        i = end;
      }
      continue;
    }
    if (!is_word(text[i]) || (i > 0 && is_word(text[i - 1]))) {
      out += text[i++];
      continue;
    }
    std::size_t end = i;
    while (end < text.size() && is_word(text[end])) ++end;
    const std::string_view name = text.substr(i, end - i);
    out += name;
    i = end;
    if (!is_secret_name(name)) continue;
    // NAME=value, NAME: value, "NAME": "value"
    std::size_t at = end;
    if (at < text.size() && (text[at] == '"' || text[at] == '\'')) ++at;
    while (at < text.size() && text[at] == ' ') ++at;
    if (at >= text.size() || (text[at] != '=' && text[at] != ':')) continue;
    const bool header = text[at] == ':';
    ++at;
    while (at < text.size() && text[at] == ' ') ++at;
    const bool quoted = at < text.size() && (text[at] == '"' || text[at] == '\'');
    out += text.substr(end, at - end);
    if (quoted) out += text[at];
    const std::size_t stop = value_end(text, at, header && !quoted);
    if (stop > at) out += kMask;
    i = stop;
  }
  return out;
}

Json masked(const Json& json) {
  if (json.is_string()) return masked_text(json.string_or(""));
  if (json.is_array()) {
    Json out = Json::array();
    for (const Json& element : json.elements()) out.push(masked(element));
    return out;
  }
  if (!json.is_object()) return json;
  Json out = Json::object();
  for (const auto& [name, value] : json.members()) out.set(name, is_secret_name(name) && value.is_string() ? Json(kMask) : masked(value));
  return out;
}

}  // namespace rollbackd::engine
