// Queries and recordings: asks the daemon's Prometheus API and shows the answer to people. All of the language is the daemon's.
// Flow: person -> [query] -> HTTP -> api/prometheus_query, api/prometheus_dump.
#include "cli/query.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <memory>

#include "base/text.hpp"
#include "base/when.hpp"
#include "cli/render.hpp"
#include "io/clock.hpp"
#include "model/labels.hpp"

namespace rollbackd::cli {

namespace {

constexpr int kSteps = 20;  ///< of a range without a step
constexpr std::size_t kRecordingBytesMax = (std::size_t{1} << 30U) + (1U << 20U);
constexpr std::string_view kEnd = "# EOF\n";

struct Options {
  std::string expression, time, range, start, end, step, file;
};

std::string series_text(const Json& metric) {
  Labels labels;
  for (const auto& [name, value] : metric.members()) labels.set(name, value.string_or(""));
  const std::string text = labels.to_string();
  return text.empty() ? "{}" : text;
}

std::string time_text(const Json& seconds) {
  return format_rfc3339(Instant::from_millis(static_cast<std::int64_t>(seconds.number_or(0) * 1000 + 0.5)));
}

/// A point of time as the API takes it: unix seconds with milliseconds.
std::string unix_text(Instant at) {
  std::array<char, 32> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%lld.%03lld", static_cast<long long>(at.millis() / 1000),
                static_cast<long long>(at.millis() % 1000));
  return buffer.data();
}

/// Where an error says that it is: "LINE:COLUMN" before its message, or in brackets after it.
struct Place {
  std::size_t line = 0, column = 0;
  std::string message;
};

/// "12:3" at the beginning of `text`; how many characters it has, 0 when it is none.
std::size_t read_place(std::string_view text, Place& into) {
  const char* const end = text.data() + text.size();
  const auto line = std::from_chars(text.data(), end, into.line);
  if (line.ec != std::errc() || line.ptr == end || *line.ptr != ':') return 0;
  const auto column = std::from_chars(line.ptr + 1, end, into.column);
  if (column.ec != std::errc() || into.line == 0 || into.column == 0) return 0;
  return static_cast<std::size_t>(column.ptr - text.data());
}

Place place_of(const std::string& error) {
  constexpr std::string_view kBefore = "invalid parameter \"query\": ";
  Place out;
  if (error.starts_with(kBefore)) {
    const std::string_view rest = std::string_view(error).substr(kBefore.size());
    const std::size_t n = read_place(rest, out);
    if (n > 0 && rest.substr(n, 2) == ": ") return out.message = rest.substr(n + 2), out;
    return {0, 0, std::string(rest)};
  }
  if (const std::size_t open = error.rfind(" ("); open != error.npos && error.ends_with(')')) {
    const std::string_view inner = std::string_view(error).substr(open + 2, error.size() - open - 3);
    if (!inner.empty() && read_place(inner, out) == inner.size()) return out.message = error.substr(0, open), out;
  }
  return {0, 0, error};
}

/// The parameters of a query; start and end only for a range.
Result<std::map<std::string, std::string>> parameters(const Options& o) {
  const Instant now = io::Clock::wall_now();
  std::map<std::string, std::string> out{{"query", o.expression}};
  const auto when = [now](const std::string& text, Instant otherwise) -> Result<Instant> {
    if (text.empty()) return otherwise;
    return parse_when(text, now);
  };
  if (o.range.empty() && o.start.empty() && o.end.empty()) {
    if (!o.step.empty()) return Error(Errc::invalid_argument, "--step goes with --range, or --start and --end");
    if (o.time.empty()) return out;
    auto at = when(o.time, now);
    if (!at) return at.error();
    out["time"] = unix_text(*at);
    return out;
  }
  if (!o.range.empty() && (!o.start.empty() || !o.end.empty()))
    return Error(Errc::invalid_argument, "give --range, or --start and --end").because("--range is how far back from --time, or from now");
  if (o.range.empty() && o.start.empty()) return Error(Errc::invalid_argument, "--end needs --start");
  auto end = when(o.range.empty() ? o.end : o.time, now);
  if (!end) return end.error();
  auto length = parse_duration(o.range.empty() ? "0s" : o.range);
  if (!length) return length.error();
  auto start = when(o.start, *end - *length);
  if (!start) return start.error();
  auto step = parse_duration(o.step.empty() ? "0s" : o.step);
  if (!step) return step.error();
  if (o.step.empty()) step = std::max<Duration>(1s, (*end - *start) / kSteps);
  out["start"] = unix_text(*start);
  out["end"] = unix_text(*end);
  out["step"] = unix_text(Instant(step->count()));
  return out;
}

void print_notes(const Json& body) {
  for (const Json& note : body["warnings"].elements())
    std::fprintf(stderr, "rollbackctl: warning: %s\n", printable(note.string_or("")).c_str());
  for (const Json& note : body["infos"].elements()) std::fprintf(stderr, "rollbackctl: info: %s\n", printable(note.string_or("")).c_str());
}

int run_query(const Options& o, const InsightCommands& commands) {
  auto query = parameters(o);
  if (!query) return commands.fail(query.error());
  auto client = commands.connect();
  if (!client) return commands.fail(client.error());
  auto answer = client->post_form(query->contains("step") ? "/api/v1/query_range" : "/api/v1/query", *query);
  if (!answer) return commands.fail(answer.error());
  const bool ok = answer->status == 200;
  if (commands.json()) {
    std::printf("%s\n", answer->body.pretty().c_str());
    return ok ? 0 : 1;
  }
  if (!ok) {
    std::fprintf(stderr, "rollbackctl: %s", render_query_error(o.expression, answer->body["error"].string_or("no answer")).c_str());
    return 1;
  }
  std::fputs(render_query(answer->body["data"]).c_str(), stdout);
  std::fflush(stdout);
  print_notes(answer->body);
  return 0;
}

int run_dump(const Options& o, const InsightCommands& commands) {
  auto client = commands.connect();
  if (!client) return commands.fail(client.error());
  auto text = client->get_text("/api/v1/dump", kRecordingBytesMax);
  if (!text) return commands.fail(text.error());
  if (!text->ends_with(kEnd))
    return commands.fail(Error(Errc::corrupt, "the recording is not whole").because("it does not end with \"# EOF\"; nothing was written"));
  if (o.file == "-") return std::fwrite(text->data(), 1, text->size(), stdout) == text->size() ? 0 : 1;
  std::ofstream out(o.file, std::ios::binary | std::ios::trunc);
  out << *text;
  out.close();
  if (!out) return commands.fail(Error(Errc::io, "cannot write " + o.file).try_next("is there room, and may you write there?"));
  const auto lines = std::count(text->begin(), text->end(), '\n');
  std::fprintf(stderr, "wrote %s: %lld lines\n", printable(o.file).c_str(), static_cast<long long>(lines));
  return 0;
}

}  // namespace

std::string render_query(const Json& data) {
  const std::string type = data["resultType"].string_or("");
  const Json& result = data["result"];
  if (type == "scalar" || type == "string") return result.elements().size() < 2 ? "" : result.elements()[1].string_or("") + "\n";
  if (result.elements().empty()) return "no series\n";
  if (type == "vector") {
    Table table({"SERIES", "VALUE"});
    for (const Json& row : result.elements()) {
      const Json& point = row["value"];
      table.row({series_text(row["metric"]), point.elements().size() < 2 ? "" : point.elements()[1].string_or("")});
    }
    return table.text();
  }
  Table table({"SERIES", "TIME", "VALUE"});
  for (const Json& row : result.elements()) {
    std::string series = series_text(row["metric"]);
    for (const Json& point : row["values"].elements()) {
      if (point.elements().size() < 2) continue;
      table.row({std::exchange(series, ""), time_text(point.elements()[0]), point.elements()[1].string_or("")});
    }
  }
  return table.text();
}

std::string render_query_error(const std::string& expression, const std::string& error) {
  const Place place = place_of(error);
  std::string out = printable(place.message) + "\n";
  const auto lines = split(expression, '\n');
  if (place.line == 0 || place.line > lines.size()) return out;
  out += "  " + printable(lines[place.line - 1]) + "\n  ";
  return out + std::string(place.column - 1, ' ') + "^\n";
}

void add_query_command(CLI::App& app, const InsightCommands& commands, int& result) {
  const auto o = std::make_shared<Options>();
  auto* query = app.add_subcommand("query", "A PromQL expression over the daemon's live samples, at one instant or over a range");
  query->add_option("expression", o->expression, "The expression, such as 'rate(http_requests_total[1m])'")->required();
  query->add_option("--time", o->time, "The instant: 2026-11-20T13:04:05Z, or 5m ago as 5m; default: now");
  query->add_option("--range", o->range, "How far back from --time: a value for each step");
  query->add_option("--start", o->start, "Beginning of the range, instead of --range");
  query->add_option("--end", o->end, "End of the range; default: now");
  query->add_option("--step", o->step, "Of a range; default: its twentieth part, at least 1s");
  query->callback([o, &commands, &result] { result = run_query(*o, commands); });

  auto* dump = app.add_subcommand("dump", "Write the daemon's samples, with the releases they are of, to a file for replay");
  dump->add_option("file", o->file, "The file, or - for standard output")->required();
  dump->callback([o, &commands, &result] { result = run_dump(*o, commands); });
}

}  // namespace rollbackd::cli
