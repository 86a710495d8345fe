// The functions that Prometheus adds to Go's templates. Regular expressions are RE2's alone.
#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "rules/template_impl.hpp"

namespace rollbackd::rules::tmpl {
namespace {

// ---- numbers ----

/// strconv.ParseFloat.
double parse_float(const std::string& text) {
  std::string_view rest = text;
  const bool minus = rest.starts_with('-');
  if (minus || rest.starts_with('+')) rest.remove_prefix(1);
  const bool hex = rest.starts_with("0x") || rest.starts_with("0X");
  if (hex) rest.remove_prefix(2);
  double value = 0;
  const bool signed_twice = rest.starts_with('-');  // from_chars would take it.
  const auto [end, failed] =
      std::from_chars(rest.data(), rest.data() + rest.size(), value, hex ? std::chars_format::hex : std::chars_format::general);
  const std::string which = "strconv.ParseFloat: parsing " + quote(text);
  if (failed == std::errc::result_out_of_range) throw Failure{which + ": value out of range"};
  if (failed != std::errc() || end != rest.data() + rest.size() || signed_twice || text.ends_with(')'))
    throw Failure{which + ": invalid syntax"};
  return minus ? -value : value;
}

double to_float(const Value& value) {
  if (const double* v = value.as<double>()) return *v;
  if (const std::string* s = value.as<std::string>()) return parse_float(*s);
  if (const std::int64_t* i = value.as<std::int64_t>()) return static_cast<double>(*i);
  throw Failure{"can't convert " + type_name(value) + " to float"};
}

constexpr std::array<const char*, 8> kLarge{"k", "M", "G", "T", "P", "E", "Z", "Y"};
constexpr std::array<const char*, 8> kBinary{"ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"};
constexpr std::array<const char*, 8> kSmall{"m", "u", "n", "p", "f", "a", "z", "y"};

std::string scaled_up(double v, double step, const std::array<const char*, 8>& prefixes) {
  std::string prefix;
  for (const char* p : prefixes) {
    if (std::fabs(v) < step) break;
    prefix = p;
    v /= step;
  }
  return four_digits(v) + prefix;
}
std::string scaled_down(double v) {
  std::string prefix;
  for (const char* p : kSmall) {
    if (std::fabs(v) >= 1) break;
    prefix = p;
    v *= 1000;
  }
  return four_digits(v) + prefix;
}

std::string humanize(double v) {
  if (v == 0 || !std::isfinite(v)) return four_digits(v);
  return std::fabs(v) >= 1 ? scaled_up(v, 1000, kLarge) : scaled_down(v);
}
std::string humanize_1024(double v) { return std::fabs(v) <= 1 || !std::isfinite(v) ? four_digits(v) : scaled_up(v, 1024, kBinary); }

/// A double cut to an int64, as Go does it on amd64: what does not fit is the smallest one.
std::int64_t to_int64(double v) {
  return std::fabs(v) < 9.2233720368547758e18 ? static_cast<std::int64_t>(v) : std::numeric_limits<std::int64_t>::min();
}

std::string humanize_duration(double v) {
  if (!std::isfinite(v)) return four_digits(v);
  if (v == 0) return "0s";
  if (std::fabs(v) < 1) return scaled_down(v) + "s";
  const std::string sign = v < 0 ? "-" : "";
  v = std::fabs(v);
  const std::int64_t total = to_int64(v), s = total % 60, m = total / 60 % 60, h = total / 3600 % 24, d = total / 86400;
  std::string out = sign;
  if (d != 0) out += std::to_string(d) + "d ";
  if (d != 0 || h != 0) out += std::to_string(h) + "h ";
  if (d != 0 || h != 0 || m != 0) return out + std::to_string(m) + "m " + std::to_string(s) + "s";
  return sign + four_digits(v) + "s";
}

/// Seconds as nanoseconds. @param kind  "timestamp" or "duration", for the error
std::int64_t nanoseconds(double v, const char* kind) {
  if (!std::isfinite(v)) throw Failure{"value is NaN or Inf"};
  if (std::fabs(v * 1e9) >= 9.2233720368547758e18)
    throw Failure{format_go(v) + " cannot be represented as a nanoseconds " + kind + " since it overflows int64"};
  return static_cast<std::int64_t>(v * 1e9);
}
Time to_time(double v) { return Time{nanoseconds(v, "timestamp") / 1'000'000}; }

Value humanize_timestamp(const Call& call) {
  const double v = to_float(call.args[0]);
  return Value{std::isfinite(v) ? to_string(to_time(v)) : four_digits(v)};
}

Value parse_duration_text(const Call& call) {
  const std::string& text = *call.args[0].as<std::string>();
  const Result<Duration> parsed = parse_duration(text);
  if (!parsed) throw Failure{text.empty() ? "empty duration string" : "not a valid duration string: " + quote(text)};
  return Value{static_cast<double>(parsed->count()) / 1e9};
}

// ---- texts ----

const std::string& text(const Call& call, std::size_t i) { return *call.args[i].as<std::string>(); }

/// The character that begins at `at`. @return its code point and its bytes; a byte that is none stands for itself
std::pair<std::uint32_t, std::size_t> character(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const std::uint32_t lead = byte(0);
  const std::size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
  if (size != 2 || at + 1 >= text.size()) return {lead, at + size <= text.size() ? size : 1};
  return {(lead & 0x1f) << 6 | (byte(1) & 0x3f), 2};
}

/// The other case of a letter in ASCII, Latin, Greek and Cyrillic; other characters stay as they are.
std::uint32_t with_case(std::uint32_t c, bool upper) {
  const auto between = [&](std::uint32_t from, std::uint32_t to) { return c >= from && c <= to; };
  if (upper) {
    if (between('a', 'z') || (between(0xe0, 0xfe) && c != 0xf7) || between(0x3b1, 0x3c1) || between(0x3c3, 0x3c9) || between(0x430, 0x44f))
      return c - 0x20;
    if (between(0x450, 0x45f)) return c - 0x50;
    if (c == 0xff) return 0x178;
    if (between(0x139, 0x148) || between(0x179, 0x17e)) return c % 2 == 0 ? c - 1 : c;
    return (between(0x100, 0x137) || between(0x14a, 0x177)) && c % 2 == 1 && c != 0x131 ? c - 1 : c;
  }
  if (between('A', 'Z') || (between(0xc0, 0xde) && c != 0xd7) || between(0x391, 0x3a1) || between(0x3a3, 0x3a9) || between(0x410, 0x42f))
    return c + 0x20;
  if (between(0x400, 0x40f)) return c + 0x50;
  if (between(0x139, 0x148) || between(0x179, 0x17e)) return c % 2 == 1 ? c + 1 : c;
  return (between(0x100, 0x137) || between(0x14a, 0x177)) && c % 2 == 0 && c != 0x130 ? c + 1 : c;
}

std::string cased(std::string_view text, std::size_t at, std::size_t size, std::uint32_t code, bool upper) {
  const std::uint32_t other = size <= 2 && (size == 2 || code < 0x80) ? with_case(code, upper) : code;
  if (other == code) return std::string(text.substr(at, size));
  if (size == 1) return std::string(1, static_cast<char>(other));
  return {static_cast<char>(0xc0 | other >> 6), static_cast<char>(0x80 | (other & 0x3f))};
}

std::string change_case(std::string_view text, bool upper) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const auto [code, size] = character(text, at);
    out += cased(text, at, size, code, upper);
    at += size;
  }
  return out;
}

/// The first letter of each word in upper case. Words end as Unicode says: "don't", "a.b" and "a_b" are one, "a-b" is two.
std::string title(std::string_view text) {
  const auto is_letter = [](std::uint32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0xaa; };
  const auto in_word = [&](std::uint32_t c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '_'; };
  std::string out;
  bool started = false;  // the word has its letter
  for (std::size_t at = 0; at < text.size();) {
    const auto [code, size] = character(text, at);
    const bool next_letter = at + size < text.size() && is_letter(character(text, at + size).first);
    const bool joins = started && next_letter && (code == '\'' || code == '.' || code == ':');
    if (is_letter(code) && !started) {
      out += cased(text, at, size, code, true);
      started = true;
    } else {
      out += text.substr(at, size);
      if (!in_word(code) && !joins) started = false;
    }
    at += size;
  }
  return out;
}

std::unique_ptr<RE2> compile(const std::string& pattern) {
  RE2::Options options;
  options.set_log_errors(false);
  return std::make_unique<RE2>(pattern, options);
}

/// What is wrong with a regular expression, in Go's words as far as RE2 has them.
std::string regex_error(const RE2& regex) {
  std::string what = regex.error();
  const std::string& arg = regex.error_arg();
  if (what.ends_with(": " + arg)) what.resize(what.size() - arg.size() - 2);
  if (what == "missing )") what = "missing closing )";
  return "error parsing regexp: " + what + (arg.empty() ? "" : ": `" + arg + "`");
}

/// What `$1`, `${1}` and `${name}` stand for in a replacement, by Go's rules: "$1x" asks for the group "1x".
std::string expand_replacement(std::string_view replacement, const RE2& regex, std::span<const re2::StringPiece> groups) {
  const auto is_name = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
  };
  std::string out;
  while (!replacement.empty()) {
    const std::size_t dollar = std::min(replacement.find('$'), replacement.size());
    out += replacement.substr(0, dollar);
    replacement.remove_prefix(dollar);
    if (replacement.empty()) break;
    const bool braces = replacement.size() > 1 && replacement[1] == '{';
    const std::size_t from = braces ? 2 : 1;
    std::size_t to = from;
    while (to < replacement.size() && is_name(replacement[to])) ++to;
    const bool good = to > from && (!braces || (to < replacement.size() && replacement[to] == '}'));
    if (!good) {
      const std::size_t used = replacement.starts_with("$$") ? 2 : 1;
      out += '$';
      replacement.remove_prefix(used);
      continue;
    }
    const std::string name(replacement.substr(from, to - from));
    std::size_t number = groups.size();
    const auto [end, failed] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (failed != std::errc() || end != name.data() + name.size()) {
      const auto found = regex.NamedCapturingGroups().find(name);
      number = found == regex.NamedCapturingGroups().end() ? groups.size() : static_cast<std::size_t>(found->second);
    }
    if (number < groups.size() && groups[number].data() != nullptr) out.append(groups[number].data(), groups[number].size());
    replacement.remove_prefix(braces ? to + 1 : to);
  }
  return out;
}

Value replace_all(const Call& call) {
  const std::string &pattern = text(call, 0), &replacement = text(call, 1), &subject = text(call, 2);
  const auto regex = compile(pattern);
  if (!regex->ok())
    throw Failure{"regexp: Compile(" + (pattern.find('`') == std::string::npos ? "`" + pattern + "`" : quote(pattern)) +
                  "): " + regex_error(*regex)};
  std::vector<re2::StringPiece> groups(static_cast<std::size_t>(regex->NumberOfCapturingGroups()) + 1);
  std::string out;
  std::size_t at = 0, copied = 0;
  std::size_t last_end = std::string::npos;
  while (at <= subject.size() &&
         regex->Match(subject, at, subject.size(), RE2::UNANCHORED, groups.data(), static_cast<int>(groups.size()))) {
    const auto from = static_cast<std::size_t>(groups[0].data() - subject.data());
    const std::size_t to = from + groups[0].size();
    if (to > from || from != last_end) {  // An empty match right behind another does not count.
      out += subject.substr(copied, from - copied);
      out += expand_replacement(replacement, *regex, groups);
      copied = to;
      last_end = to;
    }
    if (out.size() > kOutputBytesMax) break;
    at = to > from ? to : to + (to < subject.size() ? character(subject, to).second : 1);
  }
  return Value{out + subject.substr(std::min(copied, subject.size()))};
}

Value match(const Call& call) {
  const auto regex = compile(text(call, 0));
  if (!regex->ok()) throw Failure{regex_error(*regex)};
  return Value{RE2::PartialMatch(text(call, 1), *regex)};
}

// ---- addresses ----

struct HostPort {
  std::string host, port;
};

/// net.SplitHostPort. @return none where Go refuses it
std::optional<HostPort> split_host_port(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos || end + 1 != colon) return std::nullopt;
    host = text.substr(1, end - 1);
    if (host.find('[') != std::string_view::npos) return std::nullopt;
  } else if (host.find(':') != std::string_view::npos || host.find_first_of("[]") != std::string_view::npos) {
    return std::nullopt;
  }
  if (text.substr(colon + 1).find_first_of("[]") != std::string_view::npos) return std::nullopt;
  return HostPort{std::string(host), std::string(text.substr(colon + 1))};
}

bool is_ip(const std::string& host) {
  static const RE2 kFour(R"((?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.|$)){4})"), kSix(R"([0-9a-fA-F:.]*:[0-9a-fA-F:.]*)");
  if (host.find(':') == std::string::npos) return !host.ends_with('.') && RE2::FullMatch(host, kFour);
  return RE2::FullMatch(host, kSix);
}

std::string strip_domain(const std::string& text) {
  const std::optional<HostPort> parts = split_host_port(text);
  const std::string host = parts ? parts->host : text;
  if (is_ip(host)) return text;
  const std::string name = host.substr(0, host.find('.'));
  if (!parts || parts->port.empty()) return name;
  return (name.find(':') == std::string::npos ? name : "[" + name + "]") + ":" + parts->port;
}

std::string path_of(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme != std::string_view::npos) {
    url.remove_prefix(scheme + 3);
    url.remove_prefix(std::min(url.find_first_of("/?#"), url.size()));
  }
  return std::string(url.substr(0, url.find_first_of("?#")));
}

// ---- results of queries ----

using SamplesPtr = std::shared_ptr<const Samples>;

Value query(const Call& call) {
  if (!call.context.query) throw Failure{"there is nothing to ask here"};
  Result<std::vector<promql::Element>> found = call.context.query(text(call, 0), call.context.now);
  if (!found) throw Failure{found.error().why.empty() ? found.error().what : found.error().what + ": " + found.error().why};
  auto samples = std::make_shared<Samples>();
  for (const promql::Element& element : *found) {
    auto sample = std::make_shared<Sample>();
    sample->labels.insert(element.labels.pairs().begin(), element.labels.pairs().end());
    sample->value = element.value;
    samples->push_back(std::move(sample));
  }
  return Value{SamplesPtr(std::move(samples))};
}

Value first(const Call& call) {
  const SamplesPtr& samples = *call.args[0].as<SamplesPtr>();
  if (samples->empty()) throw Failure{"first() called on vector with no elements"};
  return Value{samples->front()};
}

const Sample& sample(const Call& call, std::size_t i) {
  const SamplePtr& found = *call.args[i].as<SamplePtr>();
  if (found == nullptr) throw Failure{"runtime error: invalid memory address or nil pointer dereference"};
  return *found;
}
std::string label_of(const Sample& sample, const std::string& name) {
  const auto found = sample.labels.find(name);
  return found == sample.labels.end() ? std::string() : found->second;
}

Value sort_by_label(const Call& call) {
  auto sorted = std::make_shared<Samples>(**call.args[1].as<SamplesPtr>());
  const std::string& name = text(call, 0);
  std::stable_sort(sorted->begin(), sorted->end(),
                   [&](const SamplePtr& a, const SamplePtr& b) { return label_of(*a, name) < label_of(*b, name); });
  return Value{SamplesPtr(std::move(sorted))};
}

Value args(const Call& call) {
  auto map = std::make_shared<ValueMap>();
  for (std::size_t i = 0; i < call.args.size(); ++i) {
    const Value& value = call.args[i];
    const auto* const inner = value.as<std::shared_ptr<const ValueMap>>();
    const std::string* const text = value.as<std::string>();
    if (inner != nullptr) map->depth = std::max(map->depth, (*inner)->depth + 1);
    map->bytes += 32 + (inner != nullptr ? (*inner)->bytes : text != nullptr ? text->size() : 0);
    map->items.emplace("arg" + std::to_string(i), value);
  }
  if (map->depth > kArgsDepthMax || map->bytes > kOutputBytesMax) throw Failure{"too many arguments in arguments"};
  return Value{std::shared_ptr<const ValueMap>(std::move(map))};
}

std::string link(const std::string& expr, char tab) { return "/graph?g0.expr=" + query_escape(expr) + "&g0.tab=" + tab; }

template <std::string (*format)(double)>
Value of_number(const Call& call) {
  return Value{format(to_float(call.args[0]))};
}

std::string percentage(double v) { return four_digits(v * 100) + "%"; }

}  // namespace

const std::map<std::string, Function, std::less<>>& prometheus_functions() {
  using P = Param;
  static const std::map<std::string, Function, std::less<>> kFunctions{
      {"query", {{P::string}, false, query}},
      {"first", {{P::samples}, false, first}},
      {"label", {{P::string, P::sample}, false, [](const Call& c) { return Value{label_of(sample(c, 1), text(c, 0))}; }}},
      {"value", {{P::sample}, false, [](const Call& c) { return Value{sample(c, 0).value}; }}},
      {"strvalue", {{P::sample}, false, [](const Call& c) { return Value{label_of(sample(c, 0), "__value__")}; }}},
      {"sortByLabel", {{P::string, P::samples}, false, sort_by_label}},
      {"args", {{P::any}, true, args}},
      {"reReplaceAll", {{P::string, P::string, P::string}, false, replace_all}},
      {"match", {{P::string, P::string}, false, match}},
      {"safeHtml", {{P::string}, false, [](const Call& c) { return Value{Html{text(c, 0)}}; }}},
      {"title", {{P::string}, false, [](const Call& c) { return Value{title(text(c, 0))}; }}},
      {"toUpper", {{P::string}, false, [](const Call& c) { return Value{change_case(text(c, 0), true)}; }}},
      {"toLower", {{P::string}, false, [](const Call& c) { return Value{change_case(text(c, 0), false)}; }}},
      {"graphLink", {{P::string}, false, [](const Call& c) { return Value{link(text(c, 0), '0')}; }}},
      {"tableLink", {{P::string}, false, [](const Call& c) { return Value{link(text(c, 0), '1')}; }}},
      {"stripPort",
       {{P::string},
        false,
        [](const Call& c) {
          return Value{split_host_port(text(c, 0)).value_or(HostPort{text(c, 0), ""}).host};
        }}},
      {"stripDomain", {{P::string}, false, [](const Call& c) { return Value{strip_domain(text(c, 0))}; }}},
      {"humanize", {{P::any}, false, of_number<humanize>}},
      {"humanize1024", {{P::any}, false, of_number<humanize_1024>}},
      {"humanizeDuration", {{P::any}, false, of_number<humanize_duration>}},
      {"humanizePercentage", {{P::any}, false, of_number<percentage>}},
      {"humanizeTimestamp", {{P::any}, false, humanize_timestamp}},
      {"toTime", {{P::any}, false, [](const Call& c) { return Value{to_time(to_float(c.args[0]))}; }}},
      {"toDuration", {{P::any}, false, [](const Call& c) { return Value{GoDuration{nanoseconds(to_float(c.args[0]), "duration")}}; }}},
      {"now", {{}, false, [](const Call& c) { return Value{static_cast<double>(c.context.now.millis()) / 1000}; }}},
      {"pathPrefix", {{}, false, [](const Call& c) { return Value{path_of(c.context.external_url)}; }}},
      {"externalURL", {{}, false, [](const Call& c) { return Value{std::string(c.context.external_url)}; }}},
      {"parseDuration", {{P::string}, false, parse_duration_text}},
      {"urlQueryEscape", {{P::string}, false, [](const Call& c) { return Value{query_escape(text(c, 0))}; }}},
  };
  return kFunctions;
}

}  // namespace rollbackd::rules::tmpl
