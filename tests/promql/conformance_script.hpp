// The language of Prometheus's test scripts: series with their values, and what an eval expects. Reading alone; conformance.cpp runs it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.hpp"
#include "model/labels.hpp"

namespace rollbackd::promql::conformance {

/// One position of a series: a value, or nothing ("_", or a native histogram).
using Values = std::vector<std::optional<double>>;

/// "name{a="b"} 1 2 3", "{...} 1", or a number alone.
struct Line {
  Labels labels;
  Values values;
  bool native = false;     ///< holds native histograms
  bool scalar = false;     ///< a number alone
  bool starts = false;     ///< `name{...}@st`: start timestamps of a series, which upstream is trying out
  std::string unreadable;  ///< the first item that is none
};
Line series_line(const std::string& text);

/// `expect WHAT [msg:|regex:] TEXT`
struct Expectation {
  enum class What { fail, warn, info, no_warn, no_info };
  What what = What::fail;
  std::string text;  ///< empty: anything
  bool regex = false;
};

struct Eval {
  int line = 0;
  bool range = false, ordered = false;
  Instant from, to;
  Duration step{};
  std::string expression;
  std::vector<Expectation> expectations;
  std::optional<std::string> string;
  bool range_vector = false;  ///< `expect range vector from .. to .. step ..`
  Instant vector_from;
  Duration vector_step{};
  std::vector<Line> lines;
  std::string unreadable;  ///< what of it could not be read
  bool expects(Expectation::What what) const;
};

/// The first line of an eval; `unreadable` is set where it is none.
Eval eval_line(const std::string& line, int number);
/// One line below an eval.
void expectation_line(Eval& e, const std::string& line);

/// Whether `actual` is what `expected` asks for.
bool fits(const Expectation& expected, const std::string& actual);

/// The instant that lies so long after 0: "5m", "0", "90s".
std::optional<Instant> instant(std::string_view text);

/// What upstream calls experimental and the engine does not have, in an expression that does not parse; empty if nothing.
std::string experimental(const std::string& expression);

}  // namespace rollbackd::promql::conformance
