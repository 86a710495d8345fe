// What a release's files say of it: another content under the same id is another release. And which releases need not stay on disk. Pure.
#include <algorithm>
#include <map>

#include "base/text.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::ledger {
namespace {
constexpr std::size_t kReasonBytesMax = 256;
}  // namespace

Content note_content(ServiceState& state, std::string_view release, const std::string& digest, const std::string& how, Instant now) {
  LedgerEntry* entry = find(state, release);
  if (entry == nullptr || digest.empty()) return Content::not_in_ledger;
  if (entry->release.digest == digest) return Content::same;
  if (entry->release.digest.empty()) {
    entry->release.digest = digest;
    return Content::first;
  }
  const bool live = entry->release.id == state.epoch.release;
  const bool condemned = entry->standing == Standing::bad || entry->standing == Standing::revoked;
  std::string reason = "another release than the " + entry->release.id + " that was " + to_string(entry->standing) + ": " +
                       (how.empty() ? std::string("its content differs") : how);
  if (condemned) reason = entry->reason + "; its content has changed since";
  entry->release.digest = digest;
  entry->reason = cut(reason, kReasonBytesMax);
  entry->first_seen = now;
  entry->scrubbed.reset();
  if (!condemned) entry->standing = live ? Standing::candidate : Standing::unknown;
  if (live) {  // What was baked was the other one.
    state.epoch.baked = {};
    state.epoch.baked_ok = false;
  }
  return Content::other;
}

std::string why_kept(const ServiceState& state, std::string_view release, const std::vector<std::string>& in_use) {
  const LedgerEntry* entry = find(state, release);
  if (entry == nullptr) return "the ledger does not know it: somebody may be writing it";
  if (release == state.epoch.release) return "it is live";
  if (release == state.epoch.from) return "it was live before " + state.epoch.release;
  if (std::find(in_use.begin(), in_use.end(), release) != in_use.end()) return "something refers to it";
  if (entry->last_live == Instant{} && entry->first_seen >= state.epoch.switched)
    return "it was never live and came after " + state.epoch.release + ": it may be the next deployment";
  if (state.incident) return "an incident is open";
  if (const Choice choice = choose_target(state, {}); choice.target && release == choice.target->id)
    return "it is the release to go back to";
  // Beside the chosen one: the newest good one, should what keeps it from being chosen turn out otherwise.
  const LedgerEntry* newest = nullptr;
  for (const LedgerEntry& other : state.ledger)
    if (other.standing == Standing::good && other.release.id != state.epoch.release &&
        (newest == nullptr || other.last_live > newest->last_live))
      newest = &other;
  if (newest == entry) return "it is the last good release";
  return {};
}

std::vector<std::string> to_remove(const ServiceState& state, const std::vector<std::string>& on_disk, const Retention& policy,
                                   Instant now) {
  if (policy.keep == 0 || state.incident) return {};
  struct Row {
    std::string id;
    Instant used;
  };
  std::vector<Row> removable;
  for (const std::string& id : on_disk) {
    if (!why_kept(state, id, policy.in_use).empty()) continue;
    const LedgerEntry* entry = find(state, id);
    removable.push_back({id, std::max(entry->last_live, entry->first_seen)});
  }
  std::stable_sort(removable.begin(), removable.end(), [](const Row& a, const Row& b) { return a.used > b.used; });
  std::vector<std::string> out;
  for (std::size_t i = policy.keep; i < removable.size(); ++i)
    if (now - removable[i].used >= policy.keep_for) out.insert(out.begin(), removable[i].id);
  return out;
}

std::vector<ComponentRelease> parts_of(const LedgerEntry& entry, const std::vector<ComponentDisk>& disk) {
  if (!entry.components.empty()) return entry.components;
  std::vector<ComponentRelease> out;
  out.reserve(disk.size());
  for (const ComponentDisk& component : disk) out.push_back({component.component, entry.release.id});
  return out;
}

std::vector<ComponentRelease> parts_to_remove(const ServiceState& state, const std::vector<ComponentDisk>& disk, const Retention& policy,
                                              Instant now) {
  std::set<std::string> on_disk, needed = policy.places_in_use;
  std::map<std::string, std::size_t> left;  // Releases, by directory.
  for (const ComponentDisk& component : disk) {
    for (const std::string& release : component.releases) on_disk.insert(component.place(release));
    if (!component.live.empty()) needed.insert(component.place(component.live));
    left[component.directory] = component.releases.size();
  }
  // Where it is; empty for one of a component that there is no longer.
  const auto place_of = [&](const ComponentRelease& part) {
    const auto at = std::find_if(disk.begin(), disk.end(), [&](const ComponentDisk& d) { return d.component == part.component; });
    return at == disk.end() ? std::string() : at->place(part.release);
  };
  Retention rows = policy;
  std::vector<std::string> there;
  for (const LedgerEntry& entry : state.ledger) {
    const auto parts = parts_of(entry, disk);
    const auto is_there = [&](const ComponentRelease& part) { return on_disk.contains(place_of(part)); };
    if (std::any_of(parts.begin(), parts.end(), is_there)) there.push_back(entry.release.id);
    const auto is_needed = [&](const ComponentRelease& part) { return policy.places_in_use.contains(place_of(part)); };
    if (std::all_of(parts.begin(), parts.end(), is_needed)) rows.in_use.push_back(entry.release.id);
  }
  const std::vector<std::string> old = to_remove(state, there, rows, now);
  for (const LedgerEntry& entry : state.ledger) {
    if (std::find(old.begin(), old.end(), entry.release.id) != old.end()) continue;
    for (const ComponentRelease& part : parts_of(entry, disk)) needed.insert(place_of(part));
  }
  std::vector<ComponentRelease> out;
  for (const std::string& id : old) {
    const LedgerEntry* entry = find(state, id);
    if (entry->components.empty() && disk.size() > 1) continue;  // What it is made of was never seen: it is not guessed.
    for (const ComponentRelease& part : parts_of(*entry, disk)) {
      const std::string place = place_of(part);
      if (!on_disk.contains(place) || needed.contains(place)) continue;
      std::size_t& rest = left[place.substr(0, place.size() - part.release.size() - 1)];
      if (rest <= policy.keep) continue;
      --rest;
      needed.insert(place);  // Once is enough.
      out.push_back(part);
    }
  }
  return out;
}

}  // namespace rollbackd::ledger
