// A control group (v2) for one hook, where we may make one: what it starts is ended in one go, also by a program that forks without end.
#pragma once

#include <string>

#include "io/process.hpp"

namespace rollbackd::drivers {

/// Beside the guard's own group. Where that cannot be (v1, read-only, no right to) every call does nothing: the guard is subreaper anyway.
class HookCgroup {
 public:
  HookCgroup();
  ~HookCgroup();
  HookCgroup(const HookCgroup&) = delete;
  HookCgroup& operator=(const HookCgroup&) = delete;
  bool usable() const { return static_cast<bool>(procs_); }
  void enter() const;  ///< the calling process; between fork and exec
  void kill() const;
  void remove();

 private:
  std::string path_;
  io::Fd procs_;
};

}  // namespace rollbackd::drivers
