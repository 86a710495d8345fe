// Flow: process events -> [ProcessTally] -samples-> batch of the process or systemd check.
#include "checks/process_tally.hpp"

namespace rollbackd::checks {
namespace {

constexpr Duration kTick = 10ms;  ///< start times are rounded down to it

}  // namespace

Instant ProcessTally::on(const ProcessEvent& event, Instant now) {
  switch (event.kind) {
    case ProcessEvent::Kind::running:
      unknown_.clear();
      up_ = true;
      pid_ = event.pid;
      started_ = event.started;
      detail_ = "process " + std::to_string(event.pid) + " runs";
      return now;
    case ProcessEvent::Kind::exited: return on_exit(event);
    case ProcessEvent::Kind::start_failed:
      unknown_.clear();
      up_ = false;
      ++exits_[{"start_failed", "unknown"}];
      detail_ = event.detail.empty() ? "the process could not be started" : event.detail;
      return event.at;
    case ProcessEvent::Kind::lost:
      unknown_ = "it is not known whether the process runs" + (event.detail.empty() ? "" : ": " + event.detail);
      return now;
  }
  return now;
}

Instant ProcessTally::on_exit(const ProcessEvent& event) {
  if (event.clean()) {
    ++stops_;
  } else if (event.oom) {
    ++exits_[{"oom", event.signal != 0 ? std::to_string(event.signal) : "unknown"}];
  } else if (event.signal != 0) {
    ++exits_[{"signal", std::to_string(event.signal)}];
  } else if (!event.code_known) {
    ++exits_[{"unknown", "unknown"}];
  } else {
    ++exits_[{"exit", std::to_string(event.exit_code)}];
  }
  // The end of an older process says nothing of the one that took its place.
  const bool replaced = unknown_.empty() && up_ && event.pid != 0 && event.pid != pid_;
  if (!replaced) {
    unknown_.clear();
    up_ = false;
  }
  detail_ = "process " + std::to_string(event.pid) + ": " + (event.detail.empty() ? "ended" : event.detail);
  // It belongs to the epoch of the process, not to one that began between the exit and our hearing of it.
  return event.started == Instant() ? event.at : std::min(event.at, event.started + kTick);
}

bool ProcessTally::forget(std::string why) {
  if (unknown_ == why) return false;
  unknown_ = std::move(why);
  return true;
}

bool ProcessTally::settle_down(std::string detail) {
  if (unknown_.empty() && !up_) return false;
  unknown_.clear();
  up_ = false;
  detail_ = std::move(detail);
  return true;
}

void ProcessTally::sample(const CheckContext& context, const std::string& instance, std::vector<Sample>& out) const {
  out.push_back({labels_of(context, "process_up", instance), up_ ? 1.0 : 0.0, false});
  if (up_) out.push_back({labels_of(context, "process_start_time_seconds", instance), started_.seconds(), false});
  out.push_back({labels_of(context, "process_stops_total", instance), static_cast<double>(stops_), true});
  for (const auto& [key, count] : exits_) {
    Labels labels = labels_of(context, "process_exits_total", instance);
    labels.set("reason", key.first);
    labels.set("code", key.second);
    out.push_back({std::move(labels), static_cast<double>(count), true});
  }
}

}  // namespace rollbackd::checks
