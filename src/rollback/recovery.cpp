// What to do at start about an operation that was under way: the table of the design, one function a row. Pure.
// Flow: state file and world -> [recovery] -> the engine continues, closes, or holds.
#include "rollback/recovery.hpp"

#include <algorithm>

namespace rollbackd::rollback {
namespace {

/// The kernel tells a process's start as the floor of a clock tick: it truly began within [started, started + kTick).
constexpr Duration kTick = 10ms;

Recovery hold(std::string why) { return {RecoveryMove::hold_and_page, OperationPhase::none, false, std::move(why)}; }
Recovery outside(std::string why) { return {RecoveryMove::outside_deployment, OperationPhase::none, false, std::move(why)}; }

std::string name(const OperationRecord& record) {
  return std::string(to_string(record.request.kind)) + " " + record.request.operation + " from " + record.request.from + " to " +
         record.request.to;
}

std::string link_text(LinkIs link) { return link == LinkIs::missing ? "is missing" : "leads elsewhere"; }

/// The components whose process surely began at `since` or later.
std::vector<std::string> younger(const RecoveryInput& input, Instant since) {
  std::vector<std::string> out;
  for (const ManagedComponent& one : input.managed)
    if (one.process && one.process->running && one.process->started >= since) out.push_back(one.component);
  return out;
}

/// Since when the link is on `to`. Its switch is not older than the record that announced it, and may be much younger: a system call can
/// hang, and meanwhile the process before may have ended and been started again.
Instant switched_at(const RecoveryInput& input) {
  const OperationRecord& last = *input.last;
  return last.switched.value_or(std::max(last.at, input.link_changed.value_or(last.at)));
}

Recovery resume_verification(const RecoveryInput& input, std::string why) {
  const bool verifying = input.last->phase == OperationPhase::verifying;
  return {RecoveryMove::resume, verifying ? OperationPhase::verifying : OperationPhase::restarted, false, std::move(why)};
}

/// Restarting comes first for those that are not spared; else the operation goes on with verification.
Recovery resume(const RecoveryInput& input, std::vector<std::string> spared, std::string why) {
  if (spared.size() < input.managed.size())
    return {RecoveryMove::resume, OperationPhase::switched, true, std::move(why), std::move(spared)};
  return resume_verification(input, std::move(why));
}

/// Row "none, or outcome": nothing was under way.
Recovery nothing_under_way(const RecoveryInput& input) {
  switch (input.link) {
    case LinkIs::ledger_live: return {RecoveryMove::idle, OperationPhase::none, false, "nothing was under way"};
    case LinkIs::from:
    case LinkIs::to:
    case LinkIs::mixed:
    case LinkIs::other: return outside("`current` does not lead to the release that the ledger has as live");
    case LinkIs::missing: break;
  }
  return hold("nothing was under way, and `current` is missing");
}

/// Row "intent, traffic away": we did not switch.
Recovery before_switching(const RecoveryInput& input) {
  switch (input.link) {
    case LinkIs::from:
      return {RecoveryMove::abandon, OperationPhase::none, false,
              name(*input.last) + " had not switched; it is judged again on fresh evidence"};
    // When the link came there is not on record, so no process can be shown to be younger.
    case LinkIs::to: return resume(input, {}, name(*input.last) + " is switched already");
    // Nothing of it was ours: "switching" is on disk before the first switch.
    case LinkIs::mixed: return outside(name(*input.last) + " had not switched, and a component was deployed since");
    case LinkIs::ledger_live:
    case LinkIs::other:
    case LinkIs::missing: break;
  }
  return hold(name(*input.last) + " had not switched, and `current` " + link_text(input.link));
}

/// Row "switching": we may have switched. Only a process that surely began after that is spared: it was restarted already, and only the
/// records after this one are lost.
Recovery while_switching(const RecoveryInput& input) {
  switch (input.link) {
    case LinkIs::from:
      return {RecoveryMove::abandon, OperationPhase::none, false,
              name(*input.last) + " had not switched; it is judged again on fresh evidence"};
    case LinkIs::to:
      return resume(input, younger(input, switched_at(input)), name(*input.last) + " had switched and was not known to be restarted");
    case LinkIs::mixed:
      return {RecoveryMove::undo, OperationPhase::none, false,
              name(*input.last) + " had switched some of its components; they are taken back and it is judged again on fresh evidence"};
    case LinkIs::ledger_live:
    case LinkIs::other:
    case LinkIs::missing: break;
  }
  return hold(name(*input.last) + " was about to switch, and `current` " + link_text(input.link));
}

/// Row "switched, restarted, verifying": we did switch.
Recovery after_switch(const RecoveryInput& input) {
  const OperationRecord& last = *input.last;
  switch (input.link) {
    case LinkIs::from: return outside(name(last) + " had switched, and " + last.request.from + " was deployed since");
    case LinkIs::mixed: return outside(name(last) + " had switched, and a component was deployed since");
    case LinkIs::to: {
      if (last.phase != OperationPhase::switched) return resume_verification(input, name(last) + " was being verified");
      // Within the tick before the switch either may be true. It counts as younger: a restart follows the switch closely, an old process
      // that happened to begin in those 10 ms is rare, and verification finds it out, while a second restart is an outage nobody asked for.
      std::vector<std::string> spared = younger(input, switched_at(input) - kTick);
      const bool all = spared.size() == input.managed.size();
      return resume(input, std::move(spared),
                    name(last) + " had switched, and " + (all ? "a process" : "no process") + " younger than the switch runs");
    }
    case LinkIs::ledger_live:
    case LinkIs::other:
    case LinkIs::missing: break;
  }
  return hold(name(last) + " had switched, and `current` " + link_text(input.link));
}

Recovery by_table(const RecoveryInput& input) {
  switch (input.last ? input.last->phase : OperationPhase::none) {
    case OperationPhase::none:
    case OperationPhase::outcome: return nothing_under_way(input);
    case OperationPhase::intent:
    case OperationPhase::traffic_away: return before_switching(input);
    case OperationPhase::switching: return while_switching(input);
    case OperationPhase::switched:
    case OperationPhase::restarted:
    case OperationPhase::verifying: return after_switch(input);
  }
  return hold("the last record has a phase that this version does not know");
}

}  // namespace

LinkIs links_are(const OperationRecord& record, const std::vector<World>& worlds) {
  if (worlds.size() != std::max<std::size_t>(record.components.size(), 1)) return LinkIs::other;
  bool any_from = false, any_to = false;
  for (std::size_t i = 0; i < worlds.size(); ++i) {
    if (worlds[i].link != World::Link::present) return LinkIs::missing;
    const std::string& live = worlds[i].live;
    const std::string from = record.components.empty() ? record.request.from : record.components[i].from();
    const std::string to = record.components.empty() ? record.request.to : record.components[i].to();
    if (live.empty() || (live != from && live != to)) return LinkIs::other;
    any_from = any_from || (live == from && from != to);  // One that stays as it is says nothing.
    any_to = any_to || (live == to && from != to);
  }
  if (any_from && any_to) return LinkIs::mixed;
  return any_to ? LinkIs::to : LinkIs::from;
}

const char* to_string(RecoveryMove move) {
  switch (move) {
    case RecoveryMove::idle: return "idle";
    case RecoveryMove::outside_deployment: return "outside_deployment";
    case RecoveryMove::abandon: return "abandon";
    case RecoveryMove::resume: return "resume";
    case RecoveryMove::undo: return "undo";
    case RecoveryMove::hold_and_page: return "hold_and_page";
  }
  return "hold_and_page";
}

Recovery recover(const RecoveryInput& input) {
  if (!input.state_readable) return hold("the state file cannot be read: what was under way is not known");

  Recovery found = by_table(input);
  if (input.last && input.link == LinkIs::to) found.switched = switched_at(input);
  const bool another_try = found.move == RecoveryMove::resume || found.move == RecoveryMove::abandon || found.move == RecoveryMove::undo;
  if (another_try && input.last->attempt >= kAttemptsMax) {
    const auto switched = found.switched;
    found = hold(name(*input.last) + " did not end in " + std::to_string(input.last->attempt) + " attempts");
    found.switched = switched;
  }
  return found;
}

}  // namespace rollbackd::rollback
