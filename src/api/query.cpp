#include "api/query.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/ids.hpp"
#include "base/text.hpp"
#include "base/when.hpp"
#include "model/decision.hpp"
#include "model/operation.hpp"

namespace rollbackd::api {
namespace {

constexpr int kLimitDefault = 50, kLimitMax = 1000;
constexpr std::size_t kPrincipalBytesMax = 128;

using Query = std::map<std::string, std::string>;

/// Every word that `to_string` has for the numbers from `first` on that `from` knows: what an error names as allowed.
template <class Enum, class From>
std::vector<std::string> words_of(int first, From from) {
  std::vector<std::string> out;
  constexpr int kMost = 32;
  for (int n = first; n < kMost; ++n) {
    const std::string word = to_string(static_cast<Enum>(n));
    if (!from(word) || std::find(out.begin(), out.end(), word) != out.end()) break;
    out.push_back(word);
  }
  return out;
}

Error unknown_word(const std::string& name, const std::string& value, const std::vector<std::string>& allowed) {
  return Error(Errc::invalid_argument, "there is no " + name + " \"" + printable(cut(value, 64)) + "\"")
      .because(name + " is one of " + join(allowed, ", "));
}

/// Takes parameters one by one and remembers the first that is wrong.
class Reader {
 public:
  Reader(const Query& query, Instant now) : query_(query), now_(now) {}

  void text(const char* name, std::string& into, std::size_t bytes_max) {
    const std::string* value = take(name);
    if (value == nullptr) return;
    into = *value;
    if (into.size() > bytes_max) fail(Error(Errc::invalid_argument, std::string(name) + " is too long"));
  }
  void name(const char* parameter, std::string& into) {
    text(parameter, into, 64);
    if (!into.empty() && !is_name(into))
      fail(Error(Errc::invalid_argument, "\"" + printable(cut(into, 64)) + "\" is no " + parameter)
               .because("[A-Za-z0-9][A-Za-z0-9._-]{0,63}"));
  }
  void release(const char* parameter, std::string& into) {
    text(parameter, into, 128);
    if (!into.empty() && !is_release_id(into))
      fail(
          Error(Errc::invalid_argument, "\"" + printable(cut(into, 64)) + "\" is no release").because("[A-Za-z0-9][A-Za-z0-9._+-]{0,127}"));
  }
  void word(const char* parameter, std::string& into, const std::vector<std::string>& allowed) {
    text(parameter, into, 64);
    if (!into.empty() && std::find(allowed.begin(), allowed.end(), into) == allowed.end()) fail(unknown_word(parameter, into, allowed));
  }
  void time(const char* parameter, std::optional<Instant>& into) {
    const std::string* value = take(parameter);
    if (value == nullptr || value->empty()) return;
    auto when = parse_when(*value, now_);
    if (!when) return fail(Error(when.error().code, std::string(parameter) + ": " + when.error().what).because(when.error().why));
    into = *when;
  }
  void limit(int& into) {
    const std::string* value = take("limit");
    into = kLimitDefault;
    if (value == nullptr) return;
    const char* const end = value->data() + value->size();
    const auto [stopped, failed] = std::from_chars(value->data(), end, into);
    if (failed != std::errc() || stopped != end || into < 1 || into > kLimitMax)
      fail(Error(Errc::invalid_argument, "limit must be a number from 1 to 1000"));
  }
  /// A parameter that was not taken is an error: ignored, a misspelt filter would show rows that nobody asked for.
  Result<> done() {
    for (const auto& [key, value] : query_) {
      if (std::find(taken_.begin(), taken_.end(), key) != taken_.end()) continue;
      const std::string near = nearest(key, taken_);
      fail(Error(Errc::invalid_argument, "unknown parameter \"" + printable(cut(key, 64)) + "\"")
               .because("it may be " + join(taken_, ", "))
               .try_next(near.empty() ? "" : "did you mean \"" + near + "\"?"));
    }
    if (error_.code == Errc::none) return {};
    return error_;
  }

 private:
  const std::string* take(const char* name) {
    taken_.emplace_back(name);
    const auto at = query_.find(name);
    return at == query_.end() ? nullptr : &at->second;
  }
  void fail(Error error) {
    if (error_.code == Errc::none) error_ = std::move(error);
  }

  const Query& query_;
  Instant now_;
  std::vector<std::string> taken_;
  Error error_;
};

}  // namespace

Result<record::HistoryFilter> history_filter_of(const io::ServerRequest& request, Rows rows, Instant now) {
  static const auto kinds = words_of<OperationKind>(1, operation_kind_from);
  static const auto statuses = words_of<OperationStatus>(1, operation_status_from);
  static const auto triggers = words_of<Trigger>(1, trigger_from);
  static const auto causes = words_of<Cause>(1, cause_from);
  static const auto decisions = words_of<DecisionKind>(0, decision_kind_from);
  record::HistoryFilter filter;
  Reader reader(request.query, now);
  reader.name("service", filter.service);
  reader.name("environment", filter.environment);
  reader.time("since", filter.since);
  if (rows != Rows::stats) {
    reader.time("until", filter.until);
    reader.release("release", filter.release);
    reader.limit(filter.limit);
  }
  if (rows == Rows::decisions) reader.word("kind", filter.kind, decisions);
  if (rows == Rows::operations) {
    reader.word("kind", filter.kind, kinds);
    reader.word("status", filter.status, statuses);
    reader.word("trigger", filter.trigger, triggers);
    reader.word("cause", filter.cause, causes);
    reader.text("principal", filter.principal, kPrincipalBytesMax);
  }
  if (auto done = reader.done(); !done) return done.error();
  return filter;
}

Result<record::AuditFilter> audit_filter_of(const io::ServerRequest& request, Instant now) {
  record::AuditFilter filter;
  Reader reader(request.query, now);
  reader.name("service", filter.service);
  reader.name("environment", filter.environment);
  reader.text("principal", filter.principal, kPrincipalBytesMax);
  reader.text("action", filter.action, 64);
  reader.time("since", filter.since);
  reader.time("until", filter.until);
  reader.limit(filter.limit);
  if (auto done = reader.done(); !done) return done.error();
  return filter;
}

}  // namespace rollbackd::api
