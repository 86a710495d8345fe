#include "engine/health.hpp"

#include <algorithm>

namespace rollbackd::engine {

bool Health::said(const std::string& check, bool healthy, Instant began) {
  if (began < epoch_start_) return false;
  const auto [at, is_new] = checks_.try_emplace(check, Said{healthy, began});
  if (!is_new && at->second.healthy != healthy) at->second = Said{healthy, began};
  return true;
}

std::optional<Instant> Health::healthy_since(std::size_t health_checks, const std::optional<World::Process>& process) const {
  if (checks_.size() < health_checks) return std::nullopt;
  Instant since = epoch_start_;
  for (const auto& [name, said] : checks_) {
    if (!said.healthy) return std::nullopt;
    since = std::max(since, said.since);
  }
  if (process) {
    if (!process->running) return std::nullopt;
    since = std::max(since, process->started);
  }
  return since;
}

}  // namespace rollbackd::engine
