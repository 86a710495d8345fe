// Reads one release in full and keeps its manifest for people. Blocking; what is kept is never needed for acting.
#pragma once

#include <memory>
#include <string>

#include "drivers/driver.hpp"
#include "drivers/layout.hpp"
#include "drivers/manifest.hpp"

namespace rollbackd::drivers {

/// What quick looks compare with.
struct Known {
  Manifest manifest;  ///< without its text
  LeftOut left_out;
};

struct ReleaseRead {
  Reading reading;
  std::shared_ptr<const Known> known;
};

/// @param known  of the last reading; may be null
/// @param kept   directory of manifests; empty: none are kept. Trouble with it is a warning
Result<ReleaseRead> read_release(const Layout& layout, const std::string& release, const ReadOptions& options,
                                 const std::shared_ptr<const Known>& known, const std::string& kept);

/// Takes the manifests of a release that is gone away.
void forget_manifest(const std::string& kept, const std::string& release);

}  // namespace rollbackd::drivers
