// Whose the state directory is, for a root that works in it in the daemon's place.
#pragma once

#include <sys/types.h>

#include <set>
#include <string>
#include <utility>

namespace rollbackd::cli {

/// Made before the work; give_back() after it, when nothing is open any more. Does nothing where we are not root, or the directory is
/// root's.
class StateOwner {
 public:
  explicit StateOwner(std::string directory);

  /// Files of root's in the directory become its owner's, and directories that were made since. No link is followed, no file with another
  /// name is touched, and a directory with a keeper of root's stays root's: the keeper believes what is in it. Failures are left: the
  /// daemon says what it cannot open.
  void give_back() const;

 private:
  std::string directory_;
  uid_t user_ = 0;
  gid_t group_ = 0;
  std::set<std::pair<dev_t, ino_t>> roots_before_;  ///< directories of root's
};

}  // namespace rollbackd::cli
