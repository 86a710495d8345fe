// Drills. Without --inject nothing is broken: pre-flight, guards, records on disk, link and manager, a page to every channel. With it the
// running instance of a service marked for it is really broken, and the real chain is watched from outside, link by link; nothing is short
// cut: what rolls back is what would roll back tonight. Flow: API -> [drill] -> world, then incident -> ... -> notify as ever.
#include "engine/drill.hpp"

#include <fcntl.h>
#include <re2/re2.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "decision/guards.hpp"
#include "engine/engine.hpp"
#include "engine/fleet.hpp"
#include "engine/insight.hpp"
#include "engine/secrets.hpp"
#include "engine/service.hpp"
#include "engine/watched.hpp"
#include "io/http_client.hpp"
#include "io/process.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;
using State = DrillLink::State;

namespace {

constexpr Duration kPoll = 20ms;          ///< between looks at how far the chain has come
constexpr Duration kDetectWithin = 2min;  ///< from the injection to the decision
constexpr Duration kDeliverWithin = 30s;  ///< a page to every channel
constexpr std::size_t kReasonBytesMax = 1024;

CommandAnswer refused(std::string message) {
  CommandAnswer answer;
  answer.code = ExitCode::refused;
  answer.body = Json::object().set("message", std::move(message));
  return answer;
}

/// The process is asked for by a descriptor, so that its number cannot have become somebody else's meanwhile.
Result<> kill_process(const World::Process& process) {
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0));
  const io::Fd handle(fd);
  if (fd < 0) return Error::from_errno("cannot reach process " + std::to_string(process.pid), errno);
  if (::syscall(SYS_pidfd_send_signal, handle.get(), SIGKILL, nullptr, 0) != 0)
    return Error::from_errno("cannot kill process " + std::to_string(process.pid), errno);
  return {};
}

Result<> append_lines(const std::string& path, const std::string& line) {
  const io::Fd file(::open(path.c_str(), O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!file) return Error::from_errno("cannot append to " + path, errno);
  constexpr int kTimes = 3;  // A rule may want more than one.
  std::string text;
  for (int i = 0; i < kTimes; ++i) text += line + "\n";
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return Error::from_errno("cannot append to " + path, errno);
  return {};
}

/// The pattern named "critical" of the first log check that has one, else that check's first pattern.
std::string critical_pattern(const config::ServiceSettings& settings) {
  for (const auto& check : settings.checks)
    if (const auto at = check.patterns.find("critical"); check.type == config::CheckType::log && at != check.patterns.end())
      return at->second;
  for (const auto& check : settings.checks)
    if (check.type == config::CheckType::log && !check.patterns.empty()) return check.patterns.begin()->second;
  return {};
}

}  // namespace

const char* to_string(DrillLink::State state) {
  switch (state) {
    case State::not_reached: return "not reached";
    case State::passed: return "passed";
    case State::broke: return "broke";
  }
  return "not reached";
}

Json to_json(const std::vector<DrillLink>& links) {
  Json out = Json::array();
  for (const DrillLink& link : links) {
    Json row = Json::object().set("link", link.name).set("state", to_string(link.state)).set("detail", masked_text(link.detail));
    if (link.state != State::not_reached) row.set("after_seconds", std::chrono::duration<double>(link.after).count());
    out.push(std::move(row));
  }
  return out;
}

std::string where_it_broke(const std::vector<DrillLink>& links) {
  for (const DrillLink& link : links)
    if (link.state != State::passed)
      return (link.state == State::broke ? "broke at " : "did not reach ") + link.name + (link.detail.empty() ? "" : ": " + link.detail);
  return {};
}

std::string why_not_inject(const config::ServiceSettings& settings, const std::string& inject) {
  if (inject != "crash" && inject != "500" && inject != "log") return "\"" + printable(cut(inject, 32)) + "\" is none of crash, 500, log";
  if (!settings.drill.marked) return "the service is not marked for it (drill.marked)";
  const auto& allowed = settings.drill.inject;
  if (std::find(allowed.begin(), allowed.end(), inject) == allowed.end()) return inject + " is not among its drill.inject";
  if (inject == "500" && settings.drill.fault_url.empty()) return "there is no drill.fault_url to POST to";
  if (inject == "log" && settings.drill.log.empty()) return "there is no drill.log to append to";
  if (inject == "log" && line_matching(critical_pattern(settings), "id").empty())
    return "no line could be made that its log check's pattern matches";
  return {};
}

std::string line_matching(const std::string& pattern, const std::string& id) {
  if (pattern.empty()) return {};
  RE2::Options quiet;
  quiet.set_log_errors(false);
  const RE2 wanted(pattern, quiet);
  if (!wanted.ok()) return {};
  std::vector<std::string> words = split(pattern, '|');
  for (const char* usual :
       {"FATAL", "PANIC", "CRITICAL", "ERROR", "panic:", "fatal error:", "Traceback (most recent call last):", "OutOfMemoryError"})
    words.emplace_back(usual);
  for (std::string word : words) {
    std::erase_if(word, [](char c) { return std::string_view("^$()\\?*+[]{}").find(c) != std::string_view::npos; });
    std::string line = word + " rollbackd drill " + id;
    if (RE2::PartialMatch(line, wanted)) return line;
  }
  return {};
}

/// What one drill knows of itself while it runs.
struct Insight::Drill {
  DrillCommand command;
  record::OperationRow row;
  Instant began;
  std::vector<DrillLink> links;
  std::string left, target;               ///< the live release, and what a rollback would go to
  Standing standing = Standing::unknown;  ///< the live release's, before
  std::string page;                       ///< key of the drill's own page, or of the incident's
  std::string incident;

  DrillLink& link(const std::string& name) {
    for (DrillLink& one : links)
      if (one.name == name) return one;
    return links.emplace_back(DrillLink{name, State::not_reached, "", {}});
  }
  bool settle(const std::string& name, Instant now, bool passed, std::string detail) {
    DrillLink& one = link(name);
    one.state = passed ? State::passed : State::broke;
    one.detail = cut(detail, 500);
    one.after = now - began;
    return passed;
  }
};

asio::awaitable<Result<CommandAnswer>> Insight::drill(DrillCommand command) {
  if (trim(command.reason).empty()) co_return Error(Errc::invalid_argument, "a drill needs a reason").try_next("add --reason \"...\"");
  auto found = engine_.find(command.service);
  if (!found) co_return found.error();
  const std::shared_ptr<Service> service = *found;
  if (!service->running()) co_return Error(Errc::unavailable, "the service is not watched").because(service->trouble());
  if (!command.inject.empty())
    if (const std::string why = why_not_inject(service->settings(), command.inject); !why.empty())
      co_return refused("refused: " + service->key().text() + " is not broken on purpose: " + why);
  if (command.restore && command.inject.empty()) co_return refused("refused: --restore is for a drill that breaks something (--inject)");
  if (drilling_.contains(service->key())) co_return refused("refused: a drill of " + service->key().text() + " is under way");
  if (!service->operating_.empty() || service->incident().operation_running())
    co_return refused("refused by: no_operation_in_progress (operation " + service->operating_ + ")");
  const ServiceState& state = service->incident().state();
  if (state.incident) co_return refused("refused: incident " + state.incident->id + " is open; `rollbackctl acknowledge` closes it");
  if (!service->incident().state_trusted()) co_return refused("refused: the state file is not trusted");

  auto drill = std::make_shared<Drill>();
  drill->began = engine_.clock_.now();
  drill->left = state.epoch.release;
  const auto choice = ledger::choose_target(state, {});
  drill->target = choice.target ? choice.target->id : "";
  if (const LedgerEntry* live = ledger::find(state, drill->left)) drill->standing = live->standing;
  OperationRequest& request = drill->row.request;
  request.operation = io::new_id();
  request.service = service->key();
  request.kind = OperationKind::drill;
  request.trigger = Trigger::manual;
  request.cause = Cause::operator_;
  request.from = drill->left;
  request.to = drill->target;
  request.reason = cut(printable(command.reason), kReasonBytesMax);
  request.principal = command.principal;
  drill->row.status = OperationStatus::running;
  drill->row.begun = io::Clock::wall_now();
  drill->row.detail = command.inject.empty() ? "nothing is broken" : "breaks it on purpose: " + command.inject;
  drill->command = std::move(command);
  drilling_.insert(service->key());
  engine_.history_->add(drill->row);
  service->operation_begins(request, false);
  spawn(engine_.executor_, service, run_drill(service, drill));
  CommandAnswer answer;
  answer.operation = request.operation;
  answer.body = Json::object()
                    .set("message", "drilling " + service->key().text() + ": " + drill->row.detail)
                    .set("service", service->key().name)
                    .set("environment", service->key().environment);
  co_return answer;
}

asio::awaitable<void> Insight::run_drill(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill) {
  const bool ready = co_await prove(service, drill);
  if (drill->command.inject.empty()) {
    if (ready) co_await page_everybody(service, drill);
  } else if (ready) {
    co_await break_it(service, drill);
  }
  const std::string broke = where_it_broke(drill->links);
  drill->row.status = broke.empty() ? OperationStatus::succeeded : OperationStatus::failed;
  drill->row.detail = broke.empty() ? "every link of the chain held" : broke;
  drill->row.ended = io::Clock::wall_now();
  engine_.history_->add(drill->row);
  record::BundleRow bundle;
  bundle.id = bundle.operation = drill->row.request.operation;
  bundle.service = service->key();
  bundle.incident = drill->incident;
  bundle.at = io::Clock::wall_now();
  Json document =
      Json::object().set("format", 1).set("id", bundle.id).set("version", ROLLBACKD_VERSION).set("configuration", configuration_);
  document.set("node", engine_.options_.node).set("captured", format_rfc3339(bundle.at)).set("operation", bundle.operation);
  document.set("service", service->key().name).set("environment", service->key().environment).set("incident", drill->incident);
  document.set("release", drill->left).set("asked_by", drill->row.request.principal).set("reason", drill->row.request.reason);
  document.set("pre_flight", to_json(checks(*service))).set("drill", to_json(drill->links));
  Json told = Json::array();
  if (const auto at = watched_.find(service->key()); at != watched_.end()) {
    const Json all = at->second->told_json();
    for (const Json& one : all.elements())
      if (!drill->page.empty() && one["key"].string_or("") == drill->page) told.push(one);
  }
  document.set("told", std::move(told));
  bundle.document = masked(document).dump();
  engine_.history_->add(std::move(bundle));
  service->operation_ended(drill->row);
  if (broke.empty()) service->deliver(event::Drilled{engine_.clock_.now()});
  const std::vector<std::string> said{broke.empty() ? "every link held" : broke};
  log::write(broke.empty() ? log::Level::info : log::Level::error, "a drill ended",
             {{"service", service->key().text()}, {"how", said.front()}});
  drilling_.erase(service->key());
}

/// What can be shown without breaking anything. @return false when it makes no sense to go on
asio::awaitable<bool> Insight::prove(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill) {
  const auto now = [this] { return engine_.clock_.now(); };
  const bool inject = !drill->command.inject.empty();
  for (const char* name : {"pre_flight", "guards", "records", "target", "manager"}) drill->link(name);
  if (inject) {
    for (const char* name : {"injected", "rule", "incident", "second_opinion", "decision"}) drill->link(name);
    if (service->settings().automation == config::Automation::automatic)
      for (const char* name : {"rollback", "verification"}) drill->link(name);
  }
  drill->link("page");

  // automation observe only tells: the drill is about what would be told then.
  std::string no, warnings;
  for (const ReadyCheck& check : checks(*service)) {
    const bool may_be = check.name == "automation";
    if (check.answer == ReadyCheck::Answer::no && !may_be && no.empty()) no = check.name + ": " + check.evidence;
    if (check.answer == ReadyCheck::Answer::warning) warnings += (warnings.empty() ? "warnings: " : ", ") + check.name;
  }
  if (!drill->settle("pre_flight", now(), no.empty(), no.empty() ? warnings : no)) co_return false;

  const std::string expected = [&] {
    const LedgerEntry* entry = ledger::find(service->incident().state(), drill->target);
    return entry ? entry->release.digest : std::string();
  }();
  const TargetFacts facts = co_await service->driver_->look(drill->target, expected);
  decision::GuardInput input = service->incident().guard_input(now());
  input.automatic = false;
  input.kind = OperationKind::drill;
  input.from = drill->left;
  input.to = drill->target;
  input.target = facts;
  engine_.fleet().stopped();
  input.daemon_suspended = engine_.fleet().kill_switch_on();
  input.suspended_why = engine_.fleet().kill_switch().why();
  input.dependencies_failing = service->failing_dependencies();
  input.fleet = engine_.fleet().facts(*service);
  const auto answers = decision::ask_guards(input);
  const auto refusing = decision::refusing(answers);
  if (!drill->settle("guards", now(), refusing.empty(),
                     refusing.empty() ? std::to_string(answers.size()) + " asked" : "no: " + join(refusing, ", ")))
    co_return false;

  const Result<> written = co_await write_drill_records(service, drill);
  if (!drill->settle("records", now(), written.has_value(), written ? "intent and outcome are on disk" : written.error().text()))
    co_return false;

  auto world = co_await service->driver_->inspect();
  auto steps = world ? service->driver_->plan(*world, drill->target) : Result<std::vector<Step>>(world.error());
  const bool can = facts.intact && steps.has_value();
  std::string why = drill->target + " is intact, " + (steps ? std::to_string(steps->size()) + " steps would be made" : "");
  if (!can) why = !facts.intact ? drill->target + ": " + facts.why : steps.error().text();
  if (!drill->settle("target", now(), can, why)) co_return false;

  std::string says = "there is none";
  bool reached = true;
  if (service->manager_) {
    const auto process = co_await service->manager_->inspect();
    reached = process.has_value();
    says = process ? (process->running ? "runs as pid " + std::to_string(process->pid) : "nothing runs") : process.error().text();
  }
  co_return drill->settle("manager", now(), reached, says);
}

/// The ring of the state file takes both; while they are written nothing else begins, and recovery finds an outcome behind the intent.
asio::awaitable<Result<>> Insight::write_drill_records(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill) {
  if (!service->operating_.empty() || service->incident().operation_running())
    co_return Error(Errc::conflict, "an operation began meanwhile").because(service->operating_);
  const std::string id = drill->row.request.operation;
  service->operating_ = id;
  service->deliver(event::OperationBegan{id, OperationKind::drill});
  OperationRecord record;
  record.node = engine_.options_.node;
  record.request = drill->row.request;
  record.fence = service->incident().state().fence;
  record.begun = drill->began;
  Result<> written;
  const std::array<OperationPhase, 2> phases{OperationPhase::intent, OperationPhase::outcome};
  for (const OperationPhase phase : phases) {
    if (!written) break;
    record.phase = phase;
    record.status = phase == OperationPhase::intent ? OperationStatus::running : OperationStatus::succeeded;
    record.at = engine_.clock_.now();
    record.note = phase == OperationPhase::intent ? "" : "a drill: nothing was switched";
    auto work = [service, record, clock = engine_.clock_.read()] { return service->state_file_->write_record(record, clock); };
    written = co_await engine_.writer_.run(std::move(work));
  }
  service->operating_.clear();
  event::OperationEnded ended;
  ended.operation = id;
  ended.kind = OperationKind::drill;
  ended.status = written ? OperationStatus::succeeded : OperationStatus::failed;
  ended.trigger = Trigger::manual;
  ended.from = drill->left;
  ended.to = drill->target;
  ended.detail = written ? "" : written.error().text();
  service->deliver(std::move(ended));
  co_return written;
}

asio::awaitable<void> Insight::page_everybody(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill) {
  Notification page;
  page.key = "drill:" + drill->row.request.operation;
  page.service = service->key();
  page.severity = Notification::Severity::page;
  page.title = "DRILL, nothing is wrong: " + service->key().text();
  page.text = "A drill of " + drill->row.request.principal + ": " + drill->row.request.reason + "\nWere this real, " + drill->left +
              " would have been left for " + drill->target + ".";
  drill->page = page.key;
  engine_.notify(std::move(page));
  co_await await_delivery(drill, drill->page, true);
}

/// Waits until every channel that the message is for has taken it, or one has refused it. A decision is seen before what it tells of is
/// handed to the channels (its record is written first): until then no channel can say that it is not meant.
/// @param everybody  it is for all channels, whatever their severity
asio::awaitable<void> Insight::await_delivery(std::shared_ptr<Drill> drill, std::string key, bool everybody) {
  asio::steady_timer timer(engine_.executor_);
  const Instant until = engine_.clock_.now() + kDeliverWithin;
  while (true) {
    const auto deliveries = engine_.outbox_->deliveries(key);
    std::vector<std::string> sent, not_sent;
    const auto at = watched_.find(drill->row.request.service);
    const bool handed_over = at != watched_.end() && at->second->was_told(key);
    bool over = handed_over, refused_by = false;
    for (const notify::Delivery& one : deliveries) {
      if (one.state == "not_sent" && !everybody) continue;  // Below its severity.
      (one.state == "sent" ? sent : not_sent)
          .push_back(one.channel + (one.state == "sent" ? "" : " (" + one.state + (one.why.empty() ? "" : ": " + one.why) + ")"));
      over = over && one.state != "waiting";
      refused_by = refused_by || one.state == "refused" || one.state == "given_up";
    }
    const Instant now = engine_.clock_.now();
    if (deliveries.empty()) {
      drill->settle("page", now, false, "no channel is configured: nobody would be told");
      co_return;
    }
    if (over || refused_by || now >= until) {
      const bool all = not_sent.empty() && !sent.empty();
      drill->settle("page", now, all,
                    !handed_over                       ? "no message was handed to the channels within " + format_duration(kDeliverWithin)
                    : sent.empty() && not_sent.empty() ? "no channel takes messages of this severity"
                    : all                              ? "delivered through " + join(sent, ", ")
                                                       : "not delivered: " + join(not_sent, ", "));
      co_return;
    }
    const bool waited = co_await pause(timer, kPoll);
    if (!waited) co_return;
  }
}

asio::awaitable<Result<>> Insight::inject(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill) {
  const std::string kind = drill->command.inject;
  if (kind == "crash") {
    if (!service->manager_) co_return Error(Errc::unsupported, "there is no service manager");
    const auto process = co_await service->manager_->inspect();
    if (!process) co_return process.error();
    if (!process->running || process->pid <= 0) co_return Error(Errc::unavailable, "no process runs");
    co_return kill_process(*process);
  }
  if (kind == "log") {
    const std::string line = line_matching(critical_pattern(service->settings()), drill->row.request.operation);
    auto work = [path = service->settings().drill.log, line] { return append_lines(path, line); };
    co_return co_await looks_.run(std::move(work));
  }
  const auto url = io::HttpUrl::parse(service->settings().drill.fault_url);
  if (!url) co_return url.error();
  io::HttpClient client(engine_.executor_, *url);
  io::HttpRequest request;
  request.method = "POST";
  request.fresh = true;
  const auto answer = co_await client.request(std::move(request), 5s);
  if (!answer) co_return answer.error();
  if (answer->status / 100 != 2)
    co_return Error(Errc::refused, "the fault was not taken").because("HTTP status " + std::to_string(answer->status));
  co_return Result<>{};
}

/// Breaks it and watches the real chain, from outside: nothing here helps it along.
asio::awaitable<void> Insight::break_it(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill) {
  const auto now = [this] { return engine_.clock_.now(); };
  const Instant injected_at = now();
  const Result<> injected = co_await inject(service, drill);
  if (!drill->settle("injected", now(), injected.has_value(), injected ? drill->command.inject : injected.error().text())) co_return;

  asio::steady_timer timer(engine_.executor_);
  // Observed, or after the bake, the chain ends in a page; the guards that say so are what the configuration means.
  const std::set<std::string> meant{"automation_allows", "approved", "recent_release"};
  const auto as_meant = [&meant](const Decision& one) {
    const auto no = decision::refusing(one.guards);
    return one.kind == DecisionKind::rollback ||
           (one.kind == DecisionKind::hold && std::all_of(no.begin(), no.end(), [&](const auto& guard) { return meant.contains(guard); }));
  };
  std::optional<Decision> found;
  const Instant until = injected_at + kDetectWithin;
  while (now() < until && (!found || !as_meant(*found))) {
    if (const auto at = watched_.find(service->key()); at != watched_.end())
      for (const AlertChange& alert : at->second->alerts())
        if (alert.phase == AlertPhase::firing && alert.action >= AlertAction::rollback && drill->link("rule").state == State::not_reached)
          drill->settle("rule", now(), true, alert.rule + " fires");
    if (const auto& incident = service->incident().state().incident; incident && drill->incident.empty()) {
      drill->incident = incident->id;
      drill->settle("incident", now(), true, incident->id + ", " + incident->cause);
    }
    for (const Decision& one : service->recent_decisions())
      if (one.at >= injected_at && !one.incident.empty() && (one.kind == DecisionKind::rollback || one.kind == DecisionKind::hold))
        found = one;
    if (found && as_meant(*found)) break;
    const bool waited = co_await pause(timer, kPoll);
    if (!waited) co_return;
  }
  if (!found) {
    for (const char* name : {"rule", "incident", "decision"})
      if (drill->link(name).state == State::not_reached) {
        drill->settle(name, now(), false, "not within " + format_duration(kDetectWithin));
        break;
      }
    co_return;
  }
  const Decision taken = *found;
  drill->incident = taken.incident;
  for (const char* name : {"rule", "incident"})  // It was too quick to be seen.
    if (drill->link(name).state == State::not_reached)
      drill->settle(name, now(), true, taken.evidence.empty() ? taken.incident : taken.evidence.front());
  drill->settle("second_opinion", now(), true, taken.timing.has("settled") ? "it confirmed" : "asked");
  const auto no = decision::refusing(taken.guards);
  const std::string says = std::string(to_string(taken.kind)) + (taken.target.empty() ? "" : " to " + taken.target) +
                           (no.empty() ? "" : "; no: " + join(no, ", "));
  drill->settle("decision", now(), as_meant(taken), says);
  if (taken.kind == DecisionKind::rollback) co_await watch_rollback(service, drill, taken.operation);
  if (taken.kind != DecisionKind::rollback)
    for (const char* name : {"rollback", "verification"})
      std::erase_if(drill->links, [&](const DrillLink& link) { return link.name == name && link.state == State::not_reached; });
  drill->page = taken.id;
  co_await await_delivery(drill, taken.id, false);
  co_await put_in_order(service, drill, taken);
}

asio::awaitable<void> Insight::watch_rollback(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill, std::string operation) {
  const auto now = [this] { return engine_.clock_.now(); };
  asio::steady_timer timer(engine_.executor_);
  const Instant until = now() + service->settings().policy.deadline_standard + 30s;
  drill->link("rollback");
  drill->link("verification");
  while (now() < until) {
    const auto at = watched_.find(service->key());
    const Json ended = at == watched_.end() ? Json() : at->second->bundle["ended"];
    if (ended["operation"].string_or("") == operation) {
      const std::string status = ended["status"].string_or("");
      const bool switched = !ended["switched"].is_null();
      drill->settle("rollback", now(), switched,
                    switched ? "to " + ended["to"].string_or("") : status + ": " + ended["detail"].string_or(""));
      drill->settle("verification", now(), status == "succeeded", status + ": " + ended["detail"].string_or(""));
      co_return;
    }
    const bool waited = co_await pause(timer, kPoll);
    if (!waited) co_return;
  }
  drill->settle("rollback", now(), false, "it did not end in time");
}

/// The drilled release was broken by us: it gets its standing back, its note beside it goes, the incident is closed; with --restore it is
/// deployed again.
asio::awaitable<void> Insight::put_in_order(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill, Decision taken) {
  const std::string principal = drill->row.request.principal;
  const LedgerEntry* left = ledger::find(service->incident().state(), drill->left);
  if (taken.kind == DecisionKind::rollback && left != nullptr && left->standing == Standing::bad && drill->standing != Standing::bad) {
    service->deliver(
        event::Mark{drill->left, drill->standing, "as before the drill " + drill->row.request.operation, principal});  // Its note goes too.
  }
  if (const auto& open = service->incident().state().incident; open && open->id == taken.incident)
    service->deliver(event::Acknowledge{principal});
  if (!drill->command.restore || taken.kind != DecisionKind::rollback) co_return;
  DeployCommand deploy;
  deploy.service = drill->command.service;
  deploy.release = drill->left;
  deploy.reason = "restored after the drill " + drill->row.request.operation;
  deploy.principal = principal;
  const auto answer = co_await engine_.deploy(std::move(deploy));
  const bool begun = answer && answer->code == ExitCode::success;
  drill->settle("restored", engine_.clock_.now(), begun,
                begun    ? "deploying " + drill->left
                : answer ? answer->body["message"].string_or("")
                         : answer.error().text());
}

}  // namespace rollbackd::engine
