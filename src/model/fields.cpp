#include "model/fields.hpp"

#include <limits>

namespace rollbackd::model {

void put(Json& json, std::string_view key, const std::vector<std::string>& value) {
  if (value.empty()) return;
  Json list = Json::array();
  for (const std::string& one : value) list.push(one);
  json.set(key, std::move(list));
}

Instant StoredClock::instant(std::int64_t boot_ns) const {
  std::int64_t ahead = 0, there = 0;
  const Instant written = now_->to_instant(written_);
  // What one document holds keeps its distances, whatever a wall clock did between two boots: the moment of writing says how far back it
  // lies.
  if (__builtin_sub_overflow(boot_ns, written_.boot_ns, &ahead) || __builtin_add_overflow(written.ns(), ahead, &there)) {
    return now_->instant;  // Damaged numbers: "just now" is the answer that makes guards wait longest.
  }
  return Instant(there);
}

Fields::Fields(const Json& json, std::string what) : json_(&json), what_(std::move(what)) {
  if (!json.is_object()) error_ = Error(Errc::corrupt, "cannot read the " + what_).because("it is not a JSON object");
}

void Fields::fail(std::string_view key, std::string why) {
  if (!error_) error_ = Error(Errc::corrupt, "cannot read the " + what_).because("field \"" + std::string(key) + "\": " + std::move(why));
}

void Fields::required(std::string_view key) {
  if (!json_->has(key)) fail(key, "it is missing");
}

void Fields::get(std::string_view key, std::string& out) {
  if (!json_->has(key)) return;
  const Json& value = (*json_)[key];
  if (!value.is_string()) return fail(key, "it is not a string");
  out = value.string_or("");
}

void Fields::get(std::string_view key, bool& out) {
  if (!json_->has(key)) return;
  const Json& value = (*json_)[key];
  if (!value.is_bool()) return fail(key, "it is not true or false");
  out = value.bool_or(false);
}

void Fields::get(std::string_view key, std::int64_t& out) {
  if (!json_->has(key)) return;
  const Json& value = (*json_)[key];
  const std::int64_t number = value.int_or(0);
  if (!value.is_number() || !(value == Json(number))) return fail(key, "it is not a whole number");
  out = number;
}

void Fields::get(std::string_view key, std::uint64_t& out) {
  auto number = static_cast<std::int64_t>(out);
  get(key, number);
  if (number < 0) return fail(key, "it is negative");
  out = static_cast<std::uint64_t>(number);
}

void Fields::get(std::string_view key, int& out) {
  std::int64_t number = out;
  get(key, number);
  if (number < std::numeric_limits<int>::min() || number > std::numeric_limits<int>::max()) return fail(key, "it is out of range");
  out = static_cast<int>(number);
}

void Fields::get(std::string_view key, std::vector<std::string>& out) {
  if (!json_->has(key)) return;
  const Json& value = (*json_)[key];
  if (!value.is_array()) return fail(key, "it is not a list");
  out.clear();
  for (const Json& one : value.elements()) {
    if (!one.is_string()) return fail(key, "it holds something that is not a string");
    out.push_back(one.string_or(""));
  }
}

void Fields::get(std::string_view key, const StoredClock& clock, Instant& out) {
  std::int64_t number = 0;
  required(key);
  get(key, number);
  if (ok()) out = clock.instant(number);
}

void Fields::get(std::string_view key, const StoredClock& clock, std::optional<Instant>& out) {
  if (!json_->has(key)) return;
  Instant instant;
  get(key, clock, instant);
  if (ok()) out = instant;
}

}  // namespace rollbackd::model
