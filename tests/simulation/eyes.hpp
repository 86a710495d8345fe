// What the daemon makes of what its checks saw: the whole Judge with the shipped packs, or a quick stand-in with the same rules in short.
// Flow: site -senses-> [eyes] -alert changes-> shell.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/alert.hpp"
#include "rules/groups.hpp"
#include "tests/simulation/scenario.hpp"
#include "tests/simulation/site.hpp"

namespace rollbackd::simulation {

class Eyes {
 public:
  virtual ~Eyes() = default;
  /// @param now_seen  what the checks' counters stand at: what they count from here on is of the new epoch
  virtual Judgement begin_epoch(std::size_t service, Instant at, const Sense& now_seen) = 0;
  /// @param began, now  engine time of the probe's beginning and of its delivery
  virtual Judgement on_sense(const Sense& sense, Instant began, Instant now) = 0;
  virtual Judgement on_verification(std::size_t service, bool passed, Instant began, Instant now) = 0;
  virtual Judgement on_dependency(std::size_t service, bool up, Instant now) = 0;
  virtual Judgement on_due(Instant now) = 0;
  virtual std::optional<Instant> next_due() const = 0;
  virtual Judgement on_gap(Instant now) = 0;
};

/// The stand-in: a handful of rules in plain code.
std::unique_ptr<Eyes> make_quick_eyes(const Scenario& scenario, Instant now);
/// The Judge, with `groups`.
std::unique_ptr<Eyes> make_judge_eyes(const Scenario& scenario, const rules::Groups& groups, Instant now);
/// The packs under rules/ of the source tree, read once. Empty where they cannot be read.
const rules::Groups& shipped_packs();
const char* name_of(Sense::What what);  ///< of the check
/// One batch as the real check of this kind would deliver it.
Batch batch_of(const ServiceKey& service, const Sense& sense, int failures, double failing_seconds, Instant began, Instant now);

}  // namespace rollbackd::simulation
