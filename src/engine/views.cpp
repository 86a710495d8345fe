// How things stand, as JSON for the API and as plain numbers for the metrics room. Reads only.
#include "engine/engine.hpp"
#include "engine/fleet.hpp"
#include "engine/from_history.hpp"
#include "engine/insight.hpp"
#include "engine/service.hpp"
#include "ledger/ledger.hpp"
#include "rules/template.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kBlindNamesMax = 20;  ///< series a service

Json strings(const std::vector<std::string>& list) {
  Json out = Json::array();
  for (const auto& s : list) out.push(s);
  return out;
}

Json alert_json(const rules::ActiveAlert& active) {
  const AlertChange& alert = active.alert;
  Json labels = Json::object(), annotations = Json::object(), out;
  for (const auto& [name, value] : alert.labels.pairs()) labels.set(name, value);
  for (const auto& [name, value] : alert.annotations.pairs()) annotations.set(name, value);
  out.set("labels", std::move(labels)).set("annotations", std::move(annotations)).set("state", to_string(alert.phase));
  out.set("activeAt", format_rfc3339(alert.since)).set("value", std::to_string(alert.value)).set("blind", active.blind);
  return out;
}

/// One rule on one service: which case it is, what it says and since when, and what it looks at.
Json rule_json(const rules::RuleStatus& status) {
  Json values = Json::array();
  for (const promql::Element& element : status.values)
    values.push(Json::object().set("labels", element.labels.to_string()).set("value", rules::format_go(element.value)));
  Json out;
  out.set("group", status.group).set("rule", status.rule).set("expr", status.expr).set("verdict", to_string(status.verdict));
  out.set("fed", status.fed).set("detail", status.detail).set("alerting", status.alerting).set("runs", status.runs);
  if (status.since != Instant()) out.set("since", format_rfc3339(status.since));
  out.set("failed", status.failed).set("ignores_no_data", status.ignore_no_data);
  out.set("pending", status.pending).set("firing", status.firing).set("values", std::move(values));
  return out;
}

Json row(const Service& service, Instant now) {
  Json out;
  out.set("service", service.key().name).set("environment", service.key().environment);
  out.set("automation", config::to_string(service.settings().automation));
  const auto [ready, why] = service.ready();
  out.set("protected", ready).set("protected_why", why);
  if (!service.running()) return out.set("phase", "not watched").set("trouble", service.trouble());
  const auto& state = service.incident().state();
  const auto view = service.incident().view(now);
  const LedgerEntry* live = ledger::find(state, state.epoch.release);
  out.set("release", state.epoch.release).set("standing", live ? to_string(live->standing) : "unknown");
  out.set("epoch", state.epoch.number).set("since", format_rfc3339(state.epoch.switched));
  out.set("phase", view.phase).set("started", view.started).set("warming", view.warming).set("stopped_cleanly", view.stopped_cleanly);
  out.set("blind", view.blind).set("blind_rules", strings(view.blind_rules)).set("firing", strings(view.firing));
  out.set("keeps_from_good", strings(view.keeps_from_good));
  out.set("baked_seconds", std::chrono::duration<double>(state.epoch.baked).count());
  out.set("bake_time_seconds", std::chrono::duration<double>(service.settings().policy.bake_time).count());
  if (state.incident) {
    Json incident;
    incident.set("id", state.incident->id).set("cause", state.incident->cause).set("failure_type", state.incident->failure_type);
    incident.set("release", state.incident->release)
        .set("opened", format_rfc3339(state.incident->opened))
        .set("acted", state.incident->acted);
    out.set("incident", std::move(incident));
  }
  if (state.suspension)
    out.set("suspended", Json::object()
                             .set("until", format_rfc3339(state.suspension->until))
                             .set("reason", state.suspension->reason)
                             .set("principal", state.suspension->principal));
  if (view.last_decision)
    out.set("decision", Json::object()
                            .set("kind", to_string(view.last_decision->kind))
                            .set("reason", view.last_decision->reason)
                            .set("next_step", view.last_decision->next_step));
  if (const auto process = service.process())
    out.set("process", Json::object().set("running", process->running).set("pid", process->pid).set("last_exit", process->last_exit));
  return out;
}

}  // namespace

Json Engine::status() const {
  const Instant now = clock_.now();
  Json services = Json::array();
  for (const auto& [key, service] : services_) {
    Json r = row(*service, now);
    fleet_->describe(*service, r);
    services.push(std::move(r));
  }
  Json out;
  out.set("version", ROLLBACKD_VERSION).set("started", started_).set("history", history_->trouble()).set("outbox", outbox_->trouble());
  out.set("last_reload_error", last_reload_error).set("kill_switch", fleet_->kill_switch_json());
  out.set("services", std::move(services));
  return out;
}

Result<Json> Engine::service(const ServiceSelector& selector) const {
  auto found = find(selector);
  if (!found) return found.error();
  const Service& service = **found;
  Json out = row(service, clock_.now());
  fleet_->describe(service, out);
  Json checks = Json::array();
  for (const auto& check : service.checks()) {
    const Source source = check->source();
    const auto last = judge_.store().last_delivery(service.key(), source.check);
    Json c;
    c.set("name", source.check);
    if (last) c.set("last_delivery_seconds_ago", std::chrono::duration<double>(clock_.now() - *last).count());
    c.set("ok", check->counters().ok).set("failed", check->counters().failed).set("unobserved", check->counters().unobserved);
    checks.push(std::move(c));
  }
  out.set("checks", std::move(checks));
  Json rules = Json::array();
  for (const auto& status : judge_.status(service.key())) {
    rules.push(rule_json(status));
  }
  out.set("rules", std::move(rules));
  Json other = Json::array();
  if (service.running()) {
    for (const OtherChange& change : service.incident().state().changes) {
      Json one;
      one.set("kind", to_string(change.kind)).set("what", change.what).set("at", format_rfc3339(change.at));
      other.push(std::move(one));
    }
  }
  out.set("other_changes", std::move(other));
  return out;
}

Result<Json> Engine::releases(const ServiceSelector& selector) const {
  auto found = find(selector);
  if (!found) return found.error();
  const Service& service = **found;
  if (!service.running()) return Error(Errc::unavailable, "the service is not watched").because(service.trouble());
  const auto& state = service.incident().state();
  Json rows = Json::array();
  for (auto entry = state.ledger.rbegin(); entry != state.ledger.rend(); ++entry) {
    Json r;
    r.set("release", entry->release.id).set("standing", to_string(entry->standing)).set("reason", entry->reason);
    r.set("digest", entry->release.digest).set("live", entry->release.id == state.epoch.release).set("commit", entry->release.commit);
    r.set("created", entry->release.created);
    if (entry->last_live != Instant{}) r.set("last_live", format_rfc3339(entry->last_live));
    r.set("intact", entry->intact).set("intact_why", entry->intact_why);
    if (entry->scrubbed) r.set("read_in_full", format_rfc3339(*entry->scrubbed));
    const std::string incompatible = ledger::why_incompatible(state, entry->release.id);
    const std::string against = incompatible.empty() ? ledger::why_insecure(state, entry->release.id) : incompatible;
    if (!against.empty()) r.set("against", against);
    rows.push(std::move(r));
  }
  const auto choice = ledger::choose_target(state, {});
  Json out;
  out.set("service", service.key().name).set("environment", service.key().environment).set("releases", std::move(rows));
  out.set("target", choice.target ? Json(choice.target->id) : Json()).set("why_not", strings(choice.why_not));
  return out;
}

Result<Json> Engine::explain(const ServiceSelector& selector) const {
  auto out = service(selector);
  if (!out) return out;
  auto found = find(selector);
  Json decisions = Json::array();
  for (auto d = (*found)->recent_decisions().rbegin(); d != (*found)->recent_decisions().rend(); ++d) decisions.push(d->to_json());
  out->set("decisions", std::move(decisions));
  if ((*found)->running()) {
    const auto choice = ledger::choose_target((*found)->incident().state(), {});
    out->set("target", choice.target ? Json(choice.target->id) : Json()).set("why_not", strings(choice.why_not));
  }
  return out;
}

Json Engine::alerts() const {
  Json out = Json::array();
  for (const auto& active : judge_.alerts()) out.push(alert_json(active));
  return out;
}

Json Engine::readiness() const { return insight_->ready({}).value(); }

std::vector<Engine::ServiceNumbers> Engine::numbers() const {
  std::vector<ServiceNumbers> out;
  for (const auto& [key, service] : services_) {
    ServiceNumbers n;
    n.service = key;
    const Service::Ready ready = service->readiness();
    n.ready = ready.ready;
    n.ready_reason = ready.why;
    n.ready_word = ready.word;
    for (const ReadyCheck& check : insight_->checks(*service))
      if (check.answer != ReadyCheck::Answer::yes)
        n.ready_checks.emplace_back(check.name, check.answer == ReadyCheck::Answer::warning ? 0.5 : 0);
    n.deadline_standard = service->settings().policy.deadline_standard;
    n.deadline_emergency = service->settings().policy.deadline_emergency;
    if (service->running()) {
      const auto view = service->incident().view(clock_.now());
      n.incident_open = service->incident().state().incident.has_value();
      n.held = view.phase == "held";
      n.suspended = service->incident().state().suspension.has_value();
      n.live = service->incident().state().epoch.release;
      for (const config::HookSettings& hook : service->settings().hooks) n.hook_points.emplace_back(config::to_string(hook.at));
      if (service->incident().state().drilled) n.drilled = service->incident().state().drilled->seconds();
      for (const auto& entry : service->incident().state().ledger) n.releases.emplace_back(entry.release.id, to_string(entry.standing));
      n.blind_rules = static_cast<int>(view.blind_rules.size());
      n.blind_rule_names = view.blind_rules;
      if (n.blind_rule_names.size() > kBlindNamesMax) n.blind_rule_names.resize(kBlindNamesMax);
    }
    for (const auto& check : service->checks()) {
      const std::string name = check->source().check;
      std::string type;
      for (const auto& settings : service->settings().checks)
        if (settings.name == name) type = config::to_string(settings.type);
      const auto& c = check->counters();
      n.checks.push_back({name, type, c.ok, c.failed, c.unobserved, c.late, service->opinion(*check)});
    }
    out.push_back(std::move(n));
  }
  return out;
}

namespace {

Result<Json> as_array(Result<std::vector<Json>> rows) {
  if (!rows) return rows.error();
  return Json(Json::Array(std::move(*rows)));
}

}  // namespace

asio::awaitable<Result<Json>> Engine::operations(record::HistoryFilter filter) {
  auto start = [this, filter](auto done) { history_->operations(filter, std::move(done)); };
  co_return as_array(co_await from_history<std::vector<Json>>(executor_, start));
}

asio::awaitable<Result<Json>> Engine::decisions(record::HistoryFilter filter) {
  auto start = [this, filter](auto done) { history_->decisions(filter, std::move(done)); };
  co_return as_array(co_await from_history<std::vector<Json>>(executor_, start));
}

asio::awaitable<Result<Json>> Engine::deployments(record::HistoryFilter filter) {
  auto start = [this, filter](auto done) { history_->deployments(filter, std::move(done)); };
  co_return as_array(co_await from_history<std::vector<Json>>(executor_, start));
}

asio::awaitable<Result<Json>> Engine::operation(std::string id) {
  auto start = [this, id](auto done) { history_->operation(id, std::move(done)); };
  co_return co_await from_history<Json>(executor_, start);
}

asio::awaitable<Result<Json>> Engine::stats(record::HistoryFilter filter) {
  auto start = [this, filter](auto done) { history_->stats(filter, std::move(done)); };
  co_return co_await from_history<Json>(executor_, start);
}

asio::awaitable<Result<Json>> Engine::audit_entries(record::AuditFilter filter) {
  auto read = [filter, directory = settings_.state_directory]() -> Result<std::vector<Json>> {
    auto files = record::audit_files(directory);
    if (!files) return files.error();
    return record::read_audit(*files, filter);
  };
  co_return as_array(co_await bulk_.run(std::move(read)));
}

}  // namespace rollbackd::engine
