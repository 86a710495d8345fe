// Flow: PropertiesChanged -> update() -> [UnitState::on] -> news -> driver (evidence) and check (counters).
#include "io/unit_state.hpp"

#include <csignal>
#include <cstring>
#include <string_view>

namespace rollbackd::io {
namespace {

constexpr int kExited = 1;  // CLD_EXITED
// systemd's own exit codes of a child in which the program could not be executed (systemd.exec(5)): CHDIR, EXEC, USER.
constexpr int kChdir = 200, kExec = 203, kUser = 217;

bool could_not_execute(const UnitFacts& facts) {
  return facts.exec_code == kExited && (facts.exec_status == kChdir || facts.exec_status == kExec || facts.exec_status == kUser);
}

/// A result that a stop on request does not have when it begins.
bool faulty(const std::string& result) { return !result.empty() && result != "success"; }

}  // namespace

void update(UnitFacts& facts, const Json& properties) {
  for (const auto& [name, value] : properties.members()) {
    const auto text = [&, &v = value](std::string& to) { to = v.string_or(""); };
    if (name == "Id") text(facts.id);
    if (name == "LoadState") text(facts.load);
    if (name == "ActiveState") text(facts.active);
    if (name == "SubState") text(facts.sub);
    if (name == "Result") text(facts.result);
    if (name == "MainPID") {
      facts.main_pid = static_cast<int>(value.int_or(0));
      facts.service = true;
    }
    if (name == "ExecMainPID") facts.exec_pid = static_cast<int>(value.int_or(0));
    if (name == "ExecMainStartTimestampMonotonic") facts.exec_started = value.int_or(0);
    if (name == "ExecMainExitTimestampMonotonic") facts.exec_exited = value.int_or(0);
    if (name == "ExecMainCode") facts.exec_code = static_cast<int>(value.int_or(0));
    if (name == "ExecMainStatus") facts.exec_status = static_cast<int>(value.int_or(0));
    if (name == "NRestarts") facts.restarts = value.int_or(0);
  }
}

std::string last_exit(const UnitFacts& facts) {
  if (facts.exec_started == 0 || facts.exec_exited == 0) return "";
  if (facts.exec_code == kExited) return "exit " + std::to_string(facts.exec_status);
  return "signal " + std::to_string(facts.exec_status) + " (" + ::strsignal(facts.exec_status) + ")";  // NOLINT(concurrency-mt-unsafe)
}

UnitNews UnitState::exit_of(const UnitFacts& facts) const {
  UnitNews news;
  news.kind = UnitNews::Kind::exited;
  news.pid = facts.exec_pid;
  news.started = facts.exec_started;
  news.at = facts.exec_exited;
  if (facts.exec_code == kExited) {
    news.exit_code = facts.exec_status;
  } else {
    news.signal = facts.exec_status;
  }
  news.oom = facts.result == "oom-kill";
  news.requested = asked_to_stop_ || facts.host_stopping || !faulty(facts.result);
  news.detail = last_exit(facts);
  if (faulty(facts.result) && facts.result != "exit-code" && facts.result != "signal") news.detail += ", " + facts.result;
  if (could_not_execute(facts)) {
    news.kind = UnitNews::Kind::start_failed;
    news.detail = "the program could not be executed (" + last_exit(facts) + ")";
  }
  return news;
}

std::vector<UnitNews> UnitState::on(const UnitFacts& facts) {
  std::vector<UnitNews> out;
  follow_process(facts, out);
  follow_unit(facts, out);
  before_ = facts;
  any_ = told_ = true;
  return out;
}

void UnitState::follow_process(const UnitFacts& facts, std::vector<UnitNews>& out) {
  const bool first = !any_;
  const bool another = facts.exec_started != 0 && (facts.exec_started != started_ || facts.exec_pid != pid_);
  if (runs_ && (another || facts.exec_started == 0)) {
    // Its end was not seen: the bus was away, or systemd started the next one at once.
    UnitNews gone;
    gone.kind = UnitNews::Kind::exited;
    gone.pid = pid_;
    gone.started = started_;
    gone.code_known = false;
    gone.requested = asked_to_stop_ || facts.host_stopping || facts.restarts <= before_.restarts;
    gone.detail = "ended and was replaced; how it ended is not known";
    out.push_back(std::move(gone));
    runs_ = false;
    attempt_failed_ = true;
  }
  if (another) {
    pid_ = facts.exec_pid;
    started_ = facts.exec_started;
    asked_to_stop_ = false;
    attempt_failed_ = false;
    if (facts.running()) {
      runs_ = true;
    } else if (facts.exec_exited != 0) {
      out.push_back(exit_of(facts));
      attempt_failed_ = true;
      return;
    }
  } else if (runs_ && !facts.running() && facts.exec_exited != 0) {
    runs_ = false;
    attempt_failed_ = true;
    out.push_back(exit_of(facts));
    return;
  }
  if (runs_ && facts.active == "deactivating" && before_.active != "deactivating") asked_to_stop_ = !faulty(facts.result);
  if (runs_ && facts.active != "deactivating") asked_to_stop_ = false;
  if (runs_ && (another || !told_)) {
    UnitNews news;
    news.pid = pid_;
    news.started = started_;
    news.detail = facts.id + " is " + facts.active;
    out.push_back(std::move(news));
  }
  if (first && facts.exec_started == 0) {  // Never ran since it was loaded.
    UnitNews down;
    down.kind = UnitNews::Kind::exited;
    down.requested = !faulty(facts.result);
    down.code_known = false;
    down.detail = facts.load == "loaded" || facts.load.empty() ? "not running" : "the unit is " + facts.load;
    if (faulty(facts.result)) {
      down.kind = UnitNews::Kind::start_failed;
      down.detail += ", " + facts.result;
    }
    attempt_failed_ = true;
    out.push_back(std::move(down));
  }
}

void UnitState::follow_unit(const UnitFacts& facts, std::vector<UnitNews>& out) {
  if (!any_) return;
  // A new attempt, perhaps one that fails before its main process (ExecStartPre=, a missing directory).
  const bool starts = facts.active == "activating" && facts.sub != "auto-restart";
  const bool started_before = before_.active == "activating" && before_.sub != "auto-restart";
  if ((starts && !started_before) || (facts.restarts > before_.restarts && !runs_)) attempt_failed_ = false;

  const bool limit = facts.result == "start-limit-hit" && before_.result != "start-limit-hit";
  const bool gave_up = facts.active == "failed" && before_.active != "failed";
  const bool waits = facts.sub == "auto-restart" && before_.sub != "auto-restart";
  if (!limit && !((gave_up || waits) && !attempt_failed_ && faulty(facts.result))) return;
  UnitNews news;
  news.kind = UnitNews::Kind::start_failed;
  news.requested = facts.host_stopping;
  news.detail = limit ? "start-limit-hit: systemd starts it no more" : "it could not be started: " + facts.result;
  attempt_failed_ = true;
  out.push_back(std::move(news));
}

}  // namespace rollbackd::io
