// The form in which Prometheus's HTTP API asks and answers: parameters, times, numbers, errors. Pure; internal to api/.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"
#include "io/http_server.hpp"
#include "model/labels.hpp"
#include "promql/evaluate.hpp"
#include "promql/parse.hpp"

namespace rollbackd::api::prometheus {

// An error's `what` is the whole text that the client sees; its code is the kind: invalid_argument `bad_data`, refused and too_large
// `execution`, timed_out `timeout`, cancelled `canceled`, unavailable `unavailable`, not_found `not_found`, else `internal`.
Error bad_data(std::string text);
Error bad_parameter(std::string_view name, const std::string& text);  ///< invalid parameter "NAME": TEXT
Error execution(std::string text);

/// {"status":"error","errorType","error"} with Prometheus's status for the kind.
io::ServerResponse failure(const Error& error);

/// The parameters of a query, those of a form's body first. Unknown ones are ignored, as Prometheus does.
class Params {
 public:
  static Result<Params> of(const io::ServerRequest& request);
  /// The first value of `name`, or "".
  std::string get(std::string_view name) const;
  std::vector<std::string> all(std::string_view name) const;
  /// Unix seconds (rounded to milliseconds) or RFC 3339; nothing when not given.
  Result<std::optional<Instant>> time(std::string_view name) const;
  /// Seconds or Prometheus's duration form; nothing when not given.
  Result<std::optional<Duration>> duration(std::string_view name) const;
  /// A count; 0 and not given: none.
  Result<std::size_t> limit(std::string_view name) const;

 private:
  std::vector<std::pair<std::string, std::string>> pairs_;
};

/// The expression in parameter `name`; a failure says "LINE:COLUMN: parse error: ...", as Prometheus's does.
Result<promql::ExprPtr> parse_expression(const std::string& text, std::string_view name);
/// The matchers of each `match[]`.
Result<std::vector<std::vector<series::Matcher>>> parse_matches(const std::vector<std::string>& texts);
/// What an evaluation's failure is in this API; the place in the text is kept, at its end: "... (1:5)".
Error evaluation_failure(const Error& error, std::string_view expression);
/// "PromQL warning: ... (1:5)".
std::string annotation_text(const promql::Annotation& annotation, std::string_view expression);

void append_text(std::string& out, std::string_view text);      ///< as a JSON string
void append_labels(std::string& out, const Labels& labels);     ///< as a JSON object
void append_time(std::string& out, Instant at);                 ///< seconds, with milliseconds where there are any
void append_value(std::string& out, double value);              ///< as a JSON string
void append_point(std::string& out, Instant at, double value);  ///< [time, "value"]
std::string float_text(double value);                           ///< as Prometheus's JSON writes sample values
std::string exponent_text(double value);                        ///< as its alerts do: "1e+00"

/// An answer's text in pieces that are sent one a turn.
class Pieces {
 public:
  /// Where to append; a piece is full at 64 KiB.
  std::string& tail();
  io::ServerResponse response() &&;

 private:
  std::vector<std::string> pieces_;
};

/// What goes beside the data of an answer.
struct Notes {
  std::vector<std::string> warnings, infos;
};
/// Ends an answer whose data is written: the notes and the closing brace.
void append_notes(std::string& out, const Notes& notes);
/// {"status":"success","data":DATA, notes}
io::ServerResponse success(std::string_view data, const Notes& notes = {});

}  // namespace rollbackd::api::prometheus
