// The service list as the actor reads it: the same files as the daemon's, but only if nobody but root could have written them.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/error.hpp"
#include "config/settings.hpp"
#include "io/process.hpp"

namespace rollbackd::drivers::actor {

/// Opens a file whose whole chain of directories, from "/" on, belongs to root (or to the user of this process) and can be written by
/// nobody else; sticky directories such as /tmp count as closed. No link is followed anywhere.
/// @return `unauthorized` naming the part that is not trusted, and how to put it right
Result<io::Fd> open_trusted(const std::string& path, int flags);

/// The list, and when it must be read again.
class ServiceList {
 public:
  explicit ServiceList(std::string config) : config_(std::move(config)) {}
  /// Reads the main file and services.d again when one of them changed. A list of before stays in place, with a warning, when the new one
  /// cannot be read or is invalid, as the daemon keeps its own then.
  /// @return an error when there is no list at all, or when a file is not to be trusted (any more): nothing may be done then
  Result<> refresh();
  const config::Settings& settings() const { return settings_; }
  /// @return `not_found`
  Result<config::ServiceSettings> find(const ServiceKey& key) const;
  Result<config::ComponentSettings> find(const ServiceKey& key, const std::string& component) const;

 private:
  using Fingerprint = std::map<std::string, std::string>;
  Fingerprint look() const;
  Result<config::Settings> read() const;
  std::string config_;
  config::Settings settings_;
  Fingerprint seen_;
  bool has_list_ = false;
  Result<> last_ = Error(Errc::unavailable, "the configuration was not read yet");
};

/// A directory and one of its children, as a release is found: by handles, no part of `child` leads out.
struct ReleasePlace {
  io::Fd releases, release;
};
/// Opens `releases` (by its parts, and it must not itself be a link) and in it the directory `release`, through no link.
/// @return `not_found`, `refused` (a link, no directory, no release id)
Result<ReleasePlace> open_release(const std::string& releases, const std::string& release);
/// Whether `link_value`, read in the open `directory`, leads to exactly the directory that `place` has open.
Result<> leads_to(int directory, const std::string& link_value, const ReleasePlace& place);
/// Whether a note of ours beside the release says that it is bad.
bool noted_bad(const ReleasePlace& place, const std::string& release);

}  // namespace rollbackd::drivers::actor
