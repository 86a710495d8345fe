// The stand-in for the judge in bulk runs. Its rules are the shipped packs' in short: what matters here is that alerts come, go, come
// twice, and are about the right epoch.
#include <algorithm>
#include <array>

#include "tests/simulation/eyes.hpp"

namespace rollbackd::simulation {
namespace {

constexpr Duration kWindow = 60s;  // of increase(...[1m])
constexpr Duration kHealthStale = 10500ms;
constexpr Duration kOtherStale = 31s;

enum Rule : std::size_t { health, crash, log, latency, verification, dependency, kRules };

struct RuleText {
  const char* name;
  std::vector<std::string> reads;
  const char* check;
  AlertAction action;
};

const std::array<RuleText, kRules>& texts() {
  static const std::array<RuleText, kRules> kTexts{{
      {"HealthCheckFailing", {"probe_consecutive_failures", "probe_failing_seconds"}, "health", AlertAction::rollback},
      {"ProcessCrashed", {"process_exits_total"}, "process", AlertAction::rollback},
      {"CriticalLogErrors", {"log_matches_total"}, "app-log", AlertAction::rollback},
      {"LatencyRegression", {"http_request_duration_seconds_sum"}, "app", AlertAction::rollback},
      {"VerificationFailed", {"verification_success"}, "verify", AlertAction::rollback},
      {"DependencyDown", {"dependency_up"}, "health", AlertAction::hold},
  }};
  return kTexts;
}

class QuickEyes : public Eyes {
 public:
  QuickEyes(const Scenario& scenario, Instant now) {
    for (const ServicePlan& plan : scenario.services) services_.push_back({plan.settings.key, now});
  }

  Judgement begin_epoch(std::size_t n, Instant at, const Sense& now_seen) override {
    Service& s = services_[n];
    Judgement out;
    for (std::size_t rule = 0; rule < kRules; ++rule) set(out, s, rule, false, at);
    s = Service{s.key, at};
    s.exits = now_seen.exits;
    s.log_lines = now_seen.log_critical;
    for (std::size_t rule = 0; rule < kRules; ++rule) say(out, s, rule, Verdict::blind);
    return out;
  }

  Judgement on_sense(const Sense& sense, Instant began, Instant now) override {
    Service& s = services_[sense.service];
    Judgement out = on_due(now);
    const std::size_t due = out.alerts.size();
    if (began < s.epoch && sense.what == Sense::What::process) s.exits = std::max(sense.exits, s.exits.value_or(0));
    if (began < s.epoch && sense.what == Sense::What::log && sense.looked)
      s.log_lines = std::max(sense.log_critical, s.log_lines.value_or(0));
    if (began < s.epoch || !sense.looked) return out;  // About the release before; or nothing is known.
    switch (sense.what) {
      case Sense::What::health: see_health(out, s, sense, now); break;
      case Sense::What::process:
        if (s.exits && sense.exits > *s.exits) s.crashed = now;
        s.exits = std::max(sense.exits, s.exits.value_or(0));
        s.heard[crash] = now;
        break;
      case Sense::What::log:
        if (s.log_lines && sense.log_critical > *s.log_lines) s.logged = now;
        s.log_lines = std::max(sense.log_critical, s.log_lines.value_or(0));
        s.heard[log] = now;
        break;
      case Sense::What::app:
        s.slow = sense.slow ? s.slow + 1 : 0;
        s.heard[latency] = now;
        break;
    }
    settle(out, s, now);
    for (std::size_t i = due; i < out.alerts.size(); ++i) out.alerts[i].began = std::min(began, now);
    return out;
  }

  Judgement on_verification(std::size_t n, bool passed, Instant began, Instant now) override {
    Service& s = services_[n];
    Judgement out;
    if (began < s.epoch) return out;
    s.heard[verification] = now;
    s.unverified = !passed;
    settle(out, s, now);
    return out;
  }

  Judgement on_dependency(std::size_t n, bool up, Instant now) override {
    Service& s = services_[n];
    Judgement out;
    s.heard[dependency] = now;
    if (up)
      s.dependency_down.reset();
    else if (!s.dependency_down)
      s.dependency_down = now;
    settle(out, s, now);
    return out;
  }

  Judgement on_due(Instant now) override {
    Judgement out;
    for (Service& s : services_) settle(out, s, now);
    return out;
  }
  std::optional<Instant> next_due() const override { return std::nullopt; }  // Looked at with every sense: they come all the time.

  Judgement on_gap(Instant) override {
    Judgement out;
    for (Service& s : services_) {
      s.heard = {};
      s.failures = s.slow = 0;
      for (std::size_t rule = 0; rule < kRules; ++rule) say(out, s, rule, Verdict::blind);
    }
    return out;
  }

 private:
  struct Service {
    ServiceKey key;
    Instant epoch;
    int failures = 0, slow = 0;
    Instant failing_since{};
    std::optional<int> exits{}, log_lines{};
    std::optional<Instant> crashed{}, logged{}, dependency_down{};
    bool unverified = false;
    std::array<std::optional<Instant>, kRules> heard{};
    std::array<bool, kRules> firing{};
    std::array<Verdict, kRules> verdict{Verdict::ok, Verdict::ok, Verdict::ok, Verdict::ok, Verdict::ok, Verdict::ok};
  };

  static void see_health(Judgement&, Service& s, const Sense& sense, Instant now) {
    s.heard[health] = now;
    if (sense.healthy) {
      s.failures = 0;
    } else if (++s.failures == 1) {
      s.failing_since = now;
    }
  }

  void settle(Judgement& out, Service& s, Instant now) {
    const bool failing = s.failures >= 3 && now - s.failing_since >= 2s;
    rule(out, s, health, failing, kHealthStale, now);
    rule(out, s, crash, s.crashed && now - *s.crashed < kWindow, kOtherStale, now);
    rule(out, s, log, s.logged && now - *s.logged < kWindow, kOtherStale, now);
    rule(out, s, latency, s.slow >= 4, kOtherStale, now);
    rule(out, s, verification, s.unverified, 1h, now);
    rule(out, s, dependency, s.dependency_down && now - *s.dependency_down >= 10s, 60s, now);
  }

  /// A blind rule says nothing new: its alert stays as it was.
  void rule(Judgement& out, Service& s, std::size_t which, bool breached, Duration stale, Instant now) {
    if (!s.heard[which] || now - *s.heard[which] > stale) return say(out, s, which, Verdict::blind);
    set(out, s, which, breached, now);
    say(out, s, which, breached ? Verdict::breached : Verdict::ok);
  }

  static void set(Judgement& out, Service& s, std::size_t which, bool fires, Instant now) {
    if (s.firing[which] == fires) return;
    s.firing[which] = fires;
    AlertChange change;
    change.service = s.key;
    change.group = "quick";
    change.rule = texts()[which].name;
    change.labels = Labels{{"alertname", change.rule}};
    change.phase = fires ? AlertPhase::firing : AlertPhase::inactive;
    change.since = now;
    change.value = 1;
    change.action = texts()[which].action;
    change.reads = texts()[which].reads;
    change.checks = {texts()[which].check};
    out.alerts.push_back(std::move(change));
  }

  static void say(Judgement& out, Service& s, std::size_t which, Verdict verdict) {
    if (s.verdict[which] == verdict) return;
    s.verdict[which] = verdict;
    const bool fed = which != dependency && which != verification;
    out.verdicts.push_back(VerdictChange{s.key, "quick", texts()[which].name, verdict, fed, false, true});
  }

  std::vector<Service> services_;
};

}  // namespace

std::unique_ptr<Eyes> make_quick_eyes(const Scenario& scenario, Instant now) { return std::make_unique<QuickEyes>(scenario, now); }

}  // namespace rollbackd::simulation
