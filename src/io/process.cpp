#include "io/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/text.hpp"

namespace asio = boost::asio;

namespace rollbackd::io {

void Fd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

namespace {

constexpr std::string_view kCleanPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr Duration kTermToKill = 1s;
constexpr Duration kKillToGivingUp = 1s;         // A process in an uninterruptible sleep does not even die of SIGKILL.
constexpr std::size_t kDrainBytesMax = 1 << 20;  // Read after the leader's exit: a grandchild may write for ever.
constexpr std::size_t kStatBytesMax = 4096;
constexpr std::size_t kReadBytes = 16 << 10;

int pidfd_open(int pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)); }

/// PATH, HOME and LANG, and on top of them what the caller adds: nothing leaks in from our own environment.
std::map<std::string, std::string> clean_environment(const std::map<std::string, std::string>& added) {
  const char* home = std::getenv("HOME");  // NOLINT(concurrency-mt-unsafe): nobody here writes the environment
  std::map<std::string, std::string> out{{"PATH", std::string(kCleanPath)}, {"HOME", home ? home : "/"}, {"LANG", "C.UTF-8"}};
  for (const auto& [name, value] : added) out[name] = value;
  return out;
}

/// The file that `name` means: itself with a slash in it, else the first executable of that name in `path`.
std::string look_up(const std::string& name, const std::string& path) {
  if (name.find('/') != std::string::npos) return name;
  for (const std::string& directory : split(path, ':')) {
    if (directory.empty()) continue;
    std::string file = directory + "/" + name;
    struct stat facts {};
    if (::stat(file.c_str(), &facts) == 0 && S_ISREG(facts.st_mode) && ::access(file.c_str(), X_OK) == 0) return file;
  }
  return {};
}

/// Standard input as a file in memory: nothing to feed, no SIGPIPE when the child does not read it, and an end of file at its end.
Result<Fd> input_of(const std::string& text) {
  if (text.empty()) {
    Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!null) return Error::from_errno("cannot open /dev/null", errno);
    return null;
  }
  Fd memory(::memfd_create("rollbackd-input", MFD_CLOEXEC));
  if (!memory) return Error::from_errno("cannot make a file in memory", errno);
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(memory.get(), text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error::from_errno("cannot write a file in memory", errno);
    at += static_cast<std::size_t>(n);
  }
  if (::lseek(memory.get(), 0, SEEK_SET) != 0) return Error::from_errno("cannot rewind a file in memory", errno);
  return memory;
}

struct Spawned {
  int pid = -1;
  Fd pidfd, output;
};

Error cannot_execute(const CommandOptions& options, int error) {
  if (error == ENOMEM || error == EAGAIN || error == EMFILE || error == ENFILE) return Error::from_errno("cannot start a process", error);
  struct stat facts {};
  if (!options.working_directory.empty() && (::stat(options.working_directory.c_str(), &facts) != 0 || !S_ISDIR(facts.st_mode)))
    return Error(Errc::not_found, "cannot execute " + options.argv[0]).because("no such working directory: " + options.working_directory);
  return Error(Errc::not_found, "cannot execute " + options.argv[0]).because(std::strerror(error));
}

/// The vectors of pointers that exec(3) wants; they point into `texts`.
std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

/// Starts the command in a process group of its own, with default signals and nothing of ours open.
Result<Spawned> spawn(const CommandOptions& options) {
  if (options.argv.empty() || options.argv[0].empty())
    return Error(Errc::not_found, "cannot execute nothing").because("the command is empty");
  const auto environment = clean_environment(options.environment);
  const std::string file = look_up(options.argv[0], environment.at("PATH"));
  if (file.empty())
    return Error(Errc::not_found, "cannot execute " + options.argv[0]).because("no such program in " + environment.at("PATH"));

  auto input = input_of(options.input);
  if (input.has_error()) return input.error();
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return Error::from_errno("cannot make a pipe", errno);
  Fd output(ends[0]), child_output(ends[1]);
  if (::fcntl(output.get(), F_SETFL, O_NONBLOCK) != 0) return Error::from_errno("cannot set up a pipe", errno);

  std::vector<std::string> arguments = options.argv, variables;
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  if (::posix_spawn_file_actions_init(&actions) != 0) return Error::from_errno("cannot start a process", ENOMEM);
  if (::posix_spawnattr_init(&attributes) != 0) {
    ::posix_spawn_file_actions_destroy(&actions);
    return Error::from_errno("cannot start a process", ENOMEM);
  }
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  int error = ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  if (!error) error = ::posix_spawnattr_setpgroup(&attributes, 0);
  if (!error) error = ::posix_spawnattr_setsigdefault(&attributes, &all);
  if (!error) error = ::posix_spawnattr_setsigmask(&attributes, &none);
  if (!error) error = ::posix_spawn_file_actions_adddup2(&actions, input.value().get(), STDIN_FILENO);
  if (!error) error = ::posix_spawn_file_actions_adddup2(&actions, child_output.get(), STDOUT_FILENO);
  if (!error) error = ::posix_spawn_file_actions_adddup2(&actions, child_output.get(), STDERR_FILENO);
  if (!error && !options.working_directory.empty())
    error = ::posix_spawn_file_actions_addchdir_np(&actions, options.working_directory.c_str());
  if (!error) error = ::posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  Spawned spawned;
  if (!error)
    error = ::posix_spawn(&spawned.pid, file.c_str(), &actions, &attributes, pointers(arguments).data(), pointers(variables).data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error) return cannot_execute(options, error);

  spawned.pidfd.reset(pidfd_open(spawned.pid));
  if (!spawned.pidfd) {  // It is our child and not yet reaped, so its number is its own.
    const int why = errno;
    ::kill(-spawned.pid, SIGKILL);
    ::waitpid(spawned.pid, nullptr, 0);
    return Error::from_errno("cannot watch a process", why);
  }
  spawned.output = std::move(output);
  return spawned;
}

/// One running command. Its callbacks keep it alive; `done` is cancelled at each change that the coroutine waits for.
class Command : public std::enable_shared_from_this<Command> {
 public:
  Command(const asio::any_io_executor& executor, Spawned spawned, std::size_t output_bytes_max)
      : done(executor),
        pid_(spawned.pid),
        output_bytes_max_(output_bytes_max),
        pidfd_(executor, spawned.pidfd.release()),
        output_(executor, spawned.output.release()) {}

  void start() {
    wait_for_exit();
    wait_for_output();
  }
  bool exited() const { return exited_; }
  bool output_ended() const { return output_ended_; }
  void signal_group(int signal) const {
    ::kill(-pid_, signal);
  }  // The leader is not reaped before the end, so the group's number stays ours.

  /// Collects the leader's exit status, and what it had written: after it only what is there already is read, since whoever inherited the
  /// pipe may keep it open for ever.
  CommandResult finish() {
    std::size_t drained = 0;
    while (!output_ended_ && drained < kDrainBytesMax) {
      const ssize_t n = read_some();
      if (n <= 0) break;
      drained += static_cast<std::size_t>(n);
    }
    reap();
    close();
    return std::move(result_);
  }
  /// Nobody waits any more: ends the group, and reaps the leader when it has gone.
  void abandon() {
    finished_ = true;
    boost::system::error_code ignored;
    output_.close(ignored);
    signal_group(SIGKILL);
    if (exited_) reap();
  }
  /// The coroutine was destroyed, perhaps with its reactor: ends the group without it. Blocks for at most 100 ms.
  void end_at_once() {
    if (reaped_) return;
    finished_ = true;
    signal_group(SIGKILL);
    pollfd wait{pidfd_.native_handle(), POLLIN, 0};
    if (::poll(&wait, 1, 100) > 0) reap();
    close();
  }

  asio::steady_timer done;

 private:
  void wait_for_exit() {
    pidfd_.async_wait(asio::posix::descriptor_base::wait_read, [self = shared_from_this()](boost::system::error_code error) {
      if (error) return;
      self->exited_ = true;
      if (self->finished_) return self->reap();
      self->done.cancel();
    });
  }
  void wait_for_output() {
    output_.async_wait(asio::posix::descriptor_base::wait_read, [self = shared_from_this()](boost::system::error_code error) {
      if (error || self->finished_) return;
      const ssize_t n = self->read_some();
      if (n == 0) {
        self->output_ended_ = true;
        return void(self->done.cancel());
      }
      self->wait_for_output();
    });
  }
  /// What read(2) says: 0 at the end, also for an error that will not go away.
  ssize_t read_some() {
    std::array<char, kReadBytes> buffer;
    const ssize_t n = ::read(output_.native_handle(), buffer.data(), buffer.size());
    if (n < 0) return errno == EAGAIN || errno == EINTR ? -1 : 0;
    const std::size_t room = output_bytes_max_ - result_.output.size();
    const auto got = static_cast<std::size_t>(n);
    result_.output.append(buffer.data(), std::min(room, got));
    if (got > room) result_.cut = true;
    return n;
  }
  void reap() {
    siginfo_t info{};
    if (reaped_ || ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.native_handle()), &info, WEXITED | WNOHANG) != 0 ||
        info.si_pid == 0)
      return;
    reaped_ = true;
    if (info.si_code == CLD_EXITED) {
      result_.exit_code = info.si_status;
    } else {
      result_.signal = info.si_status;
    }
  }
  void close() {
    finished_ = true;
    boost::system::error_code ignored;
    output_.close(ignored);
    if (reaped_) pidfd_.close(ignored);
  }

  int pid_;
  std::size_t output_bytes_max_;
  asio::posix::stream_descriptor pidfd_, output_;
  CommandResult result_;
  bool exited_ = false, output_ended_ = false, finished_ = false, reaped_ = false;
};

/// Ends the command when the coroutine's frame goes before it has.
struct CommandGuard {
  std::shared_ptr<Command> command;
  explicit CommandGuard(std::shared_ptr<Command> c) : command(std::move(c)) {}
  CommandGuard(const CommandGuard&) = delete;
  CommandGuard& operator=(const CommandGuard&) = delete;
  ~CommandGuard() {
    if (command) command->end_at_once();
  }
};

}  // namespace

asio::awaitable<Result<CommandResult>> run_command(CommandOptions options, Duration timeout) {
  const auto executor = co_await asio::this_coro::executor;
  auto spawned = spawn(options);
  if (spawned.has_error()) co_return spawned.error();
  CommandGuard guard(std::make_shared<Command>(executor, std::move(spawned.value()), options.output_bytes_max));
  Command& command = *guard.command;
  command.start();

  enum class Phase { running, terminated, killed };
  Phase phase = Phase::running;
  command.done.expires_after(timeout);
  while (true) {
    // Asked to end, the group has its second; the pipe's end tells that nobody of it is left. Killed, it is over when the leader is.
    if (command.exited() && (phase != Phase::terminated || command.output_ended())) break;
    const auto [stopped] = co_await command.done.async_wait(asio::as_tuple(asio::use_awaitable));
    if (stopped) {
      if ((co_await asio::this_coro::cancellation_state).cancelled() == asio::cancellation_type::none) continue;
      command.abandon();
      guard.command.reset();
      co_return Error(Errc::cancelled, options.argv[0] + " was ended before it was done");
    }
    if (command.exited() && phase == Phase::running) break;
    if (phase == Phase::running) {
      phase = Phase::terminated;
      command.signal_group(SIGTERM);
      command.done.expires_after(kTermToKill);
    } else if (phase == Phase::terminated) {
      phase = Phase::killed;
      command.signal_group(SIGKILL);
      command.done.expires_after(kKillToGivingUp);
    } else {
      command.abandon();
      break;
    }
  }
  if (phase == Phase::running) {
    CommandResult result = command.finish();
    guard.command.reset();
    co_return result;
  }
  command.signal_group(SIGKILL);
  const CommandResult result = command.finish();
  if (!command.exited()) command.abandon();
  guard.command.reset();
  co_return Error(Errc::timed_out, options.argv[0] + " did not end within " + format_duration(timeout))
      .because(result.output.empty() ? "" : "it had written: " + printable(cut(trim(result.output), 512)));
}

Result<ProcessFacts> parse_process_stat(std::string_view text) {
  const Error corrupt = Error(Errc::corrupt, "not a /proc/PID/stat file").because(printable(text.substr(0, 80)));
  const std::size_t open = text.find('('), close = text.rfind(')');  // The last one: the name between may hold parentheses too.
  if (open == text.npos || close == text.npos || close < open) return corrupt;
  ProcessFacts facts;
  const std::string_view number = trim(text.substr(0, open));
  if (std::from_chars(number.data(), number.data() + number.size(), facts.pid).ec != std::errc{}) return corrupt;

  constexpr std::size_t kState = 3, kStartTime = 22;  // Counted from 1, as in proc(5); the name is the second.
  const std::vector<std::string> fields = split(trim(text.substr(close + 1)), ' ');
  if (fields.size() <= kStartTime - kState || fields[0].size() != 1) return corrupt;
  facts.state = fields[0][0];
  const std::string& start = fields[kStartTime - kState];
  std::int64_t ticks = 0;
  if (std::from_chars(start.data(), start.data() + start.size(), ticks).ec != std::errc{}) return corrupt;
  static const std::int64_t ticks_per_second = std::max(1L, ::sysconf(_SC_CLK_TCK));
  facts.started_boot_ns = ticks * (1'000'000'000 / ticks_per_second);
  return facts;
}

Result<ProcessFacts> process_facts(int pid) {
  const std::string directory = "/proc/" + std::to_string(pid);
  const Error gone = Error(Errc::not_found, "no process " + std::to_string(pid));
  if (pid <= 0) return gone;
  const Fd file(::open((directory + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return errno == ENOENT || errno == ESRCH ? gone : Error::from_errno("cannot read " + directory + "/stat", errno);
  std::array<char, kStatBytesMax> buffer;
  const ssize_t n = ::read(file.get(), buffer.data(), buffer.size());
  if (n < 0) return errno == ESRCH ? gone : Error::from_errno("cannot read " + directory + "/stat", errno);
  auto facts = parse_process_stat(std::string_view(buffer.data(), static_cast<std::size_t>(n)));
  if (facts.has_error()) return facts;
  if (facts.value().state == 'Z' || facts.value().state == 'X') return gone;
  std::array<char, 4096> path;
  const ssize_t length = ::readlink((directory + "/exe").c_str(), path.data(), path.size());
  if (length > 0) facts.value().executable.assign(path.data(), static_cast<std::size_t>(length));
  return facts;
}

struct PidFd::Impl {
  asio::posix::stream_descriptor descriptor;
};

PidFd::PidFd(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
PidFd::PidFd(PidFd&&) noexcept = default;
PidFd& PidFd::operator=(PidFd&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}
PidFd::~PidFd() {
  boost::system::error_code ignored;
  if (impl_) impl_->descriptor.close(ignored);
}

Result<PidFd> PidFd::open(asio::any_io_executor executor, int pid) {
  Fd fd(pid > 0 ? pidfd_open(pid) : -1);
  if (!fd && (pid <= 0 || errno == ESRCH || errno == EINVAL)) return Error(Errc::not_found, "no process " + std::to_string(pid));
  if (!fd) return Error::from_errno("cannot watch process " + std::to_string(pid), errno);
  try {
    return PidFd(std::shared_ptr<Impl>(new Impl{asio::posix::stream_descriptor(std::move(executor), fd.release())}));
  } catch (const boost::system::system_error& error) {  // epoll refused it
    return Error(Errc::io, "cannot watch process " + std::to_string(pid)).because(error.code().message());
  }
}

namespace {
asio::awaitable<Result<>> wait_readable(std::shared_ptr<asio::posix::stream_descriptor> descriptor) {
  const auto [error] = co_await descriptor->async_wait(asio::posix::descriptor_base::wait_read, asio::as_tuple(asio::use_awaitable));
  if (error == asio::error::operation_aborted) co_return Error(Errc::cancelled, "no longer waiting for the process");
  if (error) co_return Error(Errc::io, "cannot wait for a process").because(error.message());
  co_return Result<>{};
}
}  // namespace

asio::awaitable<Result<>> PidFd::wait() {
  // Not a coroutine itself: the returned one holds the descriptor, so it may outlive this object.
  return wait_readable(std::shared_ptr<asio::posix::stream_descriptor>(impl_, &impl_->descriptor));
}

Result<> PidFd::send_signal(int signal) {
  if (::syscall(SYS_pidfd_send_signal, impl_->descriptor.native_handle(), signal, nullptr, 0U) == 0) return {};
  if (errno == ESRCH) return Error(Errc::not_found, "the process has ended");
  return Error::from_errno("cannot send signal " + std::to_string(signal), errno);
}

}  // namespace rollbackd::io
