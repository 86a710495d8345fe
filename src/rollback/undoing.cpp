// An operation that ends before its commit point: what was switched goes back, the last one first, then traffic. Pure.
// Flow: operation -> [undoing] -> steps taken back -> outcome.
#include <algorithm>
#include <utility>

#include "rollback/operation.hpp"
#include "rollback/outcome_text.hpp"
#include "rollback/recovery.hpp"

namespace rollbackd::rollback {
namespace {

using Stands = ComponentMove::Stands;

/// "app leads to releases/v2, config to releases/c1": where components stand, for people.
std::string standing_of(const std::vector<ComponentMove>& components) {
  std::string out;
  for (const ComponentMove& move : components) {
    out += (out.empty() ? "" : ", ") + move.component;
    switch (move.stands) {
      case Stands::from: out += " is on " + move.from(); break;
      case Stands::to: out += " is on " + move.to(); break;
      case Stands::elsewhere: out += " was changed by somebody else"; break;
      case Stands::unknown: out += " is on " + move.from() + " or " + move.to(); break;
    }
  }
  return out;
}

}  // namespace

Operation Operation::undoing(OperationRecord record, Plan plan, OperationOptions options, std::string why, Instant now) {
  Operation operation(std::move(plan), std::move(options), now);
  if (record.components.empty()) record.components = operation.record_.components;
  operation.record_ = std::move(record);
  operation.record_.node = operation.options_.node;
  for (ComponentMove& move : operation.record_.components) move.stands = Stands::unknown;
  operation.stop_ = Stop{OperationStatus::abandoned, "", std::move(why)};
  operation.begin_at_ = OperationPhase::switching;
  operation.taking_back_ = operation.begun_ = true;
  operation.traffic_away_ = operation.find_step("traffic_away").has_value();  // It may have been: bringing it back does no harm.
  operation.times_.clear();
  return operation;
}

/// What ended before the commit point: nothing had to be taken back, or it was.
OperationStatus Operation::given_up() const { return traffic_away_ || called_ ? OperationStatus::undone : OperationStatus::abandoned; }

/// Ends it before the commit point: what was switched goes back first, the last one before the others, then traffic that was taken away.
Ask Operation::stop_before_commit(Stop stop) {
  stop_ = std::move(stop);
  phase_ends("preflight");
  phase_ends("switch");
  return take_back(plan_.steps.size());
}

/// Takes back the last switch before step `below` that was made or may have been; traffic when there is none left.
Ask Operation::take_back(std::size_t below) {
  for (std::size_t i = below; i-- > 0;) {
    const ComponentMove* move = move_of(i);
    if (move && (move->stands == Stands::to || move->stands == Stands::unknown)) return run(stage::TakingBack{{i}, 1});
  }
  return undo_from(0);
}

Ask Operation::taken_back(stage::TakingBack stage, const Outcome& outcome) {
  ComponentMove& move = *move_of(stage.step);
  if (outcome.ok()) {
    took_back_ = took_back_ || move.stands == Stands::to || outcome.status == Outcome::Status::done;
    move.stands = Stands::from;
    return take_back(stage.step);
  }
  if (outcome.status == Outcome::Status::conflict) {  // Nothing of ours is left in it.
    move.stands = Stands::elsewhere;
    stop_->why += "; somebody else has deployed " + move.component + " since";
    return take_back(stage.step);
  }
  if (stage.tries < kAttemptsMax) return run(stage::TakingBack{{stage.step}, stage.tries + 1});
  return not_taken_back(stage.step, why(outcome));
}

/// The others are taken back all the same: the fewer stand on the release that nobody got to see the better.
Ask Operation::not_taken_back(std::size_t step, std::string reason) {
  ComponentMove& move = *move_of(step);
  not_back_ += (not_back_.empty() ? "" : "; ") + move.component + " could not be put back on " + move.from() + ": " + std::move(reason);
  return take_back(step);
}

Ask Operation::undo_from(std::size_t step) {
  if (const auto back = find_step("traffic_back", step); back && traffic_away_) return run(stage::Undoing{{*back}});
  return given_up_for_good();
}

Ask Operation::traffic_not_back(std::string failed_how, std::string text) {
  stop_->failed_how = std::move(failed_how);
  not_back_ += (not_back_.empty() ? "" : "; ") + std::move(text);
  return given_up_for_good();
}

Ask Operation::given_up_for_good() {
  const bool components_stay = std::any_of(record_.components.begin(), record_.components.end(), [](const ComponentMove& move) {
    return move.stands == Stands::to || move.stands == Stands::unknown;
  });
  if (!not_back_.empty()) {
    const std::string standing = components_stay ? standing_of(record_.components) + "; " : "";
    return conclude(OperationStatus::partial, stop_->failed_how, standing + stop_->why + "; and " + not_back_);
  }
  const bool undone = stop_->status == OperationStatus::abandoned && took_back_ && !outside_won_ && !taking_back_;
  return conclude(undone ? OperationStatus::undone : stop_->status, stop_->failed_how, stop_->why);
}

}  // namespace rollbackd::rollback
