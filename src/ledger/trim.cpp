// What a state can do without, in the order of harm. The engine writes the smaller state and keeps the whole one in memory.
#include "ledger/trim.hpp"

#include <algorithm>
#include <array>

#include "base/text.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::ledger {
namespace {

constexpr std::size_t kPastKept = 8;  ///< of operations, as long as anything else can go

/// Cuts a text; true when something went. The mark of the cut stands behind `bytes_max`: a text that has it is not cut again for ever.
bool shorten(std::string& text, std::size_t bytes_max) {
  constexpr std::size_t kMarkBytes = 3;
  if (text.size() <= bytes_max + kMarkBytes) return false;
  text = cut(text, bytes_max);
  return true;
}

bool trim_texts(ServiceState& state, std::size_t bytes_max) {
  bool any = false;
  for (LedgerEntry& row : state.ledger) {
    any = shorten(row.reason, bytes_max) || any;
    any = shorten(row.intact_why, bytes_max) || any;
    any = shorten(row.release.commit, 64) || any;
  }
  for (PushedAlert& alert : state.pushed) any = shorten(alert.summary, bytes_max) || any;
  return any;
}

/// What a look at the release's directory tells again.
bool trim_told_by_disk(ServiceState& state) {
  bool any = false;
  for (LedgerEntry& row : state.ledger) {
    any = any || !row.release.artifacts.empty() || !row.release.path.empty();
    row.release.artifacts.clear();
    row.release.path.clear();
  }
  return any;
}

/// The oldest row of one of these standings that is neither live, nor where it came from, nor the target.
bool trim_row(ServiceState& state, std::initializer_list<Standing> standings) {
  const Choice choice = choose_target(state, state.incident ? state.incident->left : std::vector<std::string>{});
  const auto row = std::find_if(state.ledger.begin(), state.ledger.end(), [&](const LedgerEntry& entry) {
    const std::string& id = entry.release.id;
    const bool kept = id == state.epoch.release || id == state.epoch.from || (choice.target && id == choice.target->id);
    return !kept && std::find(standings.begin(), standings.end(), entry.standing) != standings.end();
  });
  if (row == state.ledger.end()) return false;
  state.ledger.erase(row);
  return true;
}

bool trim_past(ServiceState& state, std::size_t kept) {
  if (state.past.size() <= kept) return false;
  const auto manual = std::find_if(state.past.begin(), state.past.end() - 1, [](const PastOperation& past) { return !past.automatic; });
  state.past.erase(manual != state.past.end() - 1 ? manual : state.past.begin());
  return true;
}

}  // namespace

bool trim(ServiceState& state) {
  return trim_texts(state, 64) || trim_told_by_disk(state) || trim_row(state, {Standing::unknown, Standing::candidate}) ||
         trim_row(state, {Standing::good}) || trim_past(state, kPastKept) || trim_row(state, {Standing::bad, Standing::revoked}) ||
         trim_texts(state, 0) || trim_past(state, 1);
}

}  // namespace rollbackd::ledger
