// What is known of one process and how its predecessors ended, as samples. Part of the checks `process` and `systemd`.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "checks/parts.hpp"

namespace rollbackd::checks {

class ProcessTally {
 public:
  /// @param unknown  why nothing is known yet
  explicit ProcessTally(std::string unknown) : unknown_(std::move(unknown)) {}

  /// Takes an event over. @return when the batch that tells of it began: an exit belongs to the epoch of its process
  Instant on(const ProcessEvent& event, Instant now);
  /// Nothing is known any more. @return whether that is news
  bool forget(std::string why);
  /// No process runs, for a reason that is no exit. @return whether that is news
  bool settle_down(std::string detail);

  bool is_known() const { return unknown_.empty(); }
  const std::string& why_unknown() const { return unknown_; }
  bool is_up() const { return up_; }
  const std::string& detail() const { return detail_; }
  /// Appends `process_up`, `process_start_time_seconds`, `process_stops_total` and `process_exits_total`.
  void sample(const CheckContext& context, const std::string& instance, std::vector<Sample>& out) const;

 private:
  Instant on_exit(const ProcessEvent& event);

  std::string unknown_;
  bool up_ = false;
  int pid_ = 0;
  Instant started_;
  std::string detail_;
  std::map<std::pair<std::string, std::string>, std::uint64_t> exits_;  ///< reason and code -> count; both are few: under 400 series
  std::uint64_t stops_ = 0;
};

}  // namespace rollbackd::checks
