#include "io/session.hpp"

#include <cerrno>
#include <csignal>

namespace rollbackd::io {
namespace {

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

Result<pid_t> spawn_session(const std::string& file, std::vector<std::string> arguments, std::vector<std::string> variables,
                            const std::function<int(posix_spawn_file_actions_t*)>& files) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  if (::posix_spawn_file_actions_init(&actions) != 0) return Error::from_errno("cannot execute " + file, ENOMEM);
  if (::posix_spawnattr_init(&attributes) != 0) {
    ::posix_spawn_file_actions_destroy(&actions);
    return Error::from_errno("cannot execute " + file, ENOMEM);
  }
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  int error = ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  if (!error) error = ::posix_spawnattr_setsigdefault(&attributes, &all);
  if (!error) error = ::posix_spawnattr_setsigmask(&attributes, &none);
  if (!error) error = files(&actions);
  pid_t pid = -1;
  if (!error) error = ::posix_spawn(&pid, file.c_str(), &actions, &attributes, pointers(arguments).data(), pointers(variables).data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error) return Error::from_errno("cannot execute " + file, error);
  return pid;
}

}  // namespace rollbackd::io
