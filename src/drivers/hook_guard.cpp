// One hook from its start to the end of the last process that it left: the guard is parent of them all, so nothing forks away from it.
// Flow: hook runner -> [guard] -> the operator's program. One thread, one poll(2).
#include "drivers/hook_guard.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <optional>
#include <utility>

#include "base/text.hpp"
#include "drivers/hook_cgroup.hpp"
#include "drivers/hook_memory.hpp"
#include "drivers/trusted_program.hpp"

namespace rollbackd::drivers {
namespace {

using io::Fd;
using Steady = std::chrono::steady_clock;

constexpr std::size_t kOrderBytesMax = 4 << 20;
constexpr std::size_t kReadBytes = 64 << 10;
constexpr int kReadsPerTurn = 16;                // Then the clock is looked at, however fast the hook prints.
constexpr std::size_t kDrainBytesMax = 1 << 20;  // Read after the hook's exit.
constexpr int kPipeBytes = 1 << 20;
constexpr int kSweepMillis = 20;  // Between two rounds of killing what is left.

Error failed(const HookOrder& order, std::string why) {
  return Error(Errc::io, "the hook " + printable(cut(order.command.front(), 256)) + " failed").because(std::move(why));
}

/// The hook's own process: nothing of the guard's is left in it but the pipe, and for a script the descriptor that it is read from.
[[noreturn]] void become_hook(const HookOrder& order, const TrustedProgram& program, int output, int report, const HookCgroup& cgroup,
                              int guard) {
  const auto give_up = [&] {
    const int error = errno;
    (void)!::write(report, &error, sizeof error);
    ::_exit(127);
  };
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);      // Without its guard nobody would bound it.
  if (::getppid() != guard) ::_exit(127);  // Gone before that: then no signal comes.
  cgroup.enter();
  ::setsid();
  // Past the C library, which keeps two signals to itself and would pass them on as they came. KILL and STOP refuse.
  const std::array<unsigned long, 4> standard{};
  for (int number = 1; number <= 64; ++number) ::syscall(SYS_rt_sigaction, number, standard.data(), nullptr, 8UL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);  // NOLINT(concurrency-mt-unsafe): one thread
  ::umask(022);
  const int null = ::open("/dev/null", O_RDONLY);
  if (null < 0 || ::chdir("/") != 0 || ::dup2(null, STDIN_FILENO) < 0 || ::dup2(output, STDOUT_FILENO) < 0 ||
      ::dup2(output, STDERR_FILENO) < 0)
    give_up();
  if (::syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */) != 0)
    for (int fd = 3; fd < 1024; ++fd) ::fcntl(fd, F_SETFD, FD_CLOEXEC);  // A kernel before 5.11; the guard has few.
  if (program.script && ::fcntl(program.file.get(), F_SETFD, 0) != 0) give_up();
  std::vector<std::string> arguments = order.command, variables;
  for (const auto& [name, value] : order.environment) variables.push_back(name + "=" + value);
  std::vector<char*> argv, envp;
  for (std::string& text : arguments) argv.push_back(text.data());
  for (std::string& text : variables) envp.push_back(text.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  ::syscall(SYS_execveat, program.file.get(), "", argv.data(), envp.data(), AT_EMPTY_PATH);
  give_up();
  ::_exit(127);
}

/// Our children by /proc. They are not reaped while this list is used, so the numbers are theirs.
std::vector<int> children() {
  std::vector<int> out;
  const std::string own = std::to_string(::getpid());
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return out;
  for (const dirent* entry = ::readdir(proc); entry != nullptr; entry = ::readdir(proc)) {  // NOLINT(concurrency-mt-unsafe): one thread
    int pid = 0;
    const std::string_view name = entry->d_name;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ec != std::errc{} || pid <= 0) continue;
    const Fd stat(::open(("/proc/" + std::string(name) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
    std::array<char, 512> text;
    const ssize_t n = stat ? ::read(stat.get(), text.data(), text.size()) : 0;
    const std::string_view line(text.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
    const std::size_t close = line.rfind(')');  // ") S PPID ..."
    if (close == line.npos || close + 4 >= line.size()) continue;
    const std::string_view parent = line.substr(close + 4);
    if (parent.substr(0, parent.find(' ')) == own) out.push_back(pid);
  }
  ::closedir(proc);
  return out;
}

class Guard {
 public:
  explicit Guard(HookOrder order) : order_(std::move(order)) {}

  Outcome run() {
    auto program = open_trusted_program(order_.command.front());
    if (program.has_error()) return Outcome{Outcome::Status::refused, Json::object(), program.error()};
    if (auto ready = remember(); ready.has_error()) return Outcome{Outcome::Status::unknown, Json::object(), ready.error()};
    if (auto started = start(*program); started.has_error()) return end(Outcome{Outcome::Status::refused, facts(), started.error()});
    watch();
    sweep();
    drain();
    return end(judge());
  }

 private:
  /// That the hook was begun is on disk before it is. A disk that takes no word does not keep the hook from running.
  Result<> remember() {
    if (order_.memory.empty()) return {};
    auto memory = HookMemory::open(order_.memory, false);
    if (memory.has_error()) return {};
    memory_.emplace(std::move(*memory));
    if (auto taken = memory_->take(order_.place); taken.has_error()) return taken;
    auto begun = memory_->begin(order_.place, order_.sequence, order_.operation, order_.number, order_.attempt);
    remembered_ = begun.has_value();
    return {};
  }

  Outcome end(Outcome outcome) {
    if (remembered_) (void)memory_->end(order_.place, order_.sequence, outcome);
    return outcome;
  }

  Result<> start(const TrustedProgram& program) {
    std::array<int, 2> output{}, report{};
    if (::pipe2(output.data(), O_CLOEXEC) != 0) return Error::from_errno("cannot make a pipe", errno);
    output_.reset(output[0]);
    const Fd output_end(output[1]);
    if (::pipe2(report.data(), O_CLOEXEC) != 0) return Error::from_errno("cannot make a pipe", errno);
    const Fd said(report[0]);
    Fd say(report[1]);
    ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
    ::fcntl(output_.get(), F_SETPIPE_SZ, kPipeBytes);  // Best effort: fewer turns for a hook that prints much.
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &child, nullptr);  // NOLINT(concurrency-mt-unsafe): one thread
    signals_.reset(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
    null_.reset(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    if (!signals_ || !null_) return Error::from_errno("cannot watch a hook", errno);
    began_ = Steady::now();
    const int guard = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) return Error::from_errno("cannot start a hook", errno);
    if (pid_ == 0) become_hook(order_, program, output_end.get(), say.get(), cgroup_, guard);
    say.reset();
    int error = 0;
    ssize_t n = 0;
    do n = ::read(said.get(), &error, sizeof error);
    while (n < 0 && errno == EINTR);
    if (n != sizeof error) return {};
    ::waitpid(pid_, nullptr, 0);
    return Error(Errc::refused, "cannot execute " + printable(cut(order_.command.front(), 256)))
        .because(std::strerror(error));  // NOLINT(concurrency-mt-unsafe): one thread
  }

  /// Until the hook itself has ended, or could not be brought to.
  void watch() {
    auto due = began_ + std::chrono::duration_cast<Steady::duration>(order_.timeout);
    int asked = 0;  // 1: TERM, 2: KILL
    while (!ended_) {
      const auto now = Steady::now();
      if (now >= due) {
        if (asked == 2) return;
        timed_out_ = true;
        signal_all(asked == 0 ? SIGTERM : SIGKILL);
        due = now + std::chrono::duration_cast<Steady::duration>(asked == 0 ? kHookTermToKill : kHookKillToGivingUp);
        ++asked;
        continue;
      }
      wait(static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(due - now).count()));
    }
  }

  /// What the hook left: killed, children first, whose own become ours by that; until none is left or for two seconds.
  void sweep() {
    const auto until = Steady::now() + std::chrono::duration_cast<Steady::duration>(kHookKillToGivingUp);
    while (reap() && Steady::now() < until) {
      signal_all(SIGKILL);
      wait(kSweepMillis);
    }
    if (reap()) left_ = static_cast<int>(children().size());
    cgroup_.remove();
  }

  void signal_all(int signal) {
    if (signal == SIGKILL) cgroup_.kill();
    if (!ended_) ::kill(-pid_, signal);  // Its leader is not reaped yet, so the group's number is its own.
    for (const int pid : children()) {
      ::kill(pid, signal);
      if (pid != pid_) ++stray_;
    }
  }

  /// @return whether there are children
  bool reap() {
    while (true) {
      int status = 0;
      const int pid = ::waitpid(-1, &status, WNOHANG);
      if (pid < 0 && errno == EINTR) continue;
      if (pid < 0) return false;
      if (pid == 0) return true;
      if (pid != pid_) continue;
      ended_ = true;
      status_ = status;
    }
  }

  void wait(int millis) {
    std::array<pollfd, 2> fds{pollfd{signals_.get(), POLLIN, 0}, pollfd{output_ ? output_.get() : -1, POLLIN, 0}};
    if (::poll(fds.data(), fds.size(), millis) <= 0) return;
    if (fds[0].revents != 0) {
      signalfd_siginfo info{};
      while (::read(signals_.get(), &info, sizeof info) > 0) {
      }
      reap();
    }
    for (int i = 0; fds[1].revents != 0 && i < kReadsPerTurn && output_; ++i)
      if (read_some() <= 0) break;
  }

  /// Beyond the cap it is moved to /dev/null without being copied: a hook may print as much as it likes.
  ssize_t read_some() {
    const auto room = static_cast<std::size_t>(order_.output_bytes_max) - output_text_.size();
    ssize_t n = 0;
    if (room == 0) {
      n = ::splice(output_.get(), nullptr, null_.get(), nullptr, kPipeBytes, SPLICE_F_NONBLOCK);
    } else {
      std::array<char, kReadBytes> buffer;
      n = ::read(output_.get(), buffer.data(), std::min(buffer.size(), room));
      if (n > 0) output_text_.append(buffer.data(), static_cast<std::size_t>(n));
    }
    if (n > 0) output_bytes_ += n;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) output_.reset();  // Nobody has it open any more.
    return n;
  }

  void drain() {
    for (std::size_t drained = 0; output_ && drained < kDrainBytesMax;) {
      const ssize_t n = read_some();
      if (n <= 0) break;
      drained += static_cast<std::size_t>(n);
    }
    output_.reset();
  }

  Json facts() const {
    Json json = Json::object();
    json.set("exit_code", ended_ && WIFEXITED(status_) ? Json(WEXITSTATUS(status_)) : Json());
    json.set("signal", ended_ && WIFSIGNALED(status_) ? Json(WTERMSIG(status_)) : Json());
    json.set("output", cut(printable_lines(output_text_), static_cast<std::size_t>(order_.output_bytes_max)))
        .set("output_bytes", output_bytes_)
        .set("attempt", order_.attempt);
    json.set("remembered", remembered_);
    if (stray_ > 0) json.set("strays_killed", true);
    if (left_ > 0) json.set("left_running", left_);
    return json;
  }

  /// What a hook prints reaches logs and terminals: made printable, its lines kept.
  static std::string printable_lines(const std::string& text) {
    std::string out;
    for (const std::string& line : split(text, '\n')) out += (out.empty() ? "" : "\n") + printable(line);
    return out;
  }

  Outcome judge() const {
    const std::string said = output_text_.empty() ? "" : "; it said: " + printable(cut(trim(output_text_), 512));
    if (timed_out_) {
      Error error = failed(order_, "it did not end within " + format_duration(order_.timeout) + said);
      error.code = Errc::timed_out;
      return Outcome{Outcome::Status::timed_out, facts(), std::move(error)};
    }
    if (WIFEXITED(status_) && WEXITSTATUS(status_) == 0) return Outcome{Outcome::Status::done, facts(), Error()};
    const std::string how =
        WIFSIGNALED(status_) ? "signal " + std::to_string(WTERMSIG(status_)) : "exit " + std::to_string(WEXITSTATUS(status_));
    return Outcome{Outcome::Status::failed, facts(), failed(order_, how + said)};
  }

  HookOrder order_;
  HookCgroup cgroup_;
  std::optional<HookMemory> memory_;
  bool remembered_ = false;
  Fd output_, signals_, null_;
  Steady::time_point began_;
  int pid_ = -1, status_ = 0, left_ = 0, stray_ = 0;
  bool ended_ = false, timed_out_ = false;
  std::string output_text_;
  std::int64_t output_bytes_ = 0;
};

Result<HookOrder> read_order() {
  std::string text;
  std::array<char, 4096> buffer;
  while (text.size() <= kOrderBytesMax) {
    const ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno("cannot read the order", errno);
    if (n == 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
  auto json = Json::parse(text);
  if (json.has_error()) return json.error();
  return HookOrder::from_json(*json);
}

}  // namespace

Json HookOrder::to_json() const {
  Json argv = Json::array(), variables = Json::object();
  for (const std::string& one : command) argv.push(one);
  for (const auto& [name, value] : environment) variables.set(name, value);
  return Json::object()
      .set("format", 1)
      .set("command", std::move(argv))
      .set("environment", std::move(variables))
      .set("timeout_ns", timeout.count())
      .set("output_bytes_max", output_bytes_max)
      .set("memory", memory)
      .set("place", place)
      .set("sequence", sequence)
      .set("operation", operation)
      .set("number", number)
      .set("attempt", attempt);
}

Result<HookOrder> HookOrder::from_json(const Json& json) {
  HookOrder order;
  for (const Json& one : json["command"].elements()) order.command.push_back(one.string_or(""));
  for (const auto& [name, value] : json["environment"].members()) order.environment[name] = value.string_or("");
  order.timeout = Duration(json["timeout_ns"].int_or(0));
  order.output_bytes_max = std::clamp<std::int64_t>(json["output_bytes_max"].int_or(0), 0, 16 << 20);
  order.memory = json["memory"].string_or("");
  order.place = static_cast<std::size_t>(json["place"].int_or(0));
  order.sequence = static_cast<std::uint64_t>(json["sequence"].int_or(0));
  order.operation = json["operation"].string_or("");
  order.number = static_cast<int>(json["number"].int_or(0));
  order.attempt = static_cast<int>(json["attempt"].int_or(1));
  if (json["format"].int_or(0) != 1 || order.command.empty() || order.command.front().empty() || order.timeout <= Duration{0} ||
      order.place >= HookMemory::kPlaces)
    return Error(Errc::invalid_argument, "not an order for a hook");
  return order;
}

int run_hook_guard() {
  // Whoever stops rollbackd does not stop a hook in its middle: it has a bound of its own.
  for (const int number : {SIGHUP, SIGINT, SIGTERM, SIGPIPE}) ::signal(number, SIG_IGN);  // NOLINT(cert-err33-c)
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  auto order = read_order();
  if (order.has_error()) return 1;
  Guard guard(std::move(*order));
  std::string text = guard.run().to_json().dump();
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(kHookAnswerFd, text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return 1;
    at += static_cast<std::size_t>(n);
  }
  return 0;
}

}  // namespace rollbackd::drivers
