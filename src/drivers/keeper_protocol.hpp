// What a keeper and the daemon say to each other, and the files of a keeper's directory.
//
// The socket is SOCK_SEQPACKET: one JSON object a message, at most kMessageBytesMax. To the keeper:
//   {"do": "start|restart|stop|status|watch|reload_settings|end", "token": "..."}
// Back, one answer a request, when it is done: {"reply": DO, "token", "ok", "error", "running", "pid", "started_boot_ns",
// "stopped_by_person", "last_exit", "settings"}. A token that was answered before gets its first answer again and nothing is done. A
// restart with "unless_since_boot_ns" is done already ("already": true) where the running process was started at that time or later. After
// "watch" each change comes as
//   {"event": "running|exited|start_failed", "pid", "started_boot_ns", "at_boot_ns", "code_known", "code", "signal", "requested", "oom",
//   "detail"}
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/time.hpp"
#include "config/settings.hpp"

namespace rollbackd::drivers::keeper {

inline constexpr std::size_t kMessageBytesMax = 16 << 10;
inline constexpr const char* kSocketName = "keeper.sock";         ///< 0600
inline constexpr const char* kSettingsName = "keeper.conf.json";  ///< written by the daemon
inline constexpr const char* kStateName = "keeper.json";          ///< written by the keeper
inline constexpr const char* kLockName = "keeper.lock";           ///< held as long as a keeper lives
inline constexpr const char* kLogName = "keeper.log";             ///< the keeper's own words
inline constexpr const char* kOutputName = "output.pipe";         ///< what the service writes; the keeper reads it

/// What a keeper has to know of its service; the content of keeper.conf.json.
struct Settings {
  std::vector<std::string> argv;
  std::string working_directory;
  std::map<std::string, std::string> environment;
  std::string user;
  Duration stop_timeout = 10s;
  Duration restart_delay = 1s;
  std::string output;
  std::int64_t output_bytes_max = 10 << 20;

  Json to_json() const;
  static Result<Settings> from_json(const Json& json);
  /// Names these settings: a keeper that runs with others says so in its status.
  std::string fingerprint() const;
};

/// An address of the socket in `directory` whatever the length of its path: sun_path holds 107 bytes only.
/// @param directory_fd  an open handle of it, kept open while the address is used
std::string short_socket_path(int directory_fd);

/// Writes `text` to `path` by way of a temporary name, 0600: a reader sees the old or the new one. Not synced: it is worth nothing after a
/// reboot.
Result<> replace_file(const std::string& path, const std::string& text);
/// A file of at most `bytes_max`. `not_found` when there is none.
Result<std::string> read_file(const std::string& path, std::size_t bytes_max);

}  // namespace rollbackd::drivers::keeper
