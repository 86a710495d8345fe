#include "cli/render.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/text.hpp"
#include "base/time.hpp"

namespace rollbackd::cli {

namespace {

std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string str(const Json& json) { return json.string_or(""); }

/// "412 ms", "1.93 s".
std::string seconds_text(const Json& json) {
  if (!json.is_number()) return "-";
  const double s = json.number_or(0);
  char buffer[32];
  if (s < 1) {
    std::snprintf(buffer, sizeof buffer, "%.0f ms", s * 1000);
  } else {
    std::snprintf(buffer, sizeof buffer, "%.2f s", s);
  }
  return buffer;
}

std::string service_text(const Json& row) { return str(row["service"]) + "/" + str(row["environment"]); }

void guards_into(std::string& out, const Json& guards) {
  for (const Json& guard : guards.elements()) {
    if (!guard["asked"].bool_or(true)) continue;
    const bool yes = guard["yes"].bool_or(false);
    out += std::string("  ") + (yes ? "yes " : guard["passed_over"].bool_or(false) ? "over" : "NO  ") + " " + str(guard["guard"]);
    const std::string evidence = str(guard["evidence"]);
    if (!evidence.empty()) out += ": " + printable(evidence);
    out += "\n";
  }
}

}  // namespace

void Table::row(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = printable(cell);
  cells.resize(header_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < header_.size(); ++i) {
    std::size_t widest = width_of(header_[i]);
    for (const auto& cells : rows_) widest = std::max(widest, width_of(cells[i]));
    widths.push_back(widest);
  }
  std::string out;
  const auto line = [&](const std::vector<std::string>& cells) {
    for (std::size_t i = 0; i < cells.size(); ++i) {
      out += cells[i];
      if (i + 1 < cells.size()) out.append(widths[i] - width_of(cells[i]) + 2, ' ');
    }
    out += '\n';
  };
  line(header_);
  for (const auto& cells : rows_) line(cells);
  return out;
}

std::string render_status(const Json& status) {
  Table table({"PROTECTED", "SERVICE", "RELEASE", "STANDING", "PHASE", "AUTOMATION", "SINCE"});
  for (const Json& row : status["services"].elements()) {
    std::string shielded = row["protected"].bool_or(false) ? "yes" : "no: " + str(row["protected_why"]);
    std::string phase = str(row["phase"]);
    if (!str(row["trouble"]).empty()) phase += " (" + str(row["trouble"]) + ")";
    if (row["stopped_cleanly"].bool_or(false)) phase += ", stopped by a person";
    if (row["warming"].bool_or(false)) phase += ", warming";
    if (row["blind"].bool_or(false)) phase += ", blind";
    for (const Json& rule : row["firing"].elements()) phase += ", " + rule.string_or("");
    std::string standing = str(row["standing"]);
    const double baked = row["baked_seconds"].number_or(0), bake = row["bake_time_seconds"].number_or(0);
    if (standing == "candidate" && bake > 0) {
      const auto percent = static_cast<int>(std::floor(100 * std::min(1.0, baked / bake)));
      standing += " (" + std::to_string(percent) + "% baked)";
    }
    table.row({shielded, service_text(row), str(row["release"]), standing, phase, str(row["automation"]), str(row["since"])});
  }
  std::string out = table.text();
  for (const Json& row : status["services"].elements()) {
    std::vector<std::string> keeps;
    for (const Json& why : row["keeps_from_good"].elements()) keeps.push_back(why.string_or(""));
    if (!keeps.empty())
      out += "\n" + service_text(row) + ": " + str(row["release"]) + " does not become good: " + printable(join(keeps, "; ")) + "\n";
    const Json& decision = row["decision"];
    if (str(decision["kind"]) == "hold") {
      const bool asks = str(row["phase"]) == "awaiting approval";
      out += "\n" + service_text(row) + (asks ? " waits for approval: " : " is held: ") + printable(str(decision["reason"])) + "\n";
      if (!str(decision["next_step"]).empty()) out += "  to act now: " + printable(str(decision["next_step"])) + "\n";
    }
  }
  for (const Json& row : status["services"].elements()) {
    if (row["lock"].is_object())
      out += "\n" + service_text(row) + " is locked until " + str(row["lock"]["until"]) + " by " +
             printable(str(row["lock"]["principal"])) + ": " + printable(str(row["lock"]["reason"])) + "\n";
    for (const Json& window : row["windows"].elements()) out += "\n" + service_text(row) + ": " + printable(window.string_or("")) + "\n";
  }
  if (status["kill_switch"]["on"].bool_or(false))
    out += "\nTHE KILL SWITCH IS ON, nothing acts: " + printable(str(status["kill_switch"]["why"])) + "\n";
  if (!str(status["history"]).empty()) out += "\nhistory: " + printable(str(status["history"])) + "\n";
  if (!str(status["last_reload_error"]).empty())
    out += "\nthe last reload was refused: " + printable(str(status["last_reload_error"])) + "\n";
  return out;
}

std::string render_releases(const Json& releases) {
  Table table({"RELEASE", "STANDING", "LIVE", "LAST LIVE", "COMMIT", "DIGEST", "REASON"});
  for (const Json& row : releases["releases"].elements()) {
    std::string reason = str(row["reason"]);
    for (const char* more : {"intact_why", "against"})
      if (const std::string text = str(row[more]); !text.empty() && reason.find(text) == std::string::npos)
        reason += (reason.empty() ? "" : "; ") + text;
    table.row({str(row["release"]), str(row["standing"]), row["live"].bool_or(false) ? "live" : "", str(row["last_live"]),
               str(row["commit"]).substr(0, 12), str(row["digest"]).substr(0, 12), reason});
  }
  std::string out = table.text();
  out +=
      releases["target"].is_string() ? "\na rollback would go to " + str(releases["target"]) + "\n" : "\na rollback would find no target\n";
  for (const Json& line : releases["why_not"].elements()) out += "  not " + printable(line.string_or("")) + "\n";
  return out;
}

std::string render_operations(const Json& operations) {
  Table table({"BEGUN", "SERVICE", "KIND", "FROM", "TO", "STATUS", "TRIGGER", "CAUSE", "TOOK", "OPERATION", "DETAIL"});
  for (const Json& row : operations.elements()) {
    table.row({str(row["begun"]), service_text(row), str(row["kind"]), str(row["from"]), str(row["to"]), str(row["status"]),
               str(row["trigger"]), str(row["cause"]), seconds_text(row["duration_seconds"]), str(row["operation"]),
               cut(str(row["detail"]), 80)});
  }
  return table.text();
}

std::string render_decisions(const Json& decisions) {
  Table table({"AT", "SERVICE", "DECISION", "RELEASE", "TARGET", "REFUSED BY", "REASON"});
  for (const Json& row : decisions.elements()) {
    std::vector<std::string> refused;
    for (const Json& guard : row["guards"].elements())
      if (guard["asked"].bool_or(true) && !guard["yes"].bool_or(false) && !guard["passed_over"].bool_or(false))
        refused.push_back(str(guard["guard"]));
    table.row({str(row["at"]), service_text(row), str(row["decision"]), str(row["release"]), str(row["target"]), join(refused, ", "),
               cut(str(row["reason"]), 100)});
  }
  return table.text();
}

std::string render_deployments(const Json& deployments) {
  Table table({"AT", "SERVICE", "RELEASE", "FROM", "HOW"});
  for (const Json& row : deployments.elements()) {
    const char* how = row["by_rollback"].bool_or(false) ? "rollback" : row["announced"].bool_or(false) ? "rollbackctl deploy" : "outside";
    table.row({str(row["at"]), service_text(row), str(row["release"]), str(row["from"]), how});
  }
  return table.text();
}

namespace {

std::string counted(const Json& counts, const char* word) {
  std::vector<std::string> out;
  for (const Json& one : counts.elements()) out.push_back(printable(str(one[word])) + " " + std::to_string(one["count"].int_or(0)));
  return out.empty() ? "none" : join(out, ", ");
}

}  // namespace

std::string render_stats(const Json& stats) {
  const std::string since = str(stats["since"]).empty() ? "since the history began" : "since " + str(stats["since"]);
  if (stats["operations"].int_or(0) == 0)
    return "no operation yet (" + since + "); holds: " + std::to_string(stats["holds"].int_or(0)) +
           (stats["holds"].int_or(0) == 0 ? "" : ", by guard: " + counted(stats["holds_by_guard"], "guard")) + "\n";
  std::string out = "operations   " + std::to_string(stats["operations"].int_or(0)) + " " + since + ", the first at " + str(stats["first"]);
  if (stats["unfinished"].int_or(0) > 0) out += "; " + std::to_string(stats["unfinished"].int_or(0)) + " not ended";
  if (stats["truncated"].bool_or(false)) out += "; older ones are left out";
  out += "\nsuccess      ";
  if (stats["success_rate"].is_number()) {
    char percent[32];
    std::snprintf(percent, sizeof percent, "%.1f %%", std::floor(1000 * stats["success_rate"].number_or(0)) / 10);
    out += std::string(percent) + ": " + std::to_string(stats["succeeded"].int_or(0)) + " of " +
           std::to_string(stats["rollbacks"].int_or(0)) + " rollbacks that ended were verified";
  } else {
    out += "no rollback has ended yet";
  }
  out += "\nby kind      " + counted(stats["by_kind"], "kind") + "\nby status    " + counted(stats["by_status"], "status");
  out += "\nby cause     " + counted(stats["by_cause"], "cause") + "\nby trigger   " + counted(stats["by_trigger"], "trigger");
  out += "\nenvironments " + counted(stats["by_environment"], "environment");
  out += "\nholds        " + std::to_string(stats["holds"].int_or(0)) + ", by guard: " + counted(stats["holds_by_guard"], "guard") + "\n\n";
  Table table({"ROLLBACKS", "COUNT", "MEAN", "MEDIAN", "P95", "MAX"});
  const auto spread = [&](const std::string& name, const Json& s) {
    table.row({name, std::to_string(s["count"].int_or(0)), seconds_text(s["mean_seconds"]), seconds_text(s["median_seconds"]),
               seconds_text(s["p95_seconds"]), seconds_text(s["max_seconds"])});
  };
  spread("whole", stats["durations"]["total"]);
  spread("decision -> switched", stats["durations"]["decision_to_switched"]);
  spread("switched -> verified", stats["durations"]["switched_to_verified"]);
  for (const auto& [name, of_phase] : stats["phases"].members()) spread("phase " + name, of_phase);
  out += table.text();
  if (stats["reasons"].elements().empty()) return out;
  Table reasons({"TIMES", "REASON OF A ROLLBACK"});
  for (const Json& one : stats["reasons"].elements()) reasons.row({std::to_string(one["count"].int_or(0)), str(one["reason"])});
  return out + "\n" + reasons.text();
}

std::string render_audit(const Json& entries) {
  Table table({"SEQ", "AT", "PRINCIPAL", "ACTION", "SERVICE", "TARGET", "OUTCOME", "REASON", "FROM"});
  for (const Json& row : entries.elements()) {
    const std::string service = str(row["service"]).empty()       ? "-"
                                : str(row["environment"]).empty() ? str(row["service"])
                                                                  : service_text(row);
    table.row({std::to_string(row["seq"].int_or(0)), str(row["at"]), str(row["principal"]), str(row["action"]), service,
               cut(str(row["target"]), 40), cut(str(row["outcome"]), 80), cut(str(row["reason"]), 80), str(row["from"])});
  }
  return table.text();
}

std::string render_audit_verdict(const Json& verdict) {
  std::string out;
  if (verdict["ok"].bool_or(false)) {
    out = "ok: " + std::to_string(verdict["entries"].int_or(0)) + " entries in order";
    if (verdict["entries"].int_or(0) > 0) out += ", head " + std::to_string(verdict["seq"].int_or(0)) + " " + str(verdict["head"]);
    out += "\n";
  } else {
    const std::string file = str(verdict["file"]);
    out = "NOT in order: " + (file.empty() ? "" : printable(file) + ":" + std::to_string(verdict["line"].int_or(0)) + ": ") +
          printable(str(verdict["problem"])) + "\n  in order up to entry " + std::to_string(verdict["seq"].int_or(0)) + "\n";
  }
  for (const Json& note : verdict["notes"].elements()) out += "  note: " + printable(note.string_or("")) + "\n";
  return out;
}

std::string render_ready(const Json& ready) {
  Table table({"READY", "SERVICE", "WHY"});
  for (const Json& row : ready.elements()) {
    std::vector<std::string> warnings;
    for (const Json& check : row["checks"].elements())
      if (str(check["answer"]) == "warning") warnings.push_back(str(check["check"]));
    const std::string more = warnings.empty() ? "" : "; warnings: " + join(warnings, ", ");
    table.row({row["ready"].bool_or(false) ? "yes" : "no", service_text(row), str(row["why"]) + more});
  }
  return table.text();
}

std::string render_preflight(const Json& row) {
  std::string out =
      service_text(row) + (row["ready"].bool_or(false) ? ": a rollback could begin now, " : ": no rollback would begin now: ");
  out += printable(str(row["why"])) + "\n";
  Table table({"ANSWER", "CHECK", "EVIDENCE"});
  for (const Json& check : row["checks"].elements()) table.row({str(check["answer"]), str(check["check"]), str(check["evidence"])});
  return out + table.text();
}

std::string render_explain(const Json& explained) {
  std::string out = service_text(explained) + " runs " + str(explained["release"]) + " (" + str(explained["standing"]) + ") since " +
                    str(explained["since"]) + "; " + str(explained["phase"]) + "\n";
  out += explained["protected"].bool_or(false) ? "a rollback could act now, " : "a rollback could not act now: ";
  out += printable(str(explained["protected_why"])) + "\n";
  if (explained["decisions"].elements().empty()) out += "\nno decision yet in this run; `rollbackctl history` has older ones\n";
  for (const Json& decision : explained["decisions"].elements()) {
    out += "\n" + str(decision["at"]) + "  decision " + str(decision["decision"]) + " about " + str(decision["release"]);
    if (!str(decision["target"]).empty()) out += " -> " + str(decision["target"]);
    out += "\n  " + printable(str(decision["reason"])) + "\n";
    for (const Json& line : decision["evidence"].elements()) out += "  seen: " + printable(line.string_or("")) + "\n";
    guards_into(out, decision["guards"]);
    for (const Json& line : decision["why_not"].elements()) out += "  not chosen: " + printable(line.string_or("")) + "\n";
    if (!str(decision["next_step"]).empty()) out += "  to act now: " + printable(str(decision["next_step"])) + "\n";
  }
  Table rules({"VERDICT", "SINCE", "RULE", "RUNS", "VALUES OR WHY"});
  for (const Json& rule : explained["rules"].elements()) {
    std::string verdict = str(rule["verdict"]) + (rule["fed"].bool_or(true) ? "" : " (no source)");
    if (rule["failed"].bool_or(false)) verdict += " (error)";
    if (rule["ignores_no_data"].bool_or(false)) verdict += " (ignored)";
    std::vector<std::string> says;
    if (str(rule["verdict"]) == "blind") says.push_back(str(rule["detail"]));
    for (const Json& value : rule["values"].elements())
      if (str(rule["verdict"]) != "blind") says.push_back(str(value["labels"]) + " = " + str(value["value"]));
    rules.row({verdict, str(rule["since"]), str(rule["rule"]), cut(str(rule["runs"]), 80), cut(join(says, ", "), 160)});
  }
  return out + "\n" + rules.text();
}

namespace {

/// What a dry run says would change: each component's link and files, then what is restarted and called, and how long it may take.
void changes_into(std::string& out, const Json& changes) {
  if (!changes.is_object()) return;
  for (const Json& one : changes["components"].elements()) {
    out += "  " + str(one["component"]) + ": " + printable(str(one["current"])) + " -> " + printable(str(one["link_to"]));
    out += str(one["from"]) == str(one["to"]) ? " (stays)\n" : " (now " + printable(str(one["link_from"])) + ")\n";
    if (!str(one["why_no_difference"]).empty()) out += "    not compared: " + printable(str(one["why_no_difference"])) + "\n";
    const Json& difference = one["difference"];
    if (!difference.is_object()) continue;
    const auto count = [&](const char* key) { return std::to_string(difference[key].int_or(0)) + " " + key; };
    out += "    files: " + count("added") + ", " + count("removed") + ", " + count("changed") + ", " + count("same") + "\n";
    std::int64_t shown = 0;
    for (const Json& file : difference["files"].elements()) {
      const std::string change = str(file["change"]);
      const std::string from = std::to_string(file["bytes_from"].int_or(0)), to = std::to_string(file["bytes_to"].int_or(0));
      const std::string bytes = change == "added" ? to : change == "removed" ? from : from == to ? to : from + " -> " + to;
      out += "    " +
             std::string(change == "added"     ? "+ "
                         : change == "removed" ? "- "
                                               : "~ ") +
             printable(str(file["path"])) + " (" + bytes + " bytes)\n";
      for (const Json& line : file["lines"].elements()) out += "        " + printable(line.string_or("")) + "\n";
      ++shown;
    }
    const std::int64_t all = difference["added"].int_or(0) + difference["removed"].int_or(0) + difference["changed"].int_or(0);
    if (all > shown) out += "    and " + std::to_string(all - shown) + " more\n";
    if (!str(difference["why"]).empty()) out += "    " + str(difference["why"]) + "\n";
  }
  for (const Json& one : changes["restarts"].elements()) out += "  restarts " + str(one["component"]) + " (" + str(one["driver"]) + ")\n";
  for (const Json& one : changes["hooks"].elements())
    out += "  calls " + printable(str(one["name"])) + " at " + str(one["at"]) + (one["required"].bool_or(true) ? ", required" : "") +
           ", at most " + str(one["timeout"]) + ": " + printable(cut(str(one["command"]), 120)) + "\n";
  out += "  takes at most " + str(changes["deadlines"]["operation"]) + " (each step " + str(changes["deadlines"]["step"]) + ")\n";
}

}  // namespace

std::string render_command(const Json& answer) {
  std::string out = printable(str(answer["message"])) + "\n";
  if (!str(answer["nearest"]).empty()) out += "  did you mean " + printable(str(answer["nearest"])) + "?\n";
  for (const Json& step : answer["plan"]["steps"].elements())
    out += "  step " + std::to_string(step["number"].int_or(0)) + ": " + str(step["driver"]) + " " + str(step["action"]) + " " +
           printable(cut(step["arguments"].dump(), 200)) + "\n";
  changes_into(out, answer["changes"]);
  guards_into(out, answer["guards"]);
  for (const Json& line : answer["why_not"].elements()) out += "  not " + printable(line.string_or("")) + "\n";
  if (!str(answer["operation"]).empty()) out += "operation " + str(answer["operation"]) + "\n";
  return out;
}

std::string render_error(const Json& answer) {
  const Json& error = answer["error"];
  std::string out = "rollbackctl: " + printable(error.is_object() ? str(error["what"]) : error.string_or("the daemon refused")) + "\n";
  if (!str(error["why"]).empty()) out += "  why: " + printable(str(error["why"])) + "\n";
  if (!str(error["next_step"]).empty()) out += "  next: " + printable(str(error["next_step"])) + "\n";
  return out;
}

}  // namespace rollbackd::cli
