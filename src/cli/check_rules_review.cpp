// A look at rules that were read without an error. Rules that cause nothing are left in peace: thousands of them are Prometheus's.
#include "cli/check_rules_review.hpp"

#include <algorithm>
#include <array>
#include <map>

#include "rules/locality.hpp"

namespace rollbackd::cli {
namespace {

using config::CheckType;
using promql::BinaryOp;
using promql::Expr;

constexpr std::array kOfProbe{"probe_success",         "probe_duration_seconds",     "probe_timed_out",
                              "probe_failing_seconds", "probe_consecutive_failures", "probe_http_status_code"};
constexpr std::array kOfProcess{"process_up", "process_start_time_seconds", "process_exits_total", "process_stops_total"};
constexpr std::array kOfSystemd{"systemd_unit_state", "systemd_unit_restarts_total", "systemd_unit_start_limit_hit"};
constexpr std::array kOfExec{"plugin_status",       "plugin_perfdata",    "plugin_perfdata_warning", "plugin_perfdata_critical",
                             "plugin_perfdata_min", "plugin_perfdata_max"};
constexpr std::array kOfLog{"log_lines_total", "log_matches_total", "log_lines_cut_total"};
constexpr std::array kOfFile{"file_exists", "file_age_seconds", "file_size_bytes", "file_mtime_seconds"};
constexpr std::array kOfConfig{"config_valid", "config_changes_total"};
/// Of every service, and made by the rules themselves.
constexpr std::array kAlways{"verification_success", "release_switched_timestamp_seconds", "dependency_up", "ALERTS", "ALERTS_FOR_STATE"};

template <class Names>
void add(Feeds& feeds, const Names& names) {
  feeds.metrics.insert(names.begin(), names.end());
}

void add_check(Feeds& feeds, const config::CheckSettings& check) {
  if (!check.dependency.empty()) return;  // Feeds dependency_up alone.
  switch (check.type) {
    case CheckType::http:
    case CheckType::tcp: return add(feeds, kOfProbe);
    case CheckType::exec: add(feeds, kOfProbe); return add(feeds, kOfExec);
    case CheckType::process: return add(feeds, kOfProcess);
    case CheckType::systemd: add(feeds, kOfProcess); return add(feeds, kOfSystemd);
    case CheckType::log: return add(feeds, kOfLog);
    case CheckType::file: return add(feeds, kOfFile);
    case CheckType::config: return add(feeds, kOfConfig);
    case CheckType::scrape: feeds.anything = true; return;
    case CheckType::promql:
      feeds.metrics.insert("up");
      for (const auto& [name, expression] : check.queries) feeds.metrics.insert(name);
      return;
  }
}

template <class Test>
bool any_node(const Expr& e, const Test& test) {
  return test(e) || std::any_of(e.args.begin(), e.args.end(), [&](const promql::ExprPtr& arg) { return any_node(*arg, test); });
}
bool is_binary(const Expr& e, std::initializer_list<BinaryOp> ops) {
  return e.kind == Expr::Kind::binary && std::find(ops.begin(), ops.end(), e.op) != ops.end();
}
bool has_rate(const Expr& e) {
  return any_node(e, [](const Expr& n) {
    return n.kind == Expr::Kind::call && (n.function == "rate" || n.function == "irate" || n.function == "increase");
  });
}

/// A ratio of rates held against a number, with no `and` in the whole rule that would ask for a minimum of requests.
bool lacks_minimum(const Expr& e) {
  const auto is_ratio = [](const Expr& n) { return is_binary(n, {BinaryOp::div}) && has_rate(*n.args[0]) && has_rate(*n.args[1]); };
  const bool guarded = any_node(e, [](const Expr& n) { return is_binary(n, {BinaryOp::land}); });
  return !guarded && any_node(e, [&](const Expr& n) {
    return is_binary(n, {BinaryOp::gt, BinaryOp::ge, BinaryOp::lt, BinaryOp::le, BinaryOp::eq, BinaryOp::ne}) &&
           (any_node(*n.args[0], is_ratio) || any_node(*n.args[1], is_ratio));
  });
}

class Reviewer {
 public:
  Reviewer(const rules::Groups& groups, const std::optional<Feeds>& feeds) : groups_(groups), feeds_(feeds) {
    for (const rules::Group& group : groups)
      for (const rules::Rule& rule : group.rules)
        if (!rule.alerting) recorded_.insert(rule.name);
  }

  std::vector<config::Problem> run() {
    for (const rules::Group& group : groups_)
      for (const rules::Rule& rule : group.rules) {
        if (rule.expr == nullptr) continue;
        if (!rule.alerting) look_for_twin(group, rule);
        if (rule.alerting && rule.action != AlertAction::notify) look(group, rule);
      }
    return std::move(problems_);
  }

 private:
  void warn(const rules::Group& group, const rules::Rule& rule, const std::string& what, const std::string& remedy) {
    problems_.push_back({group.file, {rule.line, 1}, "rule \"" + rule.name + "\" " + what, remedy, true});
  }

  void look_for_twin(const rules::Group& group, const rules::Rule& rule) {
    const auto [entry, fresh] = seen_.try_emplace(group.file + '\n' + rule.name + '\n' + rule.labels.to_string(), rule.line);
    if (fresh) return;
    warn(group, rule, "records what the rule at line " + std::to_string(entry->second) + " records, with the same labels",
         "give one another name or label: which value counts is chance");
  }

  void look(const rules::Group& group, const rules::Rule& rule) {
    const std::string action = to_string(rule.action);
    if (!rules::may_belong_to_a_service(group, rule))
      warn(group, rule, "has rollbackd_action " + action + ", but what it finds belongs to no service",
           "keep service and environment in every aggregation and match, or name it under a service's rule_files");
    const bool acts = rule.action == AlertAction::rollback || rule.action == AlertAction::emergency;
    if (acts && lacks_minimum(*rule.expr))
      warn(group, rule, "compares a ratio without asking for a minimum of requests: one failed request of two is 50 %",
           "add: and sum by (service, environment) (increase(requests[1m])) > 20");
    if (feeds_) look_for_feeds(group, rule);
  }

  void look_for_feeds(const rules::Group& group, const rules::Rule& rule) {
    if (feeds_->anything) return;
    for (const std::string& metric : rule.reads()) {
      if (metric.empty() || feeds_->metrics.contains(metric) || recorded_.contains(metric)) continue;
      warn(group, rule, "reads " + metric + ", which no configured check delivers: it is blind by construction",
           "add a check that delivers it (a scrape, a query), or take the rule out");
    }
  }

  const rules::Groups& groups_;
  const std::optional<Feeds>& feeds_;
  std::set<std::string, std::less<>> recorded_;
  std::map<std::string, int> seen_;  ///< line by file, name and labels
  std::vector<config::Problem> problems_;
};

}  // namespace

Feeds feeds_of(const config::Settings& settings) {
  Feeds feeds;
  add(feeds, kAlways);
  for (const config::ServiceSettings& service : settings.services)
    for (const config::CheckSettings& check : service.checks) add_check(feeds, check);
  return feeds;
}

Explained explain_rule(const rules::Group& group, const rules::Rule& rule) {
  Explained out;
  out.file = group.file;
  out.group = group.name;
  out.rule = rule.name;
  out.line = rule.line;
  out.alerting = rule.alerting;
  out.interval = group.interval;
  if (rule.expr == nullptr) return out;
  out.expr = promql::to_text(*rule.expr);
  out.why = rules::why_on_interval(group, rule);
  out.per_batch = out.why.empty();
  out.belongs = rules::may_belong_to_a_service(group, rule);
  return out;
}

std::vector<config::Problem> review(const rules::Groups& groups, const std::optional<Feeds>& feeds) {
  return Reviewer(groups, feeds).run();
}

}  // namespace rollbackd::cli
