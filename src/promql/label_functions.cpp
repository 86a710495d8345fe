#include "promql/label_functions.hpp"

#include <re2/re2.h>

#include <charconv>

namespace rollbackd::promql {
namespace {

constexpr std::int64_t kRegexBytesMax = 1 << 20;

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

}  // namespace

bool is_label_name(std::string_view text) {
  if (text.empty()) return false;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    std::size_t length = 0;
    if (lead < 0x80) length = 1;
    if (lead >= 0xC2 && lead < 0xE0) length = 2;
    if (lead >= 0xE0 && lead < 0xF0) length = 3;
    if (lead >= 0xF0 && lead < 0xF5) length = 4;
    if (length == 0 || i + length > text.size()) return false;
    for (std::size_t j = 1; j < length; ++j)
      if ((static_cast<unsigned char>(text[i + j]) & 0xC0U) != 0x80U) return false;
    i += length;
  }
  return true;
}

Operand label_replace(Evaluator& evaluator, const Expr& call, std::vector<Operand>& args) {
  Operand out;
  const std::string& destination = args[1].string;
  RE2::Options options;
  options.set_log_errors(false);
  options.set_dot_nl(true);
  options.set_max_mem(kRegexBytesMax);
  const RE2 regex(args[4].string, options);
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
      element.labels.set(destination, expand(args[2].string, regex, groups));
  }
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
    element.labels.set(args[1].string, joined);
  }
  return out;
}

}  // namespace rollbackd::promql
