// Parents one supervised service: starts it, says how it ended, starts it again, and survives the daemon that began it.
// One thread: one poll(2) over signals, the service, its output and the socket; it wakes only when something is there or due.
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <optional>
#include <utility>

#include "base/log.hpp"
#include "base/text.hpp"
#include "drivers/driver.hpp"
#include "drivers/keeper_protocol.hpp"
#include "io/clock.hpp"
#include "io/process.hpp"

namespace rollbackd::drivers {
namespace {

using io::Fd;
using Steady = std::chrono::steady_clock;

constexpr std::size_t kClientsMax = 16;
constexpr std::size_t kQueueMax = 16;             // Requests waiting for the one that is being carried out; beyond: refused.
constexpr std::size_t kTokensMax = 16;            // Outcomes remembered.
constexpr std::size_t kFileBytesMax = 256 << 10;  // Of the settings and of the state.
constexpr Duration kDelayMax = 30s;               // Between two starts of a crashing service.
constexpr Duration kSettledAfter = 30s;           // Having run so long, the next crash waits the shortest delay again.
constexpr Duration kKillPatience = 5s;            // After SIGKILL; a process in an uninterruptible sleep may stay.
constexpr Duration kSweepPatience = 2s;           // For the rest of its group.
constexpr int kExecMillisMax = 10'000;            // Between fork and exec: a hung file system.

struct Exit {
  int pid = 0;
  std::int64_t started_boot_ns = 0, at_boot_ns = 0;
  bool code_known = true;
  int code = 0, signal = 0;
  bool requested = false, oom = false;
  std::string detail;

  bool clean() const {
    return code_known && ((signal == 0 && code == 0) || signal == SIGHUP || signal == SIGINT || signal == SIGPIPE || signal == SIGTERM);
  }
  Json to_json() const {
    Json out = Json::object();
    out.set("pid", pid)
        .set("started_boot_ns", started_boot_ns)
        .set("at_boot_ns", at_boot_ns)
        .set("code_known", code_known)
        .set("code", code);
    out.set("signal", signal).set("requested", requested).set("oom", oom).set("detail", detail);
    return out;
  }
  static Exit from_json(const Json& json) {
    Exit out;
    out.pid = static_cast<int>(json["pid"].int_or(0));
    out.started_boot_ns = json["started_boot_ns"].int_or(0);
    out.at_boot_ns = json["at_boot_ns"].int_or(0);
    out.code_known = json["code_known"].bool_or(true);
    out.code = static_cast<int>(json["code"].int_or(0));
    out.signal = static_cast<int>(json["signal"].int_or(0));
    out.requested = json["requested"].bool_or(false);
    out.oom = json["oom"].bool_or(false);
    out.detail = json["detail"].string_or("");
    return out;
  }
};

std::string exit_text(int code, int signal) {
  if (signal == 0) return "exit " + std::to_string(code);
  const char* name = ::sigdescr_np(signal);
  return "signal " + std::to_string(signal) + (name ? " (" + std::string(name) + ")" : "");
}

std::int64_t oom_kills() {
  auto text = keeper::read_file("/proc/vmstat", 64 << 10);
  if (text.has_error()) return 0;
  const std::size_t at = text.value().find("\noom_kill ");
  return at == std::string::npos ? 0 : std::strtoll(text.value().c_str() + at + 10, nullptr, 10);
}

/// What the child could not do, through the pipe that closes when it has become the service.
struct ExecFailure {
  int error = 0;
  std::array<char, 64> doing{};
};

class Output {  // The service's output, read here so that the service never waits for the daemon; its file has a size.
 public:
  /// A named pipe, so that the next keeper can take it over; opened for both directions, so that a service whose keeper was killed waits
  /// with a full pipe rather than end of SIGPIPE.
  Result<> open_pipe(const std::string& path) {
    if (::mkfifo(path.c_str(), 0600) != 0 && errno != EEXIST) return Error::from_errno("cannot make " + path, errno);
    reader_.reset(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
    writer_.reset(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
    struct stat facts {};
    if (!reader_ || !writer_ || ::fstat(reader_.get(), &facts) != 0) return Error::from_errno("cannot open " + path, errno);
    if (!S_ISFIFO(facts.st_mode)) return Error(Errc::io, path + " is no pipe").try_next("remove it");
    return {};
  }
  void use(const std::string& path, std::int64_t bytes_max) {
    if (path != path_) file_.reset();
    path_ = path;
    bytes_max_ = std::max<std::int64_t>(bytes_max, 4096);
  }
  int reader() const { return reader_.get(); }
  int writer() const { return writer_.get(); }

  /// At most 256 KiB a call: other things are due too.
  void pump() {
    std::array<char, 64 << 10> buffer;
    for (int i = 0; i < 4; ++i) {
      const ssize_t n = ::read(reader_.get(), buffer.data(), buffer.size());
      if (n <= 0) return;
      write(buffer.data(), static_cast<std::size_t>(n));
    }
  }

 private:
  /// What cannot be written is dropped: a full disk must not stop the service.
  void write(const char* data, std::size_t size) {
    if (path_.empty()) return;
    if (file_ && size_ + static_cast<std::int64_t>(size) > bytes_max_) {
      file_.reset();
      ::rename(path_.c_str(), (path_ + ".1").c_str());
    }
    if (!file_) {
      file_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0640));
      struct stat facts {};
      size_ = file_ && ::fstat(file_.get(), &facts) == 0 ? facts.st_size : 0;
    }
    if (!file_) return;
    const ssize_t n = ::write(file_.get(), data, size);
    if (n > 0) size_ += n;
  }

  Fd reader_, writer_, file_;
  std::string path_;
  std::int64_t bytes_max_ = 0, size_ = 0;
};

class Keeper {
 public:
  explicit Keeper(std::string directory) : directory_(std::move(directory)) {}

  int run() {
    if (auto ready = prepare(); ready.has_error()) {
      if (ready.error().code == Errc::conflict) return 0;  // Another one keeps it already.
      log::error("the keeper cannot begin", {{"directory", directory_}, {"why", ready.error().text()}});
      return 1;
    }
    while (!ended_) turn();
    clients_.clear();
    listener_.reset();
    ::unlink(file(keeper::kSocketName).c_str());
    return 0;
  }

 private:
  enum class State {
    down,  ///< nothing runs; started again at `due_` if that is set
    running,
    stopping,  ///< asked to end; SIGKILL at `due_`
    killed,    ///< SIGKILL was sent; given up at `due_`
    sweeping,  ///< the leader is gone, the rest of its group is going; at `due_` it goes on without waiting
  };
  struct Client {
    std::uint64_t id = 0;
    Fd socket;
    bool watches = false;
  };
  struct Request {
    std::string what, token;
    std::vector<std::uint64_t> clients;     ///< who wait for the answer
    std::int64_t unless_since_boot_ns = 0;  ///< of a restart: a process started then or later is the new one; 0: none is
    bool already = false;
  };

  std::string file(const char* name) const { return directory_ + "/" + name; }
  std::int64_t boot_now() const { return clock_.read().stamp.boot_ns; }

  // ---- Beginning ----

  Result<> prepare() {
    ::setsid();  // Fails when it is a session's leader already, which is as good.
    ::umask(022);
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // Orphans of the service come here and are reaped.
    ::prctl(PR_SET_NAME, "rollbackd-keep");
    lock_.reset(::open(file(keeper::kLockName).c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!lock_) return Error::from_errno("cannot open " + file(keeper::kLockName), errno);
    if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) return Error(Errc::conflict, "another keeper keeps " + directory_);
    if (auto loaded = load_settings(); loaded.has_error()) return loaded;
    load_state();
    if (auto pipe = output_.open_pipe(file(keeper::kOutputName)); pipe.has_error()) return pipe;

    sigset_t signals;
    sigemptyset(&signals);
    for (const int s : {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGPIPE}) sigaddset(&signals, s);
    if (::sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) return Error::from_errno("cannot block signals", errno);
    signals_.reset(::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));
    if (!signals_) return Error::from_errno("cannot make a signalfd", errno);
    save_state();  // From here on it is this keeper's.
    return listen();
  }

  Result<> listen() {
    const Fd directory(::open(directory_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    listener_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!directory || !listener_) return Error::from_errno("cannot make a socket", errno);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = keeper::short_socket_path(directory.get());
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    ::unlink(path.c_str());  // The lock says that nobody uses it.
    const mode_t mask = ::umask(0177);
    const int bound = ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    const int why = errno;
    ::umask(mask);
    if (bound != 0) return Error::from_errno("cannot bind " + file(keeper::kSocketName), why);
    if (::listen(listener_.get(), 16) != 0) return Error::from_errno("cannot listen on " + file(keeper::kSocketName), errno);
    return {};
  }

  Result<> load_settings() {
    auto text = keeper::read_file(file(keeper::kSettingsName), kFileBytesMax);
    if (text.has_error()) return text.error();
    auto json = Json::parse(text.value());
    if (json.has_error()) return json.error();
    auto settings = keeper::Settings::from_json(json.value());
    if (settings.has_error()) return settings.error();
    settings_ = std::move(settings.value());
    output_.use(settings_.output, settings_.output_bytes_max);
    return {};
  }

  /// What a keeper before this one left behind. A service that still runs is kept on, though its exit code will not be known.
  void load_state() {
    auto text = keeper::read_file(file(keeper::kStateName), kFileBytesMax);
    if (text.has_error()) return;
    auto parsed = Json::parse(text.value());
    if (parsed.has_error() || parsed.value()["boot_id"].string_or("") != clock_.read().stamp.boot_id) return;
    const Json& json = parsed.value();
    stopped_by_person_ = json["stopped_by_person"].bool_or(false);
    if (json["last_exit"].is_object()) last_exit_ = Exit::from_json(json["last_exit"]);
    for (const Json& t : json["tokens"].elements()) tokens_.emplace_back(t["token"].string_or(""), t["answer"]);
    if (!json["running"].bool_or(false)) return;

    const int pid = static_cast<int>(json["pid"].int_or(0));
    const std::int64_t started = json["started_boot_ns"].int_or(0);
    const auto facts = io::process_facts(pid);
    constexpr std::int64_t kFork = 1'000'000'000;  // Between our reading of the clock and the kernel's, with its ticks.
    if (facts.has_value() && std::abs(facts.value().started_boot_ns - started) <= kFork) {
      pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)));
    }
    if (pidfd_) {
      pid_ = pid;
      started_boot_ns_ = started;
      started_at_ = Steady::now();
      child_ = false;
      state_ = State::running;
      log::warning("keeps a service on that another keeper started", {{"pid", std::to_string(pid)}});
    } else {
      last_exit_ = Exit{pid, started, boot_now(), false, 0, 0, false, false, "ended while nobody kept it"};
    }
  }

  void save_state() {
    Json tokens = Json::array();
    for (const auto& [token, answer] : tokens_) {
      Json one = Json::object();
      one.set("token", token).set("answer", answer);
      tokens.push(std::move(one));
    }
    Json json = Json::object();
    json.set("format", 1).set("boot_id", clock_.read().stamp.boot_id).set("keeper", ::getpid());
    json.set("running", pid_ != 0).set("pid", pid_).set("started_boot_ns", started_boot_ns_).set("stopped_by_person", stopped_by_person_);
    if (last_exit_) json.set("last_exit", last_exit_->to_json());
    json.set("tokens", std::move(tokens));
    if (auto saved = keeper::replace_file(file(keeper::kStateName), json.dump()); saved.has_error())
      log::error("the keeper's state is not saved", {{"why", saved.error().text()}});
  }

  // ---- The loop ----

  void turn() {
    std::vector<pollfd> waits{{signals_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}, {output_.reader(), POLLIN, 0}};
    waits.push_back({pid_ != 0 && !child_ ? pidfd_.get() : -1, POLLIN, 0});
    const std::size_t first_client = waits.size();
    std::vector<std::uint64_t> ids;
    for (const Client& c : clients_) {
      waits.push_back({c.socket.get(), POLLIN, 0});
      ids.push_back(c.id);
    }
    if (::poll(waits.data(), waits.size(), wait_millis()) < 0 && errno != EINTR) {
      log::error("the keeper cannot wait", {{"why", std::strerror(errno)}});
      ::usleep(100'000);  // Out of memory, the one error there is: no busy loop.
      return;
    }
    if (waits[2].revents) output_.pump();
    if (waits[0].revents) on_signals();
    if (waits[3].revents) on_adopted_exit();
    for (std::size_t i = 0; i < ids.size(); ++i)
      if (waits[first_client + i].revents) on_message(ids[i]);
    if (waits[1].revents) on_connection();
    if (due_ && Steady::now() >= *due_) on_due();
    take_next();
  }

  int wait_millis() const {
    if (!due_) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*due_ - Steady::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
  }

  void on_signals() {
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) queue_.push_back(Request{"end", "", {}});
    }
    reap();
  }

  void reap() {
    // The leader first, and its group before its number is given back: until then no other group can have it.
    siginfo_t info{};
    if (pid_ != 0 && child_ && ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid_) {
      ::kill(-pid_, SIGKILL);
      ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG);
      Exit exit;
      (info.si_code == CLD_EXITED ? exit.code : exit.signal) = info.si_status;
      exit.detail = exit_text(exit.code, exit.signal);
      exit.oom = exit.signal == SIGKILL && state_ == State::running && oom_kills() > oom_kills_at_start_;
      if (exit.oom) exit.detail += ", out of memory";
      on_exit(std::move(exit));
    }
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {  // Orphans; as many as there are.
    }
    if (state_ == State::sweeping && group_is_gone()) swept();
  }

  void on_adopted_exit() {
    ::kill(-pid_, SIGKILL);
    Exit exit;
    exit.code_known = false;
    exit.detail = "ended; its exit status went to another process";
    on_exit(std::move(exit));
  }

  bool group_is_gone() const { return ::kill(-group_, 0) != 0 && errno == ESRCH; }

  // ---- The service ----

  void on_exit(Exit exit) {
    exit.pid = pid_;
    exit.started_boot_ns = started_boot_ns_;
    exit.at_boot_ns = boot_now();
    exit.requested = state_ == State::stopping || state_ == State::killed;
    group_ = pid_;
    const bool ran_long = Steady::now() - started_at_ >= kSettledAfter;
    pid_ = 0;
    pidfd_.reset();
    last_exit_ = exit;
    due_.reset();
    if (!exit.requested && exit.clean()) {
      stopped_by_person_ = true;
      wanted_ = false;
    } else if (!exit.requested) {
      wanted_ = true;
      if (ran_long) delay_ = Duration{0};
    }
    // The news first: they are what a rollback begins with.
    tell("exited", exit.to_json());
    save_state();
    state_ = State::sweeping;
    if (group_is_gone()) return swept();
    due_ = Steady::now() + kSweepPatience;
  }

  /// Nothing of the old service is left.
  void swept() {
    state_ = State::down;
    due_.reset();
    if (current_) return carry_on();
    if (wanted_) start_later();
  }

  void start_later() {
    if (settings_.restart_delay <= Duration{0}) return;
    delay_ = delay_ == Duration{0} ? settings_.restart_delay : std::min(2 * delay_, std::max(kDelayMax, settings_.restart_delay));
    due_ = Steady::now() + delay_;
  }

  void stop_service() {
    due_ = Steady::now() + settings_.stop_timeout;
    state_ = State::stopping;
    signal_group(SIGTERM);
  }

  void signal_group(int signal) {
    if (::kill(-pid_, signal) != 0) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0U);
  }

  void on_due() {
    due_.reset();
    switch (state_) {
      case State::down:
        if (auto started = start_service(); started.has_error()) start_later();
        break;
      case State::running: break;
      case State::stopping:
        state_ = State::killed;
        due_ = Steady::now() + kKillPatience;
        signal_group(SIGKILL);
        break;
      case State::killed:
        state_ = State::stopping;  // Still there. Whoever asked is told; should it end yet, that was asked for.
        if (current_)
          answer(*std::exchange(current_, std::nullopt), "process " + std::to_string(pid_) + " does not end, not even of SIGKILL");
        break;
      case State::sweeping: swept(); break;
    }
  }

  /// Forks and executes; looks up user, directory and program anew, so that a path through `current` follows the link. The child waits
  /// until its pid is saved: a keeper that is killed meanwhile leaves none that its successor does not know of.
  Result<> start_service() {
    std::array<int, 2> ends{}, go{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return not_started(Error::from_errno("cannot make a pipe", errno));
    const Fd reader(ends[0]);
    Fd writer(ends[1]);
    if (::pipe2(go.data(), O_CLOEXEC) != 0) return not_started(Error::from_errno("cannot make a pipe", errno));
    const Fd told(go[0]);
    Fd tell_go(go[1]);
    const Prepared prepared = prepare_child();
    oom_kills_at_start_ = oom_kills();
    const std::int64_t before = boot_now();
    const int pid = ::fork();
    if (pid < 0) return not_started(Error::from_errno("cannot fork", errno));
    if (pid == 0) {
      tell_go.reset();  // Else it would never see that the keeper is gone.
      char word = 0;
      while (::read(told.get(), &word, 1) < 0 && errno == EINTR) {
      }
      if (word == 0) ::_exit(127);
      become_service(prepared, writer.get());
    }
    writer.reset();
    const bool stopped_before = std::exchange(stopped_by_person_, false);
    pid_ = pid;
    started_boot_ns_ = before;  // Not later than the truth, and later than whatever this start follows.
    save_state();
    const char word = 1;
    (void)!::write(tell_go.get(), &word, 1);  // A child that is gone already says nothing below.
    tell_go.reset();

    ExecFailure failure;
    pollfd wait{reader.get(), POLLIN, 0};
    const int heard = ::poll(&wait, 1, kExecMillisMax);
    ssize_t n = 0;
    if (heard > 0) n = ::read(reader.get(), &failure, sizeof failure);
    if (heard <= 0 || n != 0) {
      ::kill(-pid, SIGKILL);
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
      pid_ = 0;
      stopped_by_person_ = stopped_before;
      save_state();
      if (n != static_cast<ssize_t>(sizeof failure))
        return not_started(Error(Errc::timed_out, "cannot execute " + settings_.argv[0]).because("it did not begin within 10s"));
      Error error = Error::from_errno(std::string(failure.doing.data()) + " " + failed_at(failure), failure.error);
      return not_started(std::move(error));
    }
    child_ = true;
    started_at_ = Steady::now();
    pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)));
    state_ = State::running;
    wanted_ = true;
    tell("running", running_json());
    return {};
  }

  std::string failed_at(const ExecFailure& failure) const {
    const std::string_view doing = failure.doing.data();
    if (doing == "cannot change to") return settings_.working_directory;
    if (doing == "cannot run as") return settings_.user;
    return settings_.argv[0];
  }

  Error not_started(Error error) {
    wanted_ = true;
    Json event = Json::object();
    event.set("at_boot_ns", boot_now()).set("detail", cut(error.text(), 1024));
    tell("start_failed", std::move(event));
    return error;
  }

  struct Prepared {
    std::map<std::string, std::string> environment;
    const passwd* user = nullptr;
    int user_error = 0;
  };
  Prepared prepare_child() const {
    Prepared out;
    errno = 0;
    out.user =
        settings_.user.empty() ? ::getpwuid(::geteuid()) : ::getpwnam(settings_.user.c_str());  // NOLINT(concurrency-mt-unsafe): one thread
    if (!settings_.user.empty() && !out.user) out.user_error = errno ? errno : ENOENT;
    out.environment = {{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, {"LANG", "C.UTF-8"}, {"HOME", "/"}};
    if (out.user) {
      out.environment["HOME"] = out.user->pw_dir;
      out.environment["USER"] = out.environment["LOGNAME"] = out.user->pw_name;
    }
    for (const auto& [name, value] : settings_.environment) out.environment[name] = value;
    return out;
  }

  [[noreturn]] void become_service(const Prepared& prepared, int failed_to) const {
    const auto fail = [failed_to](const char* doing, int error) {
      ExecFailure failure;
      failure.error = error;
      std::strncpy(failure.doing.data(), doing, failure.doing.size() - 1);
      if (::write(failed_to, &failure, sizeof failure) < 0) ::_exit(126);
      ::_exit(127);
    };
    ::setsid();
    for (int s = 1; s < NSIG; ++s) ::signal(s, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const int null = ::open("/dev/null", O_RDONLY);
    if (null < 0 || ::dup2(null, 0) < 0 || ::dup2(output_.writer(), 1) < 0 || ::dup2(output_.writer(), 2) < 0)
      fail("cannot set up the files of", errno);
    ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    if (!settings_.user.empty()) {
      if (prepared.user_error) fail("cannot run as", prepared.user_error);
      const bool is_already = prepared.user->pw_uid == ::geteuid() && prepared.user->pw_uid == ::getuid() && ::geteuid() != 0;
      if (!is_already && (::initgroups(prepared.user->pw_name, prepared.user->pw_gid) != 0 || ::setgid(prepared.user->pw_gid) != 0 ||
                          ::setuid(prepared.user->pw_uid) != 0))
        fail("cannot run as", errno);
    }
    if (!settings_.working_directory.empty() && ::chdir(settings_.working_directory.c_str()) != 0) fail("cannot change to", errno);

    std::vector<std::string> arguments = settings_.argv, variables;
    for (const auto& [name, value] : prepared.environment) variables.push_back(name + "=" + value);
    std::vector<char*> argv, envp;
    for (std::string& a : arguments) argv.push_back(a.data());
    for (std::string& v : variables) envp.push_back(v.data());
    argv.push_back(nullptr);
    envp.push_back(nullptr);
    if (arguments[0].find('/') != std::string::npos) {
      ::execve(argv[0], argv.data(), envp.data());
      fail("cannot execute", errno);
    }
    int error = ENOENT;
    for (const std::string& directory : split(prepared.environment.at("PATH"), ':')) {
      ::execve((directory + "/" + arguments[0]).c_str(), argv.data(), envp.data());
      if (errno != ENOENT && errno != ENOTDIR) error = errno;
    }
    fail("cannot execute", error);
    ::_exit(127);
  }

  // ---- Requests ----

  void on_connection() {
    Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) return;
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || (peer.uid != 0 && peer.uid != ::geteuid())) return;
    if (clients_.size() >= kClientsMax) return;  // Closed: whoever it is tries again.
    clients_.push_back(Client{next_client_++, std::move(socket), false});
  }

  Client* client(std::uint64_t id) {
    const auto it = std::find_if(clients_.begin(), clients_.end(), [&](const Client& c) { return c.id == id; });
    return it == clients_.end() ? nullptr : &*it;
  }

  void drop(std::uint64_t id) {
    std::erase_if(clients_, [&](const Client& c) { return c.id == id; });
  }

  void on_message(std::uint64_t id) {
    Client* from = client(id);
    if (!from) return;
    std::vector<char> buffer(keeper::kMessageBytesMax);
    const ssize_t n = ::recv(from->socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0 || static_cast<std::size_t>(n) > buffer.size()) return drop(id);
    const auto json = Json::parse(std::string_view(buffer.data(), static_cast<std::size_t>(n)));
    if (json.has_error() || !json.value()["do"].is_string()) return drop(id);
    Request request{json.value()["do"].string_or(""), json.value()["token"].string_or("").substr(0, 256), {id}};
    request.unless_since_boot_ns = json.value()["unless_since_boot_ns"].int_or(0);
    const std::string& what = request.what;
    if (what == "status") return answer(request, "");
    if (what == "watch") {
      from->watches = true;
      answer(request, "");
      if (Client* still = client(id)) send(*still, now_event());
      return;
    }
    if (what == "reload_settings") {
      auto loaded = load_settings();
      return answer(request, loaded.has_error() ? loaded.error().text() : "");
    }
    if (what != "start" && what != "restart" && what != "stop" && what != "end")
      return answer(request, "unknown request " + printable(what));
    if (!request.token.empty()) {
      for (const auto& [token, first_answer] : tokens_)
        if (token == request.token) return send(*from, first_answer);
      const auto wait_too = [&](Request& other) { return other.token == request.token && (other.clients.push_back(id), true); };
      if (current_ && wait_too(*current_)) return;
      for (Request& waiting : queue_)
        if (wait_too(waiting)) return;
    }
    if (queue_.size() >= kQueueMax) return answer(request, "too many requests wait");
    queue_.push_back(std::move(request));
  }

  /// Begins the next request when none is being carried out.
  void take_next() {
    while (!current_ && !queue_.empty() && !ended_) {
      current_ = std::move(queue_.front());
      queue_.pop_front();
      carry_on();
    }
  }

  /// Goes as far with the current request as it can now; called again when the service is down.
  void carry_on() {
    const std::string what = current_->what;
    if (what == "start" && pid_ != 0 && state_ == State::running) return answer(*std::exchange(current_, std::nullopt), "");
    // What crashed before the restart was asked for may have been started again since: once more would be an outage for nothing.
    const std::int64_t since = current_->unless_since_boot_ns;
    if (what == "restart" && state_ == State::running && since > 0 && started_boot_ns_ >= since) {
      current_->already = true;
      return answer(*std::exchange(current_, std::nullopt), "");
    }
    if (pid_ != 0) {
      if (state_ == State::running || (state_ == State::stopping && !due_)) stop_service();
      return;
    }
    if (state_ == State::sweeping) return;
    Request done = *std::exchange(current_, std::nullopt);
    due_.reset();
    if (what == "stop" || what == "end") {
      wanted_ = false;
      if (what == "stop") stopped_by_person_ = true;
      if (what == "end") ended_ = true;
      save_state();
      return answer(std::move(done), "");
    }
    delay_ = Duration{0};
    auto started = start_service();
    if (started.has_error()) start_later();
    answer(std::move(done), started.has_error() ? started.error().text() : "");
  }

  void answer(Request request, const std::string& error) {
    Json json = Json::object();
    json.set("reply", request.what).set("token", request.token).set("ok", error.empty()).set("error", cut(error, 1024));
    json.set("running", pid_ != 0).set("pid", pid_).set("started_boot_ns", pid_ != 0 ? started_boot_ns_ : 0);
    json.set("stopped_by_person", stopped_by_person_).set("last_exit", last_exit_ ? last_exit_->detail : "");
    json.set("settings", settings_.fingerprint());
    if (request.already) json.set("already", true);
    if (!request.token.empty() && (request.what == "start" || request.what == "restart" || request.what == "stop")) {
      tokens_.emplace_back(request.token, json);
      while (tokens_.size() > kTokensMax) tokens_.pop_front();
      save_state();  // Before it is told: what was answered once must be answered so for ever.
    }
    for (const std::uint64_t id : request.clients)
      if (Client* to = client(id)) send(*to, json);
  }

  Json running_json() const {
    Json json = Json::object();
    json.set("pid", pid_).set("started_boot_ns", started_boot_ns_).set("at_boot_ns", boot_now());
    return json;
  }

  /// What a new watcher is told first: the last change, with the time it really happened.
  Json now_event() const {
    Json json = pid_ != 0    ? running_json()
                : last_exit_ ? last_exit_->to_json()
                             : Json::object().set("requested", true).set("detail", "never started");
    if (json["at_boot_ns"].is_null()) json.set("at_boot_ns", boot_now());
    return json.set("event", pid_ != 0 ? "running" : "exited");
  }

  void tell(const char* event, Json json) {
    json.set("event", event);
    std::vector<std::uint64_t> ids;
    for (const Client& c : clients_)
      if (c.watches) ids.push_back(c.id);
    for (const std::uint64_t id : ids)
      if (Client* c = client(id)) send(*c, json);
  }

  /// Who does not read is dropped: it connects again and is told how things stand.
  void send(Client& to, const Json& json) {
    const std::string text = json.dump();
    if (::send(to.socket.get(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) drop(to.id);
  }

  std::string directory_;
  io::Clock clock_;
  keeper::Settings settings_;
  Fd lock_, signals_, listener_, pidfd_;
  Output output_;
  std::vector<Client> clients_;
  std::uint64_t next_client_ = 1;
  std::deque<Request> queue_;
  std::optional<Request> current_;
  std::deque<std::pair<std::string, Json>> tokens_;  ///< and their answers, oldest first

  State state_ = State::down;
  std::optional<Steady::time_point> due_;  ///< of what `state_` says
  int pid_ = 0;                            ///< 0: nothing runs
  int group_ = 0;                          ///< of the last one that ran
  bool child_ = true;                      ///< false: another keeper started it
  std::int64_t started_boot_ns_ = 0;
  Steady::time_point started_at_;
  Duration delay_{};  ///< of the last start after a crash
  bool wanted_ = false, stopped_by_person_ = false, ended_ = false;
  std::optional<Exit> last_exit_;
  std::int64_t oom_kills_at_start_ = 0;
};

}  // namespace

int run_keeper(const std::string& directory) {
  try {
    return Keeper(directory).run();
  } catch (const std::exception& error) {  // Out of memory; the next keeper finds the service by its state file.
    log::error("the keeper ended", {{"why", error.what()}});
    return 1;
  }
}

}  // namespace rollbackd::drivers
