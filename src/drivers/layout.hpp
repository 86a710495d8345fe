// Where a component's releases are, what its link means, and what deployment tools leave beside them. Blocking looks, no changes.
#pragma once

#include <string>
#include <vector>

#include "base/error.hpp"
#include "drivers/link_switch.hpp"
#include "drivers/manifest.hpp"
#include "model/operation.hpp"
#include "model/release.hpp"

namespace rollbackd::drivers {

/// Copied into the workers.
struct Layout {
  LinkPlace place;
  std::string releases;

  std::string release_path(const std::string& release) const { return releases + "/" + release; }
  /// The release that a link value leads to; empty when it leads anywhere else. The releases directory may have several names.
  std::string release_of(const std::string& value) const;
  bool has_release(const std::string& release) const;
  /// How a link to `release` is written: the way the present one is, so relative stays relative.
  std::string value_for(const LinkFacts& now, const std::string& release) const;
  /// The link, and the releases on disk that are whole.
  Result<World> look() const;
  /// Why `release` is still being written, as far as deployment tools tell; empty when nothing says so, and for the live one: Deployer's
  /// link `release` leads to what it writes, Ansible's deploy_helper leaves a file DEPLOY_UNFINISHED.
  std::string why_unfinished(const std::string& release) const;
  /// Names of links beside `current` and in the releases directory that lead to `release`, `current` and the armed link among them.
  std::vector<std::string> links_to(const std::string& release) const;
  /// A deployment tool's lock that is held now (Deployer's .dep/deploy.lock); empty when there is none.
  std::string held_lock() const;
};

std::string without_trailing_slashes(std::string path);

/// Name of the note that says of a bad release why it is one, in the directory of the releases.
inline std::string bad_release_note(const std::string& release) { return "." + release + ".BAD_RELEASE"; }

/// What a release says of itself: release.json (bounded; bad content is ignored with a warning), and where that is silent what deployment
/// tools leave: the commit from a file REVISION (Capistrano, Deployer, Ansistrano), the time from Deployer's .dep/releases_log.
struct Said {
  Release release;
  LeftOut left_out;  ///< "mutable": relative paths that the service writes for itself
};
Said describe_release(const Layout& layout, const std::string& release);

}  // namespace rollbackd::drivers
