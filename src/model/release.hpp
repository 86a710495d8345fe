// Releases and their standing: the ledger's nouns, and the whole remembered state of one service.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "base/time.hpp"
#include "model/alert.hpp"
#include "model/batch.hpp"

namespace rollbackd {

enum class Standing : int { unknown = 0, candidate = 1, good = 2, bad = 3, revoked = 4 };
const char* to_string(Standing standing);
std::optional<Standing> standing_from(std::string_view text);

struct Artifact {
  std::string name;
  std::string locator;
  std::int64_t size = 0;
  std::string sha256;
  bool operator==(const Artifact&) const = default;
};

/// One immutable version. Same id with another digest is another release.
struct Release {
  std::string id;
  std::string digest;  ///< SHA-256 over the tree's manifest; empty until it was hashed
  std::vector<Artifact> artifacts;
  std::string commit;
  std::string created;  ///< RFC 3339, as the release says of itself
  bool irreversible = false;
  std::string min_compatible;
  std::int64_t security_epoch = 0;
  std::string path;  ///< of its directory, absolute
  bool operator==(const Release&) const = default;
};

/// Which release one component runs.
struct ComponentRelease {
  std::string component, release;
  bool operator==(const ComponentRelease&) const = default;
};

/// One row of the ledger.
struct LedgerEntry {
  Release release;
  Standing standing = Standing::candidate;
  Instant first_seen;
  Instant last_live;       ///< when it last became live
  std::string reason;      ///< why it has this standing, for people
  bool intact = false;     ///< hashed in full and unchanged since, as far as the last look could tell
  std::string intact_why;  ///< why not, when it is not
  /// Where a service has several components: each one's own release while this one was live, in the components' order. Empty with one.
  std::vector<ComponentRelease> components{};
  std::optional<Instant> scrubbed{};  ///< when its files were last read in full and found as the digest says
};

/// The name of what several components run together: their common id, else their ids joined by "+" in their order; where that is no release
/// id (too long), the first component's id, "+" and the first 12 hex digits of a SHA-256 over the rest. Empty when one of them is.
std::string name_of(const std::vector<ComponentRelease>& components);

/// One stay of one release on a service.
struct Epoch {
  std::uint64_t number = 0;
  std::string release;
  std::string from;  ///< the release before; empty at first sight
  Instant switched;
  std::optional<Instant> started;  ///< a process younger than the switch runs, or identity reports the new release
  Duration baked{};                ///< known evidence so far
  bool baked_ok = false;           ///< at least one rule was judged ok on live data
  bool announced = false;          ///< through `rollbackctl deploy`
  bool by_rollback = false;        ///< put there by an operation of kind rollback
  /// When `current` was changed, where that was noticed later. Samples belong to the epoch from `switched` on, processes from here on.
  std::optional<Instant> link_changed{};

  /// A process that started then or later runs this release; how an older one ends says nothing of it.
  Instant processes_since() const { return link_changed ? std::min(*link_changed, switched) : switched; }
};

/// An automatic rollback or deployment done: budget, cooldown and pairs remember it.
struct PastOperation {
  std::string operation;
  std::string from, to;
  bool automatic = false;
  Instant at;
};

struct OpenIncident {
  std::string id;
  Instant opened;
  std::uint64_t epoch = 0;
  std::string release;            ///< that is blamed
  std::string failure_type;       ///< timeout, test_failure, quality_gate, resource_exhaustion, network_error, git_error, unknown
  std::string cause;              ///< verification, crash, health, log, config, metric, alert, operator
  bool acted = false;             ///< its one automatic rollback has been started
  int steps_back = 0;             ///< releases gone back to in this incident
  std::vector<std::string> left;  ///< releases left in this incident: never back to them
};

struct Suspension {
  Instant until;
  std::string reason;
  std::string principal;
};

/// Nobody deploys while it is held but its holder; an automatic rollback is held too.
struct DeployLock {
  std::string id;  ///< UUIDv7; who gives it back says it
  Instant until;
  std::string reason, principal;
  bool operator==(const DeployLock&) const = default;
};

/// A decision that waits for a person (automation approve).
struct PendingApproval {
  std::string decision;  ///< its id
  std::string incident, from, to;
  Instant asked, until;
  std::string approved_by{};  ///< set once a person said yes: then it acts
  bool operator==(const PendingApproval&) const = default;
};

/// Something else than a release that changed and may explain a failure. Numbers reach disk.
struct OtherChange {
  enum class Kind : int { package = 1, config = 2, unit = 3, boot = 4 };
  Kind kind = Kind::config;
  std::string what;  ///< "libssl3 3.0.11-1 -> 3.0.15-1", "/etc/shop/shop.conf"; at most 200 bytes
  Instant at;
  bool operator==(const OtherChange&) const = default;
};
const char* to_string(OtherChange::Kind v);

/// An alert that came from outside (Alertmanager's webhook) and was let through by a route.
struct PushedAlert {
  /// Of fingerprint and startsAt, 32 hex digits: the same alert from three Alertmanagers, through two groups of theirs, or again after a
  /// restart, has the same.
  std::string key;
  std::string rule;     ///< its `alertname`
  std::string summary;  ///< its annotation, or its labels; at most 160 bytes
  AlertAction action = AlertAction::notify;
  Instant since;  ///< its startsAt, as engine time; never later than `received`
  Instant received;
  bool resolved = false;  ///< remembered so that a late duplicate of the firing one does nothing
  bool operator==(const PushedAlert&) const = default;
};

/// Everything about one service that must survive: the ledger and the guards' memory. What the state file's slots hold.
struct ServiceState {
  ServiceKey service;
  std::vector<LedgerEntry> ledger;  ///< newest `last_live` last; at most kLedgerMax
  Epoch epoch;
  std::vector<PastOperation> past;  ///< oldest first; at most kPastMax
  std::optional<OpenIncident> incident;
  std::optional<Suspension> suspension;
  std::vector<PushedAlert> pushed;  ///< oldest `received` first; at most kPushedMax: resolved ones go first
  std::int64_t fence = 0;           ///< highest fencing token seen
  std::optional<DeployLock> lock{};
  std::optional<PendingApproval> approval{};
  std::vector<OtherChange> changes{};  ///< oldest first; at most kChangesMax
  std::optional<Instant> drilled{};    ///< when a drill last succeeded

  static constexpr std::size_t kLedgerMax = 32;
  static constexpr std::size_t kPastMax = 32;
  static constexpr std::size_t kPushedMax = 24;
  static constexpr std::size_t kChangesMax = 16;

  /// @param clock  turns instants into storable stamps and back
  Json to_json(const ClockReading& clock) const;
  static Result<ServiceState> from_json(const Json& json, const ClockReading& clock);
};

/// An instant in JSON: {"boot_id", "boot_ns", "wall_ns"}.
Json stamp_json(const Stamp& stamp);
Result<Stamp> stamp_from(const Json& json);

}  // namespace rollbackd
