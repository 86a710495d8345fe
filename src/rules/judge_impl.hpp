// The inside of the judge, for its own files: judge.cpp (what goes in), judge_run.cpp (evaluating), judge_timed.cpp (on the interval),
// judge_made.cpp (what rules write), judge_kept.cpp (what outlives the daemon), judge_views.cpp (what is shown).
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "promql/evaluate.hpp"
#include "rules/cell.hpp"
#include "rules/dependencies.hpp"
#include "rules/judge.hpp"
#include "rules/locality.hpp"
#include "rules/rule_set.hpp"
#include "rules/schedule.hpp"
#include "rules/slot_set.hpp"
#include "rules/window.hpp"

namespace rollbackd::rules {

inline constexpr std::string_view kServiceLabel = "service";
inline constexpr std::string_view kEnvironmentLabel = "environment";
inline constexpr int kRecordingDepthMax = 16;  ///< recording rules over recording rules, for finding out which checks feed them

inline ServiceKey service_of(const Labels& labels) {
  return {std::string(labels.get(kServiceLabel)), std::string(labels.get(kEnvironmentLabel))};
}

inline bool names(const std::vector<std::string>& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

/// One declared service with its cells of all rules that run for it alone: top-level files' rules first, then its own, in file order.
struct ServiceState {
  /// A cell whose result may change with time alone, and how long it may go without being asked: as long as Prometheus would wait.
  struct Moving {
    SlotSet::Slot slot = 0;
    Duration interval{};
  };

  ServiceKey key;
  series::Service* in_store = nullptr;
  Schedule::Id id = 0;
  std::vector<Source> sources;
  std::vector<Cell> cells;         ///< by CompiledRule::slot
  const RuleSet* rules = nullptr;  ///< those that the cells are of
  SlotSet touched;                 ///< cells that run in the pass under way, or the next
  SlotSet blind;                   ///< cells whose verdict is blind: their source may be back with any batch
  Schedule due;                    ///< of cells, by slot: when they run again without a sample
  std::vector<Moving> moving;
  std::optional<Instant> recheck_at;  ///< slot in which the first of `moving` has waited for so long
  std::optional<Instant> stale_at;    ///< slot in which the next source falls silent

  Cell* cell(RuleId rule) {
    const std::uint32_t slot = (*rules)[rule].slot;
    return slot < cells.size() && cells[slot].rule == rule ? &cells[slot] : nullptr;
  }
  SlotSet::Slot slot_of(const Cell& cell) const { return static_cast<SlotSet::Slot>(&cell - cells.data()); }
  void touch(const Cell& cell) { touched.insert(slot_of(cell)); }
};

/// What is known of one rule beside its cells.
struct RuleFacts {
  bool splits = false;      ///< its parts may be evaluated for one service alone, although it runs on the interval for another reason
  bool for_nobody = false;  ///< nothing that it makes can belong to a service
  bool sets_owner = false;  ///< its own labels say whose its results are
  bool compiles = false;    ///< of a plain shape, and nothing that it reads is made by rules
  std::optional<Instant> last_run;
};

struct Judge::Impl : series::Watcher, TemplateSource {
  explicit Impl(series::Limits limits) : store(limits) { store.watch(this); }
  ~Impl() override { store.watch(nullptr); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  series::Store store;
  JudgeCounters counters;
  std::unique_ptr<RuleSet> rules = std::make_unique<RuleSet>();
  Dependencies dependencies;
  std::vector<RuleFacts> facts;                         ///< by RuleId
  std::vector<std::size_t> rule_alerts;                 ///< by RuleId: alerts over all services
  std::vector<std::map<ServiceKey, Cell>> timed_cells;  ///< by RuleId: of rules that run on an interval, all or for what is nobody's
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

  Sink sink(RuleId rule, Judgement& out, Instant now, bool tell = true) { return {out, rule_alerts[rule], counters, {*this, now}, tell}; }
  /// When the rule last ran: the views have no clock, and templates show what was then.
  Instant latest(RuleId rule) const { return facts[rule].last_run.value_or(Instant()); }
  std::vector<promql::Element> values_of(const CompiledRule& rule, const Cell& cell, const ServiceKey& service, std::uint64_t& work) const;
  Result<std::vector<promql::Element>> query(std::string_view expr, Instant at, const std::optional<ServiceKey>& only,
                                             std::uint64_t& work) const override;
  ServiceState* find(const ServiceKey& key) const {
    const auto at = services.find(key);
    return at == services.end() ? nullptr : at->second.get();
  }

  /// The declared service that `series` belongs to, most likely `guess`.
  ServiceState* owner(const series::Series& series, ServiceState& guess) const {
    const ServiceKey& key = series::owner_of(series);
    return key == guess.key ? &guess : find(key);
  }

  Judgement take_untold() {
    untold_at.reset();
    return std::exchange(untold, {});
  }
  void tell_later(Instant now) {
    if (!untold.alerts.empty() || !untold.verdicts.empty()) untold_at = slot_at_or_after(now);
  }

  // --- What touches what ---

  void created(series::Series& series) override {
    find_readers(series);
    if (ServiceState* service = find(series::owner_of(series))) attach(*service, series);
  }
  void dropped(series::Series& series) override {
    ServiceState* service = find(series::owner_of(series));
    if (service == nullptr || service->rules != rules.get()) return;  // In a reload: its cells are about to go, too.
    for (const series::Reader& reader : series.readers) {
      Cell* cell = service->cell(reader.rule);
      if (cell != nullptr && cell->compiled) cell->compiled->remove(reader.selector, series);
    }
  }
  void attach(ServiceState& service, series::Series& series) {
    if (service.rules != rules.get()) return;
    for (const series::Reader& reader : series.readers) {
      Cell* cell = service.cell(reader.rule);
      if (cell != nullptr && cell->compiled) cell->compiled->add(reader.selector, series);
    }
  }
  void find_readers(series::Series& series) const {
    series.readers = rules->readers_of(series.labels);
    series.keep = std::min(rules->reach_of(series.labels), store.limits().retention);
  }

  /// @param running  the cell whose result it reads, in the same service
  void touch_reader(RuleId reader, ServiceState& of, const Cell* running, Instant now) {
    Cell* cell = of.cell(reader);
    if (cell == nullptr) return;
    if (running != nullptr && cell <= running) {
      // It stands before the rule that made this, so it has had its turn: it sees the value one interval later, as in Prometheus.
      cell->due = earlier(cell->due, slot_after(now + (*rules)[reader].group->interval, now));
      of.due.set(of.slot_of(*cell), cell->due);
    } else {
      of.touch(*cell);
    }
  }
  void touch_readers(const series::Series& series, ServiceState& of, const Cell* running, Instant now) {
    for (const series::Reader& reader : series.readers) touch_reader(reader.rule, of, running, now);
  }

  /// Touches what has not run for its group's interval, and a slot for the batch that was about to come.
  void touch_moving(ServiceState& service, Instant now) {
    if (!service.recheck_at || *service.recheck_at > now) return;
    for (const ServiceState::Moving& m : service.moving)
      if (service.cells[m.slot].ran + m.interval + kSlot <= now) service.touched.insert(m.slot);
  }

  void touch_all(ServiceState& service) {
    for (const Cell& cell : service.cells) service.touch(cell);
  }

  // --- Evaluating ---

  Sums sums;
  std::vector<promql::Element> found;  ///< by the compiled rule that runs
  bool by_time = false;                ///< the pass under way is of due instants, not of a batch

  struct Evaluated {
    std::vector<promql::Element> elements;
    bool blind = false, fed = false, failed = false;
    std::string reason;
  };

  Evaluated evaluate(const CompiledRule& rule, const ServiceKey* scope, Instant now);
  static void stamp(const CompiledRule& rule, const ServiceKey& scope, std::vector<promql::Element>& elements);
  void run_local(ServiceState& service, Cell& cell, Instant now, Judgement& out);
  static void due_when(Cell& cell, std::optional<Instant> leaves, Instant now);
  bool run_compiled(ServiceState& service, Cell& cell, Instant now, Judgement& out);
  /// Runs a rule over all services: one that runs on the interval, or what of a local one is no declared service's.
  void run_timed(RuleId id, Instant now, Judgement& out);
  struct Parts;
  Parts part(const CompiledRule& rule, RuleId id, Instant now);
  void hold_to_limit(const CompiledRule& rule, RuleId id, Parts& parts, Instant now, Judgement& out);
  bool runs_on_interval(RuleId id) const { return (*rules)[id].timed || dependencies.reads_timed(id); }

  // --- What rules write ---

  void settle(RuleId id, Cell& cell, const ServiceKey& service, Finding finding, Instant now, Sink to);
  void record(RuleId id, Cell& cell, const ServiceKey& service, Finding& finding, Instant now);
  void publish(const CompiledRule& rule, Cell& cell, const ServiceKey& service, const std::map<Labels, double>& made, Instant now);
  void tell_readers(RuleId id, const Cell& cell, const ServiceKey& service, Instant now);

  void pass(ServiceState& service, Instant now, Judgement& out) {
    // Cells may be touched meanwhile, but only behind the one that runs.
    for (SlotSet::Slot slot = service.touched.next(0); slot != SlotSet::kNone; slot = service.touched.next(std::size_t{slot} + 1)) {
      service.touched.erase(slot);
      Cell& cell = service.cells[slot];
      run_local(service, cell, now, out);
      service.blind.set(slot, cell.verdict == Verdict::blind);
      service.due.set(slot, cell.due);
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
    if (!service.recheck_at || *service.recheck_at <= now) {
      service.recheck_at.reset();
      for (const ServiceState::Moving& m : service.moving)
        service.recheck_at = earlier(service.recheck_at, service.cells[m.slot].ran + m.interval + kSlot);
      if (service.recheck_at) service.recheck_at = slot_after(*service.recheck_at, now);
    }
    service_schedule.set(service.id, earlier(earlier(service.stale_at, service.recheck_at), service.due.next()));
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
    std::vector<Cell::Checks> all(service.cells.size());
    for (std::size_t n = 0; n < all.size(); ++n) all[n] = feeders((*rules)[service.cells[n].rule], service.key);
    bool grew = true;
    for (int depth = 0; grew && depth < kRecordingDepthMax; ++depth) {
      grew = false;
      for (std::size_t n = 0; n < all.size(); ++n) {
        for (const promql::Expr* selector : (*rules)[service.cells[n].rule].selectors) {
          for (const RuleId maker : dependencies.makers(selector->matchers)) {
            const Cell* from = service.cell(maker);
            if (from == nullptr || from == &service.cells[n]) continue;
            for (const std::string& check : all[service.slot_of(*from)]) {
              if (names(all[n], check)) continue;
              all[n].push_back(check);
              grew = true;
            }
          }
        }
      }
    }
    std::map<Cell::Checks, std::shared_ptr<const Cell::Checks>> shared;
    for (std::size_t n = 0; n < all.size(); ++n) {
      auto& one = shared[all[n]];
      if (!one) one = std::make_shared<const Cell::Checks>(std::move(all[n]));
      service.cells[n].fed_by = one;
    }
  }

  bool concerns(const CompiledRule& rule, const ServiceKey& service) const { return !rule.group->only || *rule.group->only == service; }

  void make_cells(ServiceState& service) {
    service.rules = rules.get();
    service.in_store = &store.service(service.key);
    service.cells.clear();
    service.moving.clear();
    service.recheck_at.reset();
    const std::vector<RuleId> ids = rules->cells_of(service.key);
    service.cells.reserve(ids.size());
    for (const RuleId id : ids) {
      const CompiledRule& rule = (*rules)[id];
      Cell& cell = service.cells.emplace_back();
      cell.rule = id;
      if (facts[id].compiles) cell.compiled = std::make_unique<Compiled>(*rule.shape, rule.selectors);
      const bool moves = rule.shape ? rule.shape->breaches_by_time : !rule.selectors.empty();
      if (moves) service.moving.push_back({static_cast<SlotSet::Slot>(service.cells.size() - 1), rule.group->interval});
    }
    for (series::Series* series : store.series(&service.key)) attach(service, *series);
    service.touched.resize(service.cells.size());
    service.blind.resize(service.cells.size());
    for (SlotSet::Slot slot = 0; slot < service.cells.size(); ++slot) service.blind.insert(slot);
    service.due = Schedule();
  }

  /// Rules on an interval are blind on a service until they first ran for it.
  void make_timed_cells(const ServiceKey& service, Judgement& out, Instant now) {
    for (RuleId id = 0; id < timed_cells.size(); ++id) {
      const CompiledRule& rule = (*rules)[id];
      if (!rule.timed || facts[id].for_nobody || !concerns(rule, service)) continue;
      Cell& cell = timed_cells[id][service];
      cell.rule = id;
      cell.set_checks(feeders(rule, service));
      if (!cell.reported) set_verdict(rule, cell, service, Verdict::blind, !cell.checks().empty(), "not evaluated yet", sink(id, out, now));
    }
  }

  template <class F>
  void for_each_timed_cell(const ServiceKey& service, F&& f) {
    for (RuleId id = 0; id < timed_cells.size(); ++id) {
      const auto at = timed_cells[id].find(service);
      if (at != timed_cells[id].end()) f(id, at->second);
    }
  }

  // --- What outlives the daemon, and a reload ---

  void take_back(const CompiledRule& rule, Cell& cell, const ServiceKey& service, const KeptAlert& kept, AlertState state, Instant now);

  struct Kept {
    std::map<RuleKey, RuleId> ids;  ///< by the rule's key, in the new set
    const RuleId* find(const RuleKey& key) const {
      const auto at = ids.find(key);
      return at == ids.end() ? nullptr : &at->second;
    }
  };
  void retire(const CompiledRule& rule, Cell& cell, const ServiceKey& service, Instant now);
  void adopt(Cell& to, Cell&& from, const CompiledRule& was);
};

/// Reads the store; answers liveness for what rules make (recorded metrics, alerts) from the standing of those rules.
class Judge::Impl::View final : public promql::Querier {
 public:
  /// @param running  the rule that reads: what reads it in turn does not make it blind
  View(const Impl& judge, const ServiceKey* scope, std::optional<RuleId> running = {})
      : judge_(judge), scope_(scope), running_(running), store_(judge.store, scope) {}

  std::vector<series::Selected> range(std::span<const series::Matcher> matchers, Instant from_exclusive, Instant to) const override {
    return store_.range(matchers, from_exclusive, to);
  }
  std::vector<series::Selected> latest(std::span<const series::Matcher> matchers, Instant to, Duration lookback) const override {
    return store_.latest(matchers, to, lookback);
  }
  series::Liveness liveness(std::span<const series::Matcher> matchers, Instant at) const override {
    const std::vector<RuleId> makers = judge_.dependencies.makers(matchers);
    if (makers.empty()) return store_.liveness(matchers, at);
    series::Liveness out;
    for (const RuleId maker : makers) {
      if (out.blind && out.fed) break;
      if (running_ && judge_.dependencies.in_one_circle(*running_, maker)) continue;
      for (const auto& [key, cell] : judge_.timed_cells[maker])
        if (may_be(matchers, key)) add(out, maker, key, cell);
      if (judge_.rules->rules()[maker].timed) continue;
      if (scope_ != nullptr) {
        if (ServiceState* service = judge_.find(*scope_)) add(out, maker, matchers, *service);
      } else {
        for (const auto& [key, service] : judge_.services) add(out, maker, matchers, *service);
      }
    }
    return out;
  }

 private:
  /// Whether such a selector can find what is this service's.
  bool may_be(std::span<const series::Matcher> matchers, const ServiceKey& service) const {
    if (scope_ != nullptr && service != *scope_) return false;
    for (const series::Matcher& m : matchers) {
      if (m.label() == kServiceLabel && !m.matches(service.name)) return false;
      if (m.label() == kEnvironmentLabel && !m.matches(service.environment)) return false;
    }
    return true;
  }
  void add(series::Liveness& out, RuleId maker, std::span<const series::Matcher> matchers, ServiceState& service) const {
    const Cell* cell = service.cell(maker);
    if (cell != nullptr && may_be(matchers, service.key)) add(out, maker, service.key, *cell);
  }
  void add(series::Liveness& out, RuleId maker, const ServiceKey& service, const Cell& cell) const {
    out.fed = out.fed || cell.fed;
    if (cell.verdict != Verdict::blind || out.blind) return;
    out.blind = true;
    out.blind_reason = "rule " + judge_.rules->rules()[maker].rule->name + " of " + service.text() + " is blind: " + cell.detail();
  }

  const Impl& judge_;
  const ServiceKey* scope_;
  std::optional<RuleId> running_;
  promql::StoreQuerier store_;
};

}  // namespace rollbackd::rules
