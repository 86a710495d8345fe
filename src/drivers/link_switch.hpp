// The switch itself: one link exchanged for another as a compare-and-swap. Blocking system calls on one directory, nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/error.hpp"
#include "model/operation.hpp"

namespace rollbackd::drivers {

/// Where `current` is: its directory and its name there.
struct LinkPlace {
  std::string directory, name;
  /// The directory is opened by its parts (guarded_path.hpp) wherever something is changed in it: who owns one above it may put a link in
  /// its place.
  bool guarded = false;
  std::string path() const { return directory + "/" + name; }
  /// The link that is made in advance, beside `current`.
  std::string armed_name() const { return "." + name + ".rollbackd-armed"; }
  std::string armed_path() const { return directory + "/" + armed_name(); }
};

/// What is at a name, without following it.
struct LinkFacts {
  World::Link link = World::Link::missing;
  std::string value;
  std::uint64_t inode = 0;
};

/// renameat2(RENAME_EXCHANGE) of two names of one directory: 0 or an errno. Tests put others in its place.
using Exchange = std::function<int(int directory, const char* a, const char* b)>;
int exchange_names(int directory, const char* a, const char* b);

Result<LinkFacts> look_at_link(const LinkPlace& place);

/// Asked of the directory of `current` once it is open, before anything is changed in it: what it refuses is not done. What was looked at
/// is where the switch happens, whatever has come to the directory's name meanwhile.
using DirectoryCheck = std::function<Result<>(int directory)>;

/// Makes the armed link with `to_value`, replacing one that leads elsewhere (after an exchange it holds the old release).
/// @return whether the file system can exchange two names; without it a switch is a check followed by a rename
Result<bool> arm_link(const LinkPlace& place, const std::string& to_value, const Exchange& exchange = exchange_names);

/// Puts `to_value` where `from_value` is. Repeated it is `already_done`; where something else is, `conflict`, and that stays (or is put
/// back).
/// @param from_value  empty: there must be no link yet, and it is made
/// Facts: {"link_value", "link_inode", "came_out", "exchange", "durable"}. `unknown` only when a foreign link came out and could not be put
/// back.
Outcome switch_link(const LinkPlace& place, const std::string& from_value, const std::string& to_value,
                    const Exchange& exchange = exchange_names, const DirectoryCheck& check = {});

}  // namespace rollbackd::drivers
