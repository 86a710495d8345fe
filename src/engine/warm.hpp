// Keeps the files of the release that a rollback would go to in memory, for services that ask for it (`warm`).
// Flow: run() -> worker -> page cache; what it finds is told by `ready`.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/time.hpp"
#include "drivers/warm.hpp"
#include "io/worker.hpp"

namespace rollbackd::engine {

class Engine;
class Service;

/// What the latest look found.
struct WarmFacts {
  std::string release;
  drivers::Warmth warmth;
  std::string trouble;  ///< why nothing is known; empty when something is
  Instant at;
  /// "v1 is in memory (12 MiB)", or what is missing.
  std::string text() const;
};

class Warmer {
 public:
  explicit Warmer(Engine& engine);
  ~Warmer();
  Warmer(const Warmer&) = delete;
  Warmer& operator=(const Warmer&) = delete;

  /// Looks after every service that wants it each 15 s, and not while one of its operations runs. Until cancelled.
  boost::asio::awaitable<void> run();
  /// Nothing for a service that does not ask for it, or has no target.
  std::optional<WarmFacts> facts(const std::string& service) const;
  /// Ends what is being read. Before the engine's reactor ends.
  void stop();

 private:
  boost::asio::awaitable<void> look_at(std::shared_ptr<Service> service);

  Engine& engine_;
  boost::asio::steady_timer wake_;
  std::map<std::string, WarmFacts> facts_;  ///< by "name/environment"
  std::shared_ptr<std::atomic<bool>> stop_ = std::make_shared<std::atomic<bool>>(false);
  io::Worker reads_{1};  ///< of its own: a slow disk holds up nobody
};

}  // namespace rollbackd::engine
