#include "engine/watched.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "engine/secrets.hpp"

namespace rollbackd::engine {

void Watched::note(const Batch& batch) {
  auto at = words.find(batch.check);
  if (at == words.end()) {
    if (words.size() >= kChecksMax) return;
    at = words.emplace(batch.check, std::deque<Word>()).first;
  }
  std::deque<Word>& list = at->second;
  const int answer = batch.healthy ? (*batch.healthy ? 1 : 0) : -1;
  const bool unobserved = !batch.unobserved.empty();
  const std::string& says = unobserved ? batch.unobserved : batch.detail;
  const bool well = !unobserved && (answer == 1 || says.empty());
  // A healthy word gives way to the next one: what counts is what was said when it was not healthy.
  const bool same_kind = !list.empty() && list.back().answer == answer && list.back().unobserved == unobserved;
  if (same_kind && (well || list.back().detail == says)) {
    Word& last = list.back();
    last.last = batch.at;
    ++last.times;
    if (last.detail != says) last.detail = says;
    return;
  }
  list.push_back({batch.at, batch.at, 1, answer, unobserved, says});
  if (list.size() > kWordsMax) list.pop_front();
}

void Watched::note(const AlertChange& change) {
  const std::string key = change.group + "\n" + change.rule + "\n" + change.labels.to_string();
  if (change.phase == AlertPhase::inactive) {
    standing.erase(key);
  } else if (standing.size() < kAlertsMax || standing.contains(key)) {
    standing[key] = change;
  }
}

void Watched::told(const Notification& notification, Instant at) {
  told_.push_back(Json::object()
                      .set("key", notification.key)
                      .set("at", format_rfc3339(at))
                      .set("severity", to_string(notification.severity))
                      .set("title", masked_text(notification.title)));
  if (told_.size() > kToldMax) told_.pop_front();
}

std::vector<AlertChange> Watched::alerts() const {
  std::vector<AlertChange> out;
  for (const auto& [key, alert] : standing) out.push_back(alert);
  std::stable_sort(out.begin(), out.end(), [](const AlertChange& a, const AlertChange& b) {
    if (a.phase != b.phase) return a.phase > b.phase;
    return a.action > b.action;
  });
  return out;
}

Json Watched::details_json() const {
  Json out = Json::array();
  for (const auto& [check, list] : words) {
    for (const Word& word : list) {
      Json row = Json::object().set("check", check).set("first", format_rfc3339(word.first)).set("last", format_rfc3339(word.last));
      row.set("times", word.times)
          .set("answer", word.unobserved    ? "could not look"
                         : word.answer == 1 ? "healthy"
                         : word.answer == 0 ? "failing"
                                            : "");
      out.push(row.set("detail", cut(word.detail, 1024)));
    }
  }
  return out;
}

Json Watched::told_json() const { return Json(Json::Array(told_.begin(), told_.end())); }

bool Watched::was_told(const std::string& key) const {
  return std::any_of(told_.begin(), told_.end(), [&](const Json& one) { return one["key"].string_or("") == key; });
}

}  // namespace rollbackd::engine
