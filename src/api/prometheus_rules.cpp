// The loaded rules and their alerts in Prometheus's form, some rules a turn. What Prometheus has no word for stands in fields of our own:
// `runs`, `whyOnInterval`, `service` and `environment` of a service's own file, and `blind` of an alert.
// Flow: HTTP -> prometheus_api -> [rules] -> the judge's reports.
#include <algorithm>
#include <set>

#include "api/prometheus_query.hpp"
#include "base/digest.hpp"

namespace rollbackd::api {

namespace asio = boost::asio;
using io::ServerResponse;
using prometheus::append_labels;
using prometheus::append_text;

namespace {

constexpr std::size_t kRulesPerTurn = 32;
constexpr const char* kNeverTime = "0001-01-01T00:00:00Z";

void member(std::string& out, const char* name, std::string_view text) {
  out += ",\"";
  out += name;
  out += "\":";
  append_text(out, text);
}
void number(std::string& out, const char* name, double value) {
  out += ",\"";
  out += name;
  out += "\":" + prometheus::float_text(value);
}
void labels(std::string& out, const char* name, const Labels& of) {
  out += ",\"";
  out += name;
  out += "\":";
  append_labels(out, of);
}
double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }
std::string time_text(const std::optional<Instant>& at) { return at ? format_rfc3339(*at) : kNeverTime; }

void append_alert(std::string& out, const rules::ActiveAlert& active) {
  out += R"({"labels":)";
  append_labels(out, active.alert.labels);
  labels(out, "annotations", active.alert.annotations);
  member(out, "state", to_string(active.alert.phase));
  member(out, "activeAt", format_rfc3339(active.active_at));
  if (active.absent_since) member(out, "keepFiringSince", format_rfc3339(*active.absent_since));
  member(out, "value", prometheus::exponent_text(active.alert.value));
  out += active.blind ? R"(,"blind":true})" : R"(,"blind":false})";
}

void append_alerts(std::string& out, const std::vector<rules::ActiveAlert>& alerts) {
  for (const rules::ActiveAlert& alert : alerts) {
    if (!out.empty() && out.back() == '}') out += ',';
    append_alert(out, alert);
  }
}

Labels labels_of(const rules::RuleReport& report) {
  Labels out = report.group->labels;
  for (const std::string& name : report.rule->labels_removed) out.remove(name);
  for (const auto& [name, value] : report.rule->labels.pairs()) out.set(name, value);
  return out;
}

std::string rule_text(const rules::RuleReport& report, bool with_alerts) {
  const rules::Rule& rule = *report.rule;
  std::string out = "{";
  if (rule.alerting) {
    AlertPhase phase = AlertPhase::inactive;
    for (const auto& alert : report.alerts) phase = std::max(phase, alert.alert.phase);
    out += R"("state":")" + std::string(to_string(phase)) + R"(","name":)";
  } else {
    out += R"("name":)";
  }
  append_text(out, rule.name);
  member(out, "query", promql::to_text(*rule.expr));
  labels(out, "labels", labels_of(report));
  if (rule.alerting) {
    number(out, "duration", seconds(rule.pending_for));
    number(out, "keepFiringFor", seconds(rule.keep_firing_for));
    labels(out, "annotations", rule.annotations);
    if (with_alerts) {
      std::string alerts;
      append_alerts(alerts, report.alerts);
      out += R"(,"alerts":[)" + alerts + "]";
    }
  }
  member(out, "health", report.health);
  if (!report.last_error.empty()) member(out, "lastError", report.last_error);
  number(out, "evaluationTime", 0);
  member(out, "lastEvaluation", time_text(report.last_evaluation));
  member(out, "type", rule.alerting ? "alerting" : "recording");
  member(out, "runs", report.runs == rules::RuleReport::Runs::per_batch ? "per_batch" : "per_interval");
  if (!report.why_on_interval.empty()) member(out, "whyOnInterval", report.why_on_interval);
  return out + "}";
}

/// What of the rules is asked for.
struct Filter {
  std::string type;
  std::vector<std::string> names, groups, files;
  std::vector<std::vector<series::Matcher>> matchers;
  bool with_alerts = true;

  bool any() const { return !type.empty() || !names.empty() || !groups.empty() || !files.empty() || !matchers.empty(); }
  bool wants(const rules::RuleReport& report) const {
    const auto listed = [](const std::vector<std::string>& list, const std::string& text) {
      return list.empty() || std::find(list.begin(), list.end(), text) != list.end();
    };
    if (!type.empty() && (type == "alert") != report.rule->alerting) return false;
    if (!listed(names, report.rule->name) || !listed(groups, report.group->name) || !listed(files, report.group->file)) return false;
    if (matchers.empty()) return true;
    const Labels of = labels_of(report);
    return std::any_of(matchers.begin(), matchers.end(), [&](const std::vector<series::Matcher>& set) {
      return std::all_of(set.begin(), set.end(), [&](const series::Matcher& m) { return m.matches(of); });
    });
  }
};

Result<Filter> filter_of(const prometheus::Params& params) {
  Filter out;
  out.type = params.get("type");
  if (!out.type.empty() && out.type != "alert" && out.type != "record")
    return prometheus::bad_parameter("type", "not supported value \"" + out.type + "\"");
  const auto listed = [&params](const char* name) {
    auto list = params.all(name);
    std::erase(list, "");
    return list;
  };
  out.names = listed("rule_name[]");
  out.groups = listed("rule_group[]");
  out.files = listed("file[]");
  auto matchers = prometheus::parse_matches(params.all("match[]"));
  if (!matchers) return matchers.error();
  out.matchers = std::move(*matchers);
  const std::string exclude = params.get("exclude_alerts");
  if (exclude != "" && exclude != "true" && exclude != "false" && exclude != "1" && exclude != "0")
    return prometheus::bad_parameter("exclude_alerts", "error converting exclude_alerts: \"" + exclude + "\" is no bool");
  out.with_alerts = exclude != "true" && exclude != "1";
  return out;
}

/// One group as it is being written.
struct GroupText {
  std::string key;  ///< its file, name and the service that it is for
  std::string head, rules;
  std::optional<Instant> last;
};

std::string key_of(const rules::Group& group) {
  return group.file + ";" + group.name + (group.only ? ";" + group.only->text() : std::string());
}
std::string token_of(const GroupText& group) { return sha256_hex(group.key).substr(0, 40); }

std::string head_of(const rules::Group& group) {
  std::string out = R"({"name":)";
  append_text(out, group.name);
  member(out, "file", group.file);
  if (group.only) {
    member(out, "service", group.only->name);
    member(out, "environment", group.only->environment);
  }
  number(out, "interval", seconds(group.interval));
  number(out, "limit", group.limit);
  return out;
}

}  // namespace

asio::awaitable<Result<ServerResponse>> PrometheusApi::rules(Params params) {
  auto filter = filter_of(params);
  if (!filter) co_return filter.error();
  auto limit = params.limit("group_limit");
  if (!limit) co_return limit.error();
  const std::string token = params.get("group_next_token");
  if (!token.empty() && *limit == 0)
    co_return prometheus::bad_parameter("group_limit", "group_limit needs to be set in order to paginate over the groups");

  std::vector<GroupText> groups;
  for (std::size_t first = 0;; first += kRulesPerTurn) {
    const auto reports = engine_.judge().report(first, kRulesPerTurn);
    for (const rules::RuleReport& report : reports) {
      const std::string key = key_of(*report.group);
      if (groups.empty() || groups.back().key != key) groups.push_back({key, head_of(*report.group), "", std::nullopt});
      GroupText& group = groups.back();
      if (report.last_evaluation) group.last = std::max(group.last.value_or(*report.last_evaluation), *report.last_evaluation);
      if (!filter->wants(report)) continue;
      if (!group.rules.empty()) group.rules += ',';
      group.rules += rule_text(report, filter->with_alerts);
    }
    if (reports.size() < kRulesPerTurn) break;
    co_await next_turn();
  }
  if (filter->any()) std::erase_if(groups, [](const GroupText& g) { return g.rules.empty(); });

  auto from = groups.begin();
  if (!token.empty()) {
    from = std::find_if(groups.begin(), groups.end(), [&](const GroupText& g) { return token_of(g) == token; });
    if (from == groups.end()) co_return prometheus::bad_parameter("group_next_token", "the group that it names is not there (any more)");
  }
  prometheus::Pieces out;
  out.tail() += R"({"status":"success","data":{"groups":[)";
  std::size_t n = 0;
  for (; from != groups.end() && (*limit == 0 || n < *limit); ++from, ++n) {
    std::string& piece = out.tail();
    piece += n == 0 ? "" : ",";
    piece += from->head + R"(,"rules":[)" + from->rules + "]";
    number(piece, "evaluationTime", 0);
    member(piece, "lastEvaluation", time_text(from->last));
    piece += '}';
  }
  std::string& end = out.tail();
  end += ']';
  if (from != groups.end()) member(end, "groupNextToken", token_of(*from));
  end += "}}";
  co_return std::move(out).response();
}

asio::awaitable<std::string> PrometheusApi::alerts() {
  std::string out;
  for (std::size_t first = 0;; first += kRulesPerTurn) {
    const auto reports = engine_.judge().report(first, kRulesPerTurn);
    for (const rules::RuleReport& report : reports) append_alerts(out, report.alerts);
    if (reports.size() < kRulesPerTurn) co_return "[" + out + "]";
    co_await next_turn();
  }
}

}  // namespace rollbackd::api
