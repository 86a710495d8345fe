// Reads rule files into groups, and refuses what `promtool check rules` of Prometheus 3 refuses.
#include "rules/groups.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "rules/groups_fields.hpp"
#include "rules/template.hpp"

namespace rollbackd::rules {
namespace {

using config::Node;
using config::Position;

/// Reads one file's tree. Every problem is added to the list; reading goes on, so that all are found at once.
class Reader {
 public:
  Reader(const std::string& file, const std::optional<ServiceKey>& only, std::vector<config::Problem>& problems)
      : file_(file), only_(only), fields_(file, problems) {}

  Groups read(const Node& root) {
    Groups groups;
    if (!fields_.is_object(root, "a rule file")) return groups;
    check_kind(root);
    fields_.known(root, "a rule file", {"groups"});
    std::set<std::string> names;
    for (const Node* node : fields_.list(root, "groups")) {
      Group group = read_group(*node);
      if (!group.name.empty() && !names.insert(group.name).second) {
        fields_.error(node->position, "group name \"" + group.name + "\" is repeated in this file", "give each group its own name");
      }
      groups.push_back(std::move(group));
    }
    return groups;
  }

 private:
  void check_kind(const Node& root) {
    if (root.find("kind") == nullptr || root.find("apiVersion") == nullptr) return;
    fields_.error(root.position, "this is an object of Kubernetes, which Prometheus's operator turns into a rule file",
                  "take what stands under \"spec\"");
  }

  /// Labels or annotations, an empty value among them. @param labels  a label must not be called __name__
  std::vector<Labels::Pair> map(const Node& node, const std::string& key, bool labels, bool templates) {
    std::vector<Labels::Pair> out;
    const Node* value = node.find(key);
    if (value == nullptr || !fields_.is_object(*value, "\"" + key + "\"")) return out;
    for (const Node::Member& member : value->members) {
      if (member.key.empty() || (labels && member.key == kNameLabel)) {
        fields_.error(member.position, "invalid " + std::string(labels ? "label" : "annotation") + " name \"" + member.key + "\"",
                      member.key.empty() ? "give it a name" : "the metric's name is not the rule's to set");
        continue;
      }
      std::string content = fields_.scalar(member.value, member.key);
      if (templates) check_text(content, member, labels);
      out.emplace_back(member.key, std::move(content));
    }
    return out;
  }

  void check_text(const std::string& content, const Node::Member& member, bool label) {
    const Result<> form = check_template(content);
    if (form) return;
    fields_.error(
        member.value.position, (label ? "label \"" : "annotation \"") + member.key + "\": template, " + form.error().why,
        form.error().next_step.empty() ? "write it like {{ $labels.instance }} or {{ $value | humanize }}" : form.error().next_step);
  }

  Group read_group(const Node& node) {
    Group group;
    group.file = file_;
    group.only = only_;
    if (!fields_.is_object(node, "a group")) return group;
    fields_.known(node, "a group", {"name", "interval", "query_offset", "limit", "labels", "rules"});
    group.name = fields_.text(node, "name");
    if (group.name.empty()) fields_.error(node.position, "group name must not be empty", "give the group a \"name\"");
    const Duration interval = fields_.duration(node, "interval", Duration{0});
    if (interval > Duration{0}) group.interval = interval;
    group.query_offset = fields_.duration(node, "query_offset", Duration{0});
    group.limit = fields_.limit(node, "limit");
    const std::vector<Labels::Pair> labels = map(node, "labels", true, false);
    group.labels = Labels(labels);
    for (const Node* rule : fields_.list(node, "rules")) group.rules.push_back(read_rule(*rule, group, labels));
    return group;
  }

  /// The group's labels and over them the rule's own. An empty text takes a label away, be it the group's or the expression's.
  void read_labels(const Node& node, const std::vector<Labels::Pair>& of_group, Rule& rule) {
    std::map<std::string, std::string> labels(of_group.begin(), of_group.end());
    Labels own;
    for (auto& [name, value] : map(node, "labels", true, rule.alerting)) labels.insert_or_assign(std::move(name), std::move(value));
    for (const auto& [name, value] : labels) {
      if (value.empty()) rule.labels_removed.push_back(name);
      own.set(name, value);
    }
    rule.labels = shared(std::move(own));
  }

  Rule read_rule(const Node& node, const Group& group, const std::vector<Labels::Pair>& of_group) {
    Rule rule;
    rule.line = node.position.line;
    if (!fields_.is_object(node, "a rule")) return rule;
    fields_.known(node, "a rule", {"alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"});
    const std::string alert = fields_.text(node, "alert"), record = fields_.text(node, "record");
    rule.alerting = !alert.empty();
    rule.name = rule.alerting ? alert : record;
    if (!alert.empty() && !record.empty()) fields_.error(node.position, "a rule has both \"alert\" and \"record\"", "make two rules of it");
    if (rule.name.empty()) fields_.error(node.position, "a rule has neither \"alert\" nor \"record\"", "give it one of them");
    rule.pending_for = fields_.duration(node, "for", Duration{0});
    rule.keep_firing_for = fields_.duration(node, "keep_firing_for", Duration{0});
    read_labels(node, of_group, rule);
    std::vector<Labels::Pair> annotations = map(node, "annotations", false, rule.alerting);
    for (const auto& [name, text] : annotations)
      if (text.empty()) rule.annotations_empty.push_back(name);
    rule.annotations = shared(Labels(std::move(annotations)));
    if (!record.empty()) check_recording(node, record, rule);
    read_action(node, rule);
    read_expression(node, rule, group);
    return rule;
  }

  void check_recording(const Node& node, const std::string& record, const Rule& rule) {
    const auto refuse = [&](const char* field) {
      fields_.error(node.find(field)->position, std::string("invalid field \"") + field + "\" in the recording rule " + record,
                    "only an alert can have it");
    };
    if (rule.pending_for != Duration{0}) refuse("for");
    if (rule.keep_firing_for != Duration{0}) refuse("keep_firing_for");
    if (const Node* value = node.find("annotations"); value != nullptr && !value->members.empty()) refuse("annotations");
    if (record.find_first_of("{}") != std::string::npos) {
      fields_.error(node.find("record")->position, "invalid recording rule name \"" + record + "\": it has braces",
                    "an expression belongs in \"expr\", and labels in \"labels\"");
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
        fields_.error(label_position(node, "rollbackd_action"), "rollbackd_action is \"" + action + "\"",
                      "write rollback, emergency, hold or notify");
      } else {
        rule.action = *found;
      }
    }
    if (const std::string no_data(rule.labels.get("rollbackd_no_data")); !no_data.empty()) {
      rule.ignore_no_data = no_data == "ignore";
      if (!rule.ignore_no_data && no_data != "hold") {
        fields_.error(label_position(node, "rollbackd_no_data"), "rollbackd_no_data is \"" + no_data + "\"", "write hold or ignore");
      }
    }
  }

  void read_expression(const Node& node, Rule& rule, const Group& group) {
    rule.expr_text = fields_.text(node, "expr");
    if (rule.expr_text.empty()) {
      fields_.error(node.position, "field \"expr\" must be set in rule \"" + rule.name + "\"", "write a PromQL expression");
      return;
    }
    const Position position = node.find("expr")->position;
    Result<promql::ExprPtr> parsed = promql::parse(rule.expr_text);
    if (!parsed) {
      fields_.error(position, "expression of \"" + rule.name + "\", " + parsed.error().why,
                    parsed.error().next_step.empty() ? "columns count within the expression" : parsed.error().next_step);
      return;
    }
    rule.expr = std::move(*parsed);
    if (rule.expr->type != promql::ValueType::vector && rule.expr->type != promql::ValueType::scalar) {
      fields_.warning(position,
                      "expression of \"" + rule.name + "\" gives a " + promql::to_string(rule.expr->type) +
                          ": Prometheus takes it, and fails at each evaluation",
                      "a rule needs an instant vector or a scalar");
    }
    std::string why_not;
    rule.service_local = proves_local(*rule.expr, &why_not) || only_.has_value();
    if (!rule.service_local && rule.action != AlertAction::notify) {
      fields_.warning(position,
                      "rule \"" + rule.name + "\" spans services (" + why_not + "), so it runs every " + format_duration(group.interval) +
                          " and not at once",
                      "keep service and environment in every aggregation and match");
    }
  }

  SharedLabels shared(Labels labels) {
    const auto known = shared_.find(labels);
    return known != shared_.end() ? known->second : shared_.emplace(labels, labels).first->second;
  }

  const std::string& file_;
  const std::optional<ServiceKey>& only_;
  Fields fields_;
  std::map<Labels, SharedLabels> shared_;  ///< those of the file, each once
};

/// The tree of a rule file. Prometheus reads JSON as YAML too; what is wrong with it is said better by a reader of JSON.
Result<Node> parse_tree(std::string_view text, const std::string& file, std::vector<config::Problem>& problems) {
  std::vector<config::Problem> found;
  Result<Node> root = config::parse_document(text, file, config::Dialect::rules, found);
  if (!root && file.ends_with(".json")) {
    std::vector<config::Problem> of_json;
    if (!config::parse_document(text, file, config::Dialect::strict_json, of_json)) found = std::move(of_json);
  }
  problems.insert(problems.end(), found.begin(), found.end());
  return root;
}

}  // namespace

std::vector<std::string> Rule::reads() const {
  std::vector<std::string> out;
  if (expr == nullptr) return out;
  for (const promql::Expr* selector : promql::selectors(*expr)) {
    std::string metric;
    for (const series::Matcher& m : selector->matchers) {
      if (m.label() == kNameLabel && m.op() == series::Matcher::Op::equal) metric = m.value();
    }
    if (std::find(out.begin(), out.end(), metric) == out.end()) out.push_back(std::move(metric));
  }
  return out;
}

Groups parse_groups(std::string_view text, const std::string& file, const std::optional<ServiceKey>& only,
                    std::vector<config::Problem>& problems) {
  const Result<Node> root = parse_tree(text, file, problems);
  if (!root) return {};
  return Reader(file, only, problems).read(*root);
}

}  // namespace rollbackd::rules
