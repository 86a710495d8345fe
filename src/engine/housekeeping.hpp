// What is done for releases while nothing else happens: each is read in full when it goes live and again from time to time, the one to go
// back to is kept in sight, and those that nobody needs are removed. Flow: run() -> drivers -> event::TargetHashed, event::Pruned ->
// incident.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/time.hpp"
#include "drivers/driver.hpp"
#include "engine/changes.hpp"
#include "engine/spawn.hpp"
#include "io/inotify.hpp"
#include "io/worker.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::engine {

class Engine;
class Service;

class Housekeeping {
 public:
  explicit Housekeeping(Engine& engine);
  ~Housekeeping();
  Housekeeping(const Housekeeping&) = delete;
  Housekeeping& operator=(const Housekeeping&) = delete;

  /// Looks after every service every 15 s, and soon after `look_soon` or a change in a directory of releases. Until cancelled.
  boost::asio::awaitable<void> run();
  void look_soon();
  /// Ends what is being read; nothing new is begun. Before the engine's workers end.
  void stop();

 private:
  struct Kept {
    std::uint64_t epoch = 0;  ///< whose release was read after it went live
    Standing standing{};      ///< of the live release when it was last looked at
    int tries = 0;            ///< readings of the live release that failed one after the other
    Instant looked;           ///< at the target's files
    bool finished = false;    ///< removals that were cut off have been looked for
    bool told_not_kept = false;
    bool arming = false;  ///< the target is being read
  };

  boost::asio::awaitable<void> tend(std::shared_ptr<Service> service);
  boost::asio::awaitable<void> read_live(std::shared_ptr<Service> service);
  boost::asio::awaitable<void> look_at_target(std::shared_ptr<Service> service);
  boost::asio::awaitable<void> arm_again(std::shared_ptr<Service> service, std::string target);
  void scrub_one(const std::shared_ptr<Service>& service);
  boost::asio::awaitable<void> scrub(std::shared_ptr<Service> service, std::string release);
  boost::asio::awaitable<void> prune(std::shared_ptr<Service> service);
  std::vector<ledger::ComponentDisk> disk_of(const Service& service, const World& world) const;
  boost::asio::awaitable<bool> remove(std::shared_ptr<Service> service, ComponentRelease part, std::string why);
  boost::asio::awaitable<Result<drivers::Reading>> read(std::shared_ptr<Service> service, std::string release,
                                                        drivers::ReadOptions options);
  boost::asio::awaitable<void> listen();
  std::string why_not_prune(const Service& service) const;
  bool busy(const Service& service) const;

  Engine& engine_;
  std::shared_ptr<std::atomic<bool>> stop_ = std::make_shared<std::atomic<bool>>(false);
  /// Their own: neither arming a target nor a rollback's look ever waits behind them.
  io::Worker reads_{1}, scrubs_{1};
  boost::asio::steady_timer wake_;
  bool soon_ = false, scrubbing_ = false;
  std::map<std::string, Kept> kept_;  ///< by service; of those that are configured
  std::optional<io::Inotify> events_;
  Task listening_, changing_;
  ChangeWatch changes_;
};

}  // namespace rollbackd::engine
