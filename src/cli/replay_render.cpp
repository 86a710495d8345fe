// A replay's report as text for people and as JSON for programs.
#include <algorithm>
#include <cstdio>

#include "base/text.hpp"
#include "cli/render.hpp"
#include "cli/replay_report.hpp"

namespace rollbackd::cli {

namespace {

std::string percent(Duration part, Duration whole) {
  if (whole <= Duration{0}) return "-";
  const double share = static_cast<double>(part.count()) / static_cast<double>(whole.count()) * 100;
  std::array<char, 32> out{};
  std::snprintf(out.data(), out.size(), share < 0.05 || share >= 10 ? "%.0f %%" : "%.1f %%", share);
  return out.data();
}

std::string when(const std::optional<Instant>& at) { return at ? format_rfc3339(*at) : "never"; }

double seconds(Duration d) { return static_cast<double>(d.count()) / 1e9; }

}  // namespace

std::string ReplayReport::text() const {
  std::string out = "recording: " + std::to_string(recording_.samples().size()) + " samples, " +
                    std::to_string(recording_.sources().size()) + " sources, " + std::to_string(recording_.services().size()) +
                    " services, " + format_rfc3339(recording_.begins()) + " to " + format_rfc3339(recording_.ends()) + " (" +
                    format_duration(recording_.ends() - recording_.begins()) + ")\n";
  out += "rules: " + std::to_string(rules_.size()) + ", evaluated " + std::to_string(evaluations_) + " times\n";
  for (const std::string& note : recording_.notes()) out += "note: " + printable(note) + "\n";

  out += "\n";
  for (const ReplayEvent& e : events_) {
    out += format_rfc3339(e.at) + "  " + printable(service_text(e.service)) + "  " + printable(e.text) + "\n";
    for (const std::string& line : e.further) out += std::string(26, ' ') + printable(line) + "\n";
  }
  if (events_.empty()) out += "nothing happened\n";
  if (events_left_out_ > 0) out += "and " + std::to_string(events_left_out_) + " further events that are not shown\n";

  const bool counted = !evaluations_of_.empty();
  std::vector<std::string> header{"RULE", "SERVICE", "ACTION", "FIRST FIRED", "TIMES", "LONGEST", "BLIND"};
  if (counted) header.emplace_back("EVALUATIONS");
  Table table(header);
  std::vector<std::string> unfed;
  std::size_t widest = 0, shown = 0;
  for (const auto& [key, r] : rows_) {
    if (!r.rule->alerting) continue;
    if (!is_news(r)) {
      if (std::find(unfed.begin(), unfed.end(), r.rule->name) == unfed.end()) unfed.push_back(r.rule->name);
      continue;
    }
    std::vector<std::string> cells{r.rule->name,
                                   service_text(r.service),
                                   to_string(r.rule->action),
                                   when(r.first_fired),
                                   std::to_string(r.times_fired),
                                   r.times_fired > 0 ? format_duration(r.longest) : "-",
                                   percent(r.blind, r.seen)};
    if (counted) cells.push_back(evaluations_of_.contains(key.first) ? std::to_string(evaluations_of_.at(key.first)) : "-");
    table.row(std::move(cells));
    widest = std::max(widest, r.rule->name.size() + service_text(r.service).size() + 1);
    ++shown;
  }
  if (shown > 0) {
    out += "\n" + table.text() + "\n";
    std::map<ServiceKey, std::string> marks;
    for (const ReplayEvent& e : events_) {
      std::string& line = marks.try_emplace(e.service, std::string(kReplayColumns, ' ')).first->second;
      if (e.kind == "release") line[column(e.at)] = 'v';
      if (e.kind == "decision" && e.details["decision"].string_or("") == "rollback") line[column(e.at)] = 'R';
    }
    const auto line = [&](const std::string& name, const std::string& picture) {
      out += printable(name) + std::string(widest + 2 - std::min(widest, name.size()), ' ') + "|" + picture + "|\n";
    };
    for (const auto& [service, picture] : marks)
      if (picture.find_first_not_of(' ') != picture.npos) line(service_text(service), picture);
    for (const auto& [key, r] : rows_)
      if (r.rule->alerting && is_news(r)) line(r.rule->name + " " + service_text(r.service), r.picture);
    out += ". ok  p pending  # firing  ? blind  - nothing feeds it  v release  R rollback decided; a column is " +
           format_duration((recording_.ends() - recording_.begins()) / static_cast<std::int64_t>(kReplayColumns)) + "\n";
  }
  if (!unfed.empty()) out += "nothing in the recording feeds: " + printable(join(unfed, ", ")) + "\n";
  return out;
}

Json ReplayReport::json() const {
  Json out = Json::object();
  Json about = Json::object();
  about.set("from", format_rfc3339(recording_.begins())).set("to", format_rfc3339(recording_.ends()));
  about.set("samples", recording_.samples().size());
  Json sources = Json::array();
  for (const RecordedSource& s : recording_.sources()) {
    sources.push(Json::object()
                     .set("service", s.source.service.name)
                     .set("environment", s.source.service.environment)
                     .set("source", s.source.check)
                     .set("staleness_seconds", seconds(s.source.staleness))
                     .set("deliveries", s.deliveries.size()));
  }
  about.set("sources", std::move(sources));
  Json notes = Json::array();
  for (const std::string& note : recording_.notes()) notes.push(note);
  out.set("recording", std::move(about)).set("notes", std::move(notes)).set("evaluations", evaluations_);

  Json rows = Json::array();
  for (const auto& [key, r] : rows_) {
    Json row = Json::object();
    row.set("group", r.group->name).set("rule", r.rule->name).set("type", r.rule->alerting ? "alerting" : "recording");
    row.set("service", r.service.name).set("environment", r.service.environment).set("expr", r.rule->expr_text);
    row.set("action", to_string(r.rule->action)).set("fed", r.fed && has_data_[r.place]);
    row.set("first_pending", r.first_pending ? Json(format_rfc3339(*r.first_pending)) : Json());
    row.set("first_fired", r.first_fired ? Json(format_rfc3339(*r.first_fired)) : Json());
    row.set("times_fired", r.times_fired).set("longest_seconds", seconds(r.longest));
    row.set("blind_seconds", seconds(r.blind)).set("fed_seconds", seconds(r.seen));
    row.set("blind_share", r.seen > Duration{0} ? Json(seconds(r.blind) / seconds(r.seen)) : Json());
    if (const auto n = evaluations_of_.find(key.first); n != evaluations_of_.end()) row.set("evaluations", n->second);
    row.set("timeline", r.picture);
    Json spans = Json::array();
    for (const auto& span : r.spans) {
      Json labels = Json::object();
      for (const auto& [name, value] : span.labels.pairs()) labels.set(name, value);
      spans.push(Json::object()
                     .set("from", format_rfc3339(span.from))
                     .set("to", span.to ? Json(format_rfc3339(*span.to)) : Json())
                     .set("value", span.value)
                     .set("labels", std::move(labels)));
    }
    row.set("firing", std::move(spans)).set("firing_left_out", r.spans_left_out);
    rows.push(std::move(row));
  }
  out.set("rules", std::move(rows));

  Json events = Json::array();
  for (const ReplayEvent& e : events_) {
    Json row = Json::object();
    row.set("time", format_rfc3339(e.at)).set("service", e.service.name).set("environment", e.service.environment);
    row.set("kind", e.kind).set("text", e.text).set("details", e.details);
    events.push(std::move(row));
  }
  out.set("events", std::move(events)).set("events_left_out", events_left_out_);
  out.set("fired", fired_).set("rollback", rollback_);
  return out;
}

}  // namespace rollbackd::cli
