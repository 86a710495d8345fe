// The evidence of one operation or incident as chapters. Pure: from the API's JSON to words; explain_render.cpp writes them down.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "base/text.hpp"
#include "base/time.hpp"
#include "cli/explain.hpp"

namespace rollbackd::cli {
namespace {

std::string str(const Json& json) { return json.string_or(""); }

std::string number_text(double n) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.6g", n);
  return buffer;
}

std::string seconds_text(double s) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, s < 1 ? "%.1f ms" : "%.3f s", s < 1 ? s * 1000 : s);
  return buffer;
}

std::string labels_text(const Json& labels) {
  std::vector<std::string> parts;
  for (const auto& [name, value] : labels.members()) parts.push_back(name + "=\"" + str(value) + "\"");
  return "{" + join(parts, ", ") + "}";
}

const Json& decision_of(const Json& evidence) {
  const Json& kept = evidence["bundle"]["decision"];
  return kept.is_object() ? kept : evidence["operation"]["decision"];
}

Chapter summary(const Json& evidence) {
  const Json &bundle = evidence["bundle"], &row = evidence["operation"], &decision = decision_of(evidence);
  Chapter out;
  const std::string service = str(evidence["service"]) + "/" + str(evidence["environment"]);
  if (row.is_object()) {
    out.title = str(row["kind"]) + " of " + service + ": " + str(row["from"]) + " -> " + str(row["to"]) + ", " + str(row["status"]);
  } else if (decision.is_object()) {
    out.title = service + ": " + str(decision["decision"]) + " about " + str(decision["release"]);
  } else {
    out.title = service + ": no evidence";
  }
  const auto fact = [&out](const std::string& name, const std::string& value) {
    if (!value.empty()) out.rows.push_back({name, value});
  };
  out.header = {"what", ""};
  fact("operation", str(row["operation"]));
  fact("incident", !str(bundle["incident"]).empty() ? str(bundle["incident"]) : str(row["incident"]));
  fact("decision", str(decision["decision"]));
  fact("reason", str(decision.is_object() ? decision["reason"] : row["reason"]));
  fact("asked by", !str(row["principal"]).empty() ? str(row["principal"]) : str(bundle["asked_by"]));
  fact("trigger and cause", row.is_object() ? str(row["trigger"]) + ", " + str(row["cause"]) : "");
  fact("failure type", str(row["failure_type"]));
  fact("automation", str(bundle["automation"]));
  fact("how it ended", str(row["detail"]));
  if (row["duration_seconds"].is_number()) fact("took", seconds_text(row["duration_seconds"].number_or(0)));
  fact("to act now", str(decision["next_step"]));
  return out;
}

Chapter timeline(const Json& evidence) {
  const Json &bundle = evidence["bundle"], &row = evidence["operation"], &timing = decision_of(evidence)["timing"];
  std::vector<std::pair<double, std::string>> events;
  const auto at = [&events](const Json& seconds, const std::string& what) {
    if (seconds.is_number()) events.emplace_back(seconds.number_or(0), what);
  };
  at(timing["seen"], "the failing sample was committed");
  at(timing["reaction"], "reaction: the second opinion was asked for");
  at(timing["settled"], "settled: its answers were in");
  at(timing["decided"], "decided: " + str(decision_of(evidence)["decision"]));
  at(row["begun_unix"], "operation begun");
  for (const Json& step : row["steps"].elements())
    if (step["begun_unix"].is_number())
      events.emplace_back(step["begun_unix"].number_or(0) + step["took_seconds"].number_or(0),
                          "step " + std::to_string(step["number"].int_or(0)) + " (" + str(step["action"]) + ") " + str(step["status"]));
  at(row["switched_unix"], "switched to " + str(row["to"]));
  at(row["ended_unix"], "operation ended: " + str(row["status"]));
  std::stable_sort(events.begin(), events.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Chapter out;
  out.title = "Timeline";
  if (!str(bundle["release_since"]).empty())
    out.lines.push_back(str(bundle["release"]) + " was live since " + str(bundle["release_since"]) + ".");
  if (events.empty()) return out;
  out.header = {"at", "after", "what"};
  for (const auto& [when, what] : events)
    out.rows.push_back({format_rfc3339(Instant::from_seconds(when)), "+" + seconds_text(when - events.front().first), what});
  return out;
}

Chapter rules(const Json& evidence) {
  Chapter out;
  out.title = "Why: the rules";
  for (const Json& line : decision_of(evidence)["evidence"].elements()) out.lines.push_back(str(line));
  if (evidence["bundle"]["alerts"].elements().empty()) return out;
  out.header = {"rule", "state", "since", "value", "may cause", "labels"};
  for (const Json& alert : evidence["bundle"]["alerts"].elements()) {
    out.rows.push_back({str(alert["rule"]), str(alert["state"]), str(alert["since"]), number_text(alert["value"].number_or(0)),
                        str(alert["action"]), labels_text(alert["labels"])});
    out.block += str(alert["rule"]) + ": " + (alert["expr"].is_string() ? str(alert["expr"]) : "(its text is not known any more)") + "\n";
  }
  return out;
}

Chapter samples(const Json& evidence) {
  const Json& bundle = evidence["bundle"];
  Chapter out;
  out.title = "Samples that the rules read";
  if (bundle["samples"].elements().empty()) return out;
  constexpr std::size_t kShown = 12;
  out.lines.push_back("Up to " + str(bundle["samples_until"]) + "; newest last. The JSON form has all that were kept.");
  out.header = {"series", "from", "kept", "newest values"};
  for (const Json& series : bundle["samples"].elements()) {
    const auto& points = series["points"].elements();
    std::vector<std::string> values;
    for (std::size_t i = points.size() > kShown ? points.size() - kShown : 0; i < points.size(); ++i) {
      const Json::Array& point = points[i].elements();
      if (point.size() != 2) continue;
      values.push_back(point[1].is_string() ? str(point[1]) : point[1].is_null() ? "NaN" : number_text(point[1].number_or(0)));
    }
    const std::string from =
        points.empty() || points[0].elements().empty() ? "" : format_rfc3339(Instant::from_seconds(points[0].elements()[0].number_or(0)));
    out.rows.push_back({str(series["series"]), from, std::to_string(points.size()), join(values, " ")});
  }
  return out;
}

Chapter guards(const Json& evidence) {
  const Json& decided = decision_of(evidence)["guards"];
  const Json& answers = decided.elements().empty() ? evidence["bundle"]["guards"] : decided;
  Chapter out;
  out.title = "Guards";
  if (answers.elements().empty()) return out;
  out.header = {"answer", "guard", "evidence"};
  for (const Json& guard : answers.elements()) {
    const bool yes = guard["yes"].bool_or(false);
    out.rows.push_back({!guard["asked"].bool_or(true)         ? "not asked"
                        : yes                                 ? "yes"
                        : guard["passed_over"].bool_or(false) ? "no, passed over"
                                                              : "NO",
                        str(guard["guard"]), str(guard["evidence"])});
  }
  return out;
}

Chapter releases(const Json& evidence) {
  const Json& decided = decision_of(evidence)["why_not"];
  const Json& why_not = decided.elements().empty() ? evidence["bundle"]["why_not"] : decided;
  Chapter out;
  out.title = "Releases, and why the others were not chosen";
  for (const Json& line : why_not.elements()) out.lines.push_back(str(line));
  if (evidence["bundle"]["releases"].elements().empty()) return out;
  out.header = {"release", "standing", "last live", "commit", "because"};
  for (const Json& row : evidence["bundle"]["releases"].elements())
    out.rows.push_back({str(row["release"]) + (row["live"].bool_or(false) ? " (live)" : ""), str(row["standing"]), str(row["last_live"]),
                        str(row["commit"]), str(row["reason"])});
  return out;
}

Chapter checks(const Json& evidence) {
  Chapter out;
  out.title = "What the checks said, matched log lines among it";
  if (evidence["bundle"]["checks"].elements().empty()) return out;
  out.header = {"last", "check", "answer", "times", "detail"};
  for (const Json& word : evidence["bundle"]["checks"].elements())
    out.rows.push_back(
        {str(word["last"]), str(word["check"]), str(word["answer"]), std::to_string(word["times"].int_or(1)), str(word["detail"])});
  return out;
}

Chapter steps(const Json& evidence) {
  Chapter out;
  out.title = "Steps";
  if (evidence["operation"]["steps"].elements().empty()) return out;
  out.header = {"step", "component", "driver", "action", "attempt", "took", "outcome"};
  for (const Json& step : evidence["operation"]["steps"].elements()) {
    std::string outcome = str(step["status"]);
    if (step["error"].is_object())
      outcome += ": " + str(step["error"]["what"]) + (str(step["error"]["why"]).empty() ? "" : " (" + str(step["error"]["why"]) + ")");
    out.rows.push_back({std::to_string(step["number"].int_or(0)), str(step["component"]), str(step["driver"]), str(step["action"]),
                        std::to_string(step["attempt"].int_or(1)), seconds_text(step["took_seconds"].number_or(0)), outcome});
  }
  std::vector<std::string> phases;
  for (const auto& [phase, took] : evidence["operation"]["phases"].members())
    phases.push_back(phase + " " + seconds_text(took.number_or(0)));
  if (!phases.empty()) out.lines.push_back("Phases: " + join(phases, ", ") + ".");
  return out;
}

Chapter verification(const Json& evidence) {
  Chapter out;
  out.title = "Verification";
  if (evidence["bundle"]["tests"].elements().empty()) return out;
  out.header = {"result", "test", "took", "detail"};
  for (const Json& test : evidence["bundle"]["tests"].elements())
    out.rows.push_back({str(test["result"]), str(test["test"]), seconds_text(test["took_seconds"].number_or(0)), str(test["detail"])});
  return out;
}

Chapter changes(const Json& evidence) {
  Chapter out;
  out.title = "What else changed";
  if (evidence["bundle"]["changes"].elements().empty()) return out;
  out.header = {"at", "kind", "what"};
  for (const Json& change : evidence["bundle"]["changes"].elements())
    out.rows.push_back({str(change["at"]), str(change["kind"]), str(change["what"])});
  return out;
}

Chapter told(const Json& evidence) {
  Chapter out;
  out.title = "Who was told";
  if (evidence["told"].elements().empty()) return out;
  out.header = {"at", "severity", "title", "delivered"};
  for (const Json& told : evidence["told"].elements()) {
    std::vector<std::string> channels;
    for (const Json& channel : told["channels"].elements()) {
      std::string text = str(channel["channel"]) + ": " + str(channel["state"]);
      if (!str(channel["why"]).empty()) text += " (" + str(channel["why"]) + ")";
      channels.push_back(std::move(text));
    }
    out.rows.push_back(
        {str(told["at"]), str(told["severity"]), str(told["title"]), channels.empty() ? "no channel" : join(channels, "; ")});
  }
  return out;
}

Chapter drill(const Json& evidence) {
  Chapter out;
  out.title = "The drill, link by link";
  if (evidence["bundle"]["drill"].elements().empty()) return out;
  out.header = {"link", "state", "after", "detail"};
  for (const Json& link : evidence["bundle"]["drill"].elements())
    out.rows.push_back({str(link["link"]), str(link["state"]),
                        link["after_seconds"].is_number() ? seconds_text(link["after_seconds"].number_or(0)) : "", str(link["detail"])});
  return out;
}

Chapter missing(const Json& evidence) {
  Chapter out;
  out.title = "What is not known";
  for (const Json& line : evidence["missing"].elements()) out.lines.push_back(str(line));
  return out;
}

Chapter earlier(const Json& evidence) {
  Chapter out;
  out.title = "Evidence of before";
  if (evidence["earlier"].elements().empty()) return out;
  out.header = {"captured", "operation", "incident", "decision", "reason"};
  for (const Json& one : evidence["earlier"].elements())
    out.rows.push_back({str(one["captured"]), str(one["operation"]), str(one["incident"]), str(one["decision"]), str(one["reason"])});
  return out;
}

Chapter versions(const Json& evidence) {
  const Json& bundle = evidence["bundle"];
  Chapter out;
  out.title = "Made by";
  if (!bundle.is_object()) return out;
  out.lines.push_back("rollbackd " + str(bundle["version"]) + " on " + str(bundle["node"]) + ", configuration " +
                      (str(bundle["configuration"]).empty() ? "unknown" : str(bundle["configuration"])) + ", captured " +
                      str(bundle["captured"]) + ".");
  return out;
}

}  // namespace

std::vector<Chapter> chapters_of(const Json& evidence) {
  std::vector<Chapter> all{summary(evidence)};
  for (const auto make :
       {drill, timeline, rules, samples, guards, releases, checks, steps, verification, changes, told, missing, earlier, versions}) {
    Chapter chapter = make(evidence);
    if (!chapter.lines.empty() || !chapter.rows.empty() || !chapter.block.empty()) all.push_back(std::move(chapter));
  }
  return all;
}

}  // namespace rollbackd::cli
