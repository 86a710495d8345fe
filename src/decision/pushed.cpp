// Alerts pushed from outside: remembered with their keys, so that the same one acts once, across restarts too. While one fires it is an
// alert among the others (group "pushed", without metrics and checks of its own): evidence, guards, settle and hold apply to it unchanged.
#include <algorithm>

#include "base/text.hpp"
#include "decision/evidence.hpp"
#include "decision/incident.hpp"

namespace rollbackd::decision {
namespace {

constexpr Duration kStaleAfterMax = 366 * 24h;  // Beyond it instants would overflow.

AlertChange change_of(const ServiceKey& service, const PushedAlert& alert) {
  AlertChange change;
  change.service = service;
  change.group = kPushedGroup;
  change.rule = alert.rule;
  change.labels = Labels{{"alertname", alert.rule}, {"alert_key", alert.key}};
  change.annotations = Labels{{"summary", alert.summary}};
  change.phase = alert.resolved ? AlertPhase::inactive : AlertPhase::firing;
  change.since = alert.since;
  change.value = 1;
  change.action = alert.action;
  return change;
}

}  // namespace

void Incident::set_pushed_stale_after(std::array<Duration, 4> by_action) {
  for (Duration& length : by_action) length = std::clamp(length, Duration(0), kStaleAfterMax);
  pushed_stale_after_ = by_action;
}

Instant Incident::stale_at(const PushedAlert& alert) const {
  return alert.since + pushed_stale_after_[static_cast<std::size_t>(alert.action)];
}

const PushedAlert* Incident::find_pushed(const std::string& key) const {
  const auto at = std::find_if(state_.pushed.begin(), state_.pushed.end(), [&](const PushedAlert& known) { return known.key == key; });
  return at == state_.pushed.end() ? nullptr : &*at;
}

PushedFate Incident::fate_of(const PushedAlert& alert, Instant now) const {
  if (const PushedAlert* known = find_pushed(alert.key))
    return alert.resolved && !known->resolved ? PushedFate::resolves : PushedFate::duplicate;
  const bool not_about_now = alert.since < state_.epoch.switched || now >= stale_at(alert);
  if (not_about_now) return alert.resolved ? PushedFate::over : PushedFate::stale;
  const bool room = state_.pushed.size() < ServiceState::kPushedMax || gives_way(alert, now) != state_.pushed.end();
  if (alert.resolved) return room ? PushedFate::resolved_first : PushedFate::over;
  return room ? PushedFate::accepted : PushedFate::no_room;
}

/// The row that a new alert takes the place of: first those that can never count again, then resolved ones, then those of a release that
/// was left, then those that may cause less. The oldest of its kind; a resolved alert displaces none that fires about this release.
std::vector<PushedAlert>::const_iterator Incident::gives_way(const PushedAlert& alert, Instant now) const {
  const auto& rows = state_.pushed;
  const auto first = [&](auto is_it) { return std::find_if(rows.begin(), rows.end(), is_it); };
  auto at = first([&](const PushedAlert& row) { return row.resolved && now >= stale_at(row); });
  if (at == rows.end()) at = first([](const PushedAlert& row) { return row.resolved; });
  if (at == rows.end()) at = first([&](const PushedAlert& row) { return row.since < state_.epoch.switched; });
  if (at != rows.end() || alert.resolved) return at;
  const auto least =
      std::min_element(rows.begin(), rows.end(), [](const PushedAlert& a, const PushedAlert& b) { return a.action < b.action; });
  return least != rows.end() && least->action < alert.action ? least : rows.end();
}

void Incident::handle(Turn& turn, const event::Pushed& e) {
  switch (fate_of(e.alert, turn.now)) {
    case PushedFate::stale:
    case PushedFate::over:
    case PushedFate::no_room: return;
    case PushedFate::duplicate: return pushed_again(e.alert);
    case PushedFate::resolves: end_pushed(turn, e.alert.key); return;
    case PushedFate::accepted:
    case PushedFate::resolved_first: break;
  }
  if (state_.pushed.size() >= ServiceState::kPushedMax) {
    const auto gone = gives_way(e.alert, turn.now);
    alerts_.erase(key_of(change_of(state_.service, *gone)));
    state_.pushed.erase(gone);
  }
  state_.pushed.push_back(e.alert);
  state_.pushed.back().rule = cut(e.alert.rule, 64);
  state_.pushed.back().summary = cut(e.alert.summary, 160);
  turn.add(action::Persist{});
  const AlertChange change = change_of(state_.service, state_.pushed.back());
  if (!e.alert.resolved) alert_fires(turn, key_of(change), change);
}

/// Its sender says that it still fires: evidence again after a gap of ours, but not what fired before a start on purpose. Nothing else
/// changes: a repetition is no second alert.
void Incident::pushed_again(const PushedAlert& alert) {
  const PushedAlert& known = *find_pushed(alert.key);
  const auto remembered = alerts_.find(key_of(change_of(state_.service, known)));
  if (remembered == alerts_.end()) return;
  if (alert.resolved) {
    alerts_.erase(remembered);  // It was acknowledged before.
  } else if (!known.resolved && !remembered->second.fresh && !(stopped_ && stopped_cleanly_) &&
             (!warming_since_ || known.since >= *warming_since_)) {
    remembered->second.fresh = true;
    ask_again_ = true;
  }
}

/// It counts no more; its key stays, so that a late duplicate does nothing.
void Incident::end_pushed(Turn& turn, const std::string& key) {
  for (PushedAlert& row : state_.pushed) {
    if (row.key != key || row.resolved) continue;
    const std::string known_as = key_of(change_of(state_.service, row));
    row.resolved = true;
    alerts_.erase(known_as);
    held_keys_.erase(known_as);
    turn.add(action::Persist{});
  }
}

void Incident::end_stale_pushed(Turn& turn) {
  std::vector<std::string> over;
  for (const PushedAlert& row : state_.pushed)
    if (!row.resolved && turn.now >= stale_at(row)) over.push_back(row.key);
  for (const std::string& key : over) end_pushed(turn, key);
}

/// A person has looked at them: they must not come back with a restart.
void Incident::acknowledge_pushed(Turn& turn) {
  for (PushedAlert& row : state_.pushed) {
    if (row.resolved) continue;
    row.resolved = true;
    turn.add(action::Persist{});
  }
}

/// At a start: what fired when the daemon ended fires until its sender, or time, says otherwise.
void Incident::remember_pushed() {
  for (const PushedAlert& row : state_.pushed) {
    if (row.resolved || row.since < state_.epoch.switched) continue;
    const AlertChange change = change_of(state_.service, row);
    Remembered alert;
    alert.change = change;
    alerts_[key_of(change)] = std::move(alert);
  }
}

std::optional<Instant> Incident::pushed_due() const {
  std::optional<Instant> due;
  for (const PushedAlert& row : state_.pushed)
    if (!row.resolved && (!due || stale_at(row) < *due)) due = stale_at(row);
  return due;
}

}  // namespace rollbackd::decision
