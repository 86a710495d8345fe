// What evidence of one service is made of: the last words of each check, the alerts that stand, who was told. Bounded; plain data.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "model/alert.hpp"
#include "model/decision.hpp"

namespace rollbackd::engine {

struct Watched {
  /// Of a check that fails or could not look every word is kept, the last kWordsMax; of a healthy one the last alone.
  void note(const Batch& batch);
  /// An alert that stands; one that is inactive again is forgotten.
  void note(const AlertChange& change);
  void told(const Notification& notification, Instant at);

  std::vector<AlertChange> alerts() const;  ///< firing ones first, those that may act before the others
  Json details_json() const;
  Json told_json() const;
  bool was_told(const std::string& key) const;  ///< a message of this key is among the last kToldMax that were handed to the channels

  static constexpr std::size_t kWordsMax = 8, kChecksMax = 64, kAlertsMax = 64, kToldMax = 16;
  struct Word {
    Instant first, last;
    int times = 1;
    int answer = -1;  ///< 1 healthy, 0 not, -1 no opinion
    bool unobserved = false;
    std::string detail;
  };
  std::map<std::string, std::deque<Word>> words;  ///< by check
  std::map<std::string, AlertChange> standing;    ///< by rule and labels
  std::deque<Json> told_;                         ///< newest last
  Json tests;                                     ///< of the verification that ended last
  Json bundle;                                    ///< the newest one; null before the first
  std::string bundle_id;
};

}  // namespace rollbackd::engine
