#include "checks/looker.hpp"

namespace rollbackd::checks {

std::shared_ptr<io::Worker> Looker::shared_threads() {
  constexpr std::size_t kThreads = 2;
  static thread_local std::weak_ptr<io::Worker> shared;  // A reactor's own: they end before it does.
  auto threads = shared.lock();
  if (!threads) {
    threads = std::make_shared<io::Worker>(kThreads);
    shared = threads;
  }
  return threads;
}

}  // namespace rollbackd::checks
