// Watches what may break a service beside its releases: packages, configuration files, unit files, a reboot. It explains failures, and
// holds a rollback that could not help. Flow: inotify -> a look on a worker -> event::Changed -> incident (evidence, guard
// no_other_change).
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "checks/dpkg_log.hpp"
#include "config/settings.hpp"
#include "engine/spawn.hpp"
#include "io/clock.hpp"
#include "io/inotify.hpp"
#include "io/worker.hpp"
#include "model/release.hpp"

namespace rollbackd::engine {

class Service;

/// What stat(2) says of a watched file.
struct WatchedFile {
  OtherChange::Kind kind = OtherChange::Kind::config;
  std::int64_t mtime_ns = 0, ctime_ns = 0, size = 0;
  std::uint64_t inode = 0;
  std::uint32_t mode = 0;
  /// Whether the file is another one, or was written: a new name or a hard link elsewhere (ctime) is no change.
  bool same_as(const WatchedFile& other) const {
    return mtime_ns == other.mtime_ns && size == other.size && inode == other.inode && mode == other.mode;
  }
};
using WatchedFiles = std::map<std::string, WatchedFile>;

/// The unit's file, its drop-ins, those of its template and those of all services, as patterns; where systemd looks for them.
std::vector<std::string> unit_patterns(const std::string& unit);
/// Looks at the files that patterns mean (a directory: its entries, not deeper ones); at most 4096. What lies within `releases` is part of
/// a release and left out. Blocking.
/// @param directories  gets those that tell of a change; at most 256
WatchedFiles watched_files(const config::ServiceSettings& settings, std::set<std::string>& directories);

class ChangeWatch {
 public:
  struct Around {
    boost::asio::any_io_executor executor;
    const io::Clock* clock = nullptr;
    std::function<std::vector<std::shared_ptr<Service>>()> services;
  };
  explicit ChangeWatch(Around around);
  ~ChangeWatch();
  ChangeWatch(const ChangeWatch&) = delete;
  ChangeWatch& operator=(const ChangeWatch&) = delete;

  /// Looks at the start, soon after a change, and every minute where inotify might be blind. Until cancelled.
  boost::asio::awaitable<void> run();
  void stop();

 private:
  struct Seen {
    bool any = false;
    WatchedFiles files;
    std::set<std::string> told;  ///< packages' changes that were told; at most kToldMax, then it begins anew
  };
  struct Packages {
    std::string path;
    std::int64_t size = -1, mtime_ns = 0;
    std::uint64_t inode = 0;
    struct Change {
      std::string what;
      std::int64_t wall_ns = 0;
    };
    std::vector<Change> changes;  ///< oldest first
  };

  boost::asio::awaitable<void> look_at(std::shared_ptr<Service> service);
  void tell_files(Service& service, WatchedFiles files);
  void tell_packages(Service& service, const std::vector<Packages::Change>& changes);
  void tell_boot(Service& service);
  void tell(Service& service, OtherChange::Kind kind, const std::string& what, Instant at, Duration tolerance = std::chrono::seconds(2));
  boost::asio::awaitable<void> listen();
  Instant since(const Service& service) const;
  Instant at_wall(std::int64_t wall_ns) const;
  static Packages read_packages(Packages known);

  Around around_;
  bool stopped_ = false, waiting_ = false;
  std::uint64_t heard_ = 0;  ///< events, in numbers
  io::Worker looks_{1};
  boost::asio::steady_timer wake_;
  std::map<std::string, Seen> seen_;  ///< by service; of those that are configured
  std::map<std::string, Packages> packages_;
  std::optional<io::Inotify> events_;
  Task listening_;
};

}  // namespace rollbackd::engine
