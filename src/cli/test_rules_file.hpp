// promtool's test files, read into plain data. What promtool refuses is refused here too, with its line.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.hpp"
#include "config/document.hpp"

namespace rollbackd::cli {

struct InputSeries {
  std::string series, values;
};

/// One alert that must fire. An empty text is kept: promtool tells it from a missing one.
struct ExpectedAlert {
  std::map<std::string, std::string> labels, annotations;
};

struct AlertTest {
  Duration at{};
  std::string alertname;
  std::vector<ExpectedAlert> alerts;
};

struct ExpectedSample {
  std::string labels;
  double value = 0;
  std::string histogram;
};

struct ExprTest {
  std::string expr;
  Duration at{};
  std::vector<ExpectedSample> samples;
};

/// One world with its own series and rules' states.
struct TestGroup {
  std::string name;
  Duration interval{};  ///< between two values of a series; the file's evaluation_interval when not given
  std::vector<InputSeries> input;
  std::vector<AlertTest> alert_tests;
  std::vector<ExprTest> expr_tests;
  std::map<std::string, std::string> external_labels;
  std::string external_url;
  Instant start;  ///< of the first value and the first evaluation
};

struct TestFile {
  std::vector<std::string> rule_files;  ///< patterns, as written
  Duration evaluation_interval = 1min;
  std::vector<std::string> group_eval_order;
  std::vector<TestGroup> tests;
  bool fuzzy_compare = false;
};

/// `text` up to where a second YAML document begins: promtool reads the first alone.
std::string_view first_document(std::string_view text);

/// Reads a test file. All problems at once; with one among them the file must not be run.
TestFile parse_test_file(std::string_view text, const std::string& file, std::vector<config::Problem>& problems);

}  // namespace rollbackd::cli
