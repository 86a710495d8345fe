// The kill switch is a file: while it is there, nothing acts. Whoever can create a file can stop rollbackd, whether it answers or not.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.hpp"

namespace rollbackd::engine {

class KillSwitch {
 public:
  explicit KillSwitch(std::string path) : path_(std::move(path)) {}

  /// Looks at the file. What cannot be looked at (EACCES, EIO, ...) counts as there. One lstat(2), and a read of at most 512 bytes when
  /// it changed.
  /// @return whether something is other than at the look before
  bool look();
  bool on() const { return on_ || forced_; }
  const std::string& why() const { return why_; }  ///< empty while it is off
  const std::string& path() const { return path_; }
  /// On whether or not the file could be written: the order stands, only a restart would forget it.
  void force(std::string why);
  void release() { forced_ = false; }

  // For a worker: they wait for the disk.
  /// Creates the file with `text` in it, durably. That it is there counts: text that does not fit on a full disk is left out.
  static Result<> put(const std::string& path, const std::string& text);
  /// Removes it, durably. Nothing there is fine.
  static Result<> take_away(const std::string& path);

 private:
  std::string path_, why_;
  bool on_ = false, forced_ = false;
  std::uint64_t inode_ = 0;
  std::int64_t changed_ns_ = 0;
};

}  // namespace rollbackd::engine
