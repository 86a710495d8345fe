// Since when a service's health-judging checks have been healthy without a break, within the present epoch.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/time.hpp"
#include "model/operation.hpp"

namespace rollbackd::engine {

class Health {
 public:
  /// A new epoch: nothing said before counts.
  void begin_epoch(Instant at) {
    epoch_start_ = at;
    checks_.clear();
  }
  /// A check of `expected` checks said so about a probe that began at `began`. Probes from before the epoch do not count.
  /// @return true when it counted
  bool said(const std::string& check, bool healthy, Instant began);
  /// Nothing said so far counts any more (the daemon was stopped for a while).
  void forget() { checks_.clear(); }
  /// @param health_checks  how many checks judge health
  /// @param process  the managed process, when there is one
  /// @return the instant since which all of them are healthy and the process runs; nothing when that is not so now
  std::optional<Instant> healthy_since(std::size_t health_checks, const std::optional<World::Process>& process) const;

 private:
  struct Said {
    bool healthy = false;
    Instant since;
  };
  Instant epoch_start_;
  std::map<std::string, Said> checks_;
};

}  // namespace rollbackd::engine
