// A JSON value: what files on disk, the API and steps are made of. RapidJSON reads and writes it, in json.cpp alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.hpp"

namespace rollbackd {

/// A JSON value with ordered object members. A plain value type: copyable, comparable, no references into anything.
class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;

  Json() = default;  ///< null
  Json(std::nullptr_t) {}
  Json(bool b) : value_(b) {}
  template <class T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) Json(T i) : value_(static_cast<std::int64_t>(i)) {}
  Json(double d) : value_(d) {}
  Json(std::string s) : value_(std::move(s)) {}
  Json(std::string_view s) : value_(std::string(s)) {}
  Json(const char* s) : value_(std::string(s)) {}
  Json(Array a) : value_(std::move(a)) {}
  static Json array() { return Json(Array{}); }
  static Json object() {
    Json j;
    j.value_ = Object{};
    return j;
  }

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_number() const { return std::holds_alternative<std::int64_t>(value_) || std::holds_alternative<double>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }

  /// The elements of an array, the members of an object; empty for anything else.
  const Array& elements() const;
  const Object& members() const;
  /// The member `key`, or null (the value) when this is no object or has no such member.
  const Json& operator[](std::string_view key) const;
  bool has(std::string_view key) const;

  /// The value in the asked-for type, or `fallback` when it is of another one. An integer reads as a double too.
  std::string string_or(std::string_view fallback) const;
  std::int64_t int_or(std::int64_t fallback) const;
  double number_or(double fallback) const;
  bool bool_or(bool fallback) const;

  /// Sets member `key` (appended when new); turns a null into an object first. Returns *this, so calls chain.
  Json& set(std::string_view key, Json value);
  /// Appends to an array; turns a null into an array first.
  Json& push(Json value);

  /// Compact JSON text. NaN and infinities become null.
  std::string dump() const;
  /// Indented by two spaces, for people.
  std::string pretty() const;
  /// Reads strict JSON. @param depth_max nesting beyond it is an error @return `corrupt` with the byte offset
  static Result<Json> parse(std::string_view text, int depth_max = 64);

  bool operator==(const Json&) const = default;

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> value_;
};

}  // namespace rollbackd
