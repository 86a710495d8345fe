// The outcome of tests as JUnit XML, for CI systems.
#include "base/text.hpp"
#include "cli/test_rules.hpp"

namespace rollbackd::cli {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&#34;"; break;
      case '\'': out += "&#39;"; break;
      case '\n': out += "&#xA;"; break;
      case '\t': out += "&#x9;"; break;
      case '\r': out += "&#xD;"; break;
      default:
        // XML 1.0 has no other control characters, not even escaped ones.
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\xef\xbf\xbd";
        } else {
          out += c;
        }
    }
  }
  return out;
}

std::string attribute(const char* name, std::size_t n) { return std::string(" ") + name + "=\"" + std::to_string(n) + "\""; }

std::string test_case(const TestOutcome& test) {
  std::string out = "<testcase name=\"" + escaped(test.name) + "\">";
  for (const std::string& failure : test.failures) out += "<failure>" + escaped(failure) + "</failure>";
  if (test.failures.empty() && !test.skipped.empty()) out += "<skipped message=\"" + escaped(join(test.skipped, "; ")) + "\"></skipped>";
  return out + "</testcase>";
}

}  // namespace

std::string junit_xml(const std::vector<FileOutcome>& files, const std::string& when) {
  std::string out = "<testsuites>";
  for (const FileOutcome& file : files) {
    std::size_t failures = 0, skipped = 0;
    for (const TestOutcome& test : file.tests) {
      failures += test.failures.size();
      skipped += test.failures.empty() && !test.skipped.empty() ? 1 : 0;
    }
    const bool aborted = !file.error.empty();
    out += "<testsuite name=\"" + escaped(file.file) + "\"" + attribute("tests", aborted ? 1 : file.tests.size()) +
           attribute("failures", failures) + attribute("errors", aborted ? 1 : 0) + attribute("skipped", skipped) + " timestamp=\"" +
           (aborted ? "" : when) + "\">";
    for (const TestOutcome& test : file.tests) out += test_case(test);
    if (aborted) out += "<testcase name=\"unknown\"><error>" + escaped(file.error) + "</error></testcase>";
    out += "</testsuite>";
  }
  return out + "</testsuites>";
}

}  // namespace rollbackd::cli
