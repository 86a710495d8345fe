// query_range gives what an instant query would have given at each step: a sample is up to a lookback old there, and times are the steps'.
#include "cli/replay_fetch.hpp"

#include <algorithm>
#include <set>

#include "base/text.hpp"
#include "checks/exposition.hpp"
#include "cli/client.hpp"
#include "promql/parse.hpp"

namespace rollbackd::cli {

namespace {

constexpr std::int64_t kStepsMax = 10'000;
constexpr std::size_t kSelectorsMax = 1'000;

std::string seconds_text(Instant t) {
  std::string fraction = std::to_string(t.ns() % 1'000'000'000 / 1'000'000);
  return std::to_string(t.ns() / 1'000'000'000) + "." + std::string(3 - fraction.size(), '0') + fraction;
}

/// The selector alone: without its window, its offset and its @.
promql::Expr plain(const promql::Expr& selector) {
  promql::Expr out = selector;
  out.kind = promql::Expr::Kind::selector;
  out.range = Duration{0};
  out.rest.reset();
  out.at_kind = promql::Expr::At::none;
  return out;
}

std::string name_of(const promql::Expr& selector) {
  for (const auto& m : selector.matchers)
    if (m.label() == kNameLabel && m.op() == series::Matcher::Op::equal) return m.value();
  return "";
}

class Fetcher {
 public:
  Fetcher(Client client, const FetchOptions& options, std::string prefix, Recording& recording)
      : client_(std::move(client)), options_(options), prefix_(std::move(prefix)), recording_(recording) {}

  Result<> fetch(const std::string& selector) {
    const std::int64_t steps = (options_.end - options_.start) / options_.step + 1;
    for (std::int64_t from = 0; from < steps; from += kStepsMax) {
      auto done = slice(selector, from, std::min(from + kStepsMax, steps));
      if (!done) return done;
    }
    return {};
  }

 private:
  Instant at(std::int64_t step) const { return options_.start + step * options_.step; }

  /// Steps [from, to).
  Result<> slice(const std::string& selector, std::int64_t from, std::int64_t to) {
    const auto failed = [&](Errc code, const std::string& why) {
      return Error(code, options_.url + " does not give " + cut(selector, 200)).because(why);
    };
    auto answer =
        client_.get(prefix_ + "/api/v1/query_range", {{"query", selector},
                                                      {"start", seconds_text(at(from))},
                                                      {"end", seconds_text(at(to - 1))},
                                                      {"step", std::to_string(static_cast<double>(options_.step.count()) / 1e9)}});
    if (!answer) return failed(Errc::io, answer.error().why).try_next("is a Prometheus or a rollbackd at this address?");
    if (answer->body["status"].string_or("") == "error") return failed(Errc::refused, answer->body["error"].string_or(""));
    if (answer->status != 200) return failed(Errc::refused, "HTTP status " + std::to_string(answer->status));
    if (answer->body.is_string()) {  // Over what the client takes: it was cut off.
      if (to - from < 2) return failed(Errc::too_large, "the answer for one step is too long, or it is no JSON");
      const std::int64_t middle = from + (to - from) / 2;
      auto first = slice(selector, from, middle);
      return first ? slice(selector, middle, to) : first;
    }
    const Json& data = answer->body["data"];
    if (data["resultType"].string_or("") != "matrix") return failed(Errc::corrupt, "the answer has no matrix");
    for (const Json& element : data["result"].elements()) {
      auto taken = take(selector, element);
      if (!taken) return taken;
    }
    return {};
  }

  Result<> take(const std::string& selector, const Json& element) {
    std::vector<Labels::Pair> pairs;
    for (const auto& [name, value] : element["metric"].members()) pairs.emplace_back(name, value.string_or(""));
    Labels labels(std::move(pairs));
    auto target = std::make_pair(std::string(labels.get("job")), std::string(labels.get("instance")));
    if (selector != "up") {
      targets_.insert(std::move(target));
    } else if (!targets_.contains(target)) {
      return {};
    }
    auto place = recording_.series(std::move(labels));
    if (!place) return place.error();
    for (const Json& point : element["values"].elements()) {
      const auto& parts = point.elements();
      const auto value = parts.size() == 2 ? checks::parse_sample_value(parts[1].string_or("")) : std::nullopt;
      if (!value || !parts[0].is_number())
        return Error(Errc::corrupt, options_.url + " gives no samples").because("in the answer to " + selector);
      const auto at = Instant::from_millis(static_cast<std::int64_t>(parts[0].number_or(0) * 1000 + 0.5));
      auto added = recording_.add(*place, at, *value);
      if (!added) return added;
    }
    return {};
  }

  Client client_;
  const FetchOptions& options_;
  std::string prefix_;
  Recording& recording_;
  std::set<std::pair<std::string, std::string>> targets_;  ///< that the selectors asked so far found
};

}  // namespace

std::vector<std::string> selectors_to_fetch(const rules::Groups& groups) {
  std::set<std::string> recorded{"ALERTS", "ALERTS_FOR_STATE", "up"}, whole;
  for (const auto& group : groups)
    for (const auto& rule : group.rules)
      if (!rule.alerting) recorded.insert(rule.name);
  std::map<std::string, std::string> named;  ///< text -> name
  for (const auto& group : groups) {
    for (const auto& rule : group.rules) {
      for (const promql::Expr* selector : promql::selectors(*rule.expr)) {
        const std::string name = name_of(*selector), text = promql::to_text(plain(*selector));
        if (recorded.contains(name)) continue;
        if (selector->matchers.size() == 1 && !name.empty()) whole.insert(name);
        named.emplace(text, name);
      }
    }
  }
  std::vector<std::string> out;
  for (const auto& [text, name] : named) {
    const bool part = whole.contains(name) && text.find('{') != text.npos;  // Another one asks for all of that name.
    if (!part) out.push_back(text);
  }
  out.emplace_back("up");  // Last: by then it is known which targets are meant.
  return out;
}

Result<> fetch_recording(const FetchOptions& options, const std::vector<std::string>& selectors, Recording& recording) {
  if (options.end < options.start) return Error(Errc::invalid_argument, "--end is before --start");
  if (options.step < 1ms) return Error(Errc::invalid_argument, "--step is shorter than 1ms");
  if (selectors.size() > kSelectorsMax) {
    return Error(Errc::too_large,
                 "the rules read " + std::to_string(selectors.size()) + " selectors, over " + std::to_string(kSelectorsMax))
        .try_next("choose some of them with --rule");
  }
  std::string url = options.url, prefix;
  if (const std::size_t scheme = url.find("://"); scheme != url.npos) {
    const std::size_t path = url.find('/', scheme + 3);
    if (path != url.npos) {
      prefix = url.substr(path);
      url.erase(path);
      while (prefix.ends_with('/')) prefix.pop_back();
    }
  }
  auto client = Client::open(url, options.token);
  if (!client) return client.error();
  Fetcher fetcher(std::move(*client), options, std::move(prefix), recording);
  for (const std::string& selector : selectors) {
    auto done = fetcher.fetch(selector);
    if (!done) return done;
  }
  return {};
}

}  // namespace rollbackd::cli
