// The manager `systemd`: a unit of the system's is restarted by a job and watched over D-Bus. Its `Restart=` stays systemd's business.
#include <utility>

#include "drivers/unit_manager.hpp"

namespace asio = boost::asio;

namespace rollbackd::drivers {
namespace {

constexpr Duration kAttachTimeout = 10s;

class Systemd final : public UnitManager {
 public:
  Systemd(DriverContext context, std::string unit) : UnitManager(std::move(context), std::move(unit), "systemd.json") {}

  asio::awaitable<Result<>> attach() override {
    auto facts = co_await ask(Steady::now() + kAttachTimeout);
    if (facts.has_error()) co_return facts.error();
    if (facts.value().load == "not-found") co_return *refuse(facts.value());
    co_return Result<>{};
  }

  std::vector<Step> plan() const override { return restart_plan(context_, "systemd", Json::object().set("unit", unit_)); }

  asio::awaitable<Outcome> run(Step step, Duration deadline) override {
    if (auto refused = refuse_other_step(step, "systemd")) co_return *std::move(refused);
    if (step.arguments["unit"].string_or("") != unit_) {
      Error other(Errc::refused, "cannot restart " + step.arguments["unit"].string_or("an unnamed unit"));
      other.why = "the unit of " + context_.service.text() + " is " + unit_;
      co_return failed_step(std::move(other));
    }
    co_return co_await run_once(std::move(step), deadline);
  }

 protected:
  std::optional<Error> refuse(const io::UnitFacts& facts) const override {
    Error error(Errc::refused, "systemd cannot start " + unit_);
    if (facts.load == "masked") return std::move(error).because("it is masked").try_next("systemctl unmask " + unit_);
    if (facts.load == "not-found")
      return std::move(error).because("there is no such unit").try_next("write its unit file, then systemctl daemon-reload");
    if (facts.load != "loaded")
      return std::move(error).because("its unit file is not accepted: " + facts.load).try_next("systemd-analyze verify " + unit_);
    return std::nullopt;
  }

  asio::awaitable<Outcome> restart(io::UnitFacts, Instant since, Steady::time_point until) override {
    co_await reset_failed();
    // "replace": our job takes the place of a queued one, the start of an auto-restart among them. So nothing is started twice.
    Json arguments = Json::array().push(unit_).push("replace");
    auto result = co_await run_job("RestartUnit", "ss", std::move(arguments), until);
    if (result.has_error()) co_return failed_step(result.error());
    if (result.value() != "done") co_return job_failed("restart", result.value());
    co_return co_await wait_for_young(since, until);
  }
};

}  // namespace

Result<std::unique_ptr<Manager>> make_systemd_manager(DriverContext context) {
  std::string unit = context.settings.process.unit;
  if (unit.empty() || unit.find('/') != std::string::npos)
    return Error(Errc::invalid_config, "component " + context.settings.name + " of " + context.service.text() + " names no unit")
        .try_next("write \"unit\": \"NAME.service\"");
  if (!context.clock || !context.steps) return Error(Errc::internal, "a manager without clock or worker");
  return std::unique_ptr<Manager>(std::make_unique<Systemd>(std::move(context), io::full_unit_name(std::move(unit))));
}

}  // namespace rollbackd::drivers
