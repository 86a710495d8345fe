// Child processes and pidfds: start, feed, bound the output, kill the whole group at the deadline, learn how it ended.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"

namespace rollbackd::io {

struct CommandOptions {
  std::vector<std::string> argv{};  ///< argv[0] is looked up in PATH unless it has a slash
  std::string working_directory{};
  std::map<std::string, std::string> environment{};  ///< added to a clean one (PATH, HOME, LANG=C.UTF-8)
  std::string input{};                               ///< standard input; then closed
  std::size_t output_bytes_max = 64 << 10;           ///< standard output and error together; the rest is read and dropped
};
struct CommandResult {
  int exit_code = -1;  ///< -1 when it ended by a signal
  int signal = 0;
  std::string output;
  bool cut = false;
};
/// Runs a command in its own process group. At `timeout` the group gets SIGTERM, 1 s later SIGKILL: `timed_out`.
/// @return `not_found` when it cannot be executed (no such program, no right), `io` when we cannot start anything
boost::asio::awaitable<Result<CommandResult>> run_command(CommandOptions options, Duration timeout);

/// A file descriptor that closes itself.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~Fd() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

/// What /proc tells of a process.
struct ProcessFacts {
  int pid = 0;
  std::int64_t started_boot_ns = 0;  ///< start time, in CLOCK_BOOTTIME, a multiple of 10 ms (floor)
  std::string executable;            ///< /proc/PID/exe; may be empty
  char state = '?';                  ///< 'Z' for a zombie: not running
};
/// @return `not_found` when there is no such process (or it is a zombie)
Result<ProcessFacts> process_facts(int pid);
/// Reads the text of a /proc/PID/stat file; the name in it may hold spaces, parentheses and newlines. `corrupt` when it is none.
Result<ProcessFacts> parse_process_stat(std::string_view text);

/// A pidfd: becomes readable when the process has exited.
class PidFd {
 public:
  static Result<PidFd> open(boost::asio::any_io_executor executor, int pid);
  PidFd(PidFd&&) noexcept;
  PidFd& operator=(PidFd&&) noexcept;
  ~PidFd();
  /// Waits until the process has exited.
  boost::asio::awaitable<Result<>> wait();
  /// Sends a signal to exactly this process (pidfd_send_signal): never to another one that got its number.
  Result<> send_signal(int signal);

 private:
  struct Impl;
  explicit PidFd(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace rollbackd::io
