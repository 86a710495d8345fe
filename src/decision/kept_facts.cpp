// Events that are remembered as they are: locks, maintenance, changes of other things, drills, removed releases.
#include <algorithm>

#include "decision/incident.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::decision {
namespace {
constexpr std::size_t kMaintenanceMax = 8;
}  // namespace

void Incident::note_maintenance(Instant begin, Instant end) {
  const auto known = std::find_if(maintenance_.begin(), maintenance_.end(), [&](const auto& m) { return m.first == begin; });
  if (known != maintenance_.end()) {
    known->second = end;
    return;
  }
  maintenance_.emplace_back(begin, end);
  if (maintenance_.size() > kMaintenanceMax) maintenance_.erase(maintenance_.begin());
}

void Incident::handle(Turn& turn, const event::Locked& e) {
  if (e.lock.id.empty()) {
    state_.lock.reset();
  } else {
    state_.lock = e.lock;
  }
  ask_again_ = true;
  turn.add(action::Persist{});
}

void Incident::end_lock_when_due(Turn& turn) {
  if (!state_.lock || turn.now < state_.lock->until) return;
  notify(turn, Notification::Severity::warning, "the deployment lock of " + state_.service.text() + " has run out",
         "it was taken by " + state_.lock->principal + ": " + state_.lock->reason);
  state_.lock.reset();
  ask_again_ = true;
  turn.add(action::Persist{});
}

void Incident::handle(Turn& turn, const event::Changed& e) {
  if (std::find(state_.changes.begin(), state_.changes.end(), e.change) != state_.changes.end()) return;
  state_.changes.push_back(e.change);
  if (state_.changes.size() > ServiceState::kChangesMax) state_.changes.erase(state_.changes.begin());
  turn.add(action::Persist{});
}

void Incident::handle(Turn& turn, const event::Drilled& e) {
  state_.drilled = e.at;
  turn.add(action::Persist{});
}

void Incident::handle(Turn& turn, const event::Pruned& e) {
  const auto gone =
      std::find_if(state_.ledger.begin(), state_.ledger.end(), [&](const LedgerEntry& entry) { return entry.release.id == e.release; });
  if (gone == state_.ledger.end() || gone->release.id == state_.epoch.release) return;
  gone->intact = false;
  gone->intact_why = "its directory was removed to keep disk space free";
  turn.add(action::Persist{});
}

}  // namespace rollbackd::decision
