// A service in a test: sends events to the incident machine, keeps the actions, and moves time through every due instant.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "decision/incident.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::decision {

inline const Instant kT0 = Instant::from_seconds(1'800'000'000);

/// A service with one http check, a manager, and `automatic`.
inline config::ServiceSettings test_settings() {
  config::ServiceSettings settings;
  settings.key = {"shop", "prod"};
  settings.automation = config::Automation::automatic;
  config::ComponentSettings component;
  component.process.manager = config::ManagerType::systemd;
  settings.components.push_back(component);
  config::CheckSettings check;
  check.name = "health";
  settings.checks.push_back(check);
  return settings;
}

inline Release release_named(std::string id) {
  Release release;
  release.id = std::move(id);
  return release;
}

struct Machine {
  config::ServiceSettings settings;
  ServiceState state;
  Instant now = kT0;
  std::shared_ptr<int> ids = std::make_shared<int>(0);
  std::optional<Incident> incident;
  std::vector<Action> last;  ///< of the last event
  std::vector<Action> all;   ///< since the last forget()
  std::uint64_t asked = 0;   ///< number of the last Reprobe

  explicit Machine(config::ServiceSettings s = test_settings()) : settings(std::move(s)) { start(); }
  void start() {
    incident.emplace(settings, state, [n = ids] { return "id-" + std::to_string(++*n); });
  }
  /// A restart of the daemon: only the state survives.
  void restart() {
    state = incident->state();
    start();
  }
  Machine& send(const Event& event) {
    last = incident->on(event, now);
    for (const Action& action : last) {
      if (const auto* reprobe = std::get_if<action::Reprobe>(&action)) asked = reprobe->number;
      all.push_back(action);
    }
    return *this;
  }
  /// Lets time pass, with a Tick at every due instant on the way.
  Machine& pass(Duration d) {
    const Instant end = now + d;
    for (int ticks = 0; ticks < 100'000; ++ticks) {
      const auto due = incident->next_due();
      if (!due || *due > end) break;
      now = std::max(now, *due);
      send(event::Tick{});
      const auto next = incident->next_due();
      if (next && *next <= now) {
        ADD_FAILURE() << "a Tick must do what was due";
        break;
      }
    }
    now = end;
    return *this;
  }
  void forget() { all.clear(); }

  Machine& switched(const std::string& release) { return send(event::Switched{release, now, false, false, ""}); }
  Machine& started() { return send(event::Started{now}); }
  Machine& health(bool healthy) { return send(event::CheckHealth{"health", healthy}); }
  Machine& verdict(Verdict v, const std::string& rule = "Rule", bool ignore = false) {
    return send(event::RuleVerdict{VerdictChange{{"shop", "prod"}, "g", rule, v, true, ignore, true}});
  }
  static AlertChange change(const std::string& rule, std::vector<std::string> reads, AlertAction action, Instant since) {
    AlertChange c;
    c.service = {"shop", "prod"};
    c.group = "g";
    c.rule = rule;
    c.labels = Labels{{"alertname", rule}};
    c.phase = AlertPhase::firing;
    c.since = since;
    c.value = 1;
    c.action = action;
    c.reads = std::move(reads);
    c.checks = {"health"};
    return c;
  }
  Machine& fires(const std::string& rule, std::vector<std::string> reads, AlertAction action = AlertAction::rollback) {
    return send(event::Alert{change(rule, std::move(reads), action, now)});
  }
  Machine& unhealthy() { return fires("Unhealthy", {"probe_success"}); }
  Machine& crashed() { return fires("Crashed", {"process_exits_total"}); }
  Machine& clears(const std::string& rule) {
    AlertChange c = change(rule, {}, AlertAction::rollback, now);
    c.phase = AlertPhase::inactive;
    return send(event::Alert{c});
  }
  /// The answers by which every guard about the world says yes and the failing check fails again.
  event::Settled answers(const std::string& target) const {
    event::Settled e;
    e.number = asked;
    e.own = {ReprobeAnswer{{"shop", "prod"}, "health", true, false, "503"}};
    e.target = TargetFacts{target, true, true, ""};
    return e;
  }
  Machine& settled(const std::string& target = "v1") { return send(answers(target)); }
  /// v1 is good and was live; v2 is live since now, started, and was healthy once.
  Machine& v2_bakes() {
    switched("v1").started();
    send(event::Mark{"v1", Standing::good, "tested", "test"});
    pass(1h);
    switched("v2").started().health(true).verdict(Verdict::ok);
    pass(1s);
    forget();
    return *this;
  }
  /// The engine's part of an automatic rollback that ends with `status`.
  Machine& operation_ends(OperationStatus status, const std::string& failed_how = "", bool switches = true) {
    const action::Operate* operate = find<action::Operate>();
    if (operate == nullptr) {
      ADD_FAILURE() << "no operation was asked for";
      return *this;
    }
    const OperationRequest request = operate->request;
    send(event::OperationBegan{request.operation, request.kind});
    pass(10ms);
    if (switches) send(event::Switched{request.to, now, false, true, request.operation}).started();
    pass(1s);
    event::OperationEnded ended;
    ended.operation = request.operation;
    ended.status = status;
    ended.from = request.from;
    ended.to = request.to;
    ended.failed_how = failed_how;
    return send(ended);
  }

  /// The last action of a kind since forget(); null when there is none.
  template <class A>
  const A* find() const {
    for (auto it = all.rbegin(); it != all.rend(); ++it)
      if (const auto* action = std::get_if<A>(&*it)) return action;
    return nullptr;
  }
  template <class A>
  int count() const {
    return static_cast<int>(std::count_if(all.begin(), all.end(), [](const Action& a) { return std::holds_alternative<A>(a); }));
  }
  int pages() const {
    return static_cast<int>(std::count_if(all.begin(), all.end(), [](const Action& a) {
      const auto* n = std::get_if<action::Notify>(&a);
      return n != nullptr && n->notification.severity == Notification::Severity::page;
    }));
  }
  int records(DecisionKind kind) const {
    return static_cast<int>(std::count_if(all.begin(), all.end(), [&](const Action& a) {
      const auto* r = std::get_if<action::Record>(&a);
      return r != nullptr && r->decision.kind == kind;
    }));
  }
  std::vector<std::string> refused() const {
    const auto* record = find<action::Record>();
    return record == nullptr ? std::vector<std::string>{"nothing recorded"} : refusing(record->decision.guards);
  }
  Standing standing(const std::string& release) const {
    const LedgerEntry* entry = ledger::find(incident->state(), release);
    return entry == nullptr ? Standing::unknown : entry->standing;
  }
  std::string phase() const { return incident->view(now).phase; }
};

}  // namespace rollbackd::decision
