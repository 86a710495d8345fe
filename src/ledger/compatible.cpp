// What releases say of each other: which is older, which data a release can read, which hole it has closed. Pure.
#include <algorithm>
#include <cctype>
#include <charconv>

#include "base/text.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::ledger {
namespace {

/// "2026-11-20T03:00:00[.fraction](Z|+hh:mm)" as a key that sorts by time: seconds since 1970, and the fraction. Nothing for anything else.
std::optional<std::pair<std::int64_t, std::string>> instant_of(std::string_view text) {
  const auto number = [&](std::size_t at, std::size_t digits) -> std::optional<int> {
    if (text.size() < at + digits) return std::nullopt;
    int value = 0;
    for (std::size_t i = at; i < at + digits; ++i) {
      if (std::isdigit(static_cast<unsigned char>(text[i])) == 0) return std::nullopt;
      value = value * 10 + (text[i] - '0');
    }
    return value;
  };
  const auto year = number(0, 4), month = number(5, 2), day = number(8, 2), hour = number(11, 2), minute = number(14, 2),
             second = number(17, 2);
  if (!year || !month || !day || !hour || !minute || !second || text[4] != '-' || text[7] != '-' || text[13] != ':' || text[16] != ':')
    return std::nullopt;
  const auto date = std::chrono::year(*year) / *month / *day;
  if (!date.ok()) return std::nullopt;
  std::int64_t seconds = std::chrono::sys_days(date).time_since_epoch().count() * std::int64_t{86'400} + *hour * std::int64_t{3600} +
                         *minute * std::int64_t{60} + *second;
  std::size_t at = 19;
  std::string fraction;
  if (at < text.size() && text[at] == '.')
    for (++at; at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0; ++at) fraction += text[at];
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  const std::string_view zone = text.substr(at);
  if (zone == "Z" || zone == "z") return std::make_pair(seconds, fraction);
  if (zone.size() < 5 || (zone[0] != '+' && zone[0] != '-')) return std::nullopt;
  const auto hours = number(at + 1, 2), minutes = number(at + (zone[3] == ':' ? 4 : 3), 2);
  if (!hours || !minutes) return std::nullopt;
  const int offset = *hours * 3600 + *minutes * 60;
  return std::make_pair(seconds + (zone[0] == '+' ? -offset : offset), fraction);
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

/// Ids that deployment tools count up: a timestamp of 14 digits ("20261120030000", Ansistrano's with a Z), or a running number. What is of
/// one kind compares as a number; nothing else does.
std::optional<std::pair<bool, std::string>> counted(std::string_view id) {
  std::string_view digits = id;
  if (digits.size() == 15 && digits.back() == 'Z') digits.remove_suffix(1);
  if (!all_digits(digits)) return std::nullopt;
  const bool timestamp = digits.size() == 14;
  if (!timestamp && digits.size() > 9) return std::nullopt;
  return std::make_pair(timestamp, std::string(14 - digits.size(), '0') + std::string(digits));
}

template <class T>
int order(const T& a, const T& b) {
  return a < b ? -1 : b < a ? 1 : 0;
}

const Release* live_release(const ServiceState& state) {
  const LedgerEntry* live = find(state, state.epoch.release);
  return live == nullptr ? nullptr : &live->release;
}

}  // namespace

std::optional<int> age_order(const LedgerEntry& a, const LedgerEntry& b) {
  if (a.release.id == b.release.id) return 0;
  const auto created_a = instant_of(a.release.created), created_b = instant_of(b.release.created);
  if (created_a && created_b && *created_a != *created_b) return order(*created_a, *created_b);
  const auto counted_a = counted(a.release.id), counted_b = counted(b.release.id);
  if (counted_a && counted_b && counted_a->first == counted_b->first) return order(counted_a->second, counted_b->second);
  if (a.first_seen != b.first_seen) return order(a.first_seen, b.first_seen);
  return std::nullopt;  // Both were found on disk at the same moment.
}

std::string why_incompatible(const ServiceState& state, std::string_view target) {
  const Release* live = live_release(state);
  if (live == nullptr || live->min_compatible.empty() || target == live->id || target == live->min_compatible) return {};
  const std::string says = live->id + " says that no release older than " + live->min_compatible + " works with its data";
  const LedgerEntry* entry = find(state, target);
  const LedgerEntry* oldest = find(state, live->min_compatible);
  const std::string name(target);
  const auto cannot_tell = [&](const std::string& why) { return says + ", and whether " + name + " is older cannot be told: " + why; };
  if (entry == nullptr) return cannot_tell(name + " is not in the ledger");
  // The bound may have left the disk and the ledger long ago; an id that is counted still tells its age.
  LedgerEntry gone;
  gone.release.id = live->min_compatible;
  if (oldest == nullptr) {
    const auto a = counted(name), b = counted(gone.release.id);
    if (!a || !b || a->first != b->first) return cannot_tell(gone.release.id + " is not in the ledger");
    oldest = &gone;
  }
  const auto age = age_order(*entry, *oldest);
  if (!age) return cannot_tell("both were first seen at the same moment");
  return *age < 0 ? says + ", and " + name + " is older" : std::string();
}

std::string why_insecure(const ServiceState& state, std::string_view target) {
  const Release* live = live_release(state);
  if (live == nullptr || target == live->id) return {};
  const LedgerEntry* entry = find(state, target);
  const std::int64_t epoch = entry == nullptr ? 0 : entry->release.security_epoch;
  if (epoch >= live->security_epoch) return {};
  return "its security_epoch is " + std::to_string(epoch) + ", that of " + live->id + " is " + std::to_string(live->security_epoch) +
         ": going back would reopen what that closed";
}

}  // namespace rollbackd::ledger
