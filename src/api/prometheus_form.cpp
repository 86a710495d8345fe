// How Prometheus's HTTP API asks and answers, told apart from what is asked: a Grafana or promtool must not notice the difference.
// Flow: HTTP -> [form] -> prometheus_query, prometheus_series, prometheus_rules.
#include "api/prometheus_form.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <memory>

#include "base/text.hpp"
#include "base/when.hpp"

namespace rollbackd::api::prometheus {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kPieceBytes = 64 << 10;
constexpr double kFarthestSeconds = 4.6e9;  ///< the distance of any two such instants still fits into 64 bits of nanoseconds
constexpr std::string_view kColumn = "column ";

struct Kind {
  const char* name;
  int status;
};
Kind kind_of(Errc code) {
  switch (code) {
    case Errc::invalid_argument: return {"bad_data", 400};
    case Errc::refused:
    case Errc::too_large: return {"execution", 422};
    case Errc::timed_out: return {"timeout", 503};
    case Errc::cancelled: return {"canceled", 499};
    case Errc::unavailable: return {"unavailable", 503};
    case Errc::not_found: return {"not_found", 404};
    default: return {"internal", 500};
  }
}

std::string quoted(const std::string& text) {
  std::string out;
  append_text(out, printable(cut(text, 256)));
  return out;
}

std::optional<double> number_of(const std::string& text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, failed] = std::from_chars(text.data(), end, value);
  if (failed != std::errc() || stopped != end) return std::nullopt;
  return value;
}

std::string float_in(double value, std::chars_format format) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  std::array<char, 512> buffer{};
  const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format);
  return {buffer.data(), written.ptr};
}

/// "LINE:COLUMN" of the character at `place`, both from 1.
std::string place_text(std::string_view text, std::size_t place) {
  std::size_t line = 1, column = 1;
  for (std::size_t i = 0, characters = 0; i < text.size() && characters < place; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U) continue;  // Within a character.
    ++characters;
    ++column;
    if (text[i] == '\n') {
      ++line;
      column = 1;
    }
  }
  return std::to_string(line) + ":" + std::to_string(column);
}

std::size_t characters_in(std::string_view text) {
  std::size_t n = 0;
  for (const char c : text)
    if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80U) ++n;
  return n;
}

/// What stands in an error's "column N: message".
struct Placed {
  std::optional<std::size_t> place;  ///< in characters, from 0
  std::string message;
};
Placed placed(const Error& error) {
  const std::string& why = error.why;
  if (!why.starts_with(kColumn)) return {std::nullopt, why.empty() ? error.what : why};
  std::size_t column = 0;
  const auto [stopped, failed] = std::from_chars(why.data() + kColumn.size(), why.data() + why.size(), column);
  const auto at = static_cast<std::size_t>(stopped - why.data());
  if (failed != std::errc() || column == 0 || why.substr(at, 2) != ": ") return {std::nullopt, why};
  return {column - 1, why.substr(at + 2)};
}

void append_list(std::string& out, std::string_view name, const std::vector<std::string>& texts) {
  if (texts.empty()) return;
  out += ",\"";
  out += name;
  out += "\":[";
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i > 0) out += ',';
    append_text(out, texts[i]);
  }
  out += ']';
}

}  // namespace

Error bad_data(std::string text) { return Error(Errc::invalid_argument, std::move(text)); }
Error bad_parameter(std::string_view name, const std::string& text) {
  return bad_data("invalid parameter \"" + std::string(name) + "\": " + text);
}
Error execution(std::string text) { return Error(Errc::refused, std::move(text)); }

io::ServerResponse failure(const Error& error) {
  const Kind kind = kind_of(error.code);
  io::ServerResponse response;
  response.status = kind.status;
  response.body = R"({"status":"error","errorType":")" + std::string(kind.name) + R"(","error":)";
  append_text(response.body, error.what);
  response.body += '}';
  return response;
}

Result<Params> Params::of(const io::ServerRequest& request) {
  Params out;
  const auto type = request.headers.find("content-type");
  if (request.method == "POST" && type != request.headers.end() && type->second.starts_with("application/x-www-form-urlencoded")) {
    auto form = io::parse_form(request.body);
    if (!form) return bad_data("error parsing form values: the body is no form");
    out.pairs_ = std::move(*form);
  }
  if (auto query = io::parse_form(request.query_text)) {
    for (auto& pair : *query) out.pairs_.push_back(std::move(pair));
  }
  if (request.query_text.empty()) out.pairs_.insert(out.pairs_.end(), request.query.begin(), request.query.end());
  return out;
}

std::string Params::get(std::string_view name) const {
  for (const auto& [key, value] : pairs_)
    if (key == name) return value;
  return {};
}

std::vector<std::string> Params::all(std::string_view name) const {
  std::vector<std::string> out;
  for (const auto& [key, value] : pairs_)
    if (key == name) out.push_back(value);
  return out;
}

Result<std::optional<Instant>> Params::time(std::string_view name) const {
  const std::string text = get(name);
  if (text.empty()) return std::optional<Instant>();
  if (const auto seconds = number_of(text); seconds && !std::isnan(*seconds)) {
    const double near = std::min(std::max(*seconds, -kFarthestSeconds), kFarthestSeconds);
    double whole = 0;
    const double fraction = std::round(std::modf(near, &whole) * 1000);
    return std::optional(Instant::from_millis(static_cast<std::int64_t>(whole) * 1000 + static_cast<std::int64_t>(fraction)));
  }
  if (text.find('T') != text.npos)
    if (const auto when = parse_when(text, Instant{}); when && when->seconds() < kFarthestSeconds) return std::optional(*when);
  const std::string what = "cannot parse " + quoted(text) + " to a valid timestamp";
  return bad_parameter(name, name == "time" ? "Invalid time value for 'time': " + what : what);  // Its two ways of reading a time.
}

Result<std::optional<Duration>> Params::duration(std::string_view name) const {
  const std::string text = get(name);
  if (text.empty()) return std::optional<Duration>();
  if (const auto seconds = number_of(text); seconds && !std::isnan(*seconds)) {
    if (std::abs(*seconds) > kFarthestSeconds) {
      return bad_parameter(name, "cannot parse " + quoted(text) + " to a valid duration. It overflows int64");
    }
    return std::optional(Duration(static_cast<std::int64_t>(*seconds * 1e9)));
  }
  if (const auto length = parse_duration(text)) return std::optional(*length);
  return bad_parameter(name, "cannot parse " + quoted(text) + " to a valid duration");
}

Result<std::size_t> Params::limit(std::string_view name) const {
  const std::string text = get(name);
  if (text.empty()) return std::size_t{0};
  std::int64_t value = 0;
  const auto [stopped, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || stopped != text.data() + text.size()) return bad_parameter(name, quoted(text) + " is no number");
  if (value < 0) return bad_parameter(name, "limit must be non-negative");
  return static_cast<std::size_t>(value);
}

Result<promql::ExprPtr> parse_expression(const std::string& text, std::string_view name) {
  auto expr = promql::parse(text);
  if (expr) return expr;
  const Placed error = placed(expr.error());
  return bad_parameter(name, (error.place ? place_text(text, *error.place) + ": " : "") + "parse error: " + error.message);
}

Result<std::vector<std::vector<series::Matcher>>> parse_matches(const std::vector<std::string>& texts) {
  std::vector<std::vector<series::Matcher>> out;
  for (const std::string& text : texts) {
    auto expr = parse_expression(text, "match[]");
    if (!expr) return expr.error();
    const promql::Expr& e = **expr;
    if (e.kind != promql::Expr::Kind::selector || e.offset() != Duration{} || e.at_kind != promql::Expr::At::none)
      return bad_parameter("match[]", "1:1: parse error: " + quoted(text) + " is no plain selector of series");
    out.emplace_back(e.matchers.begin(), e.matchers.end());
  }
  return out;
}

Error evaluation_failure(const Error& error, std::string_view expression) {
  Placed said = placed(error);
  if (said.place) said.message += " (" + place_text(expression, *said.place) + ")";
  return Error(error.code == Errc::too_large ? Errc::too_large : Errc::refused, std::move(said.message));
}

std::string annotation_text(const promql::Annotation& annotation, std::string_view expression) {
  const char* level = annotation.level == promql::Annotation::Level::warning ? "PromQL warning: " : "PromQL info: ";
  const std::size_t before = characters_in(expression.substr(0, std::min<std::size_t>(annotation.begin, expression.size())));
  return level + annotation.text + " (" + place_text(expression, before) + ")";
}

void append_text(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_labels(std::string& out, const Labels& labels) {
  out += '{';
  bool first = true;
  for (const auto& [name, value] : labels.pairs()) {
    if (!std::exchange(first, false)) out += ',';
    append_text(out, name);
    out += ':';
    append_text(out, value);
  }
  out += '}';
}

void append_time(std::string& out, Instant at) {
  constexpr std::int64_t kNs = 1'000'000;
  std::int64_t ms = at.ns() / kNs - (at.ns() % kNs < 0 ? 1 : 0);
  if (ms < 0) out += '-';
  ms = std::abs(ms);
  out += std::to_string(ms / 1000);
  if (ms % 1000 == 0) return;
  std::string fraction = std::to_string(1000 + ms % 1000);
  fraction[0] = '.';
  out += fraction;
}

std::string float_text(double value) {
  const double size = std::abs(value);
  const bool far = size != 0 && (size < 1e-6 || size >= 1e21);
  return float_in(value, far ? std::chars_format::scientific : std::chars_format::fixed);
}

std::string exponent_text(double value) { return float_in(value, std::chars_format::scientific); }

void append_value(std::string& out, double value) {
  out += '"';
  out += float_text(value);
  out += '"';
}

void append_point(std::string& out, Instant at, double value) {
  out += '[';
  append_time(out, at);
  out += ',';
  append_value(out, value);
  out += ']';
}

std::string& Pieces::tail() {
  if (pieces_.empty() || pieces_.back().size() >= kPieceBytes) pieces_.emplace_back();
  return pieces_.back();
}

io::ServerResponse Pieces::response() && {
  io::ServerResponse out;
  if (pieces_.empty()) return out;
  out.body = std::move(pieces_.front());
  if (pieces_.size() == 1) return out;
  auto rest = std::make_shared<std::vector<std::string>>(std::move(pieces_));
  out.more = [rest, at = std::size_t{1}]() mutable -> asio::awaitable<Result<std::string>> {
    if (at >= rest->size()) co_return std::string();
    co_return std::move((*rest)[at++]);
  };
  return out;
}

void append_notes(std::string& out, const Notes& notes) {
  append_list(out, "warnings", notes.warnings);
  append_list(out, "infos", notes.infos);
  out += '}';
}

io::ServerResponse success(std::string_view data, const Notes& notes) {
  io::ServerResponse out;
  out.body = R"({"status":"success","data":)";
  out.body += data;
  append_notes(out.body, notes);
  return out;
}

}  // namespace rollbackd::api::prometheus
