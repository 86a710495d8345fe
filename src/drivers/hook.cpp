// Calls the operator's programs in the course of an operation.
#include "drivers/driver.hpp"

namespace rollbackd::drivers {
namespace {

class Hooks final : public HookRunner {
 public:
  explicit Hooks(DriverContext context) : context_(std::move(context)) {}

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

  boost::asio::awaitable<Outcome> run(Step, Json, Duration) override {
    Outcome outcome{Outcome::Status::refused, Json::object(), Error(Errc::unsupported, "hooks cannot be called yet")};
    co_return outcome;
  }

 private:
  DriverContext context_;
};

}  // namespace

std::unique_ptr<HookRunner> make_hook_runner(DriverContext context) { return std::make_unique<Hooks>(std::move(context)); }

}  // namespace rollbackd::drivers
