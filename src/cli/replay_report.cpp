// Counts what the judge said into rows and events. What people then read is made in replay_render.cpp.
#include "cli/replay_report.hpp"

#include <algorithm>
#include <cstdio>
#include <set>

#include "base/text.hpp"
#include "decision/guards.hpp"

namespace rollbackd::cli {

namespace {

constexpr std::uint8_t kOk = 1, kBlind = 2, kPending = 4, kFiring = 8;

std::string value_text(double value) {
  std::array<char, 32> out{};
  std::snprintf(out.data(), out.size(), "%.6g", value);
  return out.data();
}

/// The labels that tell one alert of a rule from another: the service's and the rule's own stand elsewhere.
std::string short_labels(const Labels& labels, const rules::Rule& rule) {
  Labels rest = labels;
  for (const char* name : {"alertname", "service", "environment"}) rest.remove(name);
  for (const auto& [name, value] : rule.labels.pairs()) rest.remove(name);
  return rest.empty() ? "" : " " + rest.to_string();
}

}  // namespace

std::string service_text(const ServiceKey& service) {
  if (service.environment.empty()) return service.name.empty() ? "-" : service.name;
  return service.text();
}

ReplayReport::ReplayReport(const Recording& recording, const rules::Groups& groups) : recording_(recording) {
  for (const rules::Group& group : groups) {
    for (const rules::Rule& rule : group.rules) {
      order_.try_emplace({group.name, rule.name}, rules_.size());  // Several of one name share a row.
      rules_.emplace_back(&group, &rule);
    }
  }
  know_what_is_fed(groups);
}

/// A source may deliver any metric, and the engine's own say something of every service: fed in the judge's sense is more than this.
void ReplayReport::know_what_is_fed(const rules::Groups& groups) {
  std::set<std::string> present;
  for (const RecordedSeries& series : recording_.all_series()) present.insert(std::string(series.labels.name()));
  present.erase("release_switched_timestamp_seconds");  // The engine's own, of every service.
  constexpr int kDepthMax = 16;                         // Of recording rules over recording rules, as in the judge.
  has_data_.assign(rules_.size(), false);
  for (int depth = 0; depth < kDepthMax; ++depth) {
    const std::size_t before = present.size();
    std::size_t place = 0;
    for (const rules::Group& group : groups) {
      for (const rules::Rule& rule : group.rules) {
        const std::vector<std::string> reads = rule.reads();
        const auto is_there = [&](const std::string& name) { return name.empty() || present.contains(name); };
        has_data_[place] = reads.empty() || std::any_of(reads.begin(), reads.end(), is_there);
        if (has_data_[place] && !rule.alerting) present.insert(rule.name);
        ++place;
      }
    }
    if (present.size() == before) return;
  }
}

/// Worth a row for people.
bool ReplayReport::is_news(const ReplayRow& row) const {
  return row.times_fired > 0 || row.first_pending || (row.fed && has_data_[row.place]);
}

ReplayRow* ReplayReport::row(const ServiceKey& service, const std::string& group, const std::string& rule) {
  const auto place = order_.find({group, rule});
  if (place == order_.end()) return nullptr;
  const auto [at, is_new] = rows_.try_emplace({place->second, service});
  if (is_new) {
    at->second.group = rules_[place->second].first;
    at->second.rule = rules_[place->second].second;
    at->second.place = place->second;
    at->second.service = service;
    at->second.upto = recording_.begins();
  }
  return &at->second;
}

std::size_t ReplayReport::column(Instant at) const {
  const double whole = static_cast<double>((recording_.ends() - recording_.begins()).count()) + 1;
  const double part = static_cast<double>((at - recording_.begins()).count()) / whole;
  return static_cast<std::size_t>(std::clamp(part, 0.0, 0.999999) * static_cast<double>(kReplayColumns));
}

void ReplayReport::mark(ReplayRow& row, Instant from, Instant to) {
  std::uint8_t flag = 0;
  if (row.firing > 0) {
    flag = kFiring;
  } else if (row.pending > 0) {
    flag = kPending;
  } else if (row.is_fed) {
    flag = row.is_blind ? kBlind : kOk;
  }
  if (flag == kBlind && to - from < 1ms) return;  // Until the first sample of the very instant.
  const std::size_t last = column(to);
  for (std::size_t i = column(from); i <= last; ++i) row.columns[i] |= flag;
}

void ReplayReport::count_until(ReplayRow& row, Instant now) {
  if (now <= row.upto) return;
  if (row.is_fed) row.seen += now - row.upto;
  if (row.is_fed && row.is_blind) row.blind += now - row.upto;
  mark(row, row.upto, now - Duration(1));
  row.upto = now;
}

void ReplayReport::event(ReplayEvent event) {
  if (event.kind == "release") live_since_[event.service] = event.at;
  if (events_.size() < kReplayEventsMax) {
    events_.push_back(std::move(event));
  } else {
    ++events_left_out_;
  }
}

void ReplayReport::alert(const AlertChange& change, Instant now) {
  ReplayRow* r = row(change.service, change.group, change.rule);
  if (r == nullptr) return;
  count_until(*r, now);
  ReplayRow::Alert& alert = r->alerts[change.labels];
  const AlertPhase was = alert.phase;
  if (was == AlertPhase::pending) --r->pending;
  if (was == AlertPhase::firing) {
    --r->firing;
    r->longest = std::max(r->longest, now - alert.since);
    if (alert.span < r->spans.size()) r->spans[alert.span].to = now;
  }
  alert = {change.phase, now, kReplaySpansMax};
  if (change.phase == AlertPhase::pending) {
    ++r->pending;
    if (!r->first_pending) r->first_pending = now;
  }
  if (change.phase == AlertPhase::firing) {
    ++r->firing;
    ++r->times_fired;
    fired_ = true;
    if (!r->first_fired) r->first_fired = now;
    alert.span = r->spans.size();
    if (r->spans.size() < kReplaySpansMax) {
      r->spans.push_back({now, std::nullopt, change.labels, change.value});
    } else {
      ++r->spans_left_out;
    }
  }
  mark(*r, now, now);
  if (change.phase == AlertPhase::inactive) r->alerts.erase(change.labels);

  ReplayEvent told;
  told.at = now;
  told.service = change.service;
  told.kind = "alert";
  const bool over = change.phase == AlertPhase::inactive;
  const std::string phase = !over ? to_string(change.phase) : was == AlertPhase::firing ? "resolved" : "no longer pending";
  told.text = change.rule + " " + (change.phase == AlertPhase::firing ? "FIRING" : phase) + short_labels(change.labels, *r->rule);
  if (!over) told.text += " value " + value_text(change.value);
  if (change.phase == AlertPhase::firing && change.annotations.has("summary")) told.further.emplace_back(change.annotations.get("summary"));
  told.details.set("group", change.group).set("rule", change.rule).set("phase", over ? "resolved" : phase);
  told.details.set("action", to_string(change.action));
  if (!over) told.details.set("value", change.value);
  Json labels = Json::object();
  for (const auto& [name, value] : change.labels.pairs()) labels.set(name, value);
  told.details.set("labels", std::move(labels));
  event(std::move(told));
}

void ReplayReport::verdict(const VerdictChange& change, const std::string& why, Instant now) {
  ReplayRow* r = row(change.service, change.group, change.rule);
  if (r == nullptr) return;
  count_until(*r, now);
  const bool blind = change.verdict == Verdict::blind && change.fed;
  if (!blind) end_blind(*r, now);
  r->is_fed = change.fed;
  r->fed = r->fed || change.fed;
  r->is_blind = change.verdict == Verdict::blind;
  if (blind && !r->blind_since) {
    r->blind_since = now;
    r->blind_why = why;
  }
  mark(*r, now, now);
}

void ReplayReport::end_blind(ReplayRow& r, Instant now) {
  if (!r.blind_since) return;
  const Instant from = *std::exchange(r.blind_since, std::nullopt);
  // Until a source first speaks of a release every rule that it feeds is blind: that is no news.
  const auto live = live_since_.find(r.service);
  const Instant began = live == live_since_.end() ? recording_.begins() : live->second;
  if (from >= began && from - began < 1s && now - from < 1min) return;
  if (!r.rule->alerting || now <= from) return;
  const bool end = now >= recording_.ends();
  for (auto b = blind_.rbegin(); b != blind_.rend() && b - blind_.rbegin() < 64; ++b) {
    if (b->service == r.service && b->from == from && b->to == now) {
      b->rules.push_back(r.rule->name);
      return;
    }
  }
  if (blind_.size() < kReplayEventsMax)
    blind_.push_back({r.service, from, now, r.blind_why, end, {r.rule->name}});
  else
    ++events_left_out_;
}

void ReplayReport::tell_blindness() {
  for (const Blindness& b : blind_) {
    ReplayEvent told;
    told.at = b.from;
    told.service = b.service;
    told.kind = "blind";
    told.text = "blind for " + format_duration(b.to - b.from) + (b.to_the_end ? ", to the end: " : ": ") + join(b.rules, ", ");
    if (!b.why.empty()) told.further.push_back(b.why);
    told.details.set("until", format_rfc3339(b.to)).set("why", b.why);
    Json names = Json::array();
    for (const std::string& name : b.rules) names.push(name);
    told.details.set("rules", std::move(names));
    events_.push_back(std::move(told));
  }
  std::stable_sort(events_.begin(), events_.end(), [](const ReplayEvent& a, const ReplayEvent& b) { return a.at < b.at; });
}

void ReplayReport::decision(const Decision& decision) {
  rollback_ = rollback_ || decision.kind == DecisionKind::rollback;
  ReplayEvent told;
  told.at = decision.at;
  told.service = decision.service;
  told.kind = "decision";
  told.text = std::string("DECISION ") + to_string(decision.kind) + ": " + decision.reason;
  const auto no = decision::refusing(decision.guards);
  if (!decision.guards.empty()) {
    std::size_t asked = 0;
    for (const GuardAnswer& g : decision.guards) asked += g.asked ? 1 : 0;
    told.further.push_back(std::to_string(asked) + " guards asked, " + (no.empty() ? "every one says yes" : "these say no:"));
  }
  for (const GuardAnswer& g : decision.guards)
    if (g.asked && !g.yes && !g.passed_over) told.further.push_back("  " + g.guard + ": " + g.evidence);
  for (const std::string& evidence : decision.evidence) told.further.push_back("evidence: " + evidence);
  told.details = decision.to_json();
  event(std::move(told));
}

void ReplayReport::add_evaluations(const std::string& group, const std::string& rule, std::uint64_t n) {
  if (const auto place = order_.find({group, rule}); place != order_.end()) evaluations_of_[place->second] += n;
}

void ReplayReport::finish(Instant end, std::uint64_t evaluations) {
  evaluations_ = evaluations;
  for (auto& [key, r] : rows_) {
    count_until(r, end);
    mark(r, end, end);
    end_blind(r, end);
    for (const auto& [labels, alert] : r.alerts)
      if (alert.phase == AlertPhase::firing) r.longest = std::max(r.longest, end - alert.since);
    for (const std::uint8_t seen : r.columns)
      r.picture += (seen & kFiring) != 0 ? '#' : (seen & kPending) != 0 ? 'p' : (seen & kBlind) != 0 ? '?' : (seen & kOk) != 0 ? '.' : '-';
  }
  tell_blindness();
}

}  // namespace rollbackd::cli
