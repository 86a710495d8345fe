// Fields of rule files, taken as go-yaml takes them into Prometheus's structs: any scalar for a text, null for nothing.
#include "rules/groups_fields.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "base/text.hpp"

namespace rollbackd::rules {

using config::Node;
using config::Position;

namespace {

std::string kind_of(const Node& node) {
  const std::string kind = config::to_string(node.kind);
  return (kind == "array" || kind == "object" ? "an " : "a ") + kind;
}

/// Digits of base 2, 8, 10 or 16 by their prefix, as in Go. `text` has neither sign nor underscores.
std::optional<double> whole(std::string_view text) {
  int base = 10;
  if (text.size() > 1 && text[0] == '0') {
    const char mark = text[1];
    base = mark == 'x' || mark == 'X' ? 16 : mark == 'b' || mark == 'B' ? 2 : 8;
    text.remove_prefix(base != 8 || mark == 'o' || mark == 'O' ? 2 : 1);
  }
  std::int64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (failed != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return static_cast<double>(value);
}

/// A scalar that go-yaml takes for an int: a plain number, whatever is behind its decimal point being cut off.
std::optional<double> number(const Node& node) {
  if (node.quoted || node.text.empty()) return std::nullopt;
  std::string digits = node.text;
  std::erase(digits, '_');
  const bool minus = digits.starts_with('-');
  const std::string_view rest = std::string_view(digits).substr(minus || digits.starts_with('+') ? 1 : 0);
  std::optional<double> value = rest.starts_with('-') || rest.starts_with('+') ? std::nullopt : whole(rest);
  if (!value && node.kind == Node::Kind::number) {
    double real = 0;
    const auto [end, failed] = std::from_chars(rest.data(), rest.data() + rest.size(), real);
    if (failed != std::errc() || end != rest.data() + rest.size() || real >= 9.3e18) return std::nullopt;
    value = std::trunc(real);
  }
  if (value && minus) value = -*value;
  return value;
}

}  // namespace

void Fields::add(Position position, std::string what, std::string remedy, bool warning) {
  config::Problem problem;
  problem.file = file_;
  problem.position = position;
  problem.what = std::move(what);
  problem.remedy = std::move(remedy);
  problem.warning = warning;
  problems_.push_back(std::move(problem));
}

void Fields::error(Position position, std::string what, std::string remedy) { add(position, std::move(what), std::move(remedy), false); }
void Fields::warning(Position position, std::string what, std::string remedy) { add(position, std::move(what), std::move(remedy), true); }

bool Fields::is_object(const Node& node, const std::string& what) {
  if (node.kind == Node::Kind::object) return true;
  if (node.kind != Node::Kind::null)
    error(node.position, what + " is " + kind_of(node) + ", not an object", "see the form in rules/README.md");
  return false;
}

std::vector<const Node*> Fields::list(const Node& node, const std::string& key) {
  std::vector<const Node*> elements;
  const Node* value = node.find(key);
  if (value == nullptr || value->kind == Node::Kind::null) return elements;
  if (value->kind != Node::Kind::array) error(value->position, "\"" + key + "\" is " + kind_of(*value), "write a list of " + key);
  for (const Node& element : value->elements)
    if (element.kind != Node::Kind::null) elements.push_back(&element);
  return elements;
}

void Fields::known(const Node& node, const std::string& what, const std::vector<std::string>& fields) {
  for (const Node::Member& member : node.members) {
    if (std::find(fields.begin(), fields.end(), member.key) != fields.end()) continue;
    const std::string meant = nearest(member.key, fields);
    error(member.position, "unknown field \"" + member.key + "\" in " + what,
          meant.empty() ? "the fields are " + join(fields, ", ") : "did you mean \"" + meant + "\"?");
  }
}

std::string Fields::text(const Node& node, const std::string& key) {
  const Node* value = node.find(key);
  return value == nullptr ? std::string() : scalar(*value, key);
}

std::string Fields::scalar(const Node& value, const std::string& what) {
  if (value.kind == Node::Kind::null) return {};
  if (value.kind == Node::Kind::array || value.kind == Node::Kind::object) {
    error(value.position, "\"" + what + "\" is " + kind_of(value), "write a text; one with {{ }} in quotes");
    return {};
  }
  return value.text;
}

Duration Fields::duration(const Node& node, const std::string& key, Duration otherwise) {
  const Node* value = node.find(key);
  if (value == nullptr || value->kind == Node::Kind::null) return otherwise;
  const std::size_t before = problems_.size();
  const std::string written = scalar(*value, key);
  if (problems_.size() > before) return otherwise;
  const Result<Duration> parsed = parse_duration(written);
  if (parsed) return *parsed;
  error(value->position, "\"" + key + "\": " + parsed.error().what, parsed.error().next_step);
  return otherwise;
}

int Fields::limit(const Node& node, const std::string& key) {
  const Node* value = node.find(key);
  if (value == nullptr || value->kind == Node::Kind::null) return 0;
  if (const std::optional<double> found = number(*value))
    return static_cast<int>(std::clamp(*found, 0.0, static_cast<double>(std::numeric_limits<int>::max())));
  error(value->position, "\"" + key + "\" is " + (value->text.empty() ? kind_of(*value) : "\"" + value->text + "\"") + ", not a number",
        "write a number from 0 (no limit), without quotes");
  return 0;
}

}  // namespace rollbackd::rules
