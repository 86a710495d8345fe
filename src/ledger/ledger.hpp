// The standing of each release of a service, and which one to go back to. Pure functions on ServiceState.
// Flow: incident -> [ledger] -> decision.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/release.hpp"

namespace rollbackd::ledger {

const LedgerEntry* find(const ServiceState& state, std::string_view release);
LedgerEntry* find(ServiceState& state, std::string_view release);

/// Notes that `release` is live since `now`: a new row (candidate) or `last_live` moved; keeps the ledger within ServiceState::kLedgerMax
/// by dropping the row longest not live that is neither live, nor the newest good one, nor bad within the last rows.
LedgerEntry& note_live(ServiceState& state, const Release& release, Instant now);

/// Gives `release` a standing with its reason. Returns false (and changes nothing) when it is not in the ledger.
bool set_standing(ServiceState& state, std::string_view release, Standing standing, const std::string& reason);

/// Takes down that the content of `release` was read in full and has this digest. Another digest than the known one is another release
/// under the same id: what was known of the old one does not hold for it. It begins again as a candidate where it is live, and is `unknown`
/// where it is not; bad and revoked stay what they are, for nobody has shown that it became better.
enum class Content : int { not_in_ledger, first, same, other };
/// @param how  what differs, for people: "app.py has another size"; may be empty
Content note_content(ServiceState& state, std::string_view release, const std::string& digest, const std::string& how, Instant now);

/// Which of two releases was made first: by `created` where both say it, else by ids that are timestamps or running numbers, else by when
/// they were first seen.
/// @return -1 when `a` is the older one, 1 when it is the younger one, 0 when it is the same, nothing when that cannot be told
std::optional<int> age_order(const LedgerEntry& a, const LedgerEntry& b);

/// Why going from the live release to `target` would meet data that it cannot read: the live one's `min_compatible` says that none older
/// than X works with it, and `target` is older, or whether it is cannot be told. Empty when nothing speaks against it.
std::string why_incompatible(const ServiceState& state, std::string_view target);
/// Why `target` would reopen what the live release closed: its `security_epoch` is lower. Empty when it is not.
std::string why_insecure(const ServiceState& state, std::string_view target);

/// The release to go back to, and why the others were not chosen.
struct Choice {
  std::optional<Release> target;
  std::vector<std::string> why_not;  ///< "v3: bad: rolled back at ...", one line a release that was passed by
};
/// The newest (by last_live) good release other than the live one and those in `never`; first among those that are neither incompatible nor
/// insecure. Where there is none of them, the newest good one all the same: a guard refuses it by name, and a person sees what to pass
/// over. Intactness is not asked here: it is a guard.
Choice choose_target(const ServiceState& state, const std::vector<std::string>& never);

/// What of a service's releases retention must not remove, beside what its policy keeps.
struct Retention {
  std::size_t keep = 0;               ///< releases kept on disk beside the protected ones; 0: nothing is removed
  Duration keep_for{};                ///< none younger than this, by when it was last live or first seen
  std::vector<std::string> in_use{};  ///< that a link, a running operation or a further step back refers to
  /// Directories of releases that other services need; see ComponentDisk::place.
  std::set<std::string> places_in_use{};
};
/// Why `release` may not be removed from disk whatever the policy says; empty when it may.
std::string why_kept(const ServiceState& state, std::string_view release, const std::vector<std::string>& in_use);
/// Which of `on_disk` may be removed, the longest not live first. Never the live one, the one before it, the last good one, one in
/// `in_use`, one that the ledger does not know (somebody may still be writing it), one that was never live and first seen after the live
/// one's switch (it is staged for the next deployment), or any while an incident is open.
std::vector<std::string> to_remove(const ServiceState& state, const std::vector<std::string>& on_disk, const Retention& policy,
                                   Instant now);

/// What of one component is on disk.
struct ComponentDisk {
  std::string component;
  std::string directory;              ///< of its releases; components may share one
  std::vector<std::string> releases;  ///< in it
  std::string live;                   ///< what its link leads to, whatever the ledger says
  std::string place(const std::string& release) const { return directory + "/" + release; }
};
/// Which releases of which component may be removed: those that the releases of `to_remove` are made of, the longest not live first, unless
/// one that stays is made of it too, its link leads to it, or another service needs it. No component is left with fewer than the policy
/// keeps. One component is the common case: then it is `to_remove`. A release only part of which is on disk counts like any other.
std::vector<ComponentRelease> parts_to_remove(const ServiceState& state, const std::vector<ComponentDisk>& disk, const Retention& policy,
                                              Instant now);
/// What a row of the ledger is made of: its id in each component where nothing else is known.
std::vector<ComponentRelease> parts_of(const LedgerEntry& entry, const std::vector<ComponentDisk>& disk);

}  // namespace rollbackd::ledger
