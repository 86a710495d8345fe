// Takes a release's directory away for good: under a hidden name first, so that nobody takes what is left of it for a release, then file by
// file, through no link and onto no other file system. Blocking.
#pragma once

#include <string>
#include <vector>

#include "drivers/layout.hpp"

namespace rollbackd::drivers {

/// Removes `release`, or goes on with a removal that was cut off. Asked again when it is gone: `already_done`.
/// Outcome `refused`: it is live, a link leads to it, a deployment writes it or holds its lock, or it is a mount point; nothing was
/// changed. `failed`: something could not be removed; it stays under its hidden name, and asked again it goes on. `conflict`: the release
/// has come again while what is left of the old one was being removed; the new one is left alone.
Outcome remove_release(const Layout& layout, const std::string& release);

/// Releases whose removal was cut off.
std::vector<std::string> half_removed(const std::string& releases);

}  // namespace rollbackd::drivers
