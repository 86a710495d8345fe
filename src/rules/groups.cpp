#include "rules/groups.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "base/text.hpp"
#include "rules/template.hpp"

namespace rollbackd::rules {
namespace {

using config::Node;
using config::Position;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

/// `[a-zA-Z_][a-zA-Z0-9_]*`, with colons too for a metric.
bool is_identifier(std::string_view text, bool colons) {
  const auto first = [&](char c) { return is_letter(c) || (colons && c == ':'); };
  return !text.empty() && first(text[0]) &&
         std::all_of(text.begin(), text.end(), [&](char c) { return first(c) || (c >= '0' && c <= '9'); });
}

/// Reads one file's tree. Every problem is added to the list; reading goes on, so that all are found at once.
class Reader {
 public:
  Reader(const std::string& file, const std::optional<ServiceKey>& only, std::vector<config::Problem>& problems)
      : file_(file), only_(only), problems_(problems) {}

  Groups read(const Node& root) {
    Groups groups;
    if (root.kind == Node::Kind::null) return groups;
    if (!is_object(root, "a rule file") || !known(root, "a rule file", {"groups"})) return groups;
    const Node* list = root.find("groups");
    if (list == nullptr || list->kind == Node::Kind::null) return groups;
    if (list->kind != Node::Kind::array) {
      error(list->position, "\"groups\" is " + kind_of(*list), "write a list of groups");
      return groups;
    }
    std::set<std::string> names;
    for (const Node& node : list->elements) {
      Group group = read_group(node);
      if (!group.name.empty() && !names.insert(group.name).second) {
        error(node.position, "group name \"" + group.name + "\" is repeated in this file", "give each group its own name");
      }
      groups.push_back(std::move(group));
    }
    return groups;
  }

 private:
  void add(Position position, std::string what, std::string remedy, bool warning) {
    config::Problem problem;
    problem.file = file_;
    problem.position = position;
    problem.what = std::move(what);
    problem.remedy = std::move(remedy);
    problem.warning = warning;
    problems_.push_back(std::move(problem));
  }
  void error(Position position, std::string what, std::string remedy) { add(position, std::move(what), std::move(remedy), false); }

  static std::string kind_of(const Node& node) {
    const std::string kind = config::to_string(node.kind);
    return (kind == "array" || kind == "object" ? "an " : "a ") + kind;
  }

  bool is_object(const Node& node, const std::string& what) {
    if (node.kind == Node::Kind::object) return true;
    error(node.position, what + " is " + kind_of(node) + ", not an object", "see the form in rules/README.md");
    return false;
  }

  bool known(const Node& node, const std::string& what, const std::vector<std::string>& fields) {
    bool all = true;
    for (const Node::Member& member : node.members) {
      if (std::find(fields.begin(), fields.end(), member.key) != fields.end()) continue;
      all = false;
      const std::string meant = nearest(member.key, fields);
      error(member.position, "unknown field \"" + member.key + "\" in " + what,
            meant.empty() ? "the fields are " + join(fields, ", ") : "did you mean \"" + meant + "\"?");
    }
    return all;
  }

  /// The text of member `key`; "" when it is missing or null. Like Go's YAML reader it takes any scalar for a text.
  std::string text(const Node& node, std::string_view key) {
    const Node* value = node.find(key);
    return value == nullptr ? std::string() : scalar(*value, std::string(key));
  }
  std::string scalar(const Node& value, const std::string& what) {
    if (value.kind == Node::Kind::null) return {};
    if (value.kind == Node::Kind::array || value.kind == Node::Kind::object) {
      error(value.position, "\"" + what + "\" is " + kind_of(value), "write a text");
      return {};
    }
    return value.text;
  }

  void duration(const Node& node, std::string_view key, Duration& out) {
    const std::string value = text(node, key);
    if (value.empty()) return;
    if (const Result<Duration> parsed = parse_duration(value)) {
      out = *parsed;
    } else {
      error(node.find(key)->position, "\"" + std::string(key) + "\": " + parsed.error().what, parsed.error().next_step);
    }
  }

  /// Labels or annotations. @param labels  whether names and values are held to what a label may be
  Labels map(const Node& node, const std::string& key, bool labels) {
    Labels out;
    const Node* value = node.find(key);
    if (value == nullptr || value->kind == Node::Kind::null || !is_object(*value, "\"" + key + "\"")) return out;
    for (const Node::Member& member : value->members) {
      if (!is_identifier(member.key, false) || (labels && member.key == kNameLabel)) {
        error(member.position, "invalid " + std::string(labels ? "label" : "annotation") + " name \"" + member.key + "\"",
              "use letters, digits and _, and no digit first");
        continue;
      }
      const std::string content = scalar(member.value, member.key);
      check_text(content, member, labels);
      out.set(member.key, content);
    }
    return out;
  }

  void check_text(const std::string& content, const Node::Member& member, bool label) {
    const Result<> form = check_template(content);
    if (form) return;
    const bool only_prometheus = form.error().code == Errc::unsupported;
    add(member.value.position, (label ? "label \"" : "annotation \"") + member.key + "\": " + form.error().what + ": " + form.error().why,
        only_prometheus ? "it will be shown as written" : "write it like {{ $labels.instance }} or {{ $value | humanize }}",
        only_prometheus);
  }

  Group read_group(const Node& node) {
    Group group;
    group.file = file_;
    group.only = only_;
    if (!is_object(node, "a group")) return group;
    known(node, "a group", {"name", "interval", "query_offset", "limit", "labels", "rules"});
    group.name = text(node, "name");
    if (group.name.empty()) error(node.position, "group name must not be empty", "give the group a \"name\"");
    Duration interval{};
    duration(node, "interval", interval);
    if (interval > Duration{0}) group.interval = interval;
    duration(node, "query_offset", group.query_offset);
    if (const std::string limit = text(node, "limit"); !limit.empty()) {
      const auto [end, failed] = std::from_chars(limit.data(), limit.data() + limit.size(), group.limit);
      if (failed != std::errc() || end != limit.data() + limit.size() || group.limit < 0) {
        group.limit = 0;
        error(node.find("limit")->position, "\"limit\" is \"" + limit + "\"", "write a number from 0 (no limit)");
      }
    }
    group.labels = map(node, "labels", true);
    const Node* rules = node.find("rules");
    if (rules == nullptr || rules->kind == Node::Kind::null) return group;
    if (rules->kind != Node::Kind::array) {
      error(rules->position, "\"rules\" is " + kind_of(*rules), "write a list of rules");
      return group;
    }
    for (const Node& rule : rules->elements) group.rules.push_back(read_rule(rule, group));
    return group;
  }

  Rule read_rule(const Node& node, const Group& group) {
    Rule rule;
    rule.line = node.position.line;
    if (!is_object(node, "a rule")) return rule;
    known(node, "a rule", {"alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"});
    const std::string alert = text(node, "alert"), record = text(node, "record");
    rule.alerting = !alert.empty();
    rule.name = rule.alerting ? alert : record;
    if (!alert.empty() && !record.empty()) error(node.position, "a rule has both \"alert\" and \"record\"", "make two rules of it");
    if (rule.name.empty()) error(node.position, "a rule has neither \"alert\" nor \"record\"", "give it one of them");
    duration(node, "for", rule.pending_for);
    duration(node, "keep_firing_for", rule.keep_firing_for);
    rule.labels = map(node, "labels", true);
    for (const auto& [name, value] : group.labels.pairs()) {
      if (!rule.labels.has(name)) rule.labels.set(name, value);
    }
    rule.annotations = map(node, "annotations", false);
    if (!record.empty() && alert.empty()) check_recording(node, rule);
    read_action(node, rule);
    read_expression(node, rule, group);
    return rule;
  }

  void check_recording(const Node& node, const Rule& rule) {
    for (const char* field : {"for", "keep_firing_for", "annotations"}) {
      if (const Node* value = node.find(field)) {
        error(value->position, std::string("invalid field \"") + field + "\" in the recording rule " + rule.name,
              "only an alert can have it");
      }
    }
    if (!is_identifier(rule.name, true)) {
      error(node.find("record")->position, "invalid recording rule name \"" + rule.name + "\"", "use letters, digits, _ and :");
    }
  }

  Position label_position(const Node& node, std::string_view name) const {
    const Node* labels = node.find("labels");
    const Node* value = labels == nullptr ? nullptr : labels->find(name);
    return value == nullptr ? node.position : value->position;
  }

  void read_action(const Node& node, Rule& rule) {
    if (const std::string action(rule.labels.get("rollbackd_action")); !action.empty()) {
      constexpr std::array kActions{AlertAction::notify, AlertAction::hold, AlertAction::rollback, AlertAction::emergency};
      const auto* const found = std::find_if(kActions.begin(), kActions.end(), [&](AlertAction a) { return action == to_string(a); });
      if (found == kActions.end()) {
        error(label_position(node, "rollbackd_action"), "rollbackd_action is \"" + action + "\"",
              "write rollback, emergency, hold or notify");
      } else {
        rule.action = *found;
      }
    }
    if (const std::string no_data(rule.labels.get("rollbackd_no_data")); !no_data.empty()) {
      rule.ignore_no_data = no_data == "ignore";
      if (!rule.ignore_no_data && no_data != "hold") {
        error(label_position(node, "rollbackd_no_data"), "rollbackd_no_data is \"" + no_data + "\"", "write hold or ignore");
      }
    }
  }

  void read_expression(const Node& node, Rule& rule, const Group& group) {
    rule.expr_text = text(node, "expr");
    if (trim(rule.expr_text).empty()) {
      error(node.position, "field \"expr\" must be set in rule \"" + rule.name + "\"", "write a PromQL expression");
      return;
    }
    const Position position = node.find("expr")->position;
    Result<promql::ExprPtr> parsed = promql::parse(rule.expr_text);
    if (!parsed) {
      error(position, "expression of \"" + rule.name + "\", " + parsed.error().why,
            parsed.error().next_step.empty() ? "columns count within the expression" : parsed.error().next_step);
      return;
    }
    rule.expr = std::move(*parsed);
    if (rule.expr->type != promql::ValueType::vector && rule.expr->type != promql::ValueType::scalar) {
      error(position, "expression of \"" + rule.name + "\" gives a " + promql::to_string(rule.expr->type),
            "a rule needs an instant vector or a scalar");
    }
    std::string why_not;
    rule.service_local = proves_local(*rule.expr, &why_not) || only_.has_value();
    if (!rule.service_local && rule.action != AlertAction::notify) {
      add(position,
          "rule \"" + rule.name + "\" spans services (" + why_not + "), so it runs every " + format_duration(group.interval) +
              " and not at once",
          "keep service and environment in every aggregation and match", true);
    }
    read_names(rule);
  }

  static void read_names(Rule& rule) {
    for (const promql::Expr* selector : promql::selectors(*rule.expr)) {
      std::string name;
      for (const series::Matcher& m : selector->matchers) {
        if (m.label() == kNameLabel && m.op() == series::Matcher::Op::equal) name = m.value();
      }
      if (std::find(rule.reads.begin(), rule.reads.end(), name) == rule.reads.end()) rule.reads.push_back(name);
    }
  }

  const std::string& file_;
  const std::optional<ServiceKey>& only_;
  std::vector<config::Problem>& problems_;
};

}  // namespace

Groups parse_groups(std::string_view text, const std::string& file, const std::optional<ServiceKey>& only,
                    std::vector<config::Problem>& problems) {
  const Result<Node> root = config::parse_document(text, file, config::dialect_of(file, true), problems);
  if (!root) return {};
  return Reader(file, only, problems).read(*root);
}

}  // namespace rollbackd::rules
