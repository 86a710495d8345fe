#include "base/json.hpp"

#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/prettywriter.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <charconv>
#include <cmath>
#include <limits>

namespace rollbackd {
namespace {

const Json kNull;
const Json::Array kNoElements;
const Json::Object kNoMembers;

/// Builds a Json from RapidJSON's SAX events. A stack instead of recursion, so depth is bounded by a number and not by the thread's stack.
class Builder : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, Builder> {
 public:
  explicit Builder(int depth_max) : depth_max_(depth_max) {}
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
    return true;
  }
  bool StartObject() { return open(Json::object()); }
  bool StartArray() { return open(Json::array()); }
  bool EndObject(rapidjson::SizeType) { return close(); }
  bool EndArray(rapidjson::SizeType) { return close(); }

  Json take() { return std::move(root_); }
  bool too_big() const { return too_big_; }  ///< a number stopped the reading, not the depth

 private:
  struct Frame {
    Json value;
    std::string key;
  };
  bool open(Json container) {
    if (static_cast<int>(stack_.size()) >= depth_max_) return false;
    stack_.push_back(Frame{std::move(container), {}});
    return true;
  }
  bool close() {
    Json done = std::move(stack_.back().value);
    stack_.pop_back();
    return put(std::move(done));
  }
  bool put(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
    } else if (stack_.back().value.is_array()) {
      stack_.back().value.push(std::move(value));
    } else {
      stack_.back().value.set(stack_.back().key, std::move(value));
    }
    return true;
  }

  int depth_max_;
  std::vector<Frame> stack_;
  Json root_;
  bool too_big_ = false;
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
  Builder builder(depth_max);
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

}  // namespace rollbackd
