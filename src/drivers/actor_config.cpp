// Where the actor's trust begins: files of root's, and releases looked up by handles instead of by names that may change meanwhile.
#include "drivers/actor_config.hpp"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "config/load.hpp"
#include "drivers/guarded_path.hpp"
#include "drivers/layout.hpp"

namespace rollbackd::drivers::actor {
namespace {

using io::Fd;

constexpr std::size_t kFileBytesMax = 8 << 20;
constexpr std::size_t kFilesMax = 10'000;

std::vector<std::string> files_of(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> out;
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)  // NOLINT(concurrency-mt-unsafe): without "~" nobody's home is asked for
    for (std::size_t i = 0; i < found.gl_pathc && i < kFilesMax; ++i) out.emplace_back(found.gl_pathv[i]);
  ::globfree(&found);
  std::sort(out.begin(), out.end());
  return out;
}

Result<std::string> read_trusted(const std::string& path) {
  const auto file = open_trusted(path, O_RDONLY | O_NONBLOCK);
  if (file.has_error()) return file.error();
  struct stat facts {};
  if (::fstat(file->get(), &facts) != 0 || !S_ISREG(facts.st_mode)) return Error(Errc::io, path + " is no file");
  if (facts.st_size > static_cast<off_t>(kFileBytesMax)) return Error(Errc::too_large, path + " is larger than 8 MiB");
  std::string text(static_cast<std::size_t>(facts.st_size) + 1, '\0');
  std::size_t at = 0;
  while (at < text.size()) {
    const ssize_t n = ::read(file->get(), text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno("cannot read " + path, errno);
    if (n == 0) break;
    at += static_cast<std::size_t>(n);
  }
  if (at == text.size()) return Error(Errc::conflict, path + " was written while it was read");
  text.resize(at);
  return text;
}

std::string services_directory(const std::string& config) { return config.substr(0, config.rfind('/')) + "/services.d"; }

std::vector<std::string> service_files(const std::string& config) {
  std::vector<std::string> out;
  for (const char* ending : {"/*.json", "/*.yaml", "/*.yml"})
    for (std::string& file : files_of(services_directory(config) + ending)) out.push_back(std::move(file));
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

Result<Fd> open_trusted(const std::string& path, int flags) {
  if (!path.starts_with('/')) return Error(Errc::invalid_argument, path + " is not an absolute path");
  Fd at(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at) return Error::from_errno("cannot open /", errno);
  std::string sofar;
  const auto untrusted = [&](const std::string& why) {
    return Error(Errc::unauthorized, "the actor does not trust " + path)
        .because((sofar.empty() ? "/" : sofar) + ": " + why)
        .try_next("chown root, chmod go-w, and name it without links");
  };
  std::vector<std::string> parts;
  for (const std::string& part : split(path, '/')) {
    if (part == "..") return untrusted("it has .. in it");
    if (!part.empty() && part != ".") parts.push_back(part);
  }
  for (std::size_t i = 0; i <= parts.size(); ++i) {
    struct stat facts {};
    if (::fstat(at.get(), &facts) != 0) return Error::from_errno("cannot look at " + sofar, errno);
    if (const std::string why = distrust(facts); !why.empty()) return untrusted(why);
    if (i == parts.size()) break;
    sofar += "/" + parts[i];
    const bool last = i + 1 == parts.size();
    Fd next(::openat(at.get(), parts[i].c_str(), (last ? flags : O_PATH | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC));
    if (!next && (errno == ELOOP || errno == ENOTDIR)) return untrusted("it is a link, or no directory");
    if (!next) return Error::from_errno("cannot open " + sofar, errno);
    at = std::move(next);
  }
  return at;
}

ServiceList::Fingerprint ServiceList::look() const {
  Fingerprint out;
  std::vector<std::string> files = service_files(config_);
  files.push_back(config_);
  files.push_back(services_directory(config_));
  for (const std::string& file : files) {
    struct stat s {};
    if (::lstat(file.c_str(), &s) != 0) continue;
    out[file] = std::to_string(s.st_dev) + ":" + std::to_string(s.st_ino) + ":" + std::to_string(s.st_size) + ":" +
                std::to_string(s.st_ctim.tv_sec) + "." + std::to_string(s.st_ctim.tv_nsec) + ":" + std::to_string(s.st_mode) + ":" +
                std::to_string(s.st_uid);
  }
  return out;
}

Result<config::Settings> ServiceList::read() const {
  auto main = read_trusted(config_);
  if (main.has_error()) return main.error();
  std::vector<config::SourceFile> services;
  for (const std::string& file : service_files(config_)) {
    auto text = read_trusted(file);
    if (text.has_error()) return text.error();
    services.push_back({file, std::move(*text)});
  }
  config::Loaded loaded = config::load({config_, std::move(*main)}, services, files_of);
  for (const config::Problem& problem : loaded.problems)
    if (!problem.warning) return Error(Errc::invalid_config, "the configuration cannot be used").because(problem.text());
  return std::move(loaded.settings);
}

Result<> ServiceList::refresh() {
  Fingerprint now = look();
  if (now == seen_) return last_;
  seen_ = std::move(now);
  auto settings = read();
  if (settings.has_value()) {
    settings_ = std::move(*settings);
    has_list_ = true;
    last_ = Result<>{};
  } else if (settings.error().code == Errc::unauthorized || !has_list_) {
    last_ = settings.error();
  } else {
    log::warning("the actor keeps the service list it has", {{"why", settings.error().text()}});
    last_ = Result<>{};
  }
  return last_;
}

Result<config::ServiceSettings> ServiceList::find(const ServiceKey& key) const {
  for (const config::ServiceSettings& service : settings_.services)
    if (service.key == key) return service;
  return Error(Errc::not_found, "the actor's configuration has no service " + key.text()).because("it reads " + config_);
}

Result<config::ComponentSettings> ServiceList::find(const ServiceKey& key, const std::string& component) const {
  const auto service = find(key);
  if (service.has_error()) return service.error();
  for (const config::ComponentSettings& one : service->components)
    if (one.name == component) return one;
  return Error(Errc::not_found, key.text() + " has no component " + component).because("the actor reads " + config_);
}

Result<ReleasePlace> open_release(const std::string& directory, const std::string& release) {
  const std::string releases = without_trailing_slashes(directory);
  if (auto id = check_release_id(release); id.has_error()) return Error(Errc::refused, id.error().what).because(id.error().why);
  ReleasePlace out;
  // The directory itself must be one: a link in its place could be turned at any moment by whoever owns its parent.
  const std::size_t slash = releases.rfind('/');
  auto parent = open_by_parts(slash == 0 ? "/" : releases.substr(0, slash), O_PATH);
  if (parent.has_error()) return parent.error();
  out.releases = Fd(::openat(parent->get(), releases.c_str() + slash + 1, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!out.releases && (errno == ENOTDIR || errno == ELOOP))
    return Error(Errc::refused, releases + " is no directory").because("a link is not followed there").try_next("name what it leads to");
  if (!out.releases) return Error::from_errno("cannot open " + releases, errno);
  // A release id is one name, without a slash and no "..", so this leads nowhere else. Not openat2: RestrictSUIDSGID= of the unit answers
  // it with ENOSYS.
  out.release = Fd(::openat(out.releases.get(), release.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!out.release && errno == ENOENT) return Error(Errc::not_found, "no release " + release + " in " + releases);
  if (!out.release)
    return Error(Errc::refused, release + " is no release of " + releases).because(std::strerror(errno));  // NOLINT(concurrency-mt-unsafe)
  return out;
}

Result<> leads_to(int directory, const std::string& link_value, const ReleasePlace& place) {
  const Fd there(::openat(directory, link_value.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct stat a {
  }, b{};
  if (there && ::fstat(there.get(), &a) == 0 && ::fstat(place.release.get(), &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
    return {};
  return Error(Errc::refused, "a link to " + printable(link_value) + " would not lead to the release that was asked for");
}

bool noted_bad(const ReleasePlace& place, const std::string& release) {
  struct stat facts {};
  return ::fstatat(place.releases.get(), bad_release_note(release).c_str(), &facts, AT_SYMLINK_NOFOLLOW) == 0;
}

}  // namespace rollbackd::drivers::actor
