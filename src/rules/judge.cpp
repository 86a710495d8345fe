#include "rules/judge.hpp"

#include <set>
#include <utility>

#include "promql/evaluate.hpp"
#include "rules/cell.hpp"
#include "rules/rule_set.hpp"
#include "rules/schedule.hpp"
#include "rules/window.hpp"

namespace rollbackd::rules {
namespace {

constexpr std::string_view kServiceLabel = "service";
constexpr std::string_view kEnvironmentLabel = "environment";
constexpr int kRecordingDepthMax = 16;  ///< recording rules over recording rules, for finding out which checks feed them

ServiceKey service_of(const Labels& labels) { return {std::string(labels.get(kServiceLabel)), std::string(labels.get(kEnvironmentLabel))}; }

bool names(const std::vector<std::string>& list, std::string_view text) { return std::find(list.begin(), list.end(), text) != list.end(); }

/// One declared service with its cells of all rules that run for it alone, in file order.
struct ServiceState {
  ServiceKey key;
  Schedule::Id id = 0;
  std::vector<Source> sources;
  std::vector<Cell> cells;
  std::optional<Instant> stale_at;  ///< slot in which the next source falls silent

  Cell* cell(RuleId rule) {
    const auto at = std::lower_bound(cells.begin(), cells.end(), rule, [](const Cell& c, RuleId wanted) { return c.rule < wanted; });
    return at != cells.end() && at->rule == rule ? &*at : nullptr;
  }
};

/// Element pointers, as `Finding` wants them.
std::vector<const promql::Element*> pointers(const std::vector<promql::Element>& elements) {
  std::vector<const promql::Element*> out;
  out.reserve(elements.size());
  for (const promql::Element& element : elements) out.push_back(&element);
  return out;
}

}  // namespace

struct Judge::Impl {
  explicit Impl(series::Limits limits) : store(limits) {}

  series::Store store;
  JudgeCounters counters;
  std::unique_ptr<RuleSet> rules = std::make_unique<RuleSet>();
  std::vector<std::size_t> rule_alerts;                 ///< by RuleId: alerts over all services
  std::vector<std::map<ServiceKey, Cell>> timed_cells;  ///< by RuleId: of rules that run on an interval
  std::vector<Instant> group_due;                       ///< by group: its next interval, where it has such rules
  std::map<ServiceKey, std::unique_ptr<ServiceState>> services;
  std::vector<ServiceState*> by_id;  ///< nullptr where a service was removed
  std::vector<Schedule::Id> free_ids;
  Schedule service_schedule, group_schedule;
  std::set<Schedule::Id> waiting;  ///< services with touched cells that the pass under way has still to run
  Judgement untold;                ///< changes of calls that return nothing; told with the next one
  std::optional<Instant> untold_at;

  /// A selector's liveness: of the store's sources, or for a recorded metric of the rule that records it.
  class View;

  Sink sink(RuleId rule, Judgement& out, bool tell = true) { return {out, rule_alerts[rule], counters, tell}; }
  ServiceState* find(const ServiceKey& key) const {
    const auto at = services.find(key);
    return at == services.end() ? nullptr : at->second.get();
  }

  Judgement take_untold() {
    untold_at.reset();
    return std::exchange(untold, {});
  }
  void tell_later(Instant now) {
    if (!untold.alerts.empty() || !untold.verdicts.empty()) untold_at = slot_at_or_after(now);
  }

  // --- What touches what ---

  void touch_readers(const Labels& series, ServiceState& of, std::optional<RuleId> running, Instant now) {
    rules->for_each_reader(series, [&](RuleId reader) {
      Cell* cell = of.cell(reader);
      if (cell == nullptr) return;
      if (running && reader <= *running) {
        // It stands before the rule that recorded this, so it has had its turn: it sees the value one interval later, as in Prometheus.
        cell->due = earlier(cell->due, slot_after(now + (*rules)[reader].group->interval, now));
      } else {
        cell->touched = true;
      }
    });
  }

  void touch_all(ServiceState& service) {
    for (Cell& cell : service.cells) cell.touched = true;
  }

  // --- Evaluating ---

  struct Evaluated {
    std::vector<promql::Element> elements;
    bool blind = false, fed = false;
    std::string reason;
  };

  Evaluated evaluate(const CompiledRule& rule, const ServiceKey* scope, Instant now);
  void run_local(ServiceState& service, Cell& cell, Instant now, Judgement& out);
  void run_timed(RuleId id, Instant now, Judgement& out);
  void settle(RuleId id, Cell& cell, const ServiceKey& service, Finding finding, Instant now, Sink to);
  void record(RuleId id, Cell& cell, const ServiceKey& service, Finding& finding, Instant now);

  void pass(ServiceState& service, Instant now, Judgement& out) {
    for (Cell& cell : service.cells) {
      if (!std::exchange(cell.touched, false)) continue;
      run_local(service, cell, now, out);
    }
    waiting.erase(service.id);
    reschedule(service, now);
  }

  void pass_waiting(Instant now, Judgement& out) {
    while (!waiting.empty()) pass(*by_id[*waiting.begin()], now, out);
  }

  void reschedule(ServiceState& service, Instant now) {
    service.stale_at = store.next_staleness(service.key, now);
    if (service.stale_at) service.stale_at = slot_after(*service.stale_at, now);
    std::optional<Instant> due = service.stale_at;
    for (const Cell& cell : service.cells) due = earlier(due, cell.due);
    service_schedule.set(service.id, due);
  }

  // --- Cells ---

  std::vector<std::string> feeders(const CompiledRule& rule, const ServiceKey& service) const {
    std::vector<std::string> out;
    for (const promql::Expr* selector : rule.selectors) {
      for (std::string& check : store.feeders(selector->matchers, service)) {
        if (!names(out, check)) out.push_back(std::move(check));
      }
    }
    return out;
  }

  /// What feeds each cell; what feeds a recording rule feeds the rules that read it.
  void find_feeders(ServiceState& service) {
    for (Cell& cell : service.cells) cell.checks = feeders((*rules)[cell.rule], service.key);
    bool grew = true;
    for (int depth = 0; grew && depth < kRecordingDepthMax; ++depth) {
      grew = false;
      for (Cell& cell : service.cells) {
        for (const promql::Expr* selector : (*rules)[cell.rule].selectors) {
          const auto* recorders = rules->recorders(metric_of(selector->matchers));
          if (recorders == nullptr) continue;
          for (const RuleId recorder : *recorders) {
            const Cell* from = service.cell(recorder);
            if (from == nullptr || from == &cell) continue;
            for (const std::string& check : from->checks) {
              if (names(cell.checks, check)) continue;
              cell.checks.push_back(check);
              grew = true;
            }
          }
        }
      }
    }
  }

  bool concerns(const CompiledRule& rule, const ServiceKey& service) const { return !rule.group->only || *rule.group->only == service; }

  void make_cells(ServiceState& service) {
    service.cells.clear();
    for (RuleId id = 0; id < rules->rules().size(); ++id) {
      const CompiledRule& rule = (*rules)[id];
      if (rule.timed || !concerns(rule, service.key)) continue;
      service.cells.emplace_back();
      service.cells.back().rule = id;
    }
  }

  /// Rules on an interval are blind on a service until they first ran for it.
  void make_timed_cells(const ServiceKey& service, Judgement& out) {
    for (RuleId id = 0; id < timed_cells.size(); ++id) {
      const CompiledRule& rule = (*rules)[id];
      if (!rule.timed || !concerns(rule, service)) continue;
      Cell& cell = timed_cells[id][service];
      cell.rule = id;
      cell.checks = feeders(rule, service);
      if (!cell.reported) set_verdict(rule, cell, service, Verdict::blind, !cell.checks.empty(), "not evaluated yet", sink(id, out));
    }
  }

  template <class F>
  void for_each_timed_cell(const ServiceKey& service, F&& f) {
    for (RuleId id = 0; id < timed_cells.size(); ++id) {
      const auto at = timed_cells[id].find(service);
      if (at != timed_cells[id].end()) f(id, at->second);
    }
  }

  // --- Reload ---

  struct Kept {
    std::map<std::string, RuleId> ids;  ///< by the rule's key, in the new set
    const RuleId* find(const std::string& key) const {
      const auto at = ids.find(key);
      return at == ids.end() ? nullptr : &at->second;
    }
  };
  void retire(const CompiledRule& rule, Cell& cell, const ServiceKey& service, Instant now);
  void adopt(Cell& to, Cell&& from, const CompiledRule& was);
};

/// Reads the store; answers liveness for recorded metrics from the standing of the rules that record them.
class Judge::Impl::View final : public promql::Querier {
 public:
  View(const Impl& judge, const ServiceKey* scope) : judge_(judge), scope_(scope), store_(judge.store, scope) {}

  std::vector<series::Selected> range(std::span<const series::Matcher> matchers, Instant from_exclusive, Instant to) const override {
    return store_.range(matchers, from_exclusive, to);
  }
  std::vector<series::Selected> latest(std::span<const series::Matcher> matchers, Instant to, Duration lookback) const override {
    return store_.latest(matchers, to, lookback);
  }
  series::Liveness liveness(std::span<const series::Matcher> matchers, Instant at) const override {
    const std::vector<RuleId>* recorders = judge_.rules->recorders(metric_of(matchers));
    if (recorders == nullptr) return store_.liveness(matchers, at);
    series::Liveness out;
    for (const RuleId recorder : *recorders) {
      for (const auto& [key, cell] : judge_.timed_cells[recorder])
        if (scope_ == nullptr || key == *scope_) add(out, recorder, key, cell);
      if (judge_.rules->rules()[recorder].timed) continue;
      if (scope_ != nullptr) {
        if (ServiceState* service = judge_.find(*scope_)) add(out, recorder, *service);
      } else {
        for (const auto& [key, service] : judge_.services) add(out, recorder, *service);
      }
    }
    return out;
  }

 private:
  void add(series::Liveness& out, RuleId recorder, ServiceState& service) const {
    if (const Cell* cell = service.cell(recorder)) add(out, recorder, service.key, *cell);
  }
  void add(series::Liveness& out, RuleId recorder, const ServiceKey& service, const Cell& cell) const {
    out.fed = out.fed || cell.fed;
    if (cell.verdict != Verdict::blind || out.blind) return;
    out.blind = true;
    out.blind_reason = "rule " + judge_.rules->rules()[recorder].rule->name + " of " + service.text() + " is blind: " + cell.detail;
  }

  const Impl& judge_;
  const ServiceKey* scope_;
  promql::StoreQuerier store_;
};

Judge::Impl::Evaluated Judge::Impl::evaluate(const CompiledRule& rule, const ServiceKey* scope, Instant now) {
  ++counters.evaluations;
  promql::EvalOptions options;
  options.at = now - rule.group->query_offset;
  Result<promql::Value> value = promql::evaluate(*rule.rule->expr, View(*this, scope), options);
  Evaluated out;
  if (!value) {
    ++counters.evaluation_failures;
    out.blind = true;
    out.reason = value.error().text();
    return out;
  }
  out.blind = value->blind;
  out.fed = value->fed;
  out.reason = std::move(value->blind_reason);
  out.elements = std::move(value->vector);
  if (value->type == promql::Value::Type::scalar) out.elements.push_back({Labels(), value->scalar});
  if (scope == nullptr) return out;
  for (promql::Element& element : out.elements) {
    const bool stamp = rule.group->only.has_value();
    if (stamp || !element.labels.has(kServiceLabel)) element.labels.set(kServiceLabel, scope->name);
    if (stamp || !element.labels.has(kEnvironmentLabel)) element.labels.set(kEnvironmentLabel, scope->environment);
  }
  return out;
}

/// Appends a recording rule's result. When it fails the finding is blind afterwards.
void Judge::Impl::record(RuleId id, Cell& cell, const ServiceKey& service, Finding& finding, Instant now) {
  const CompiledRule& rule = (*rules)[id];
  std::map<Labels, double> made;
  for (const promql::Element* element : finding.elements) {
    if (!made.emplace(labels_made_by(rule, *element), element->value).second) {
      finding.reason = "vector contains metrics with the same labelset after applying rule labels";
    }
  }
  if (rule.group->limit > 0 && made.size() > static_cast<std::size_t>(rule.group->limit)) {
    finding.reason = "exceeded limit of " + std::to_string(rule.group->limit) + " with " + std::to_string(made.size()) + " series";
  }
  if (!finding.reason.empty()) {
    ++counters.evaluation_failures;
    finding.blind = true;
    return;
  }
  const auto write = [&](const Labels& labels, double value) {
    store.append(labels, {now - rule.group->query_offset, value});
    // A rule that writes into another service's series is read there when that service's own rules next run: no pass causes another.
    ServiceState* owner = find(rule.timed ? service_of(labels) : service);
    if (owner == nullptr) return;
    touch_readers(labels, *owner, rule.timed ? std::nullopt : std::optional(id), now);
    if (rule.timed) waiting.insert(owner->id);
  };
  for (const Labels& before : cell.recorded) {
    if (!made.contains(before)) write(before, series::stale_nan());
  }
  cell.recorded.clear();
  for (const auto& [labels, value] : made) {
    write(labels, value);
    cell.recorded.push_back(labels);
  }
}

/// Lets the finding move the cell, whichever kind of rule it is.
void Judge::Impl::settle(RuleId id, Cell& cell, const ServiceKey& service, Finding finding, Instant now, Sink to) {
  const CompiledRule& rule = (*rules)[id];
  if (rule.rule->alerting) {
    apply_alerts(rule, cell, service, std::move(finding), now, to);
    return;
  }
  if (!finding.blind) record(id, cell, service, finding, now);
  apply_recording(rule, cell, service, finding, to);
}

void Judge::Impl::run_local(ServiceState& service, Cell& cell, Instant now, Judgement& out) {
  const CompiledRule& rule = (*rules)[cell.rule];
  Evaluated result = evaluate(rule, &service.key, now);
  const auto elements = pointers(result.elements);
  settle(cell.rule, cell, service.key, {elements, result.blind, result.fed || !cell.checks.empty(), std::move(result.reason)}, now,
         sink(cell.rule, out));
  if (cell.verdict == Verdict::blind || elements.empty()) return;
  if (const auto end = windows_run_out(rule, store, now, &service.key)) cell.due = earlier(cell.due, slot_after(*end, now));
}

void Judge::Impl::run_timed(RuleId id, Instant now, Judgement& out) {
  const CompiledRule& rule = (*rules)[id];
  const ServiceKey* only = rule.group->only ? &*rule.group->only : nullptr;
  if (only != nullptr && find(*only) == nullptr) return;
  const Evaluated result = evaluate(rule, only, now);
  std::map<ServiceKey, std::vector<const promql::Element*>> parts;
  for (const promql::Element& element : result.elements) {
    parts[only != nullptr ? *only : service_of(element.labels)].push_back(&element);
  }
  std::map<ServiceKey, Cell>& cells = timed_cells[id];
  for (const auto& [key, elements] : parts) cells[key].rule = id;
  for (auto at = cells.begin(); at != cells.end();) {
    Cell& cell = at->second;
    const bool declared = find(at->first) != nullptr;
    if (declared) cell.checks = feeders(rule, at->first);
    const bool fed = rule.selectors.empty() ? result.fed : !cell.checks.empty();
    const auto part = parts.find(at->first);
    const std::span<const promql::Element* const> elements =
        part == parts.end() ? std::span<const promql::Element* const>() : std::span<const promql::Element* const>(part->second);
    settle(id, cell, at->first, {elements, result.blind, fed, result.reason}, now, sink(id, out, declared));
    const bool empty = cell.alerts.empty() && cell.recorded.empty();
    at = !declared && empty ? cells.erase(at) : std::next(at);
  }
}

void Judge::Impl::retire(const CompiledRule& rule, Cell& cell, const ServiceKey& service, Instant now) {
  std::size_t gone = cell.alerts.size();  // The old set's count is thrown away with it.
  const Sink to{untold, gone, counters};
  clear_alerts(rule, cell, service, now, to);
  // A rule that is no longer there stops no bake clock.
  if (cell.reported) set_verdict(rule, cell, service, Verdict::ok, false, "", to);
}

void Judge::Impl::adopt(Cell& to, Cell&& from, const CompiledRule& was) {
  const RuleId id = to.rule;
  to = std::move(from);
  to.rule = id;
  to.reported = to.reported && was.rule->ignore_no_data == (*rules)[id].rule->ignore_no_data;
  rule_alerts[id] += to.alerts.size();
}

Judge::Judge(series::Limits limits) : impl_(std::make_unique<Impl>(limits)) {}
Judge::~Judge() = default;

void Judge::set_rules(Groups groups, Instant now) {
  Impl& j = *impl_;
  const std::unique_ptr<RuleSet> old = std::exchange(j.rules, std::make_unique<RuleSet>(std::move(groups)));
  const std::size_t count = j.rules->rules().size();
  Impl::Kept kept;
  for (RuleId id = 0; id < count; ++id) kept.ids.emplace((*j.rules)[id].key, id);
  j.rule_alerts.assign(count, 0);

  auto old_timed = std::exchange(j.timed_cells, std::vector<std::map<ServiceKey, Cell>>(count));
  for (RuleId id = 0; id < old_timed.size(); ++id) {
    const RuleId* same = kept.find((*old)[id].key);
    for (auto& [service, cell] : old_timed[id]) {
      if (same == nullptr) {
        j.retire((*old)[id], cell, service, now);
      } else {
        Cell& to = j.timed_cells[*same][service];
        to.rule = *same;
        j.adopt(to, std::move(cell), (*old)[id]);
      }
    }
  }
  for (auto& [key, service] : j.services) {
    std::vector<Cell> before = std::move(service->cells);
    j.make_cells(*service);
    for (Cell& cell : before) {
      const RuleId before_rule = cell.rule;
      const RuleId* same = kept.find((*old)[before_rule].key);
      Cell* to = same == nullptr ? nullptr : service->cell(*same);
      if (to == nullptr)
        j.retire((*old)[before_rule], cell, key, now);
      else
        j.adopt(*to, std::move(cell), (*old)[before_rule]);
    }
    j.find_feeders(*service);
    j.make_timed_cells(key, j.untold);
    j.touch_all(*service);
    j.waiting.insert(service->id);
  }

  j.group_schedule = Schedule();
  j.group_due.assign(j.rules->groups().size(), Instant());
  for (const CompiledRule& rule : j.rules->rules()) {
    if (!rule.timed) continue;
    j.group_due[rule.group_id] = slot_at_or_after(now + rule.group->interval);
    j.group_schedule.set(rule.group_id, j.group_due[rule.group_id]);
  }
  j.pass_waiting(now, j.untold);
  j.tell_later(now);
}

void Judge::set_service(const ServiceKey& key, std::vector<Source> sources, Instant now) {
  Impl& j = *impl_;
  std::unique_ptr<ServiceState>& service = j.services[key];
  if (!service) {
    service = std::make_unique<ServiceState>();
    service->key = key;
    if (j.free_ids.empty()) {
      service->id = static_cast<Schedule::Id>(j.by_id.size());
      j.by_id.push_back(nullptr);
    } else {
      service->id = j.free_ids.back();
      j.free_ids.pop_back();
    }
    j.by_id[service->id] = service.get();
    j.make_cells(*service);
  }
  for (const Source& before : service->sources) {
    const bool stays = std::any_of(sources.begin(), sources.end(), [&](const Source& s) { return s.check == before.check; });
    if (!stays) j.store.remove_source(key, before.check);
  }
  for (Source& source : sources) {
    source.service = key;
    j.store.register_source(source, now);
  }
  service->sources = std::move(sources);
  j.find_feeders(*service);
  j.make_timed_cells(key, j.untold);
  j.touch_all(*service);
  j.pass(*service, now, j.untold);
  j.tell_later(now);
}

void Judge::remove_service(const ServiceKey& key) {
  Impl& j = *impl_;
  ServiceState* service = j.find(key);
  if (service == nullptr) return;
  for (const Cell& cell : service->cells) j.rule_alerts[cell.rule] -= cell.alerts.size();
  j.for_each_timed_cell(key, [&](RuleId id, const Cell& cell) { j.rule_alerts[id] -= cell.alerts.size(); });
  for (auto& cells : j.timed_cells) cells.erase(key);
  std::erase_if(j.untold.alerts, [&](const AlertChange& c) { return c.service == key; });
  std::erase_if(j.untold.verdicts, [&](const VerdictChange& c) { return c.service == key; });
  j.service_schedule.set(service->id, std::nullopt);
  j.waiting.erase(service->id);
  j.by_id[service->id] = nullptr;
  j.free_ids.push_back(service->id);
  j.services.erase(key);
  j.store.remove_service(key);
}

Judgement Judge::begin_epoch(const ServiceKey& key, Instant at) {
  Impl& j = *impl_;
  Judgement out = j.take_untold();
  ServiceState* service = j.find(key);
  if (service == nullptr) return out;
  j.store.begin_epoch(key, at);
  for (Cell& cell : service->cells) {
    clear_alerts((*j.rules)[cell.rule], cell, key, at, j.sink(cell.rule, out));
    cell.recorded.clear();
  }
  j.for_each_timed_cell(key, [&](RuleId id, Cell& cell) {
    clear_alerts((*j.rules)[id], cell, key, at, j.sink(id, out));
    set_verdict((*j.rules)[id], cell, key, Verdict::blind, cell.fed, "not evaluated yet in this epoch", j.sink(id, out));
  });
  j.touch_all(*service);
  j.pass(*service, at, out);
  return out;
}

Judgement Judge::on_batch(const Batch& batch) {
  Impl& j = *impl_;
  Judgement out = j.take_untold();
  ServiceState* service = j.find(batch.service);
  if (service == nullptr) return out;
  ++j.counters.batches;
  const std::vector<const Labels*> committed = j.store.commit(batch);
  const auto source =
      std::find_if(service->sources.begin(), service->sources.end(), [&](const Source& s) { return s.check == batch.check; });
  const bool any = source != service->sources.end() && source->metrics.empty();  // Which rules it feeds shows only as it delivers.
  const auto concerned = [&](const Cell& cell) { return any || names(cell.checks, batch.check); };
  if (!batch.unobserved.empty()) {
    for (Cell& cell : service->cells) cell.touched |= cell.fed && cell.verdict != Verdict::blind && concerned(cell);
  }
  const std::optional<Instant> epoch = j.store.epoch_start(batch.service, batch.at);
  const bool late = epoch && batch.began < *epoch;
  if (late && batch.unobserved.empty()) return out;

  if (!late) {
    for (const Labels* labels : committed) j.touch_readers(*labels, *service, std::nullopt, batch.at);
    for (Cell& cell : service->cells) {
      if (cell.verdict == Verdict::blind && concerned(cell)) cell.touched = true;  // Its source may be back.
    }
  }
  j.pass(*service, batch.at, out);
  return out;
}

Judgement Judge::on_due(Instant now) {
  Impl& j = *impl_;
  Judgement out = j.take_untold();
  std::vector<Schedule::Id> groups = j.group_schedule.take_due(now);
  std::sort(groups.begin(), groups.end());
  for (RuleId id = 0; !groups.empty() && id < j.rules->rules().size(); ++id) {
    const CompiledRule& rule = (*j.rules)[id];
    if (rule.timed && std::binary_search(groups.begin(), groups.end(), rule.group_id)) j.run_timed(id, now, out);
  }
  for (const Schedule::Id group : groups) {
    const std::int64_t interval = j.rules->groups()[group].interval.count();
    const std::int64_t missed = (now - j.group_due[group]).count() / interval;  // Those are not made up for.
    j.group_due[group] = j.group_due[group] + Duration{(missed + 1) * interval};
    j.group_schedule.set(group, slot_at_or_after(j.group_due[group]));
  }
  for (const Schedule::Id id : j.service_schedule.take_due(now)) {
    ServiceState& service = *j.by_id[id];
    const bool stale = service.stale_at && *service.stale_at <= now;
    for (Cell& cell : service.cells) {
      if ((cell.due && *cell.due <= now) || (stale && cell.verdict != Verdict::blind && cell.fed)) cell.touched = true;
    }
    j.waiting.insert(id);
  }
  j.pass_waiting(now, out);
  return out;
}

std::optional<Instant> Judge::next_due() const {
  return earlier(impl_->untold_at, earlier(impl_->service_schedule.next(), impl_->group_schedule.next()));
}

Judgement Judge::on_gap(Instant now) {
  Impl& j = *impl_;
  Judgement out = j.take_untold();
  j.store.forget_liveness(now);
  for (RuleId id = 0; id < j.rules->rules().size(); ++id) {
    if ((*j.rules)[id].timed) j.run_timed(id, now, out);
  }
  for (auto& [key, service] : j.services) {
    j.touch_all(*service);
    j.waiting.insert(service->id);
  }
  j.pass_waiting(now, out);
  return out;
}

std::vector<ActiveAlert> Judge::alerts() const {
  const Impl& j = *impl_;
  std::vector<ActiveAlert> out;
  const auto add = [&](const ServiceKey& service, const Cell& cell) {
    for (const auto& [labels, alert] : cell.alerts) {
      out.push_back({describe((*j.rules)[cell.rule], cell, service, labels, alert), alert.state.blind_since.has_value()});
    }
  };
  for (const auto& [key, service] : j.services)
    for (const Cell& cell : service->cells) add(key, cell);
  for (const auto& cells : j.timed_cells)
    for (const auto& [key, cell] : cells) add(key, cell);
  return out;
}

std::vector<RuleStatus> Judge::status(const ServiceKey& key) const {
  Impl& j = *impl_;
  std::vector<RuleStatus> out;
  ServiceState* service = j.find(key);
  if (service == nullptr) return out;
  for (RuleId id = 0; id < j.rules->rules().size(); ++id) {
    const CompiledRule& rule = (*j.rules)[id];
    const Cell* cell = service->cell(id);
    if (rule.timed) {
      const auto at = j.timed_cells[id].find(key);
      cell = at == j.timed_cells[id].end() ? nullptr : &at->second;
    }
    if (cell == nullptr) continue;
    out.push_back({rule.group->name, rule.rule->name, rule.rule->expr_text, key, cell->verdict, cell->fed, cell->detail});
  }
  return out;
}

const series::Store& Judge::store() const { return impl_->store; }
const JudgeCounters& Judge::counters() const { return impl_->counters; }

}  // namespace rollbackd::rules
