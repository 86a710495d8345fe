// What puts a release back on one kind of platform, and what starts and stops its process. Steps in, outcomes out, both data.
#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "config/settings.hpp"
#include "io/clock.hpp"
#include "io/worker.hpp"
#include "model/decision.hpp"
#include "model/operation.hpp"
#include "model/process_event.hpp"

namespace rollbackd::drivers {

/// What `current` was seen to be; on any event or overflow the driver looked for itself.
struct LinkSeen {
  World::Link link = World::Link::missing;
  std::string value;        ///< readlink(2)
  std::uint64_t inode = 0;  ///< of the link
  std::string live;         ///< release id; empty when outside the releases directory
  Instant at;
};

/// What drivers are made of. The worker for steps is never used for bulk work.
struct DriverContext {
  boost::asio::any_io_executor executor;
  const io::Clock* clock = nullptr;
  io::Worker* steps = nullptr;  ///< short blocking system calls of a rollback
  io::Worker* bulk = nullptr;   ///< hashing
  ServiceKey service;
  config::ComponentSettings settings;
  std::string service_directory;              ///< STATE/services/NAME.ENV: keeper's socket, output; 0700, made by the engine
  std::string program;                        ///< path of the rollbackd binary, for --keeper
  std::vector<config::HookSettings> hooks{};  ///< of the whole service; for the hook runner
  /// Whoever owns a directory above `current` may have fewer rights than this process: see LinkPlace::guarded.
  bool guarded = false;
};

/// How a release's files are read; see Driver::read.
struct ReadOptions {
  io::Worker* worker = nullptr;  ///< null: the one for bulk work
  bool quick = false;            ///< where nothing was touched since the last reading its answer is given, without reading contents
  int threads = 1;
  std::int64_t bytes_per_second = 0;                ///< at most, with idle I/O priority; 0: as fast as it goes
  std::shared_ptr<const std::atomic<bool>> stop{};  ///< once true the reading ends soon, with `cancelled`
};
/// What a reading found.
struct Reading {
  std::string digest;
  std::string change;   ///< what differs from the manifest that was kept before, for people; empty: nothing, or there was none
  bool in_full = true;  ///< false: a quick look sufficed
  std::int64_t files = 0, bytes = 0;  ///< that were read
};

class Driver {  // Puts a release back on one kind of platform.
 public:
  virtual ~Driver() = default;
  /// Says what is really there now: live release, link inode, releases on disk. Changes nothing. `process` is the manager's part.
  virtual boost::asio::awaitable<Result<World>> inspect() = 0;
  /// The steps from `world` to `release`. Changes nothing, so a dry run may call it.
  virtual Result<std::vector<Step>> plan(const World& world, const std::string& release) const = 0;
  /// Carries out one step. Repeating it, even half done after a crash, ends in the same state.
  /// Outcome `conflict`: `current` was not what the plan expected; it was put back. `unknown`: cannot tell.
  virtual boost::asio::awaitable<Outcome> run(Step step, Duration deadline) = 0;
  /// Takes one step back; only before the commit point.
  virtual boost::asio::awaitable<Outcome> undo(Step step, Duration deadline) = 0;
  /// Reports what `current` is, first at once and then whenever it changed; a missing link is reported after 1 s. Until cancelled.
  virtual boost::asio::awaitable<void> watch(std::function<void(LinkSeen)> sink) = 0;
  /// Hashes `release` in full on the bulk worker and makes the link to it beside `current`. After it, a switch needs no new disk block.
  /// @param expected_digest  of the ledger; empty: not known yet
  virtual boost::asio::awaitable<TargetFacts> arm(std::string release, std::string expected_digest) = 0;
  /// The digest of `release` (SHA-256 over the manifest), without arming: read in full, unless nothing was touched since the last reading.
  virtual boost::asio::awaitable<Result<std::string>> digest(std::string release) = 0;
  /// A quick look at an armed release: size, mtime, ctime, inode of every file as when it was hashed; any change: hashed again and
  /// compared.
  virtual boost::asio::awaitable<TargetFacts> look(std::string release, std::string expected_digest) = 0;
  /// Reads `release` in full, and keeps its manifest in the service's directory (manifests/COMPONENT/ID; of a changed one the one before as
  /// _was.ID), for people: `sha256sum` of it is the digest. @return `refused` while a deployment is still writing it
  virtual boost::asio::awaitable<Result<Reading>> read(std::string release, ReadOptions options);
  /// The step that removes a component's release from disk for good: see removal.hpp. It is run like any other, on the worker for bulk
  /// work.
  virtual Result<Step> plan_removal(const ComponentRelease& part) const;
  /// Releases whose removal was cut off: the same step goes on with it. Blocking, one directory a component.
  virtual std::vector<ComponentRelease> half_removed() const { return {}; }
  /// What the ledger enters for a release found on disk; reads its release.json when there is one (bounded, bad content ignored with a
  /// warning).
  virtual Result<Release> describe(const std::string& release) const = 0;
  /// Leaves a BAD_RELEASE file beside the release's directory (RELEASES/.ID.BAD_RELEASE), saying why; with an empty `reason` takes it away.
  /// Best effort.
  virtual boost::asio::awaitable<Result<>> mark_bad(std::string release, std::string reason) = 0;
};

class Manager {  // Starts and stops one component's process.
 public:
  virtual ~Manager() = default;
  /// Makes it known and, for `supervised`, sees that its keeper runs and the service is started unless a person stopped it.
  virtual boost::asio::awaitable<Result<>> attach() = 0;
  virtual boost::asio::awaitable<Result<World::Process>> inspect() = 0;
  /// The restart step for after a switch.
  virtual std::vector<Step> plan() const = 0;
  /// Restarts. Facts: {"pid", "started_boot_ns"}. The step's operation id is a token: a repeated one returns the first outcome.
  virtual boost::asio::awaitable<Outcome> run(Step step, Duration deadline) = 0;
  /// Reports the process, first at once, then each start and exit. Until cancelled.
  virtual boost::asio::awaitable<void> watch(std::function<void(ProcessEvent)> sink) = 0;
};

/// Calls the operator's programs. A hook is a step like any other: driver "hook", action "hook", arguments {"name", "at"}; where it stands
/// in the plan follows from `at`. A repeated step (same operation id and number) returns the first outcome: no hook is called twice by a
/// retry.
class HookRunner {
 public:
  virtual ~HookRunner() = default;
  /// One step for each hook at `at`, in the configuration's order.
  virtual std::vector<Step> plan(config::HookPoint at) const = 0;
  /// Runs one. @param facts  what the hook gets to know, as variables ROLLBACKD_NAME: {"service", "environment", "operation", "kind",
  /// "from",
  ///        "to", "status", ...}
  /// Outcome `refused`: not in the configuration any more, or its program is not root's alone; `failed`: exit status; `timed_out`.
  /// Facts: {"exit_code", "signal", "output", "output_bytes"}.
  virtual boost::asio::awaitable<Outcome> run(Step step, Json facts, Duration deadline) = 0;
};

/// Never null; without hooks it plans none.
std::unique_ptr<HookRunner> make_hook_runner(DriverContext context);

Result<std::unique_ptr<Driver>> make_driver(DriverContext context);
/// Nothing (a null pointer) for ManagerType::none.
Result<std::unique_ptr<Manager>> make_manager(DriverContext context);

/// `rollbackd --keeper`: parents one supervised service until it is told to end. Blocking; never returns before that.
/// @param directory  the service's directory: keeper.sock, keeper.json (pid, start time, boot id, exit status), output.log
/// @return the process's exit code
int run_keeper(const std::string& directory);

}  // namespace rollbackd::drivers
