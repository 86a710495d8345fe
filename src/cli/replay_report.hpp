// What a replay says: a timeline of what would have happened, and a row for each rule on each service.
// Flow: replay -> [report] -> text or JSON.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "cli/replay_recording.hpp"
#include "model/decision.hpp"
#include "rules/groups.hpp"

namespace rollbackd::cli {

/// Further events are counted and left out; further spans of one row alike.
inline constexpr std::size_t kReplayEventsMax = 50'000, kReplaySpansMax = 1'000;
/// Of the picture of a rule.
inline constexpr std::size_t kReplayColumns = 60;

struct ReplayEvent {
  Instant at;
  ServiceKey service;
  std::string kind;  ///< release, alert, blind, incident, decision
  std::string text;  ///< for people, on one line; more lines in `further`
  std::vector<std::string> further{};
  Json details = Json::object();
};

/// One rule on one service.
struct ReplayRow {
  const rules::Group* group = nullptr;
  const rules::Rule* rule = nullptr;
  std::size_t place = 0;  ///< in file order
  ServiceKey service;
  bool fed = false;  ///< at any time
  std::optional<Instant> first_pending, first_fired;
  std::size_t times_fired = 0, spans_left_out = 0;
  Duration longest{}, blind{}, seen{};  ///< firing at a stretch; blind, of the time in which it was fed
  struct Span {
    Instant from;
    std::optional<Instant> to{};  ///< nothing: it fired to the end
    Labels labels{};
    double value = 0;
  };
  std::vector<Span> spans;
  std::string picture;  ///< kReplayColumns characters

  // While it runs:
  struct Alert {
    AlertPhase phase = AlertPhase::inactive;
    Instant since;
    std::size_t span = 0;
  };
  std::map<Labels, Alert> alerts;
  int pending = 0, firing = 0;
  bool is_blind = false, is_fed = false;
  Instant upto;                          ///< counted so far
  std::optional<Instant> blind_since{};  ///< told when it ends
  std::string blind_why;
  std::array<std::uint8_t, kReplayColumns> columns{};
};

class ReplayReport {
 public:
  /// The groups must outlive it.
  ReplayReport(const Recording& recording, const rules::Groups& groups);

  void event(ReplayEvent event);
  void alert(const AlertChange& change, Instant now);
  void verdict(const VerdictChange& change, const std::string& why, Instant now);
  void decision(const Decision& decision);
  void finish(Instant end, std::uint64_t evaluations);
  /// As the judge counted.
  void add_evaluations(const std::string& group, const std::string& rule, std::uint64_t n);

  bool fired() const { return fired_; }
  bool decided_rollback() const { return rollback_; }

  std::string text() const;
  Json json() const;

 private:
  ReplayRow* row(const ServiceKey& service, const std::string& group, const std::string& rule);
  void count_until(ReplayRow& row, Instant now);
  void mark(ReplayRow& row, Instant from, Instant to);
  void end_blind(ReplayRow& row, Instant now);
  std::size_t column(Instant at) const;
  void tell_blindness();
  void know_what_is_fed(const rules::Groups& groups);
  bool is_news(const ReplayRow& row) const;

  struct Blindness {
    ServiceKey service;
    Instant from, to;
    std::string why;
    bool to_the_end = false;
    std::vector<std::string> rules{};
  };

  const Recording& recording_;
  std::map<std::pair<std::string, std::string>, std::size_t> order_;  ///< (group, rule) -> place in file order
  std::vector<std::pair<const rules::Group*, const rules::Rule*>> rules_;
  std::vector<bool> has_data_;  ///< by rule: the recording has something that it reads, by way of recording rules too
  std::map<ServiceKey, Instant> live_since_;
  std::map<std::pair<std::size_t, ServiceKey>, ReplayRow> rows_;
  std::vector<Blindness> blind_;
  std::vector<ReplayEvent> events_;
  std::map<std::size_t, std::uint64_t> evaluations_of_;
  std::size_t events_left_out_ = 0;
  std::uint64_t evaluations_ = 0;
  bool fired_ = false, rollback_ = false;
};

/// "shop/prod"; without an environment the name alone, without both "-".
std::string service_text(const ServiceKey& service);

}  // namespace rollbackd::cli
