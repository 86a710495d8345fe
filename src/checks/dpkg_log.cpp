#include "checks/dpkg_log.hpp"

#include <chrono>
#include <map>
#include <optional>

#include "base/text.hpp"

namespace rollbackd::checks {
namespace {

constexpr std::size_t kTextBytesMax = 150;   // An entry of the ledger of changes is small.
constexpr std::size_t kPendingMax = 10'000;  // Packages of one run that have begun and not ended.

/// "2026-11-20 13:04:05".
std::optional<std::int64_t> seconds_of(std::string_view text) {
  if (text.size() < 19 || text[4] != '-' || text[7] != '-' || text[10] != ' ' || text[13] != ':' || text[16] != ':') return std::nullopt;
  const auto number = [&](std::size_t at, std::size_t digits) {
    int value = 0;
    for (std::size_t i = at; i < at + digits; ++i)
      value = text[i] >= '0' && text[i] <= '9' && value >= 0 ? value * 10 + (text[i] - '0') : -1;
    return value;
  };
  const int year = number(0, 4), month = number(5, 2), day = number(8, 2), hour = number(11, 2), minute = number(14, 2),
            second = number(17, 2);
  if (year < 0 || month < 0 || day < 0 || hour < 0 || minute < 0 || second < 0) return std::nullopt;
  const auto date = std::chrono::year(year) / month / day;
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days(date).time_since_epoch().count() * std::int64_t{86'400} + (std::int64_t{hour} * 60 + minute) * 60 + second;
}

}  // namespace

std::vector<PackageChange> parse_dpkg_log(std::string_view text, std::size_t max) {
  std::vector<PackageChange> out;
  std::map<std::string, std::string> from;  // Package to the version that an action of this run said it has ("<none>": a new one).
  const auto add = [&](std::int64_t at, std::string what) {
    out.push_back({at, cut(printable(what), kTextBytesMax)});
    if (out.size() > max) out.erase(out.begin());
  };
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == text.npos) break;  // Still being written.
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    const auto at = seconds_of(line);
    if (!at || line.size() < 21) continue;
    // DATE TIME upgrade|install PACKAGE OLD NEW; DATE TIME status STATE PACKAGE VERSION; DATE TIME remove|purge PACKAGE VERSION <none>.
    const std::vector<std::string> words = split(line.substr(20), ' ');
    if (words.size() < 4) continue;
    const bool begins = words[0] == "upgrade" || words[0] == "install";
    if (begins && from.size() < kPendingMax) from[words[1]] = words[2];
    if (words[0] != "status") continue;
    const std::string &state = words[1], &package = words[2], &version = words[3];
    const auto before = from.find(package);
    if (state == "installed") {
      // A trigger or a configuration alone runs through the same states and changes no version.
      if (before == from.end()) continue;
      const bool fresh = before->second == "<none>";
      if (before->second != version || fresh)
        add(*at, fresh ? package + " " + version + " installed" : package + " " + before->second + " -> " + version);
      from.erase(before);
    } else if (state == "not-installed" || state == "config-files") {
      const bool told = !out.empty() && out.back().what.starts_with(package + " ") && out.back().what.ends_with(" removed");
      if (!told) add(*at, package + (version == "<none>" ? "" : " " + version) + " removed");
    }
  }
  return out;
}

}  // namespace rollbackd::checks
