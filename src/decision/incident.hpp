// The incident machine of one service: events in, actions out. The part of rollbackd that decides.
// Flow: judge, commands, outcomes -> [incident] -> engine. Pure: no I/O, no clock; a simulator can run it from a seed.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "config/settings.hpp"
#include "decision/guards.hpp"
#include "model/decision.hpp"

namespace rollbackd::decision {

/// Brings ids: UUIDv7s that the shell makes (or the simulator counts).
using NewId = std::function<std::string()>;

/// How the machine stands, for status and explain.
struct IncidentView {
  std::string phase;     ///< "watching", "settling", "operating", "held", "awaiting approval"
  bool warming = false;  ///< inside start_grace before the first success
  bool stopped_cleanly = false;
  bool started = false;
  bool blind = false;
  std::vector<std::string> blind_rules;  ///< that keep the release from becoming good; at most kVerdictsMax
  /// In words, why the bake clock of a candidate stands still; empty while it runs, and for a release that does not bake. At most 12.
  std::vector<std::string> keeps_from_good;
  std::vector<std::string> firing;  ///< rollback alerts firing now, whether or not they count
  std::optional<Decision> last_decision;
};

/// What an alert from outside means to a service that has not heard of it yet, or has.
enum class PushedFate {
  accepted,        ///< new, and fires
  duplicate,       ///< known: it changes nothing
  resolves,        ///< ends one that fires
  resolved_first,  ///< its end came before its begin: remembered, so that the begin does nothing
  over,            ///< resolved, and there is nothing to remember
  stale,           ///< it fired too long ago, or about a release before
  no_room          ///< kPushedMax others that may cause as much are remembered
};

class Incident {
 public:
  /// @param state  as the state file had it; a fresh one for a service never seen
  Incident(config::ServiceSettings settings, ServiceState state, NewId new_id);

  /// Takes one event; returns what is to be done, in this order.
  std::vector<Action> on(const Event& event, Instant now);
  /// When `event::Tick` next has work (bake end, grace end, settle timeout, suspension end); nothing when never.
  std::optional<Instant> next_due() const;

  const ServiceState& state() const { return state_; }
  const config::ServiceSettings& settings() const { return settings_; }
  /// Takes new settings at a reload; state and open incident stay. A hold is asked again at the next event (send a Tick).
  void set_settings(config::ServiceSettings settings) {
    settings_ = std::move(settings);
    ask_again_ = true;
  }
  /// The daemon's own kill switch, which stands beside the service's suspension. Send a Tick after it.
  void set_daemon_suspended(bool suspended, std::string why) {
    ask_again_ = ask_again_ || suspended != daemon_suspended_;
    daemon_suspended_ = suspended;
    daemon_suspended_why_ = std::move(why);
  }
  /// Something outside this service changed that may turn a hold: another service's operation ended. Send a Tick after it.
  void look_again() { ask_again_ = true; }
  /// People worked on the service then: alerts that began in [begin, end) are no evidence. At most kMaintenanceMax are remembered.
  void note_maintenance(Instant begin, Instant end);
  /// How long after its beginning a pushed alert counts, by its action: the longest `stale_after` of the routes that lead to this service.
  void set_pushed_stale_after(std::array<Duration, 4> by_action);
  /// What `event::Pushed` with this alert would do now.
  PushedFate fate_of(const PushedAlert& alert, Instant now) const;
  IncidentView view(Instant now) const;
  bool operation_running() const { return !operation_.empty(); }
  const std::string& operation() const { return operation_; }  ///< id of the one decided or begun; empty: none
  /// Whether a decision waits for a person now.
  bool awaits_approval(Instant now) const;
  bool state_trusted() const { return state_trusted_; }
  /// Since when the live release runs, clean stops seen: a word from before is not about it. Nothing before its start.
  std::optional<Instant> running_since() const { return warming_since_; }
  /// The input to the guards as things stand, for a person's operation: the engine adds the target facts and its own.
  GuardInput guard_input(Instant now) const;
  /// Ledger rows found on disk at start are entered through this (candidates); returns true when something is new.
  bool enter_release(const Release& release, Instant now, const std::vector<ComponentRelease>& components = {});

 private:
  // The phases. `state_.incident` says whether an incident is open; these say what is being done about it.
  struct Watching {};
  struct Settling {
    std::uint64_t number = 0;  ///< of the second opinion asked for
    Instant since;
    std::optional<Decision> held;  ///< asked again out of this hold
  };
  struct Operating {
    std::string operation;
    bool began = false;  ///< the engine has said so
  };
  struct Held {
    Decision decision;
  };
  using Phase = std::variant<Watching, Settling, Operating, Held>;

  /// One alert that fires.
  struct Remembered {
    AlertChange change;
    bool fresh = true;  ///< false since a gap, or when it fired while the service was stopped on purpose
    bool acknowledged = false;
  };
  /// The target of this incident's rollback failed its verification, in another way than the release left.
  struct FurtherStep {
    std::string from, failed_how, detail;
  };
  /// One call of on(): its instant, and the actions so far.
  struct Turn {
    Instant now;
    std::vector<Action> actions;
    void add(Action action) { actions.push_back(std::move(action)); }
  };

  // incident.cpp: one handler an event
  void handle(Turn& turn, const event::Switched& e);
  void handle(Turn& turn, const event::Started& e);
  void handle(Turn& turn, const event::Stopped& e);
  void handle(Turn& turn, const event::CheckHealth& e);
  void handle(Turn& turn, const event::HeardLate& e);
  void handle(Turn& turn, const event::Alert& e);
  void handle(Turn& turn, const event::RuleVerdict& e);
  void handle(Turn& turn, const event::Pushed& e);
  void handle(Turn& turn, const event::Settled& e);
  void handle(Turn& turn, const event::OperationBegan& e);
  void handle(Turn& turn, const event::OperationEnded& e);
  void handle(Turn& turn, const event::TargetHashed& e);
  void content_changed(Turn& turn, const LedgerEntry& entry, Standing was);
  void handle(Turn& turn, const event::Gap& e);
  void handle(Turn& turn, const event::Suspend& e);
  void handle(Turn& turn, const event::Unsuspend& e);
  void handle(Turn& turn, const event::Mark& e);
  void handle(Turn& turn, const event::Acknowledge& e);
  void handle(Turn& turn, const event::Approve& e);
  void handle(Turn& turn, const event::Locked& e);
  void handle(Turn& turn, const event::Changed& e);
  void handle(Turn& turn, const event::Drilled& e);
  void handle(Turn& turn, const event::Pruned& e);
  void handle(Turn& turn, const event::StateUntrusted& e);
  void handle(Turn& turn, const event::Tick& e);
  void end_suspension_when_due(Turn& turn);
  void begin_epoch(Turn& turn, const event::Switched& e);
  void tell_not_started(Turn& turn);
  std::optional<Instant> not_started_due() const;
  void arm(Turn& turn);

  // evidence.cpp: which alerts count
  bool warming(Instant now) const;
  bool counts(const Remembered& alert, Instant now) const;
  bool is_blind(const AlertChange& change) const;
  std::optional<Instant> counts_from(const AlertChange& change) const;
  std::vector<const Remembered*> evidence(Instant now) const;
  bool any_rollback_alert_fires() const;
  bool make_room_for(const AlertChange& change);
  void alert_fires(Turn& turn, const std::string& key, const AlertChange& change);
  void tell_of(Turn& turn, const AlertChange& change);

  // pushed.cpp: alerts from outside
  Instant stale_at(const PushedAlert& alert) const;
  const PushedAlert* find_pushed(const std::string& key) const;
  std::vector<PushedAlert>::const_iterator gives_way(const PushedAlert& alert, Instant now) const;
  void pushed_again(const PushedAlert& alert);
  void end_pushed(Turn& turn, const std::string& key);
  void end_stale_pushed(Turn& turn);
  void acknowledge_pushed(Turn& turn);
  void remember_pushed();
  std::optional<Instant> pushed_due() const;

  // choose.cpp: from evidence to a decision
  void evaluate(Turn& turn);
  void evaluate_phase(Turn& turn, const Watching& phase);
  void evaluate_phase(Turn& turn, const Settling& phase);
  void evaluate_phase(Turn& turn, const Operating& phase);
  void evaluate_phase(Turn& turn, const Held& phase);
  bool may_ask(Instant now);
  void ask(Turn& turn, std::optional<Decision> held);
  void decide(Turn& turn, const event::Settled& answers);
  void roll_back(Turn& turn, Decision decision, Mode mode, Trigger trigger);
  void hold(Turn& turn, Decision decision);
  void vanished(Turn& turn, std::string reason);
  void close_incident(Turn& turn, std::string how);
  void close_when_quiet(Turn& turn);
  void ask_guards_of(Decision& decision, GuardInput input, const std::vector<const Remembered*>& standing,
                     const std::vector<ReprobeAnswer>& own);
  std::string too_early(const std::vector<const Remembered*>& standing, const std::vector<ReprobeAnswer>& own, Instant now) const;
  std::optional<Instant> when_time_turns_it(const std::vector<std::string>& refusing, Instant now) const;

  // approval.cpp: a person's yes or no
  bool approval_is_about(const std::string& target) const;
  bool approved(const std::string& target, Instant now) const;
  void await_approval(Turn& turn, Decision decision);
  void end_approval(Turn& turn, const std::string& reason);
  void end_approval_when_due(Turn& turn);

  // kept_facts.cpp
  void end_lock_when_due(Turn& turn);

  // tell.cpp: decisions and notifications for people
  Decision make_decision(Instant now, DecisionKind kind, std::string reason);
  void record(Turn& turn, const Decision& decision);
  void notify(Turn& turn, Notification::Severity severity, const std::string& title, const std::string& text,
              const Decision* decision = nullptr, std::string key = {});
  std::string command_that_acts(Instant now, const std::string& target) const;
  std::vector<std::string> never() const;

  // operations.cpp: how operations end
  void rollback_ended(Turn& turn, const event::OperationEnded& e);
  void judge_again(Turn& turn, const event::OperationEnded& e);
  void rollback_succeeded(Turn& turn, const event::OperationEnded& e);
  void target_failed_verification(Turn& turn, const event::OperationEnded& e);
  void hold_after(Turn& turn, const event::OperationEnded& e, std::string reason);
  void mark_left_bad(Turn& turn, const std::string& release, std::string reason);
  void mark_unknown(const std::string& release, std::string reason);
  void remember_operation(const event::OperationEnded& e, Instant ended);
  bool fails_the_same_way(const std::string& failed_how) const;

  // bake.cpp: the clock that makes a release good
  bool bake_runs() const;
  std::vector<std::string> keeps_from_good() const;
  bool baking() const;
  void accrue_bake(Instant until);
  void bake(Turn& turn);
  std::optional<Instant> bake_due() const;
  std::optional<Instant> given_up_at() const;

  config::ServiceSettings settings_;
  ServiceState state_;
  NewId new_id_;
  std::string operation_;  ///< running one's id
  bool state_trusted_ = true;
  bool daemon_suspended_ = false;
  std::string daemon_suspended_why_;
  std::array<Duration, 4> pushed_stale_after_{1h, 1h, 1h, 1h};  ///< by AlertAction

  Phase phase_ = Watching{};
  Instant last_now_;
  std::map<std::string, Remembered> alerts_;       ///< firing ones; at most kAlertsMax
  std::map<std::string, VerdictChange> verdicts_;  ///< of alerting rules; at most kVerdictsMax
  bool verdicts_overflowed_ = false;               ///< more rules than that: nothing is known well enough to bake
  std::set<std::string> healthy_once_;             ///< http checks healthy since warming began
  std::map<std::string, Instant> heard_late_;      ///< by check: when it last told of a time before the start, in this epoch
  std::optional<Instant> warming_since_;           ///< started, or started again after a clean stop
  bool stopped_ = false;
  bool stopped_cleanly_ = false;
  bool nothing_heard_since_gap_ = false;

  std::uint64_t asked_ = 0;                   ///< second opinions so far
  std::optional<Instant> last_asked_;         ///< at least kAskSpacing apart
  std::optional<Instant> ask_at_;             ///< look at the evidence again then
  bool ask_again_ = false;                    ///< something changed that may turn a hold
  std::set<std::string> held_keys_;           ///< alerts the present hold knows of
  bool told_held_ = false;                    ///< people were paged that this incident is held
  std::set<std::string> failed_with_others_;  ///< guards that said no in this incident because other services fail too
  std::optional<Instant> others_well_since_;  ///< and since when they do not any more, as far as we looked
  std::string last_signature_;                ///< of the decision recorded last in this incident
  std::string paged_signature_;               ///< of the hold that people were paged for last in this incident
  std::optional<FurtherStep> further_;
  std::set<std::string> ways_;                            ///< how the releases left in this incident failed
  std::optional<Instant> window_until_;                   ///< the freeze or maintenance that the latest decision knew of
  std::vector<std::pair<Instant, Instant>> maintenance_;  ///< oldest first
  std::optional<Instant> quiet_since_;                    ///< an open incident without any firing rollback alert
  std::optional<Decision> last_decision_;

  std::optional<Instant> baking_since_;  ///< the bake clock runs, counted up to here
  Duration baked_on_disk_{};
  std::optional<Instant> incident_closed_;  ///< of this epoch, the latest: until then no bake time was lost for want of evidence
  std::uint64_t told_not_started_ = 0;      ///< number of the epoch of which people were told that nothing started
};

}  // namespace rollbackd::decision
