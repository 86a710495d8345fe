#include "engine/changes.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <ctime>

#include "base/log.hpp"
#include "base/text.hpp"
#include "engine/service.hpp"
#include "io/process.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {

constexpr Duration kTurn = 60s;    ///< a network file system tells nothing
constexpr Duration kSpacing = 1s;  ///< between two looks, however many events come
constexpr Duration kFirstLook = 300ms;
constexpr Duration kEarlier = 24h;  ///< changes before the release are shown, for so long
constexpr std::size_t kFilesMax = 4096, kDirectoriesMax = 256;
constexpr std::size_t kLogTailBytes = 256 << 10;
constexpr std::size_t kPackagesTold = 4;  ///< of one run of dpkg by name; more are counted
constexpr std::size_t kToldAtOnce = 8;    ///< files; the state holds few
constexpr std::size_t kToldMax = 1000;
constexpr std::int64_t kRunNs = 600'000'000'000;  ///< packages that changed within ten minutes are one run

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == path.npos ? "/" : path.substr(0, slash);
}

std::int64_t ns_of(const timespec& t) { return t.tv_sec * std::int64_t{1'000'000'000} + t.tv_nsec; }

class Look {
 public:
  Look(std::string releases, std::set<std::string>& directories) : releases_(std::move(releases)), directories_(directories) {}

  void pattern(const std::string& pattern, OtherChange::Kind kind) {
    if (pattern.empty() || pattern.front() != '/') return;
    if (pattern.find_first_of("*?[") == pattern.npos) return path(pattern, kind, true);
    watch(parent_of(pattern));
    glob_t found{};
    if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)  // NOLINT(concurrency-mt-unsafe): without "~" nobody's home is asked for
      for (std::size_t i = 0; i < found.gl_pathc && files.size() < kFilesMax; ++i) path(found.gl_pathv[i], kind, true);
    ::globfree(&found);
  }

  WatchedFiles files;

 private:
  void path(const std::string& name, OtherChange::Kind kind, bool entries) {
    watch(parent_of(name));
    struct stat facts {};
    if (files.size() >= kFilesMax || ::stat(name.c_str(), &facts) != 0) return;
    if (S_ISDIR(facts.st_mode)) {
      if (entries) directory(name, kind);
      return;
    }
    if (!S_ISREG(facts.st_mode) || is_of_a_release(name)) return;
    files[name] = WatchedFile{kind, ns_of(facts.st_mtim), ns_of(facts.st_ctim), facts.st_size, facts.st_ino, facts.st_mode};
  }

  void directory(const std::string& name, OtherChange::Kind kind) {
    watch(name);
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(name.c_str()), ::closedir);
    while (stream && files.size() < kFilesMax) {
      const dirent* entry = ::readdir(stream.get());  // NOLINT(concurrency-mt-unsafe): the stream is this function's own
      if (!entry) break;
      const std::string_view inner = entry->d_name;
      // Editors' and package managers' leavings are no configuration.
      const bool leaving = inner.front() == '.' || inner.ends_with("~") || inner.ends_with(".dpkg-new") || inner.ends_with(".dpkg-tmp");
      if (!leaving) path(name + "/" + std::string(inner), kind, false);
    }
  }

  bool is_of_a_release(const std::string& name) const {
    if (releases_.empty()) return false;
    char real[PATH_MAX];
    return ::realpath(name.c_str(), real) != nullptr && std::string_view(real).starts_with(releases_ + "/");
  }

  void watch(const std::string& directory) {
    if (directories_.size() < kDirectoriesMax) directories_.insert(directory);
  }

  std::string releases_;
  std::set<std::string>& directories_;
};

/// The end of a file, from the beginning of a line on. Empty when it cannot be read.
std::string tail_of(const std::string& path) {
  const io::Fd file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat facts {};
  if (!file || ::fstat(file.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) return {};
  const off_t from = std::max<off_t>(0, facts.st_size - static_cast<off_t>(kLogTailBytes));
  std::string text(static_cast<std::size_t>(facts.st_size - from), '\0');
  const ssize_t n = ::pread(file.get(), text.data(), text.size(), from);
  text.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
  const std::size_t line = text.find('\n');
  return from == 0 ? text : line == text.npos ? std::string() : text.substr(line + 1);
}

/// The log's clock is the machine's local time.
std::int64_t wall_ns_of(std::int64_t local_seconds) {
  std::tm local{};
  const std::time_t as_utc = local_seconds;
  ::gmtime_r(&as_utc, &local);
  local.tm_isdst = -1;
  return static_cast<std::int64_t>(std::mktime(&local)) * 1'000'000'000;  // NOLINT(concurrency-mt-unsafe): the zone never changes here
}

}  // namespace

std::vector<std::string> unit_patterns(const std::string& unit) {
  if (unit.empty() || unit.find('/') != unit.npos) return {};
  std::vector<std::string> names = {unit};
  const std::size_t at = unit.find('@'), dot = unit.rfind('.');
  if (at != unit.npos && dot != unit.npos && dot > at) names.push_back(unit.substr(0, at + 1) + unit.substr(dot));
  std::vector<std::string> out;
  for (const char* where : {"/etc/systemd/system/", "/run/systemd/system/", "/usr/local/lib/systemd/system/", "/usr/lib/systemd/system/"}) {
    for (const std::string& name : names) {
      out.push_back(where + name);
      out.push_back(where + name + ".d/*.conf");
    }
    if (dot != unit.npos) out.push_back(where + unit.substr(dot + 1) + ".d/*.conf");
  }
  return out;
}

WatchedFiles watched_files(const config::ServiceSettings& settings, std::set<std::string>& directories) {
  std::string releases;
  if (!settings.components.empty() && !settings.components.front().releases.empty()) {
    char real[PATH_MAX];
    releases = ::realpath(settings.components.front().releases.c_str(), real) != nullptr ? real : settings.components.front().releases;
  }
  Look look(releases, directories);
  for (const std::string& path : settings.changes.paths) look.pattern(path, OtherChange::Kind::config);
  if (settings.changes.units)
    for (const config::ComponentSettings& component : settings.components)
      if (component.process.manager == config::ManagerType::systemd)
        for (const std::string& pattern : unit_patterns(component.process.unit)) look.pattern(pattern, OtherChange::Kind::unit);
  return std::move(look.files);
}

ChangeWatch::ChangeWatch(Around around) : around_(std::move(around)), wake_(around_.executor) {}
ChangeWatch::~ChangeWatch() = default;

void ChangeWatch::stop() {
  stopped_ = true;
  listening_.cancel();
  wake_.cancel();
}

asio::awaitable<void> ChangeWatch::run() {
  co_await asio::this_coro::throw_if_cancelled(false);
  if (auto events = io::Inotify::open(around_.executor); events.has_value()) {
    events_.emplace(std::move(events.value()));
    listening_ = spawn(around_.executor, nullptr, listen());
  }
  co_await pause(wake_, kFirstLook);
  while (!stopped_) {
    const std::uint64_t heard = heard_;
    const std::vector<std::shared_ptr<Service>> services = around_.services();
    for (const auto& service : services) {
      co_await look_at(service);
      if (stopped_) co_return;
    }
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return;
    co_await pause(wake_, kSpacing);
    if (stopped_ || heard != heard_) continue;
    waiting_ = true;
    co_await pause(wake_, kTurn);
    waiting_ = false;
  }
}

asio::awaitable<void> ChangeWatch::listen() {
  co_await asio::this_coro::throw_if_cancelled(false);
  while (!stopped_) {
    const auto heard = co_await events_->next();
    if (heard.has_error() || stopped_) co_return;  // The turns go on without it.
    ++heard_;
    if (waiting_) wake_.cancel();
  }
}

ChangeWatch::Packages ChangeWatch::read_packages(Packages known) {
  struct stat facts {};
  if (known.path.empty() || ::stat(known.path.c_str(), &facts) != 0) return known;
  const bool same = known.size == facts.st_size && known.mtime_ns == ns_of(facts.st_mtim) && known.inode == facts.st_ino;
  if (same) return known;
  known.size = facts.st_size;
  known.mtime_ns = ns_of(facts.st_mtim);
  known.inode = facts.st_ino;
  known.changes.clear();
  // Rotated a moment ago, the log is short: what came before is in the one beside it.
  std::string text = facts.st_size < static_cast<off_t>(kLogTailBytes) ? tail_of(known.path + ".1") : std::string();
  if (!text.empty() && text.back() != '\n') text += '\n';
  text += tail_of(known.path);
  std::size_t in_run = 0;
  std::int64_t run_began = 0;
  for (const checks::PackageChange& change : checks::parse_dpkg_log(text, 256)) {
    const std::int64_t at = wall_ns_of(change.local_seconds);
    if (in_run == 0 || at - run_began > kRunNs) {
      in_run = 0;
      run_began = at;
    }
    ++in_run;
    if (in_run <= kPackagesTold) {
      known.changes.push_back({change.what, at});
    } else {
      const std::string more = "and more packages in the same run";
      if (in_run == kPackagesTold + 1) known.changes.push_back({more, at});
      known.changes.back().wall_ns = at;
    }
  }
  return known;
}

asio::awaitable<void> ChangeWatch::look_at(std::shared_ptr<Service> service) {
  if (!service->running()) co_return;
  const config::ServiceSettings settings = service->settings();
  Packages& packages = packages_[settings.changes.packages];
  packages.path = settings.changes.packages;
  struct Looked {
    WatchedFiles files;
    std::set<std::string> directories;
    Packages packages;
  };
  auto work = [settings, packages] {
    Looked looked;
    looked.files = watched_files(settings, looked.directories);
    looked.packages = read_packages(packages);
    if (!packages.path.empty()) looked.directories.insert(parent_of(packages.path));
    return looked;
  };
  Looked looked = co_await looks_.run(std::move(work));
  if (stopped_ || !service->running()) co_return;
  constexpr std::uint32_t kEvents = IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_ONLYDIR;
  if (events_)
    for (const std::string& directory : looked.directories) static_cast<void>(events_->add(directory, kEvents));
  packages_[settings.changes.packages] = looked.packages;
  tell_boot(*service);
  tell_packages(*service, looked.packages.changes);
  tell_files(*service, std::move(looked.files));
}

Instant ChangeWatch::since(const Service& service) const {
  const Instant day = around_.clock->now() - kEarlier;
  const Epoch& epoch = service.incident().state().epoch;
  return epoch.number == 0 ? day : std::min(day, epoch.switched);
}

Instant ChangeWatch::at_wall(std::int64_t wall_ns) const {
  const ClockReading now = around_.clock->read();
  return now.instant - Duration(std::max<std::int64_t>(0, now.stamp.wall_ns - wall_ns));
}

void ChangeWatch::tell(Service& service, OtherChange::Kind kind, const std::string& what, Instant at, Duration tolerance) {
  // The same change, seen again after a restart: a wall time turned into an instant twice is not the same to the nanosecond.
  for (const OtherChange& known : service.incident().state().changes) {
    const Duration apart = known.at > at ? known.at - at : at - known.at;
    if (known.kind == kind && known.what == what && apart <= tolerance) return;
  }
  OtherChange change;
  change.kind = kind;
  change.what = cut(printable(what), 200);
  change.at = at;
  log::info("something else changed", {{"service", service.key().text()}, {"kind", to_string(kind)}, {"what", change.what}});
  service.deliver(event::Changed{std::move(change)});
}

void ChangeWatch::tell_boot(Service& service) {
  const ClockReading now = around_.clock->read();
  const Instant booted = now.instant - Duration(now.stamp.boot_ns);
  if (booted > service.incident().state().epoch.switched && service.incident().state().epoch.number > 0)
    tell(service, OtherChange::Kind::boot, "the machine was started", booted, 60s);
}

void ChangeWatch::tell_packages(Service& service, const std::vector<Packages::Change>& changes) {
  Seen& seen = seen_[service.key().text()];
  const Instant from = since(service);
  for (const Packages::Change& change : changes) {
    const Instant at = at_wall(change.wall_ns);
    if (at < from || !seen.told.insert(change.what + std::to_string(change.wall_ns)).second) continue;
    tell(service, OtherChange::Kind::package, change.what, at);
  }
  if (seen.told.size() > kToldMax) seen.told.clear();
}

void ChangeWatch::tell_files(Service& service, WatchedFiles files) {
  Seen& seen = seen_[service.key().text()];
  struct Found {
    OtherChange::Kind kind;
    std::string what;
    Instant at;
  };
  std::vector<Found> found;
  const Instant from = since(service);
  for (const auto& [path, facts] : files) {
    const auto known = seen.files.find(path);
    if (known != seen.files.end() && known->second.same_as(facts)) continue;
    // First sight tells by the file's own time; later ones by when it came to its place.
    const Instant at = at_wall(seen.any ? std::max(facts.mtime_ns, facts.ctime_ns) : facts.mtime_ns);
    if (at >= from) found.push_back({facts.kind, path, at});
  }
  if (seen.any)
    for (const auto& [path, facts] : seen.files)
      if (!files.contains(path)) found.push_back({facts.kind, path + " (removed)", around_.clock->now()});
  seen.any = true;
  seen.files = std::move(files);
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) { return a.at < b.at; });
  const std::size_t first = found.size() > kToldAtOnce ? found.size() - kToldAtOnce : 0;
  for (std::size_t i = first; i < found.size(); ++i) tell(service, found[i].kind, found[i].what, found[i].at);
}

}  // namespace rollbackd::engine
