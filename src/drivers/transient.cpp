// The manager `supervised` where systemd runs: a transient unit of ours, so the service survives rollbackd and its keeper is systemd.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cctype>
#include <utility>

#include "base/log.hpp"
#include "drivers/unit_manager.hpp"

namespace asio = boost::asio;

namespace rollbackd::drivers {
namespace {

constexpr Duration kAttachTimeout = 30s;
constexpr Duration kAttachRetry = 1s;
constexpr Duration kGoneRetry = 20ms;  // An ended transient unit is unloaded a moment after its job.
constexpr int kGoneTries = 100;
constexpr const char* kMemoryName = "transient.json";
constexpr const char* kStoppedName = "transient.stopped";  ///< there: a person stopped the unit; holds the boot id

Json variant(const char* signature, Json value) { return Json::object().set("signature", signature).set("value", std::move(value)); }

class Transient final : public UnitManager {
 public:
  explicit Transient(DriverContext context)
      : UnitManager(context, transient_unit(context.service), kMemoryName),
        stopped_path_(context_.service_directory + "/" + kStoppedName),
        boot_id_(context_.clock->read().stamp.boot_id) {}

  asio::awaitable<Result<>> attach() override {
    const auto until = Steady::now() + kAttachTimeout;
    auto facts = co_await ask(until);
    if (facts.has_error()) co_return facts.error();
    const std::string& active = facts.value().active;
    if (active != "inactive" && active != "failed") co_return Result<>{};  // It runs, or is about to: found again by its name.
    if (stopped_by_person()) {
      log::info("the service stays down: somebody stopped it", {{"service", context_.service.text()}, {"unit", unit_}});
      co_return Result<>{};
    }
    if (active == "failed") co_return Result<>{};  // It was given up; the watcher tells, a rollback starts it.
    const Outcome started = co_await start(context_.clock->now(), until);
    if (!started.ok()) co_return started.error;
    co_return Result<>{};
  }

  std::vector<Step> plan() const override { return restart_plan(context_, "supervised"); }

  asio::awaitable<Outcome> run(Step step, Duration deadline) override {
    if (auto refused = refuse_other_step(step, "supervised")) co_return *std::move(refused);
    co_return co_await run_once(std::move(step), deadline);
  }

  asio::awaitable<void> watch(std::function<void(ProcessEvent)> sink) override {
    asio::steady_timer timer(context_.executor);
    bool told_lost = false;
    while (true) {
      const Result<> attached = co_await attach();
      const bool cancelled = (co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none;
      if (cancelled) co_return;
      if (attached.has_value()) break;
      if (!std::exchange(told_lost, true)) {
        log::warning("a service is not kept", {{"service", context_.service.text()}, {"why", attached.error().text()}});
        ProcessEvent lost;
        lost.at = context_.clock->now();
        lost.detail = attached.error().text();
        sink(std::move(lost));
      }
      if (attached.error().code == Errc::io) break;  // systemd tried: the unit's own state says the rest.
      timer.expires_after(kAttachRetry);
      co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    co_await UnitManager::watch(std::move(sink));
  }

 protected:
  std::optional<Error> refuse(const io::UnitFacts& facts) const override {
    if (facts.load == "masked")
      return Error(Errc::refused, "systemd cannot start " + unit_).because("it is masked").try_next("systemctl unmask " + unit_);
    return std::nullopt;
  }

  asio::awaitable<Outcome> restart(io::UnitFacts facts, Instant since, Steady::time_point until) override {
    // Stopped and made anew, rather than restarted: so it runs with today's settings.
    if (facts.active != "inactive" && facts.active != "failed") {
      Json arguments = Json::array().push(unit_).push("replace");
      auto stopped = co_await run_job("StopUnit", "ss", std::move(arguments), until);
      if (stopped.has_error() && stopped.error().code != Errc::not_found) co_return failed_step(stopped.error());
      if (stopped.has_value() && stopped.value() != "done") co_return job_failed("stop", stopped.value());
    }
    co_return co_await start(since, until);
  }

  void seen(const io::UnitFacts& facts) override {
    const bool asked = facts.active == "deactivating" && facts.running() && facts.result == "success";
    if (asked && restarting_ == 0 && !facts.host_stopping) mark_stopped();
  }

 private:
  asio::awaitable<Outcome> start(Instant since, Steady::time_point until) {
    auto forget = [path = stopped_path_] { return ::remove(path.c_str()); };
    co_await context_.steps->run(std::move(forget));
    for (int tries = 1;; ++tries) {
      co_await reset_failed();
      Json arguments = Json::array().push(unit_).push("fail").push(properties()).push(Json::array());
      auto result = co_await run_job("StartTransientUnit", "ssa(sv)a(sa(sv))", std::move(arguments), until);
      const bool still_there = result.has_error() && result.error().why.find("UnitExists") != std::string::npos;
      if (!still_there || tries >= kGoneTries || Steady::now() >= until) {
        if (result.has_error()) co_return failed_step(result.error());
        if (result.value() != "done") co_return job_failed("start", result.value());
        break;
      }
      asio::steady_timer timer(context_.executor, kGoneRetry);
      const auto [stopped] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
      if (stopped) co_return failed_step(Error(Errc::cancelled, "nobody waits for the start any more"));
    }
    co_return co_await wait_for_young(since, until);
  }

  Json properties() const {
    const config::ProcessSettings& process = context_.settings.process;
    Json all = Json::array();
    const auto add = [&](const char* name, const char* signature, Json value) {
      all.push(Json::array().push(name).push(variant(signature, std::move(value))));
    };
    const auto us = [](Duration d) { return std::chrono::duration_cast<std::chrono::microseconds>(d).count(); };
    const std::string directory = process.working_directory.empty() ? context_.settings.current : process.working_directory;
    std::string program = process.command[0];
    if (program.find('/') != std::string::npos && program[0] != '/') program = directory + "/" + program;
    Json argv = Json::array();
    for (const std::string& word : process.command) argv.push(word);
    Json command = Json::array().push(Json::array().push(program).push(std::move(argv)).push(false));
    Json environment = Json::array().push("LANG=C.UTF-8");
    if (process.user.empty()) environment.push("HOME=/");  // Otherwise systemd sets the user's; PATH it sets always.
    for (const auto& [name, value] : process.environment) environment.push(name + "=" + value);
    const std::string output = process.output.empty() ? context_.service_directory + "/output.log" : process.output;
    add("Description", "s", context_.service.text() + ", kept for rollbackd");
    add("ExecStart", "a(sasb)", std::move(command));
    add("WorkingDirectory", "s", directory);
    add("Environment", "as", std::move(environment));
    if (!process.user.empty()) add("User", "s", process.user);
    add("Restart", "s", process.restart_delay > Duration{0} ? "on-failure" : "no");
    add("RestartUSec", "t", us(process.restart_delay));
    add("StartLimitIntervalUSec", "t", 0);  // Crash after crash it is started again: what that means is for the rules to say.
    add("TimeoutStopUSec", "t", us(process.stop_timeout));
    add("StandardOutputFileToAppend", "s", output);
    add("StandardErrorFileToAppend", "s", output);
    return all;
  }

  bool stopped_by_person() const {
    const auto text = keeper::read_file(stopped_path_, 256);
    return text.has_value() && text.value() == boot_id_;
  }
  void mark_stopped() {
    auto write = [](io::Worker* worker, std::string path, std::string boot_id) -> asio::awaitable<void> {
      auto work = [path, boot_id] { return keeper::replace_file(path, boot_id); };
      const Result<> written = co_await worker->run(std::move(work));
      if (written.has_error()) log::warning("cannot remember that a service was stopped", {{"why", written.error().text()}});
    };
    asio::co_spawn(context_.executor, write(context_.steps, stopped_path_, boot_id_), asio::detached);
  }

  std::string stopped_path_, boot_id_;
};

}  // namespace

std::string transient_unit(const ServiceKey& service) {
  // As systemd-escape(1) does; "-" too, or a-b of c and a of b-c would be one unit.
  const auto escaped = [](const std::string& text) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (std::isalnum(byte) || c == '_' || c == ':' || (c == '.' && !out.empty())) {
        out += c;
      } else {
        out += std::string("\\x") + kDigits[byte >> 4] + kDigits[byte & 15];
      }
    }
    return out;
  };
  return "rollbackd-" + escaped(service.name) + "-" + escaped(service.environment) + ".service";
}

Result<std::unique_ptr<Manager>> make_transient_manager(DriverContext context) {
  const config::ProcessSettings& process = context.settings.process;
  if (process.command.empty() || process.command[0].empty())
    return Error(Errc::invalid_config,
                 "component " + context.settings.name + " of " + context.service.text() + " has no command to supervise");
  if (!context.clock || !context.steps) return Error(Errc::internal, "a manager without clock or worker");
  return std::unique_ptr<Manager>(std::make_unique<Transient>(std::move(context)));
}

}  // namespace rollbackd::drivers
