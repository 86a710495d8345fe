// Events that are remembered as they are: locks, changes of other things, drills, removed releases; and a person's yes or no.
#include <algorithm>

#include "decision/incident.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::decision {

void Incident::handle(Turn& turn, const event::Approve& e) {
  if (!state_.approval) return;
  if (e.yes) {
    state_.approval->approved_by = e.principal;
  } else {
    state_.approval.reset();
  }
  ask_again_ = true;
  turn.add(action::Persist{});
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
