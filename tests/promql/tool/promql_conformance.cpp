// promql_conformance FILE...: Prometheus's PromQL test scripts against this engine, with what passed, was skipped (and why) and failed.
#include <fstream>
#include <iostream>
#include <sstream>

#include "tests/promql/conformance.hpp"

namespace {

constexpr const char* kHelp =
    "usage: promql_conformance FILE...\n"
    "Runs PromQL test scripts (Prometheus's promqltest language) against rollbackd's engine. For each file it prints how many evals\n"
    "passed, how many were skipped and for which reasons (native histograms, what Prometheus calls experimental), and each failure with\n"
    "its line, expression and cause.\n"
    "exit status: 0 nothing failed, 1 something did, 2 a file could not be read or the arguments are wrong\n";

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> files(argv + 1, argv + argc);
  if (files.size() == 1 && (files[0] == "--help" || files[0] == "-h")) {
    std::cout << kHelp;
    return 0;
  }
  if (files.empty() || files[0].starts_with("-")) {
    std::cerr << kHelp;
    return 2;
  }
  bool failed = false, unreadable = false;
  for (const std::string& file : files) {
    std::ifstream in(file);
    std::ostringstream script;
    if (!in || !(script << in.rdbuf())) {
      std::cerr << "cannot read " << file << ": is it there, a file, not empty and readable?\n";
      unreadable = true;
      continue;
    }
    const auto report = rollbackd::promql::conformance::run(script.str());
    std::cout << report.text(file);
    failed = failed || !report.failed.empty();
  }
  return unreadable ? 2 : failed ? 1 : 0;
}
