// The order of things is the engine's: what fell due, then the batch; alerts before verdicts; an epoch begins before the next batch.
#include "cli/replay_run.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "cli/replay_watched.hpp"
#include "ledger/ledger.hpp"
#include "promql/parse.hpp"

namespace rollbackd::cli {

namespace {

constexpr std::string_view kSwitched = "release_switched_timestamp_seconds";
constexpr Duration kRepeat = 15s;
/// Our own counters: a new one was 0 before, and each epoch begins with the value that it has then.
constexpr std::array<std::string_view, 8> kOwnCounters{"process_exits_total",         "process_stops_total",        "log_lines_total",
                                                       "log_matches_total",           "log_lines_cut_total",        "config_changes_total",
                                                       "systemd_unit_restarts_total", "systemd_unit_failures_total"};

bool is_own_counter(const Labels& labels) {
  return labels.has("check") && std::find(kOwnCounters.begin(), kOwnCounters.end(), labels.name()) != kOwnCounters.end();
}

bool anything_reads(const rules::Groups& groups, std::string_view metric) {
  for (const auto& group : groups)
    for (const auto& rule : group.rules)
      for (const std::string& name : rule.reads())
        if (name == metric) return true;
  return false;
}

}  // namespace

Replay::Replay(Recording& recording, rules::Groups groups, const ReplayWorld& world, ReplayReport& report)
    : recording_(recording), groups_(std::move(groups)), world_(world), report_(report) {}

Replay::~Replay() = default;

void Replay::run() {
  begin();
  const auto& samples = recording_.samples();
  const auto& epochs = recording_.epochs();
  std::size_t at = 0, next_epoch = 0;
  while (next_epoch < epochs.size() && epochs[next_epoch].at <= recording_.begins()) ++next_epoch;  // begin() has told of those.
  while (at < samples.size()) {
    const RecordedSample& first = samples[at];
    while (next_epoch < epochs.size() && epochs[next_epoch].at <= first.at) epoch(epochs[next_epoch++]);
    const std::uint32_t source = recording_.all_series()[first.series].source;
    std::size_t end = at + 1;
    while (end < samples.size() && samples[end].at == first.at && recording_.all_series()[samples[end].series].source == source) ++end;
    pass_time(first.at - Duration(1));
    batch(at, end);
    at = end;
  }
  while (next_epoch < epochs.size()) epoch(epochs[next_epoch++]);
  pass_time(recording_.ends());
  end();
}

void Replay::begin() {
  now_ = last_due_ = recording_.begins();
  judge_.set_rules(groups_, now_);
  const bool facts = anything_reads(groups_, kSwitched);
  if (facts) facts_at_ = now_;
  std::map<ServiceKey, std::vector<Source>> sources;
  std::set<ServiceKey> say_it_themselves;
  for (const RecordedSource& s : recording_.sources()) {
    sources[s.source.service].push_back(s.source);
    batches_.emplace_back();
    batches_.back().service = s.source.service;
    batches_.back().check = s.source.check;
    if (std::find(s.source.metrics.begin(), s.source.metrics.end(), kSwitched) != s.source.metrics.end())
      say_it_themselves.insert(s.source.service);
  }
  batch_series_.resize(batches_.size());

  std::vector<std::string> with_deployment, without_deployment;
  std::map<ServiceKey, std::vector<RecordedEpoch>> epochs;
  for (const RecordedEpoch& e : recording_.epochs()) epochs[e.service].push_back(e);
  for (auto& [key, list] : sources) {
    auto made = std::make_unique<Watched>();
    made->key = key;
    made->tells_release = facts && !say_it_themselves.contains(key);
    if (made->tells_release) list.push_back(Source{key, "release", {std::string(kSwitched)}, 2 * kRepeat + 1s});
    judge_.set_service(key, list, now_);
    const auto& known = epochs[key];
    const bool from_start = !known.empty() && known.front().at <= now_;
    const std::string first = from_start ? known.front().release : known.empty() ? "recorded" : "before-" + known.front().release;
    const bool alone = known.empty() || (from_start && known.size() == 1);
    const auto new_id = [this] { return "replay-" + std::to_string(++ids_); };
    made->incident = std::make_unique<decision::Incident>(settings_of(key), state_of(key, first, alone), new_id);
    services_[key] = std::move(made);
    epoch({key, first, now_});
    (alone ? without_deployment : with_deployment).push_back(service_text(key));
  }
  const auto names = [](const std::vector<std::string>& list) { return cut(join(list, ", "), 200); };
  if (!without_deployment.empty())
    recording_.note("no deployment is recorded of " + names(without_deployment) +
                    ": what runs is taken for new at the beginning, after a good release; --release NAME@TIME says otherwise");
  if (!with_deployment.empty()) recording_.note("the first release of " + names(with_deployment) + " is taken for good");
}

void Replay::pass_time(Instant until) {
  while (true) {
    std::optional<Instant> next = judge_.next_due();
    if (next && *next <= last_due_) next = last_due_ + 100ms;  // Never twice at one instant: time goes on whatever is due.
    const bool judge_first = next && (due_.empty() || *next <= due_.begin()->first);
    if (!judge_first && !due_.empty()) next = due_.begin()->first;
    if (facts_at_ && (!next || *facts_at_ < *next)) next = facts_at_;
    if (!next || *next > until) return;
    now_ = std::max(now_, *next);
    if (facts_at_ && *facts_at_ <= now_) {
      facts_at_ = *facts_at_ + kRepeat;
      for (const auto& [key, service] : services_) tell_facts(*service);
    }
    if (judge_first && judge_.next_due() && *judge_.next_due() <= now_) {
      last_due_ = now_;
      deliver(judge_.on_due(now_));
    }
    while (!due_.empty() && due_.begin()->first <= now_) {
      Watched& service = *services_.at(due_.begin()->second);
      tick(service);
      if (service.due && *service.due <= now_) {  // It asks for the same instant again.
        due_.erase({*service.due, service.key});
        service.due = now_ + 100ms;
        due_.insert({*service.due, service.key});
      }
    }
  }
}

void Replay::tick(Watched& service) {
  deliver(service, event::Tick{});
  watch_decided(service);
}

void Replay::deliver(const Judgement& judgement) {
  std::map<ServiceKey, std::map<std::pair<std::string, std::string>, std::string>> why;
  for (const VerdictChange& change : judgement.verdicts) {
    if (change.verdict != Verdict::blind || !change.fed || why.contains(change.service)) continue;
    auto& texts = why[change.service];
    for (rules::RuleStatus& s : judge_.status(change.service)) texts[{s.group, s.rule}] = std::move(s.detail);
  }
  for (const AlertChange& change : judgement.alerts) {
    report_.alert(change, now_);
    const auto at = services_.find(change.service);
    if (at != services_.end()) deliver(*at->second, event::Alert{change});
  }
  for (const VerdictChange& change : judgement.verdicts) {
    report_.verdict(change, why[change.service][{change.group, change.rule}], now_);
    const auto at = services_.find(change.service);
    if (at != services_.end()) deliver(*at->second, event::RuleVerdict{change});
  }
  for (const AlertChange& change : judgement.alerts) {
    const auto at = services_.find(change.service);
    if (at != services_.end()) watch_decided(*at->second);
  }
}

void Replay::deliver(Watched& service, Event event) {
  service.events.push_back(std::move(event));
  if (service.delivering) return;  // The loop below, further up the stack, takes it.
  service.delivering = true;
  while (!service.events.empty()) {
    const Event next = std::move(service.events.front());
    service.events.pop_front();
    for (Action& action : service.incident->on(next, now_)) perform(service, std::move(action));
  }
  service.delivering = false;
  if (service.due) due_.erase({*service.due, service.key});
  service.due = service.incident->next_due();
  if (service.decided && service.decided->quiet_since) {
    const Instant over = *service.decided->quiet_since + 30s;
    service.due = service.due ? std::min(*service.due, over) : over;
  }
  if (service.due) due_.insert({*service.due, service.key});

  const ServiceState& state = service.incident->state();
  const LedgerEntry* live = ledger::find(state, state.epoch.release);
  const std::pair<std::string, std::string> standing{state.epoch.release, live == nullptr ? "" : to_string(live->standing)};
  if (standing == service.standing || service.muted) return;
  const bool same_release = standing.first == service.standing.first;
  service.standing = standing;
  if (!same_release || live == nullptr) return;
  ReplayEvent told{now_, service.key, "standing", standing.first + " is " + standing.second + " now: " + live->reason};
  told.details.set("release", standing.first).set("standing", standing.second);
  report_.event(std::move(told));
}

void Replay::epoch(const RecordedEpoch& e) {
  pass_time(e.at - Duration(1));
  const auto at = services_.find(e.service);
  if (at == services_.end()) return;
  Watched& service = *at->second;
  now_ = std::max(now_, e.at);
  const std::string before = service.incident->state().epoch.release;
  if (before == e.release) return;
  const bool as_decided = service.decided && service.decided->request.to == e.release;
  if (service.decided && !as_decided) conclude(service, "another release was deployed");
  ReplayEvent told{now_, service.key, "release", "release " + e.release + " is live"};
  if (!before.empty()) told.text += ", after " + before;
  if (as_decided) told.text += ": the rollback that was decided, as it was recorded";
  const LedgerEntry* known = ledger::find(service.incident->state(), e.release);
  told.text += " (" + std::string(known == nullptr ? "new" : to_string(known->standing)) + ")";
  told.details.set("release", e.release).set("from", before);
  report_.event(std::move(told));
  event::Switched switched;
  switched.release = e.release;
  switched.at = now_;
  switched.announced = !before.empty() && !as_decided;
  switched.by_rollback = as_decided;
  std::optional<DecidedRollback> decided = std::exchange(service.decided, std::nullopt);
  if (as_decided) switched.operation = decided->request.operation;
  deliver(service, switched);
  if (as_decided) operate(service, decided->request);
  if (service.tells_release) tell_facts(service);
}

void Replay::batch(std::size_t first, std::size_t last) {
  const auto& samples = recording_.samples();
  const auto& all = recording_.all_series();
  const std::uint32_t place = all[samples[first].series].source;
  const RecordedSource& source = recording_.sources()[place];
  Batch& made = batches_[place];
  std::vector<std::uint32_t>& order = batch_series_[place];
  bool same = order.size() == last - first;
  for (std::size_t i = first; same && i < last; ++i) same = order[i - first] == samples[i].series;
  if (!same) {
    order.clear();
    made.samples.resize(last - first);
    for (std::size_t i = first; i < last; ++i) {
      order.push_back(samples[i].series);
      made.samples[i - first].labels = all[samples[i].series].labels;
      made.samples[i - first].counter = is_own_counter(all[samples[i].series].labels);
    }
  }
  made.unobserved.clear();
  for (std::size_t i = first; i < last; ++i) {
    made.samples[i - first].value = samples[i].value;
    const std::string_view name = all[samples[i].series].labels.name();
    if (source.has_up && samples[i].value == 0 && (name == "up" || name == "promql_up")) made.unobserved = std::string(name) + " was 0";
  }
  // Strictly later than the commit before, as in the engine: two batches never fall on one instant.
  now_ = std::max(now_ + Duration(1), samples[first].at);
  made.began = made.at = now_;
  Watched& service = *services_.at(source.source.service);
  if (!source.health.empty()) {
    const auto said = std::lower_bound(source.health.begin(), source.health.end(), samples[first].at,
                                       [](const auto& h, Instant t) { return h.first < t; });
    if (said != source.health.end() && said->first == samples[first].at)
      deliver(service, event::CheckHealth{source.source.check, said->second});
  }
  deliver(judge_.on_batch(made));
}

/// What the engine says of itself where the recording does not have it: since when the release is live.
void Replay::tell_facts(Watched& service) {
  if (!service.tells_release) return;
  now_ = now_ + Duration(1);
  Batch fact;
  fact.service = service.key;
  fact.check = "release";
  fact.began = fact.at = now_;
  Labels labels{
      {"__name__", std::string(kSwitched)}, {"service", service.key.name}, {"environment", service.key.environment}, {"check", "release"}};
  fact.samples.push_back(Sample{std::move(labels), service.incident->state().epoch.switched.seconds(), false});
  deliver(judge_.on_batch(fact));
}

namespace {

/// The judge may count evaluations by rule.
template <class Row>
void add_evaluations(ReplayReport& report, const Row& row) {
  if constexpr (requires { row.evaluations; }) report.add_evaluations(row.group->name, row.rule->name, row.evaluations);
}

}  // namespace

void Replay::end() {
  for (const rules::RuleReport& row : judge_.report()) add_evaluations(report_, row);
  const series::Counters& store = judge_.store().counters();
  if (store.series_dropped > 0)
    recording_.note(std::to_string(store.series_dropped) + " samples were dropped at the daemon's bound on series");
  if (store.points_dropped > 0)
    recording_.note(std::to_string(store.points_dropped) + " old samples were dropped at the daemon's bound on a series");
  if (judge_.counters().evaluation_failures > 0)
    recording_.note(std::to_string(judge_.counters().evaluation_failures) + " evaluations failed: the rules were blind then");
  if (judge_.counters().alerts_dropped > 0)
    recording_.note(std::to_string(judge_.counters().alerts_dropped) + " alerts were dropped at the bound of 1000 a rule");
  report_.finish(recording_.ends(), judge_.counters().evaluations);
}

}  // namespace rollbackd::cli
