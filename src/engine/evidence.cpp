// Captures the evidence of a decision at the decision, because samples and log lines do not stay: what the rule looked at, what the checks
// said, the ledger, other changes, who was told. Flow: engine, service -> [evidence] -> history (SQLite), on a thread of its own.
// Each entry point notes and returns; the capture itself runs in a later turn, while the intent is on its way to the disk.
#include <algorithm>
#include <set>

#include "base/text.hpp"
#include "engine/engine.hpp"
#include "engine/insight.hpp"
#include "engine/secrets.hpp"
#include "engine/service.hpp"
#include "engine/watched.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {

constexpr Duration kWindow = 10min;      ///< of samples before the decision
constexpr std::size_t kMetricsMax = 12;  ///< metric names that the firing rules read
constexpr std::size_t kSeriesMax = 30;   ///< of all of them
constexpr std::size_t kPointsMax = 60;   ///< of one series, the newest
constexpr std::size_t kRulesMax = 12;    ///< that fire
constexpr std::size_t kReleasesMax = 12;
constexpr std::size_t kBytesMax = 192 << 10;  ///< of a bundle at its capture: how it ended is added later

Json labels_json(const Labels& labels) {
  Json out = Json::object();
  for (const auto& [name, value] : labels.pairs()) out.set(name, value);
  return out;
}

Json guards_json(const std::vector<GuardAnswer>& guards) {
  Json out = Json::array();
  for (const GuardAnswer& g : guards)
    out.push(Json::object()
                 .set("guard", g.guard)
                 .set("yes", g.yes)
                 .set("asked", g.asked)
                 .set("passed_over", g.passed_over)
                 .set("evidence", g.evidence));
  return out;
}

Json ledger_json(const ServiceState& state) {
  Json out = Json::array();
  for (auto entry = state.ledger.rbegin(); entry != state.ledger.rend() && out.elements().size() < kReleasesMax; ++entry) {
    Json row;
    row.set("release", entry->release.id).set("standing", to_string(entry->standing)).set("reason", entry->reason);
    row.set("digest", entry->release.digest).set("commit", entry->release.commit).set("live", entry->release.id == state.epoch.release);
    if (entry->last_live != Instant{}) row.set("last_live", format_rfc3339(entry->last_live));
    out.push(std::move(row));
  }
  return out;
}

Json changes_json(const ServiceState& state) {
  Json out = Json::array();
  for (const OtherChange& change : state.changes)
    out.push(Json::object().set("kind", to_string(change.kind)).set("what", change.what).set("at", format_rfc3339(change.at)));
  return out;
}

/// Its newest points. A staleness marker is told as the series' end.
Json points_json(const series::Points& points) {
  Json out = Json::array();
  const std::size_t first = points.size() > kPointsMax ? points.size() - kPointsMax : 0;
  for (std::size_t i = first; i < points.size(); ++i) {
    Json point = Json::array();
    point.push(points[i].at.seconds());
    point.push(series::is_stale_nan(points[i].value) ? Json("ends") : Json(points[i].value));
    out.push(std::move(point));
  }
  return out;
}

Json samples_json(const series::Store& store, const ServiceKey& service, const std::set<std::string>& metrics, Instant until,
                  Json& left_out) {
  Json out = Json::array();
  std::size_t names = 0;
  for (const std::string& name : metrics) {
    if (++names > kMetricsMax || out.elements().size() >= kSeriesMax) {
      left_out.push("samples of " + name);
      continue;
    }
    const auto matcher = series::Matcher::make("__name__", series::Matcher::Op::equal, name);
    if (!matcher) continue;
    const std::vector<series::Matcher> matchers{*matcher};
    for (const series::Selected& one : store.select(matchers, until - kWindow, until, &service)) {
      if (out.elements().size() >= kSeriesMax) {
        left_out.push("more series of " + name);
        break;
      }
      Json series = Json::object().set("series", one.labels->to_string()).set("points", points_json(one.points));
      if (one.points.size() > kPointsMax) series.set("older_points_left_out", one.points.size() - kPointsMax);
      out.push(std::move(series));
    }
  }
  return out;
}

}  // namespace

void Insight::on_batch(const Batch& batch) {
  auto& watched = watched_[batch.service];
  if (!watched) watched = std::make_unique<Watched>();
  watched->note(batch);
}

void Insight::on_alert(const AlertChange& change) {
  auto& watched = watched_[change.service];
  if (!watched) watched = std::make_unique<Watched>();
  watched->note(change);
}

void Insight::forget(const ServiceKey& service) {
  watched_.erase(service);
  world_.erase(service.text());
}

void Insight::on_notification(const Notification& notification) {
  const auto at = watched_.find(notification.service);
  if (at == watched_.end()) return;
  Watched& watched = *at->second;
  watched.told(notification, io::Clock::wall_now());
  // Told after the capture: it belongs to the bundle that is the newest now.
  if (!watched.bundle.is_null()) {
    watched.bundle.set("told", watched.told_json());
    store(notification.service, watched.bundle_id);
  }
}

void Insight::on_command(const std::string& operation, const std::vector<GuardAnswer>& guards, const std::vector<std::string>& why_not) {
  Json about = Json::object().set("guards", guards_json(guards));
  Json others = Json::array();
  for (const std::string& line : why_not) others.push(line);
  commands_[operation] = about.set("why_not", others);
  constexpr std::size_t kCommandsMax = 16;  // Each is taken when its operation begins; one that never does must not stay.
  if (commands_.size() > kCommandsMax) commands_.erase(commands_.begin());
}

void Insight::on_decision(const Service& service, const Decision& decision) {
  const std::string id = decision.operation.empty() ? decision.id : decision.operation;
  Json about = Json::object().set("decision", decision.to_json());
  about.set("incident", decision.incident).set("operation", decision.operation);
  spawn(engine_.executor_, nullptr, capture(service.shared_from_this(), std::move(about), id));
}

void Insight::on_operation_begins(const Service& service, const OperationRequest& request) {
  const auto at = watched_.find(service.key());
  if (at != watched_.end() && at->second->bundle_id == request.operation) return;          // Its decision was captured.
  if (request.trigger != Trigger::manual || request.kind == OperationKind::drill) return;  // A drill keeps its own.
  Json about = Json::object();
  if (const auto command = commands_.find(request.operation); command != commands_.end()) {
    about = std::move(command->second);
    commands_.erase(command);
  }
  about.set("incident", request.incident).set("operation", request.operation);
  about.set("asked_by", request.principal).set("reason", request.reason);
  spawn(engine_.executor_, nullptr, capture(service.shared_from_this(), std::move(about), request.operation));
}

/// Runs in a turn of its own: first the intent goes to the disk.
asio::awaitable<void> Insight::capture(std::shared_ptr<const Service> service, Json about, std::string id) {
  const std::shared_ptr<int> alive = engine_.alive_;
  co_await asio::post(engine_.executor_, asio::use_awaitable);
  if (*alive != 0 || !service->running()) co_return;
  auto& slot = watched_[service->key()];
  if (!slot) slot = std::make_unique<Watched>();
  Watched& watched = *slot;
  const Instant now = engine_.clock_.now();
  const ServiceState& state = service->incident().state();
  Json left_out = Json::array();
  Json bundle = std::move(about);
  bundle.set("format", 1).set("id", id).set("version", ROLLBACKD_VERSION).set("configuration", configuration_);
  bundle.set("node", engine_.options_.node).set("captured", format_rfc3339(io::Clock::wall_now()));
  bundle.set("service", service->key().name).set("environment", service->key().environment);
  bundle.set("release", state.epoch.release).set("release_since", format_rfc3339(state.epoch.switched));
  bundle.set("automation", config::to_string(service->settings().automation));

  // The rules that fire, each with its text; and what they read.
  Json alerts = Json::array();
  std::set<std::string> metrics;
  std::map<std::pair<std::string, std::string>, std::string> texts;
  for (const rules::RuleStatus& rule : engine_.judge_.status(service->key())) texts[{rule.group, rule.rule}] = rule.expr;
  for (const AlertChange& alert : watched.alerts()) {
    if (alerts.elements().size() >= kRulesMax) {
      left_out.push("more rules that fire");
      break;
    }
    Json row;
    row.set("rule", alert.rule).set("group", alert.group).set("state", to_string(alert.phase)).set("action", to_string(alert.action));
    const auto text = texts.find({alert.group, alert.rule});
    row.set("expr", text == texts.end() ? Json() : Json(text->second)).set("value", alert.value).set("since", format_rfc3339(alert.since));
    row.set("labels", labels_json(alert.labels)).set("annotations", labels_json(alert.annotations));
    alerts.push(std::move(row));
    for (const std::string& metric : alert.reads) metrics.insert(metric);
  }
  bundle.set("alerts", std::move(alerts));
  Json samples = samples_json(engine_.judge_.store(), service->key(), metrics, now, left_out);
  bundle.set("samples", std::move(samples)).set("samples_until", format_rfc3339(now)).set("checks", watched.details_json());
  bundle.set("releases", ledger_json(state)).set("changes", changes_json(state)).set("told", watched.told_json());
  bundle.set("pre_flight", to_json(checks(*service))).set("left_out", left_out);
  bundle = masked(bundle);
  // Of what is too much the samples go first: rules, guards and check details say more in less.
  for (const char* part : {"samples", "pre_flight", "checks", "releases", "alerts"}) {
    if (bundle.dump().size() <= kBytesMax) break;
    bundle.set(part, Json::array());
    left_out.push(std::string(part) + ": the bundle would have been too large");
    bundle.set("left_out", left_out);
  }
  watched.bundle = std::move(bundle);
  watched.bundle_id = id;
  store(service->key(), id);
}

void Insight::on_verified(const Service& service, const std::vector<rollback::TestResult>& results) {
  const auto at = watched_.find(service.key());
  if (at == watched_.end()) return;
  constexpr std::size_t kTestsMax = 32;
  Json tests = Json::array();
  for (const rollback::TestResult& result : results) {
    if (tests.elements().size() == kTestsMax) break;
    tests.push(Json::object()
                   .set("test", result.test)
                   .set("result", rollback::to_string(result.kind))
                   .set("detail", masked_text(cut(result.detail, 500)))
                   .set("took_seconds", std::chrono::duration<double>(result.took).count()));
  }
  at->second->tests = std::move(tests);
}

void Insight::on_operation_ended(const Service& service, const record::OperationRow& row) {
  const auto at = watched_.find(service.key());
  if (at == watched_.end() || at->second->bundle_id != row.request.operation) return;
  Watched& watched = *at->second;
  watched.bundle.set("tests", std::exchange(watched.tests, Json::array())).set("ended", row.to_json());
  watched.bundle.set("told", watched.told_json());
  store(service.key(), row.request.operation);
}

/// Hands the present bundle to the history, which writes it on its own thread.
void Insight::store(const ServiceKey& service, const std::string& id) {
  const auto at = watched_.find(service);
  if (at == watched_.end() || at->second->bundle_id != id || id.empty()) return;
  const Json& bundle = at->second->bundle;
  record::BundleRow row;
  row.id = id;
  row.service = service;
  row.incident = bundle["incident"].string_or("");
  row.operation = bundle["operation"].string_or("");
  row.at = io::Clock::wall_now();
  row.document = bundle.dump();
  engine_.history_->add(std::move(row));
}

}  // namespace rollbackd::engine
