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
    const Json& decision = row["decision"];
    if (str(decision["kind"]) == "hold") {
      out += "\n" + service_text(row) + " is held: " + printable(str(decision["reason"])) + "\n";
      if (!str(decision["next_step"]).empty()) out += "  to act now: " + printable(str(decision["next_step"])) + "\n";
    }
  }
  if (!str(status["history"]).empty()) out += "\nhistory: " + printable(str(status["history"])) + "\n";
  if (!str(status["last_reload_error"]).empty())
    out += "\nthe last reload was refused: " + printable(str(status["last_reload_error"])) + "\n";
  return out;
}

std::string render_releases(const Json& releases) {
  Table table({"RELEASE", "STANDING", "LIVE", "LAST LIVE", "COMMIT", "DIGEST", "REASON"});
  for (const Json& row : releases["releases"].elements()) {
    table.row({str(row["release"]), str(row["standing"]), row["live"].bool_or(false) ? "live" : "", str(row["last_live"]),
               str(row["commit"]).substr(0, 12), str(row["digest"]).substr(0, 12), str(row["reason"])});
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

std::string render_ready(const Json& ready) {
  Table table({"READY", "SERVICE", "WHY"});
  for (const Json& row : ready.elements()) table.row({row["ready"].bool_or(false) ? "yes" : "no", service_text(row), str(row["why"])});
  return table.text();
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
  Table rules({"VERDICT", "RULE", "DETAIL"});
  for (const Json& rule : explained["rules"].elements())
    rules.row({str(rule["verdict"]) + (rule["fed"].bool_or(true) ? "" : " (no source)"), str(rule["rule"]), cut(str(rule["detail"]), 100)});
  return out + "\n" + rules.text();
}

std::string render_command(const Json& answer) {
  std::string out = printable(str(answer["message"])) + "\n";
  if (!str(answer["nearest"]).empty()) out += "  did you mean " + printable(str(answer["nearest"])) + "?\n";
  for (const Json& step : answer["plan"]["steps"].elements())
    out += "  step " + std::to_string(step["number"].int_or(0)) + ": " + str(step["driver"]) + " " + str(step["action"]) + " " +
           printable(cut(step["arguments"].dump(), 200)) + "\n";
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
