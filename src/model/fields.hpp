// Writes and reads the members of a JSON object for the nouns' to_json and from_json. Internal to model/.
// Values that are the default (empty, false, 0) are left out: a state slot holds 20 KiB.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/time.hpp"

namespace rollbackd::model {

/// Sets `key` unless the value is the default of its type.
inline void put(Json& json, std::string_view key, const std::string& value) {
  if (!value.empty()) json.set(key, value);
}
inline void put(Json& json, std::string_view key, std::int64_t value) {
  if (value != 0) json.set(key, value);
}
inline void put(Json& json, std::string_view key, bool value) {
  if (value) json.set(key, value);
}
void put(Json& json, std::string_view key, const std::vector<std::string>& value);

/// Instants in one document share one clock reading: `clock` is written once as a stamp, each instant as its CLOCK_BOOTTIME in ns.
class StoredClock {
 public:
  explicit StoredClock(const ClockReading& now, const Stamp& written) : now_(&now), written_(written) {}
  /// The number that stands for `t` in a document whose clock is this one's.
  static std::int64_t number(const ClockReading& now, Instant t) { return now.to_stamp(t).boot_ns; }
  /// The instant in this run. One that lay ahead when it was written (the end of a suspension) keeps its distance from the moment of
  /// writing, because Stamp's "never into the future" would cut it short after a reboot.
  Instant instant(std::int64_t boot_ns) const;

 private:
  const ClockReading* now_;
  Stamp written_;
};

/// Reads one object's members. A missing member is the default, one of the wrong type or outside its range is an error; the first one wins.
class Fields {
 public:
  /// @param what  names the object in errors: "operation record", "ledger[3]"
  Fields(const Json& json, std::string what);

  /// Reports `key` as wrong, unless something was wrong before.
  void fail(std::string_view key, std::string why);
  void required(std::string_view key);
  void get(std::string_view key, std::string& out);
  void get(std::string_view key, bool& out);
  void get(std::string_view key, std::int64_t& out);
  void get(std::string_view key, std::uint64_t& out);
  void get(std::string_view key, int& out);
  void get(std::string_view key, std::vector<std::string>& out);
  void get(std::string_view key, const StoredClock& clock, Instant& out);
  void get(std::string_view key, const StoredClock& clock, std::optional<Instant>& out);
  /// An enum by its number; `last` is the greatest, `first` the least one there is.
  template <class E>
  void get_enum(std::string_view key, E first, E last, E& out) {
    std::int64_t number = static_cast<std::int64_t>(out);
    get(key, number);
    if (number < static_cast<std::int64_t>(first) || number > static_cast<std::int64_t>(last)) {
      return fail(key, "there is no number " + std::to_string(number));
    }
    out = static_cast<E>(number);
  }
  /// Adopts the error of a nested value, or moves the value to `out`.
  template <class T>
  void take(Result<T> value, T& out) {
    if (value.has_error()) {
      adopt(value.error());
    } else {
      out = std::move(value.value());
    }
  }
  void adopt(const Error& error) {
    if (!error_) error_ = error;
  }
  const Json& operator[](std::string_view key) const { return (*json_)[key]; }
  const std::string& what() const { return what_; }
  bool ok() const { return !error_; }
  const Error& error() const { return *error_; }

 private:
  const Json* json_;
  std::string what_;
  std::optional<Error> error_;
};

}  // namespace rollbackd::model
