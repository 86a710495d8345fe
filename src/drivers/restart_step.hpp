// The restart step, the same for every service manager: how it is made, which one is refused, and that a repeated one is answered.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "drivers/keeper_protocol.hpp"
#include "drivers/managers.hpp"

namespace rollbackd::drivers {

inline std::vector<Step> restart_plan(const DriverContext& context, std::string driver, Json arguments = Json::object()) {
  Step step;
  step.component = context.settings.name;
  step.driver = std::move(driver);
  step.action = "restart";
  step.arguments = std::move(arguments);
  return {std::move(step)};
}

/// The refusal of a step that is none of `driver`'s; nothing for one that is.
inline std::optional<Outcome> refuse_other_step(const Step& step, const std::string& driver) {
  if (step.driver == driver && step.version == 1 && step.action == "restart") return std::nullopt;
  return Outcome{
      Outcome::Status::refused, Json::object(),
      Error(Errc::refused, "cannot run this step")
          .because(step.driver + " " + step.action + " version " + std::to_string(step.version) + " is none of " + driver + "'s")};
}

/// "unless_since_boot_ns" of a restart: a process that began then or later (boot time) is the new one, started by whoever brings back what
/// crashed, and is not started again. 0: every process is an old one.
inline std::int64_t unless_since(const Step& step) { return step.arguments["unless_since_boot_ns"].int_or(0); }

/// A step that could not be carried out, by its error. `unknown`: it may have happened all the same.
inline Outcome failed_step(Error error) {
  const auto status = error.code == Errc::timed_out                                          ? Outcome::Status::timed_out
                      : error.code == Errc::refused                                          ? Outcome::Status::refused
                      : error.code == Errc::cancelled || error.code == Errc::outcome_unknown ? Outcome::Status::unknown
                                                                                             : Outcome::Status::failed;
  return Outcome{status, Json::object(), std::move(error)};
}

/// Counts a restart of ours for as long as it lasts, however it ends.
class Restarting {
 public:
  explicit Restarting(int& count) : count_(count) { ++count_; }
  Restarting(const Restarting&) = delete;
  Restarting& operator=(const Restarting&) = delete;
  ~Restarting() { --count_; }

 private:
  int& count_;
};

/// Which restarts were begun and how they ended, by token. The latest 16; with a file they are known after the daemon's own restart too.
class RestartMemory {
 public:
  struct Begun {
    std::string token;
    std::int64_t began_boot_ns = 0;
    std::optional<Outcome> outcome;  ///< nothing: it was begun, and how it ended is not known
  };

  RestartMemory() = default;
  /// @param path  kept there (replaced whole, 0600); a bad or absent file means that nothing is remembered. Boot time counts: a file of
  ///              another boot is ignored.
  RestartMemory(std::string path, std::string boot_id) : path_(std::move(path)), boot_id_(std::move(boot_id)) {
    const auto text = keeper::read_file(path_, kFileBytesMax);
    const auto json = text.has_value() ? Json::parse(text.value()) : Result<Json>(text.error());
    if (json.has_error() || json.value()["boot_id"].string_or("") != boot_id_) return;
    for (const Json& one : json.value()["restarts"].elements()) {
      Begun begun{one["token"].string_or(""), one["began_boot_ns"].int_or(0), std::nullopt};
      if (auto outcome = Outcome::from_json(one["outcome"]); outcome.has_value()) begun.outcome = std::move(outcome.value());
      all_.push_back(std::move(begun));
      if (all_.size() > kMax) all_.pop_front();
    }
  }

  const Begun* find(const std::string& token) const {
    for (const Begun& one : all_)
      if (one.token == token) return &one;
    return nullptr;
  }
  void begin(const std::string& token, std::int64_t boot_ns) {
    std::erase_if(all_, [&](const Begun& one) { return one.token == token; });
    all_.push_back({token, boot_ns, std::nullopt});
    if (all_.size() > kMax) all_.pop_front();
  }
  /// An unknown outcome is not remembered: the step may be repeated.
  void end(const std::string& token, const Outcome& outcome) {
    for (Begun& one : all_)
      if (one.token == token && outcome.status != Outcome::Status::unknown) one.outcome = outcome;
  }
  /// What save() writes, taken on the reactor; written by a worker.
  std::string text() const {
    Json restarts = Json::array();
    for (const Begun& one : all_) {
      Json json = Json::object();
      json.set("token", one.token).set("began_boot_ns", one.began_boot_ns);
      if (one.outcome) json.set("outcome", one.outcome->to_json());
      restarts.push(std::move(json));
    }
    return Json::object().set("boot_id", boot_id_).set("restarts", std::move(restarts)).dump();
  }
  /// Writes it. Blocking, so by a worker; best effort: without it only a repetition after our own restart would restart again.
  static Result<> save(const std::string& path, const std::string& text) { return keeper::replace_file(path, text); }
  const std::string& path() const { return path_; }

 private:
  static constexpr std::size_t kMax = 16;
  static constexpr std::size_t kFileBytesMax = 256 << 10;
  std::string path_, boot_id_;
  std::deque<Begun> all_;  ///< oldest first
};

}  // namespace rollbackd::drivers
