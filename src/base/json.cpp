#include "base/json.hpp"

#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/prettywriter.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/json_request.hpp"
#include "base/text.hpp"

namespace rollbackd {
namespace {

const Json kNull;
const Json::Array kNoElements;
const Json::Object kNoMembers;

/// Of a key that stands twice the last value counts, in its first place. Sorted, not searched: whoever sends 100,000 members must not hold
/// up the reactor with them.
void keep_each_key_once(Json::Object& members) {
  if (members.size() < 2) return;
  std::vector<std::size_t> places(members.size());
  std::iota(places.begin(), places.end(), std::size_t{0});
  std::stable_sort(places.begin(), places.end(), [&](std::size_t a, std::size_t b) { return members[a].first < members[b].first; });
  std::vector<bool> superseded(members.size());
  for (std::size_t i = 1, first = 0; i < places.size(); ++i) {
    if (members[places[i]].first != members[places[first]].first) {
      first = i;
      continue;
    }
    members[places[first]].second = std::move(members[places[i]].second);
    superseded[places[i]] = true;
  }
  Json::Object kept;
  kept.reserve(members.size());
  for (std::size_t i = 0; i < members.size(); ++i)
    if (!superseded[i]) kept.push_back(std::move(members[i]));
  members = std::move(kept);
}

/// Builds a Json from RapidJSON's SAX events. A stack instead of recursion, so depth is bounded by a number and not by the thread's stack.
class Builder : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, Builder> {
 public:
  using MakeObject = Json (*)(Json::Object members);  ///< only Json itself can
  Builder(int depth_max, MakeObject make_object) : depth_max_(depth_max), make_object_(make_object) {}
  bool Null() { return put(Json()); }
  bool Bool(bool b) { return put(Json(b)); }
  /// An integer of 64 bits, else a double. RapidJSON 1.1.0's own reading of doubles gives garbage for 0e300.
  bool RawNumber(const char* s, rapidjson::SizeType n, bool) {
    std::int64_t i = 0;
    if (const auto read = std::from_chars(s, s + n, i); read.ec == std::errc() && read.ptr == s + n) return put(Json(i));
    double d = 0;
    if (std::from_chars(s, s + n, d).ec == std::errc::result_out_of_range) {  // Of any double: too small is 0, too big is an error.
      long double wide = std::numeric_limits<long double>::infinity();
      std::from_chars(s, s + n, wide);
      d = static_cast<double>(wide);
    }
    too_big_ = std::isinf(d);
    return !too_big_ && put(Json(d));
  }
  bool String(const char* s, rapidjson::SizeType n, bool) { return put(Json(std::string(s, n))); }
  bool Key(const char* s, rapidjson::SizeType n, bool) {
    stack_.back().key.assign(s, n);
    stack_.back().keyed = true;
    return true;
  }
  bool StartObject() { return open(); }
  bool StartArray() { return open(); }
  bool EndObject(rapidjson::SizeType) {
    Json::Object members = std::move(stack_.back().members);
    keep_each_key_once(members);
    return close(make_object_(std::move(members)));
  }
  bool EndArray(rapidjson::SizeType) { return close(Json(std::move(stack_.back().elements))); }

  Json take() { return std::move(root_); }
  bool too_big() const { return too_big_; }  ///< a number stopped the reading, not the depth

 private:
  struct Frame {
    Json::Array elements;
    Json::Object members;
    std::string key;
    bool keyed = false;
  };
  bool open() {
    if (static_cast<int>(stack_.size()) >= depth_max_) return false;
    stack_.emplace_back();
    return true;
  }
  bool close(Json done) {
    stack_.pop_back();
    return put(std::move(done));
  }
  bool put(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
    } else if (stack_.back().keyed) {
      stack_.back().members.emplace_back(std::move(stack_.back().key), std::move(value));
    } else {
      stack_.back().elements.push_back(std::move(value));
    }
    return true;
  }

  int depth_max_;
  MakeObject make_object_;
  std::vector<Frame> stack_;
  Json root_;
  bool too_big_ = false;
};

/// Stops at the end of the first object that has a key twice.
class KeysOnce : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, KeysOnce> {
 public:
  bool Key(const char* s, rapidjson::SizeType n, bool) {
    open_.back().emplace_back(s, n);
    return true;
  }
  bool StartObject() {
    open_.emplace_back();
    return true;
  }
  bool EndObject(rapidjson::SizeType) {
    std::vector<std::string>& keys = open_.back();
    std::sort(keys.begin(), keys.end());
    if (const auto twice = std::adjacent_find(keys.begin(), keys.end()); twice != keys.end()) {
      twice_ = *twice;
      return false;
    }
    open_.pop_back();
    return true;
  }
  const std::string& twice() const { return twice_; }

 private:
  std::vector<std::vector<std::string>> open_;
  std::string twice_;
};

}  // namespace

const Json::Array& Json::elements() const {
  const auto* a = std::get_if<Array>(&value_);
  return a ? *a : kNoElements;
}

const Json::Object& Json::members() const {
  const auto* o = std::get_if<Object>(&value_);
  return o ? *o : kNoMembers;
}

const Json& Json::operator[](std::string_view key) const {
  for (const auto& [name, value] : members())
    if (name == key) return value;
  return kNull;
}

bool Json::has(std::string_view key) const {
  for (const auto& [name, value] : members())
    if (name == key) return true;
  return false;
}

std::string Json::string_or(std::string_view fallback) const {
  const auto* s = std::get_if<std::string>(&value_);
  return s ? *s : std::string(fallback);
}

std::int64_t Json::int_or(std::int64_t fallback) const {
  if (const auto* i = std::get_if<std::int64_t>(&value_)) return *i;
  if (const auto* d = std::get_if<double>(&value_); d && std::abs(*d) < 9e18) return static_cast<std::int64_t>(*d);
  return fallback;
}

double Json::number_or(double fallback) const {
  if (const auto* i = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(&value_)) return *d;
  return fallback;
}

bool Json::bool_or(bool fallback) const {
  const auto* b = std::get_if<bool>(&value_);
  return b ? *b : fallback;
}

Json& Json::set(std::string_view key, Json value) {
  if (is_null()) value_ = Object{};
  auto& object = std::get<Object>(value_);
  for (auto& [name, old] : object)
    if (name == key) {
      old = std::move(value);
      return *this;
    }
  object.emplace_back(std::string(key), std::move(value));
  return *this;
}

Json& Json::push(Json value) {
  if (is_null()) value_ = Array{};
  std::get<Array>(value_).push_back(std::move(value));
  return *this;
}

namespace {
template <class Writer>
void write(const Json& json, Writer& out) {
  if (json.is_null()) {
    out.Null();
  } else if (json.is_bool()) {
    out.Bool(json.bool_or(false));
  } else if (json.is_string()) {
    const std::string s = json.string_or("");
    out.String(s.data(), static_cast<rapidjson::SizeType>(s.size()));
  } else if (json.is_array()) {
    out.StartArray();
    for (const Json& e : json.elements()) write(e, out);
    out.EndArray();
  } else if (json.is_object()) {
    out.StartObject();
    for (const auto& [key, value] : json.members()) {
      out.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
      write(value, out);
    }
    out.EndObject();
  } else {
    const double d = json.number_or(0);
    const std::int64_t i = json.int_or(0);
    if (json == Json(i)) {
      out.Int64(i);
    } else if (std::isfinite(d)) {
      out.Double(d);
    } else {
      out.Null();
    }
  }
}
}  // namespace

std::string Json::dump() const {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  write(*this, writer);
  return {buffer.GetString(), buffer.GetSize()};
}

std::string Json::pretty() const {
  rapidjson::StringBuffer buffer;
  rapidjson::PrettyWriter<rapidjson::StringBuffer> writer(buffer);
  writer.SetIndent(' ', 2);
  write(*this, writer);
  return {buffer.GetString(), buffer.GetSize()};
}

Result<Json> Json::parse(std::string_view text, int depth_max) {
  if (const std::size_t zero = text.find('\0'); zero != text.npos) {  // RapidJSON would take it for the end.
    return Error(Errc::corrupt, "not valid JSON").because("a zero byte at byte " + std::to_string(zero));
  }
  rapidjson::MemoryStream stream(text.data(), text.size());  // Bounded: a StringStream reads past its end after a cut character.
  Builder builder(depth_max, [](Object members) {
    Json out;
    out.value_ = std::move(members);
    return out;
  });
  rapidjson::Reader reader;
  reader.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag | rapidjson::kParseNumbersAsStringsFlag>(stream,
                                                                                                                               builder);
  if (reader.HasParseError()) {
    const rapidjson::ParseErrorCode code = builder.too_big() ? rapidjson::kParseErrorNumberTooBig : reader.GetParseErrorCode();
    const std::string why = code == rapidjson::kParseErrorTermination ? "nested deeper than " + std::to_string(depth_max)
                                                                      : std::string(rapidjson::GetParseError_En(code));
    return Error(Errc::corrupt, "not valid JSON").because(why + " at byte " + std::to_string(reader.GetErrorOffset()));
  }
  return builder.take();
}

Result<Json> parse_request_json(std::string_view text, int depth_max) {
  auto parsed = Json::parse(text, depth_max);
  if (!parsed) return parsed;
  rapidjson::MemoryStream stream(text.data(), text.size());
  KeysOnce keys;
  rapidjson::Reader reader;
  reader.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseNumbersAsStringsFlag>(stream, keys);
  if (!reader.HasParseError()) return parsed;
  return Error(Errc::corrupt, "the JSON has the key \"" + printable(cut(keys.twice(), 64)) + "\" twice")
      .because("in the object that ends at byte " + std::to_string(reader.GetErrorOffset()))
      .try_next("keep one of them");
}

}  // namespace rollbackd
