// Random events from a seed: whatever comes in whatever order, the promises of the machine hold.
#include <random>

#include "tests/decision/machine.hpp"

namespace rollbackd::decision {
namespace {

class Storm {
 public:
  explicit Storm(std::uint64_t seed) : random_(seed), machine_(settings_of(seed)) {}

  void run(int events) {
    for (int i = 0; i < events && !testing::Test::HasFatalFailure(); ++i) step();
  }
  int operated() const { return operated_; }

 private:
  static config::ServiceSettings settings_of(std::uint64_t seed) {
    auto settings = test_settings();
    settings.policy.max_steps_back = 1 + static_cast<int>(seed % 3);
    settings.policy.budget_rollbacks = 1 + static_cast<int>(seed % 4);
    settings.policy.cooldown = seed % 2 == 0 ? 2min : 0min;
    settings.policy.bake_time = 2min;
    settings.policy.budget_per = 10min;
    settings.policy.late_automatic = seed % 5 == 0;
    return settings;
  }
  std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_); }
  std::string release() { return "v" + std::to_string(below(6)); }

  void step() {
    if (unanswered_ && below(4) > 0) {  // The engine mostly answers soon.
      machine_.now = machine_.now + Duration(std::chrono::milliseconds(below(900)));
      return settled();
    }
    if (const auto due = machine_.incident->next_due(); due && below(3) == 0 && *due - machine_.now < 1h) {
      machine_.now = std::max(machine_.now, *due);
      send(event::Tick{});
      const auto next = machine_.incident->next_due();
      ASSERT_TRUE(!next || *next > machine_.now) << "a Tick must do what was due";
      return;
    }
    machine_.now = machine_.now + Duration(std::chrono::milliseconds(below(20) == 0 ? below(400'000) : below(1500)));
    switch (below(23)) {
      case 0: return send(event::Switched{release(), machine_.now, below(2) == 0, false, ""});
      case 1:
      case 2: return send(event::Started{machine_.now});
      case 3: return send(event::Stopped{machine_.now, below(2) == 0, ""});
      case 4:
      case 5: return send(event::CheckHealth{"health", below(3) > 0});
      case 6:
      case 7:
      case 8:
      case 9: return alert();
      case 10:
      case 11: return verdict();
      case 12:
      case 13:
      case 14:
      case 15: return settled();
      case 16: return operation();
      case 17: return send(event::TargetHashed{TargetFacts{release(), true, below(4) > 0, "x"}, below(9) == 0 ? "bbb" : "aaa"});
      case 18: return command();
      case 19: return send(event::Gap{machine_.now - 3s, machine_.now});
      case 20: return restart();
      case 21: return send(event::HeardLate{"health"});
      default: return send(event::Tick{});
    }
  }
  void alert() {
    static const std::vector<std::string> kMetrics{"probe_success", "process_exits_total", "log_matches_total", "verification_success",
                                                   "x"};
    const auto action = static_cast<AlertAction>(below(6) < 4 ? 2 : below(4));
    AlertChange change = Machine::change("R" + std::to_string(below(4)), {kMetrics[below(5)]}, action, machine_.now);
    change.phase = static_cast<AlertPhase>(below(4) == 0 ? below(2) : 2);
    send(event::Alert{change});
  }
  void verdict() {
    send(event::RuleVerdict{VerdictChange{
        {"shop", "prod"}, "g", "R" + std::to_string(below(2)), below(5) == 0 ? Verdict::blind : Verdict::ok, below(5) > 0, false, true}});
  }
  void settled() {
    unanswered_ = false;
    event::Settled e = machine_.answers(target_);
    e.own[0].healthy = below(5) == 0;
    e.own[0].answered = below(9) > 0;
    e.target.intact = below(6) > 0;
    e.observer.healthy = below(9) > 0;
    for (std::size_t i = below(4); i > 0; --i) e.others.push_back({{"o" + std::to_string(i), "prod"}, "c", true, below(6) > 0, ""});
    if (below(12) == 0) e.number += 1;
    send(e);
  }
  void operation() {
    if (!request_) {
      if (below(4) > 0) return;
      OperationRequest manual;
      manual.operation = "manual-" + std::to_string(++manuals_);
      manual.trigger = Trigger::manual;
      manual.kind = below(2) == 0 ? OperationKind::deploy : OperationKind::rollback;
      manual.from = machine_.incident->state().epoch.release;
      manual.to = release();
      request_ = manual;
    }
    const OperationRequest request = *request_;
    if (!began_) {
      began_ = true;
      running_ = request.operation;
      return send(event::OperationBegan{request.operation, request.kind});
    }
    if (below(2) == 0) send(event::Switched{request.to, machine_.now, false, request.kind == OperationKind::rollback, request.operation});
    event::OperationEnded ended;
    ended.operation = request.operation;
    ended.kind = request.kind;
    ended.trigger = request.trigger;
    ended.status = below(2) == 0 ? OperationStatus::succeeded : static_cast<OperationStatus>(4 + below(8));
    ended.from = request.from;
    ended.to = request.to;
    if (ended.status == OperationStatus::failed && below(3) > 0) ended.failed_how = below(2) == 0 ? "http:failed" : "other:timed_out";
    request_.reset();
    began_ = false;
    running_.clear();
    send(ended);
  }
  void command() {
    switch (below(6)) {
      case 0: return send(event::Suspend{Duration(std::chrono::seconds(below(60))), "r", "p"});
      case 1: return send(event::Unsuspend{"p"});
      case 2: return send(event::Acknowledge{"p"});
      default: return send(event::Mark{release(), static_cast<Standing>(below(20) == 0 ? 4 : below(4) > 0 ? 2 : below(4)), "r", "p"});
    }
  }
  void restart() {
    if (below(4) > 0) return;
    machine_.restart();
    request_.reset();
    began_ = false;
    running_.clear();
  }

  void send(const Event& event) {
    const auto before = machine_.incident->state();
    machine_.all.clear();
    ASSERT_NO_THROW(machine_.send(event));
    bool persisted = false;
    for (const Action& action : machine_.last) {
      persisted = persisted || std::holds_alternative<action::Persist>(action);
      if (const auto* reprobe = std::get_if<action::Reprobe>(&action)) {
        target_ = reprobe->target;
        unanswered_ = true;
      }
      if (const auto* operate = std::get_if<action::Operate>(&action)) {
        EXPECT_TRUE(persisted) << "the intent goes to disk before the operation";
        check(operate->request, before);
      }
    }
    const ServiceState& state = machine_.incident->state();
    EXPECT_LE(state.ledger.size(), ServiceState::kLedgerMax);
    EXPECT_LE(state.past.size(), ServiceState::kPastMax);
  }

  void check(const OperationRequest& request, const ServiceState& before) {
    ++operated_;
    EXPECT_TRUE(running_.empty()) << "an operation runs already";
    EXPECT_FALSE(request_.has_value() && began_);
    EXPECT_EQ(machine_.standing(request.to), Standing::good);
    EXPECT_NE(request.to, request.from);
    EXPECT_EQ(request.from, before.epoch.release);
    EXPECT_TRUE(!before.suspension || before.suspension->until <= machine_.now);
    if (before.incident && before.incident->id == request.incident) {
      for (const std::string& left : before.incident->left) EXPECT_NE(request.to, left) << "never back to a release just left";
    }
    const int in_this_incident = ++by_incident_[request.incident];
    EXPECT_LE(in_this_incident, machine_.settings.policy.max_steps_back);
    const auto used = std::count_if(before.past.begin(), before.past.end(), [&](const PastOperation& p) {
      return p.automatic && machine_.now - p.at < machine_.settings.policy.budget_per;
    });
    EXPECT_LT(used, machine_.settings.policy.budget_rollbacks);
    request_ = request;
    began_ = false;
  }

  std::mt19937_64 random_;
  Machine machine_;
  std::string target_;
  bool unanswered_ = false;
  std::optional<OperationRequest> request_;
  bool began_ = false;
  std::string running_;
  int manuals_ = 0;
  int operated_ = 0;
  std::map<std::string, int> by_incident_;
};

TEST(RandomEvents, NeverBreakThePromises) {
  int operated = 0;
  for (std::uint64_t seed = 1; seed <= 20 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Storm storm(seed);
    storm.run(1500);
    operated += storm.operated();
  }
  EXPECT_GT(operated, 60) << "the storm must reach the interesting places";
}

}  // namespace
}  // namespace rollbackd::decision
