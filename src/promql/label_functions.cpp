// label_replace and label_join, with Go's templates of capture groups. What they write is bounded in size.
#include "promql/label_functions.hpp"

#include <re2/re2.h>

#include <charconv>
#include <memory>
#include <unordered_map>

#include "promql/lex.hpp"

namespace rollbackd::promql {
namespace {

constexpr std::int64_t kRegexBytesMax = 1 << 20;
constexpr std::size_t kRegexesMax = 64;
constexpr std::size_t kLabelBytesMax = 16 * 1024;  // Of one value; nested calls could double it each time.
constexpr std::size_t kBytesAWork = 256;           // What a unit of work may write.

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

/// The text of group `name` ("1", "word") of a match; empty when there is no such group.
std::string_view group_text(const RE2& regex, const std::vector<re2::StringPiece>& groups, const std::string& name) {
  std::size_t n = 0;
  const auto read = std::from_chars(name.data(), name.data() + name.size(), n);
  if (read.ec != std::errc{} || read.ptr != name.data() + name.size()) {
    const auto named = regex.NamedCapturingGroups().find(name);
    if (named == regex.NamedCapturingGroups().end()) return {};
    n = static_cast<std::size_t>(named->second);
  }
  if (n >= groups.size()) return {};
  return {groups[n].data(), groups[n].size()};
}

/// `pattern` compiled, remembered between evaluations: a rule asks for the same one each time, and compiling costs more than matching.
std::shared_ptr<const RE2> regex_of(const std::string& pattern) {
  thread_local std::unordered_map<std::string, std::shared_ptr<const RE2>> known;
  const auto at = known.find(pattern);
  if (at != known.end()) return at->second;
  if (known.size() >= kRegexesMax) known.clear();
  RE2::Options options;
  options.set_log_errors(false);
  options.set_dot_nl(true);
  options.set_max_mem(kRegexBytesMax);
  return known.emplace(pattern, std::make_shared<const RE2>(pattern, options)).first->second;
}

/// Go's template: $1, ${1}, $name, ${name}, $$; a name without braces is as long as it can be.
std::string expand(std::string_view form, const RE2& regex, const std::vector<re2::StringPiece>& groups) {
  std::string out;
  for (std::size_t i = 0; i < form.size();) {
    if (form[i] != '$' || i + 1 == form.size()) {
      out += form[i++];
      continue;
    }
    if (form[i + 1] == '$') {
      out += '$';
      i += 2;
      continue;
    }
    const bool braced = form[i + 1] == '{';
    std::size_t end = i + (braced ? 2 : 1);
    const std::size_t begin = end;
    while (end < form.size() && is_word(form[end])) ++end;
    if (end == begin || (braced && (end == form.size() || form[end] != '}'))) {
      out += form[i++];
      continue;
    }
    out += group_text(regex, groups, std::string(form.substr(begin, end - begin)));
    i = end + (braced ? 1 : 0);
  }
  return out;
}

/// Writes one label; a metric's name that is written on purpose stays.
bool write(Evaluator& evaluator, const Expr& call, Element& element, const std::string& label, const std::string& value) {
  if (value.size() > kLabelBytesMax) {
    evaluator.fail(call, "a label value of more than " + std::to_string(kLabelBytesMax) + " bytes", Errc::too_large);
    return false;
  }
  element.labels.set(label, value);
  if (label == kNameLabel) element.drop_name = false;
  return evaluator.work(call, 1 + value.size() / kBytesAWork);
}

}  // namespace

bool is_label_name(std::string_view text) { return !text.empty() && is_utf8(text); }

Operand label_replace(Evaluator& evaluator, const Expr& call, std::vector<Operand>& args) {
  Operand out;
  const std::string& destination = args[1].string;
  const std::shared_ptr<const RE2> compiled = regex_of(args[4].string);
  const RE2& regex = *compiled;
  if (!regex.ok()) {
    evaluator.fail(call, "invalid regular expression in label_replace(): " + args[4].string);
    return out;
  }
  if (!is_label_name(destination)) {
    evaluator.fail(call, "invalid destination label name in label_replace(): " + destination);
    return out;
  }
  out.vector = std::move(args[0].vector);
  std::vector<re2::StringPiece> groups(static_cast<std::size_t>(regex.NumberOfCapturingGroups()) + 1);
  for (Element& element : out.vector) {
    const std::string source(element.labels.get(args[3].string));
    const re2::StringPiece piece(source);
    if (regex.Match(piece, 0, source.size(), RE2::ANCHOR_BOTH, groups.data(), static_cast<int>(groups.size())))
      if (!write(evaluator, call, element, destination, expand(args[2].string, regex, groups))) return out;
  }
  evaluator.require_unique(call, out.vector);
  return out;
}

Operand label_join(Evaluator& evaluator, const Expr& call, std::vector<Operand>& args) {
  Operand out;
  for (std::size_t i = 3; i < args.size(); ++i) {
    if (is_label_name(args[i].string)) continue;
    evaluator.fail(call, "invalid source label name in label_join(): " + args[i].string);
    return out;
  }
  if (!is_label_name(args[1].string)) {
    evaluator.fail(call, "invalid destination label name in label_join(): " + args[1].string);
    return out;
  }
  out.vector = std::move(args[0].vector);
  for (Element& element : out.vector) {
    std::string joined;
    for (std::size_t i = 3; i < args.size(); ++i) {
      if (i > 3) joined += args[2].string;
      joined += element.labels.get(args[i].string);
    }
    if (!write(evaluator, call, element, args[1].string, joined)) return out;
  }
  evaluator.require_unique(call, out.vector);
  return out;
}

}  // namespace rollbackd::promql
