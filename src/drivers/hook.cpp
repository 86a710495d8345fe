// Calls the operator's programs in the course of an operation: each under a guard of its own (hook_guard.hpp), once for a step.
// Flow: engine -> [hook runner] -> guard -> program. What a hook was told and how it ended outlives this process (hook_memory.hpp).
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/log.hpp"
#include "base/text.hpp"
#include "drivers/actor_client.hpp"
#include "drivers/await_outcome.hpp"
#include "drivers/driver.hpp"
#include "drivers/hook_guard.hpp"
#include "drivers/hook_memory.hpp"
#include "drivers/restart_step.hpp"
#include "io/process.hpp"
#include "io/session.hpp"

namespace asio = boost::asio;

namespace rollbackd::drivers {
namespace {

using Steady = std::chrono::steady_clock;

constexpr const char* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::size_t kFactBytesMax = 4 << 10;
constexpr std::size_t kFactsMax = 64;
constexpr std::size_t kAnswerBytesMax = 128 << 20;  // 16 MiB of output, each byte at worst six in JSON.
constexpr Duration kGuardTime = 2s;                 // For the guard's own start and end.
constexpr Duration kLookAgain = 100ms;              // At a hook that an earlier rollbackd began.

Outcome unknown(Error error) { return Outcome{Outcome::Status::unknown, Json::object(), std::move(error)}; }

/// `facts` as variables ROLLBACKD_NAME, with PATH and what the hook's settings say. The facts win over the settings: a hook that is told
/// another release than the one that is switched to is worse than none.
std::map<std::string, std::string> environment_of(const config::HookSettings& hook, const Step& step, const Json& facts, int attempt) {
  std::map<std::string, std::string> out{{"PATH", kPath}};
  for (const auto& [name, value] : hook.environment) out[name] = value;
  const auto set = [&](std::string_view name, std::string value) {
    std::string key = "ROLLBACKD_";
    for (const char c : name)
      key += std::isalnum(static_cast<unsigned char>(c)) ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : '_';
    std::erase(value, '\0');
    out[key] = cut(value, kFactBytesMax);
  };
  std::size_t told = 0;
  for (const auto& [name, value] : facts.members())
    if (++told <= kFactsMax) set(name, value.is_string() ? value.string_or("") : value.is_null() ? "" : value.dump());
  set("operation", step.operation);
  set("hook", hook.name);
  set("at", to_string(hook.at));
  set("attempt", std::to_string(attempt));
  set("program", hook.command.front());  // A script's $0 is /dev/fd/N.
  return out;
}

/// TERM, KILL and the guard's own time fit into the step's deadline.
Duration timeout_of(const config::HookSettings& hook, Duration deadline) {
  constexpr Duration kAfter = kHookTermToKill + kHookKillToGivingUp;
  return std::max<Duration>(std::min(hook.timeout, deadline > 2 * kAfter ? deadline - kAfter : deadline / 2), 1ms);
}

/// A file in memory with `text`, at its beginning.
Result<io::Fd> memory_file(const char* name, const std::string& text) {
  io::Fd fd(::memfd_create(name, MFD_CLOEXEC));
  if (!fd) return Error::from_errno("cannot make a file in memory", errno);
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t n = ::pwrite(fd.get(), text.data() + at, text.size() - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error::from_errno("cannot write a file in memory", n < 0 ? errno : EIO);
    at += static_cast<std::size_t>(n);
  }
  return fd;
}

/// The program to run as guard. Our own one by its inode where it is that: an upgraded file may say something else.
std::string guard_program(const std::string& program) {
  std::error_code failed;
  const std::string own = std::filesystem::read_symlink("/proc/self/exe", failed).string();
  return !failed && (program.empty() || own == program || own == program + " (deleted)") ? "/proc/self/exe" : program;
}

Result<int> spawn_guard(const std::string& program, const io::Fd& order, const io::Fd& answer) {
  const auto files = [&](posix_spawn_file_actions_t* actions) {
    int error = ::posix_spawn_file_actions_adddup2(actions, order.get(), STDIN_FILENO);
    if (!error) error = ::posix_spawn_file_actions_adddup2(actions, answer.get(), kHookAnswerFd);
    if (!error) error = ::posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (!error) error = ::posix_spawn_file_actions_addchdir_np(actions, "/");
    if (!error) error = ::posix_spawn_file_actions_addclosefrom_np(actions, kHookAnswerFd + 1);
    return error;
  };
  auto pid = io::spawn_session(program, {"rollbackd", "--hook-guard"}, {std::string("PATH=") + kPath}, files);
  if (pid.has_error()) return Error(pid.error().code, "cannot start a hook's guard").because(pid.error().text());
  return *pid;
}

Outcome read_answer(const io::Fd& answer) {
  struct stat facts {};
  if (::fstat(answer.get(), &facts) != 0 || facts.st_size <= 0 || facts.st_size > static_cast<off_t>(kAnswerBytesMax))
    return unknown(Error(Errc::outcome_unknown, "the hook's guard gave no answer"));
  std::string text(static_cast<std::size_t>(facts.st_size), '\0');
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t n = ::pread(answer.get(), text.data() + at, text.size() - at, static_cast<off_t>(at));
    if (n <= 0) break;
    at += static_cast<std::size_t>(n);
  }
  const auto json = Json::parse(text);
  auto outcome = json.has_value() ? Outcome::from_json(*json) : Result<Outcome>(json.error());
  if (outcome.has_error()) return unknown(Error(Errc::outcome_unknown, "the hook's guard gave no answer").because(outcome.error().text()));
  return std::move(*outcome);
}

/// Starts the guard and waits for its end. It holds nothing of the runner, which may be gone before it.
asio::awaitable<Outcome> guarded(asio::any_io_executor executor, std::string program, HookOrder order) {
  const auto told = memory_file("rollbackd-hook-order", order.to_json().dump());
  const auto answer = memory_file("rollbackd-hook-answer", "");
  if (told.has_error() || answer.has_error()) co_return failed_step(told.has_error() ? told.error() : answer.error());
  const auto pid = spawn_guard(guard_program(program), *told, *answer);
  if (pid.has_error()) co_return failed_step(pid.error());
  auto pidfd = io::PidFd::open(executor, *pid);
  if (pidfd.has_error()) co_return unknown(pidfd.error());
  auto ended = co_await pidfd->wait();
  if (ended.has_error()) co_return unknown(ended.error());
  ::waitpid(*pid, nullptr, 0);  // Our child and ended: no waiting.
  co_return read_answer(*answer);
}

class Hooks final : public HookRunner {
 public:
  explicit Hooks(DriverContext context) : context_(std::move(context)), memory_(context_.service_directory + "/hooks.memory") {
    if (context_.hooks.empty() || context_.steps == nullptr || context_.service_directory.empty()) return;
    // Early, while the disk has room.
    asio::co_spawn(context_.executor, make_memory(context_.steps, memory_), asio::detached);
  }

  std::vector<Step> plan(config::HookPoint at) const override {
    std::vector<Step> steps;
    for (const config::HookSettings& hook : context_.hooks) {
      if (hook.at != at) continue;
      Step step;
      step.driver = "hook";
      step.action = "hook";
      step.arguments = Json::object();
      step.arguments.set("name", hook.name).set("at", to_string(hook.at)).set("required", hook.required);
      steps.push_back(std::move(step));
    }
    return steps;
  }

  asio::awaitable<Outcome> run(Step step, Json facts, Duration deadline) override {
    const config::HookSettings* hook = find(step);
    if (hook == nullptr || hook->command.empty())
      co_return Outcome{
          Outcome::Status::refused, Json::object(),
          Error(Errc::refused, "will not run the hook " + printable(cut(step.arguments["name"].string_or(""), 128)))
              .because("the configuration has none of this name at " + printable(cut(step.arguments["at"].string_or(""), 64)))};
    const config::HookSettings settings = *hook;
    const auto until = Steady::now() + deadline;
    Result<HookMemory::Known> known = co_await look(step);
    while (known.has_value() && known->state == HookMemory::Known::State::running) {
      if (Steady::now() + kLookAgain >= until)
        co_return unknown(
            Error(Errc::outcome_unknown, "the hook " + settings.name + " still runs").because("an earlier rollbackd began it"));
      asio::steady_timer timer(context_.executor, kLookAgain);
      co_await timer.async_wait(asio::use_awaitable);
      known = co_await look(step);
    }
    using State = HookMemory::Known::State;
    if (known.has_value() && known->state == State::ended) co_return known->outcome;
    const bool again = known.has_value() && known->state == State::lost;
    if (again && settings.at != config::HookPoint::before_switch)
      co_return unknown(Error(Errc::outcome_unknown, "nobody knows how the hook " + settings.name + " ended")
                            .because("it was begun, and what ran it was ended; behind the switch none is called twice")
                            .try_next("look at what it does, then run it by hand if need be"));
    HookOrder order;
    order.attempt = again ? known->attempt + 1 : 1;
    order.command = settings.command;
    order.environment = environment_of(settings, step, facts, order.attempt);
    order.timeout = timeout_of(settings, until - Steady::now());
    order.output_bytes_max = settings.output_bytes_max;
    order.operation = step.operation;
    order.number = step.number;
    if (known.has_value()) {
      order.memory = memory_;
      order.place = known->place;
      order.sequence = known->sequence;
    } else {
      log::warning("a hook runs without memory: a crash in it may call it twice",
                   {{"service", context_.service.text()}, {"hook", settings.name}, {"why", known.error().text()}});
    }
    const Duration longest = order.timeout + kHookTermToKill + kHookKillToGivingUp * 2 + kGuardTime;
    auto work = guarded(context_.executor, context_.program, std::move(order));
    co_return co_await await_outcome(context_.executor, std::move(work), longest);
  }

 private:
  const config::HookSettings* find(const Step& step) const {
    if (step.driver != "hook" || step.action != "hook" || step.version != 1) return nullptr;
    for (const config::HookSettings& hook : context_.hooks)
      if (hook.name == step.arguments["name"].string_or("") && to_string(hook.at) == step.arguments["at"].string_or("")) return &hook;
    return nullptr;
  }

  static asio::awaitable<void> make_memory(io::Worker* worker, std::string path) {
    auto work = [path] { return HookMemory::open(path, true).has_value(); };
    co_await worker->run(std::move(work));
  }

  asio::awaitable<Result<HookMemory::Known>> look(Step step) const {
    auto work = [path = memory_, operation = step.operation, number = step.number]() -> Result<HookMemory::Known> {
      auto memory = HookMemory::open(path, true);
      if (memory.has_error()) return memory.error();
      return memory->look(operation, number);
    };
    if (context_.steps == nullptr) co_return work();
    co_return co_await context_.steps->run(std::move(work));
  }

  DriverContext context_;
  std::string memory_;
};

}  // namespace

std::unique_ptr<HookRunner> make_hook_runner(DriverContext context) {
  const auto link = ActorLink::of(context.executor);
  auto local = std::make_unique<Hooks>(context);
  if (!link) return local;
  return make_remote_hooks(link, std::move(context), std::move(local));
}

}  // namespace rollbackd::drivers
