#include "checks/expect.hpp"

#include <re2/re2.h>

#include <charconv>
#include <optional>

#include "base/text.hpp"

namespace rollbackd::checks {
namespace {

std::optional<int> status_number(std::string_view text) {
  int out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.size() != 3 || error != std::errc() || end != text.data() + text.size() || out < 100) return std::nullopt;
  return out;
}

/// The range that "200", "2xx" or "200-299" stands for.
std::optional<std::pair<int, int>> status_range(std::string_view text) {
  if (text.size() == 3 && text[0] >= '1' && text[0] <= '9' && (text.substr(1) == "xx" || text.substr(1) == "XX")) {
    const int hundred = (text[0] - '0') * 100;
    return std::pair(hundred, hundred + 99);
  }
  const std::size_t dash = text.find('-');
  const auto from = status_number(trim(text.substr(0, dash)));
  const auto to = dash == text.npos ? from : status_number(trim(text.substr(dash + 1)));
  if (!from || !to || *from > *to) return std::nullopt;
  return std::pair(*from, *to);
}

Result<std::shared_ptr<const re2::RE2>> compiled(const std::string& pattern) {
  if (pattern.empty()) return std::shared_ptr<const re2::RE2>();
  re2::RE2::Options options;
  options.set_log_errors(false);
  auto out = std::make_shared<const re2::RE2>(pattern, options);
  if (!out->ok()) return Error(Errc::invalid_config, "\"" + printable(pattern) + "\" is no regular expression").because(out->error());
  return out;
}

}  // namespace

Result<Expectation> Expectation::make(const std::vector<std::string>& status, const std::string& body_matches,
                                      const std::string& body_not_matches) {
  Expectation out;
  for (const std::string& text : status) {
    const auto range = status_range(text);
    if (!range) return Error(Errc::invalid_config, "\"" + printable(text) + "\" is no HTTP status").try_next("write 200, 2xx or 200-299");
    out.status_.push_back(*range);
  }
  auto matches = compiled(body_matches), not_matches = compiled(body_not_matches);
  if (matches.has_error()) return matches.error();
  if (not_matches.has_error()) return not_matches.error();
  out.matches_ = std::move(*matches);
  out.not_matches_ = std::move(*not_matches);
  return out;
}

bool Expectation::wants(int status) const {
  return std::any_of(status_.begin(), status_.end(), [&](const auto& range) { return range.first <= status && status <= range.second; });
}

std::string Expectation::failure(const io::HttpResponse& answer) const {
  if (!wants(answer.status)) return "the status is not one that is wanted";
  if (matches_ && !re2::RE2::PartialMatch(answer.body, *matches_)) return "the body does not match \"" + matches_->pattern() + "\"";
  if (not_matches_ && re2::RE2::PartialMatch(answer.body, *not_matches_)) return "the body matches \"" + not_matches_->pattern() + "\"";
  return "";
}

std::string status_line(const io::HttpResponse& answer, Duration took) {
  const std::string reason = answer.reason.empty() ? "" : " " + cut(printable(answer.reason), 100);
  return "HTTP " + std::to_string(answer.status) + reason + " in " + (took < 1ms ? "under 1ms" : format_duration(took));
}

}  // namespace rollbackd::checks
