// What goes into the judge: rules, services, epochs, batches and due instants.
#include "rules/judge.hpp"

#include "rules/judge_impl.hpp"

namespace rollbackd::rules {

void Judge::Impl::retire(const CompiledRule& rule, Cell& cell, const ServiceKey& service, Instant now) {
  std::size_t gone = cell.alerts().size();  // The old set's count is thrown away with it.
  const Sink to{untold, gone, counters, {*this, now}};
  clear_alerts(rule, cell, service, now, to);
  for (const Labels& made : cell.recorded()) store.append(made, {now, series::stale_nan()});  // Readers are all run after a reload.
  // A rule that is no longer there stops no bake clock.
  if (cell.reported) set_verdict(rule, cell, service, Verdict::ok, false, "", to);
}

void Judge::Impl::adopt(Cell& to, Cell&& from, const CompiledRule& was) {
  const RuleId id = to.rule;
  from.compiled = std::move(to.compiled);  // That is of the new set.
  to = std::move(from);
  to.rule = id;
  to.reported = to.reported && was.rule->ignore_no_data == (*rules)[id].rule->ignore_no_data;
  rule_alerts[id] += to.alerts().size();
}

Judge::Judge(series::Limits limits) : impl_(std::make_unique<Impl>(limits)) {}
Judge::~Judge() = default;

void Judge::set_rules(Groups groups, Instant now) {
  Impl& j = *impl_;
  const std::unique_ptr<RuleSet> old = std::exchange(j.rules, std::make_unique<RuleSet>(std::move(groups)));
  const std::size_t count = j.rules->rules().size();
  const std::vector<RuleFacts> old_facts = std::move(j.facts);
  Impl::Kept kept;
  for (RuleId id = 0; id < count; ++id) kept.ids.emplace((*j.rules)[id].key, id);
  j.rule_alerts.assign(count, 0);
  j.dependencies = Dependencies(*j.rules);
  j.facts.assign(count, {});
  for (RuleId id = 0; id < count; ++id) {
    const CompiledRule& rule = (*j.rules)[id];
    RuleFacts& facts = j.facts[id];
    const Packed<std::string>& removed = rule.rule->labels_removed;
    const bool removes =
        std::any_of(removed.begin(), removed.end(), [](const auto& l) { return l == kServiceLabel || l == kEnvironmentLabel; });
    facts.sets_owner = !rule.group->only && (removes || rule.labels().has(kServiceLabel) || rule.labels().has(kEnvironmentLabel));
    facts.splits = rule.timed && !rule.group->only && !facts.sets_owner && proves_local(*rule.rule->expr);
    const auto is_made = [&](const promql::Expr* selector) { return !j.dependencies.makers(selector->matchers).empty(); };
    facts.compiles = rule.shape && std::none_of(rule.selectors.begin(), rule.selectors.end(), is_made);
    facts.for_nobody = !may_belong_to_a_service(*rule.group, *rule.rule);
  }
  for (series::Series* series : j.store.series()) j.find_readers(*series);

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
        j.facts[*same].last_run = old_facts[id].last_run;
      }
    }
  }
  // What is nobody's has a standing too, from the beginning: readers are as blind as it is.
  for (RuleId id = 0; id < count; ++id)
    if (j.runs_on_interval(id) && !(*j.rules)[id].group->only) j.timed_cells[id][ServiceKey{}].rule = id;
  for (auto& [key, service] : j.services) {
    std::vector<Cell> before = std::move(service->cells);
    j.make_cells(*service);
    for (Cell& cell : before) {
      const RuleId before_rule = cell.rule;
      const RuleId* same = kept.find((*old)[before_rule].key);
      Cell* to = same == nullptr ? nullptr : service->cell(*same);
      if (to == nullptr) {
        j.retire((*old)[before_rule], cell, key, now);
      } else {
        j.adopt(*to, std::move(cell), (*old)[before_rule]);
        j.facts[*same].last_run = old_facts[before_rule].last_run;
      }
    }
    j.find_feeders(*service);
    j.make_timed_cells(key, j.untold, now);
    j.touch_all(*service);
    j.waiting.insert(service->id);
  }

  j.group_schedule = Schedule();
  j.group_due.assign(j.rules->groups().size(), Instant());
  for (RuleId id = 0; id < count; ++id) {
    const CompiledRule& rule = (*j.rules)[id];
    if (!j.runs_on_interval(id)) continue;
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
  j.make_timed_cells(key, j.untold, now);
  j.touch_all(*service);
  j.pass(*service, now, j.untold);
  j.tell_later(now);
}

void Judge::remove_service(const ServiceKey& key) {
  Impl& j = *impl_;
  ServiceState* service = j.find(key);
  if (service == nullptr) return;
  for (const Cell& cell : service->cells) j.rule_alerts[cell.rule] -= cell.alerts().size();
  j.for_each_timed_cell(key, [&](RuleId id, const Cell& cell) { j.rule_alerts[id] -= cell.alerts().size(); });
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
    clear_alerts((*j.rules)[cell.rule], cell, key, at, j.sink(cell.rule, out, at));
    if (!cell.recorded().empty()) cell.held.edit().recorded = {};
    cell.tidy();
  }
  j.for_each_timed_cell(key, [&](RuleId id, Cell& cell) {
    clear_alerts((*j.rules)[id], cell, key, at, j.sink(id, out, at));
    set_verdict((*j.rules)[id], cell, key, Verdict::blind, cell.fed, "not evaluated yet in this epoch", j.sink(id, out, at));
  });
  j.touch_all(*service);
  j.pass(*service, at, out);
  return out;
}

Judgement Judge::on_batch(const Batch& batch) {
  Impl& j = *impl_;
  Judgement out = j.take_untold();
  const std::size_t untold = out.alerts.size();
  ServiceState* service = j.find(batch.service);
  if (service == nullptr) return out;
  ++j.counters.batches;
  const std::span<series::Series* const> committed = j.store.commit(batch);
  const auto source =
      std::find_if(service->sources.begin(), service->sources.end(), [&](const Source& s) { return s.check == batch.check; });
  const bool any = source != service->sources.end() && source->metrics.empty();  // Which rules it feeds shows only as it delivers.
  const auto concerned = [&](const Cell& cell) { return any || names(cell.checks(), batch.check); };
  if (!batch.unobserved.empty()) {
    for (const Cell& cell : service->cells)
      if (cell.fed && cell.verdict != Verdict::blind && concerned(cell)) service->touch(cell);
  }
  const std::optional<Instant> epoch = j.store.epoch_start(batch.service, batch.at);
  const bool late = epoch && batch.began < *epoch;
  if (late && batch.unobserved.empty()) return out;

  if (!late) {
    for (const series::Series* series : committed) {
      ServiceState* owner = j.owner(*series, *service);
      if (owner == nullptr) continue;
      j.touch_readers(*series, *owner, nullptr, batch.at);
      if (owner != service) j.waiting.insert(owner->id);
    }
    for (SlotSet::Slot slot = service->blind.next(0); slot != SlotSet::kNone; slot = service->blind.next(std::size_t{slot} + 1)) {
      if (concerned(service->cells[slot])) service->touched.insert(slot);  // Its source may be back.
    }
  }
  j.pass(*service, batch.at, out);
  for (std::size_t i = untold; i < out.alerts.size(); ++i)
    if (out.alerts[i].phase == AlertPhase::firing) out.alerts[i].began = std::min(batch.began, out.alerts[i].since);
  j.pass_waiting(batch.at, out);
  return out;
}

Judgement Judge::on_due(Instant now) {
  Impl& j = *impl_;
  Judgement out = j.take_untold();
  std::vector<Schedule::Id> groups = j.group_schedule.take_due(now);
  std::sort(groups.begin(), groups.end());
  for (RuleId id = 0; !groups.empty() && id < j.rules->rules().size(); ++id) {
    if (j.runs_on_interval(id) && std::binary_search(groups.begin(), groups.end(), (*j.rules)[id].group_id)) j.run_timed(id, now, out);
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
    for (const SlotSet::Slot slot : service.due.take_due(now)) service.touched.insert(slot);
    j.touch_moving(service, now);
    for (const Cell& cell : service.cells) {
      if (!stale) break;
      if (cell.verdict != Verdict::blind && cell.fed) service.touch(cell);
    }
    j.waiting.insert(id);
  }
  j.by_time = true;
  j.pass_waiting(now, out);
  j.by_time = false;
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
    if (j.runs_on_interval(id)) j.run_timed(id, now, out);
  }
  for (auto& [key, service] : j.services) {
    j.touch_all(*service);
    j.waiting.insert(service->id);
  }
  j.pass_waiting(now, out);
  return out;
}

}  // namespace rollbackd::rules
