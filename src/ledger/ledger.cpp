#include "ledger/ledger.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace rollbackd::ledger {
namespace {

/// Reasons come from people and from evidence; the state slot is small.
constexpr std::size_t kReasonBytesMax = 256;
/// Bad rows among this many last ones stay, so that a bad release is known when it is deployed again soon.
constexpr std::size_t kBadRowsKept = 8;

bool is_protected(const ServiceState& state, std::size_t row, const LedgerEntry* newest_good) {
  const LedgerEntry& entry = state.ledger[row];
  const bool recently_bad =
      (entry.standing == Standing::bad || entry.standing == Standing::revoked) && row + kBadRowsKept >= state.ledger.size();
  return entry.release.id == state.epoch.release || &entry == newest_good || recently_bad;
}

/// Drops rows, longest not live first, until the ledger is within its bound. `keep` is the release that just became live.
void trim_to_bound(ServiceState& state, const std::string& keep) {
  while (state.ledger.size() > ServiceState::kLedgerMax) {
    const LedgerEntry* newest_good = nullptr;
    for (const LedgerEntry& entry : state.ledger)
      if (entry.standing == Standing::good && entry.release.id != keep) newest_good = &entry;
    std::size_t row = 0;
    while (row < state.ledger.size() && (state.ledger[row].release.id == keep || is_protected(state, row, newest_good))) ++row;
    if (row == state.ledger.size()) return;  // Cannot be: at most kBadRowsKept + 3 rows are protected.
    state.ledger.erase(state.ledger.begin() + static_cast<std::ptrdiff_t>(row));
  }
}

std::string why_passed_by(const LedgerEntry& entry) {
  return std::string(to_string(entry.standing)) + (entry.reason.empty() ? "" : ": " + entry.reason);
}

}  // namespace

const LedgerEntry* find(const ServiceState& state, std::string_view release) {
  const auto it = std::find_if(state.ledger.begin(), state.ledger.end(), [&](const LedgerEntry& e) { return e.release.id == release; });
  return it == state.ledger.end() ? nullptr : &*it;
}

LedgerEntry* find(ServiceState& state, std::string_view release) {
  const auto it = std::find_if(state.ledger.begin(), state.ledger.end(), [&](const LedgerEntry& e) { return e.release.id == release; });
  return it == state.ledger.end() ? nullptr : &*it;
}

LedgerEntry& note_live(ServiceState& state, const Release& release, Instant now) {
  LedgerEntry entry;
  if (const LedgerEntry* known = find(state, release.id)) {
    entry = *known;
    const bool other_digest = !release.digest.empty() && !entry.release.digest.empty() && release.digest != entry.release.digest;
    if (other_digest) {  // Same id with another digest is another release: nothing known of the old one holds for it.
      entry = LedgerEntry{};
      entry.first_seen = now;
      entry.reason = "its content differs from the " + release.id + " seen before";
    }
    if (other_digest || !release.digest.empty()) entry.release = release;
    std::erase_if(state.ledger, [&](const LedgerEntry& e) { return e.release.id == release.id; });
  } else {
    entry.first_seen = now;
    entry.release = release;
  }
  if (entry.release.id.empty()) entry.release = release;
  entry.last_live = now;
  state.ledger.push_back(std::move(entry));
  trim_to_bound(state, release.id);
  return *find(state, release.id);
}

bool set_standing(ServiceState& state, std::string_view release, Standing standing, const std::string& reason) {
  LedgerEntry* entry = find(state, release);
  if (entry == nullptr) return false;
  entry->standing = standing;
  entry->reason = cut(reason, kReasonBytesMax);
  return true;
}

Choice choose_target(const ServiceState& state, const std::vector<std::string>& never) {
  std::vector<const LedgerEntry*> newest_first;
  for (const LedgerEntry& entry : state.ledger) newest_first.push_back(&entry);
  std::stable_sort(newest_first.begin(), newest_first.end(),
                   [](const LedgerEntry* a, const LedgerEntry* b) { return a->last_live > b->last_live; });
  const auto possible = [&](const LedgerEntry* entry) {
    const std::string& id = entry->release.id;
    return id != state.epoch.release && entry->standing == Standing::good && std::find(never.begin(), never.end(), id) == never.end();
  };
  const auto refused = [&](const LedgerEntry* entry) {
    const std::string incompatible = why_incompatible(state, entry->release.id);
    return incompatible.empty() ? why_insecure(state, entry->release.id) : incompatible;
  };
  const LedgerEntry* chosen = nullptr;
  const LedgerEntry* newest = nullptr;
  for (const LedgerEntry* entry : newest_first) {
    if (!possible(entry)) continue;
    if (newest == nullptr) newest = entry;
    if (chosen == nullptr && refused(entry).empty()) chosen = entry;
  }
  if (chosen == nullptr) chosen = newest;

  Choice choice;
  if (chosen != nullptr) choice.target = chosen->release;
  for (const LedgerEntry* entry : newest_first) {
    const std::string& id = entry->release.id;
    if (id == state.epoch.release || entry == chosen) continue;
    if (std::find(never.begin(), never.end(), id) != never.end()) {
      choice.why_not.push_back(id + ": already left in this incident");
    } else if (entry->standing != Standing::good) {
      choice.why_not.push_back(id + ": " + why_passed_by(*entry));
    } else if (const std::string why = refused(entry); !why.empty()) {
      choice.why_not.push_back(id + ": " + why);
    } else {
      choice.why_not.push_back(id + ": good, but older than " + choice.target->id);
    }
  }
  return choice;
}

}  // namespace rollbackd::ledger
