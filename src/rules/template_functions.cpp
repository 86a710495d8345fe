// The functions that Go's text/template brings itself: logic, comparison, indexing, printing, escaping.
#include <algorithm>
#include <array>
#include <cstdio>

#include "rules/template_impl.hpp"

namespace rollbackd::rules::tmpl {
namespace {

// ---- comparison ----

enum class Basic { none, boolean, complex, whole, real, text };

Basic basic(const Value& value) {
  if (value.as<bool>() != nullptr) return Basic::boolean;
  if (value.as<std::int64_t>() != nullptr || value.as<Byte>() != nullptr) return Basic::whole;
  if (value.as<double>() != nullptr) return Basic::real;
  if (value.as<Complex>() != nullptr) return Basic::complex;
  return value.as<std::string>() != nullptr || value.as<Html>() != nullptr ? Basic::text : Basic::none;
}
std::int64_t whole(const Value& value) {
  const Byte* byte = value.as<Byte>();
  return byte != nullptr ? byte->value : *value.as<std::int64_t>();
}
const std::string& text(const Value& value) {
  const Html* html = value.as<Html>();
  return html != nullptr ? html->text : *value.as<std::string>();
}

bool equal(const Value& a, const Value& b) {
  const Basic kind = basic(a);
  if (kind != basic(b)) {
    if (a.is_none() || b.is_none()) return false;
    throw Failure{"incompatible types for comparison"};
  }
  switch (kind) {
    case Basic::boolean: return *a.as<bool>() == *b.as<bool>();
    case Basic::whole: return whole(a) == whole(b);
    case Basic::real: return *a.as<double>() == *b.as<double>();
    case Basic::text: return text(a) == text(b);
    case Basic::complex: return true;
    case Basic::none: break;
  }
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  const SamplePtr *one = a.as<SamplePtr>(), *other = b.as<SamplePtr>();
  if (one != nullptr && other != nullptr) return *one == *other;
  throw Failure{"non-comparable type " + print_action(b) + ": " + type_name(b)};
}

bool less(const Value& a, const Value& b) {
  const Basic kind = basic(a), other = basic(b);
  if (kind == Basic::none || other == Basic::none) throw Failure{"invalid type for comparison"};
  if (kind != other) throw Failure{"incompatible types for comparison"};
  switch (kind) {
    case Basic::whole: return whole(a) < whole(b);
    case Basic::real: return *a.as<double>() < *b.as<double>();
    case Basic::text: return text(a) < text(b);
    default: throw Failure{"invalid type for comparison"};
  }
}

Value any_equal(const Call& call) {
  if (call.args.size() < 2) throw Failure{"missing argument for comparison"};
  return Value{std::any_of(call.args.begin() + 1, call.args.end(), [&](const Value& other) { return equal(call.args[0], other); })};
}

// ---- indexing ----

std::size_t position(const Value& index, std::size_t size_max) {
  if (index.is_none()) throw Failure{"cannot index slice/array with nil"};
  if (basic(index) != Basic::whole) throw Failure{"cannot index slice/array with type " + type_name(index)};
  const std::int64_t at = whole(index);
  if (at < 0 || static_cast<std::uint64_t>(at) > size_max) throw Failure{"index out of range: " + std::to_string(at)};
  return static_cast<std::size_t>(at);
}

const std::string& key(const Value& index) {
  if (index.is_none()) throw Failure{"value is nil; should be of type string"};
  const std::string* name = index.as<std::string>();
  if (name == nullptr) throw Failure{"value has type " + type_name(index) + "; should be string"};
  return *name;
}

Value element(const Value& item, const Value& index) {
  if (const auto* labels = item.as<std::shared_ptr<const StringMap>>()) {
    const auto found = (*labels)->find(key(index));
    return Value{found == (*labels)->end() ? std::string() : found->second};
  }
  if (const auto* map = item.as<std::shared_ptr<const ValueMap>>()) {
    const auto found = (*map)->items.find(key(index));
    return found == (*map)->items.end() ? Value{} : found->second;
  }
  const auto* samples = item.as<std::shared_ptr<const Samples>>();
  if (samples == nullptr && basic(item) != Basic::text) throw Failure{"can't index item of type " + type_name(item)};
  const std::size_t size = samples != nullptr ? (*samples)->size() : text(item).size();
  const std::size_t at = position(index, size);
  if (at == size) throw Failure{samples != nullptr ? "reflect: slice index out of range" : "reflect: string index out of range"};
  if (samples != nullptr) return Value{(**samples)[at]};
  return Value{Byte{static_cast<std::uint8_t>(text(item)[at])}};
}

Value index(const Call& call) {
  Value item = call.args[0];
  if (item.is_none()) throw Failure{"index of untyped nil"};
  for (const Value& at : call.args.subspan(1)) {
    if (item.is_none()) throw Failure{"index of nil pointer"};
    item = element(item, at);
  }
  return item;
}

Value slice(const Call& call) {
  const Value& item = call.args[0];
  const std::span<const Value> given = call.args.subspan(1);
  if (item.is_none()) throw Failure{"slice of untyped nil"};
  if (given.size() > 3) throw Failure{"too many slice indexes: " + std::to_string(given.size())};
  const auto* samples = item.as<std::shared_ptr<const Samples>>();
  if (samples == nullptr && basic(item) != Basic::text) throw Failure{"can't slice item of type " + type_name(item)};
  if (samples == nullptr && given.size() == 3) throw Failure{"cannot 3-index slice a string"};
  const std::size_t size = samples != nullptr ? (*samples)->size() : text(item).size();
  std::array<std::size_t, 3> at{0, size, size};
  for (std::size_t i = 0; i < given.size(); ++i) at[i] = position(given[i], size);
  for (std::size_t i = 0; i < 2; ++i)
    if (at[i] > at[i + 1]) throw Failure{"invalid slice index: " + std::to_string(at[i]) + " > " + std::to_string(at[i + 1])};
  if (samples == nullptr) return Value{text(item).substr(at[0], at[1] - at[0])};
  const auto from = (*samples)->begin();
  return Value{std::make_shared<const Samples>(from + static_cast<std::ptrdiff_t>(at[0]), from + static_cast<std::ptrdiff_t>(at[1]))};
}

Value length(const Call& call) {
  const Value& item = call.args[0];
  const auto size = [](std::size_t n) { return Value{static_cast<std::int64_t>(n)}; };
  if (const auto* labels = item.as<std::shared_ptr<const StringMap>>()) return size((*labels)->size());
  if (const auto* map = item.as<std::shared_ptr<const ValueMap>>()) return size((*map)->items.size());
  if (const auto* samples = item.as<std::shared_ptr<const Samples>>()) return size((*samples)->size());
  if (basic(item) == Basic::text) return size(text(item).size());
  if (item.is_none()) throw Failure{"len of nil pointer"};
  throw Failure{"len of type " + type_name(item)};
}

// ---- escaping ----

/// What html, js and urlquery escape: a single text itself, else all of them printed.
std::string joined(const Call& call) {
  if (call.args.size() == 1)
    if (const std::string* only = call.args[0].as<std::string>()) return *only;
  std::vector<Value> shown;
  for (const Value& arg : call.args) shown.push_back(basic(arg) == Basic::none ? Value{print_action(arg)} : arg);
  return sprint(shown);
}

std::string html_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '\0': out += "\xef\xbf\xbd"; break;
      case '"': out += "&#34;"; break;
      case '\'': out += "&#39;"; break;
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string js_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '\'' || c == '"') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < ' ' || std::string_view("<>&=").find(c) != std::string_view::npos) {
      std::array<char, 8> code{};
      std::snprintf(code.data(), code.size(), "\\u%04X", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += code.data();
    } else {
      out += c;
    }
  }
  return out;
}

Value call_function(const Call& call) {
  if (call.args[0].is_none()) throw Failure{"call of nil"};
  throw Failure{"non-function of type " + type_name(call.args[0])};  // No value of ours is a function.
}

}  // namespace

std::string query_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-_.~").find(c) != std::string_view::npos;
    if (plain || c == ' ') {
      out += c == ' ' ? '+' : c;
      continue;
    }
    std::array<char, 4> code{};
    std::snprintf(code.data(), code.size(), "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
    out += code.data();
  }
  return out;
}

const std::map<std::string, Function, std::less<>>& go_functions() {
  using P = Param;
  static const std::map<std::string, Function, std::less<>> kFunctions{
      {"and", {{P::value, P::value}, true, {}}},  // The executor's own, with `or`.
      {"or", {{P::value, P::value}, true, {}}},
      {"not", {{P::value}, false, [](const Call& c) { return Value{!is_true(c.args[0])}; }}},
      {"eq", {{P::value, P::value}, true, any_equal}},
      {"ne", {{P::value, P::value}, false, [](const Call& c) { return Value{!equal(c.args[0], c.args[1])}; }}},
      {"lt", {{P::value, P::value}, false, [](const Call& c) { return Value{less(c.args[0], c.args[1])}; }}},
      {"le", {{P::value, P::value}, false, [](const Call& c) { return Value{less(c.args[0], c.args[1]) || equal(c.args[0], c.args[1])}; }}},
      {"gt",
       {{P::value, P::value}, false, [](const Call& c) { return Value{!less(c.args[0], c.args[1]) && !equal(c.args[0], c.args[1])}; }}},
      {"ge", {{P::value, P::value}, false, [](const Call& c) { return Value{!less(c.args[0], c.args[1])}; }}},
      {"call", {{P::value, P::value}, true, call_function}},
      {"index", {{P::value, P::value}, true, index}},
      {"slice", {{P::value, P::value}, true, slice}},
      {"len", {{P::value}, false, length}},
      {"print", {{P::any}, true, [](const Call& c) { return Value{sprint(c.args)}; }}},
      {"println", {{P::any}, true, [](const Call& c) { return Value{sprintln(c.args)}; }}},
      {"printf",
       {{P::string, P::any}, true, [](const Call& c) { return Value{sprintf(*c.args[0].as<std::string>(), c.args.subspan(1))}; }}},
      {"html", {{P::any}, true, [](const Call& c) { return Value{html_escape(joined(c))}; }}},
      {"js", {{P::any}, true, [](const Call& c) { return Value{js_escape(joined(c))}; }}},
      {"urlquery", {{P::any}, true, [](const Call& c) { return Value{query_escape(joined(c))}; }}},
  };
  return kFunctions;
}

const Function* find_function(std::string_view name) {
  for (const auto* functions : {&prometheus_functions(), &go_functions()})
    if (const auto found = functions->find(name); found != functions->end()) return &found->second;
  return nullptr;
}

bool is_function(std::string_view name) { return find_function(name) != nullptr; }

}  // namespace rollbackd::rules::tmpl
