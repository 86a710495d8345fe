// RapidJSON's events, told apart by where in the answer they come: {"status", "data": {"resultType", "result": [{"metric", "value"}]}}.
// The members may come in any order, and others than these may stand between them.
#include "checks/promql_answer.hpp"

#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <algorithm>

#include "base/text.hpp"
#include "checks/exposition.hpp"

namespace rollbackd::checks {

namespace {

constexpr std::size_t kDepthMax = 32;
constexpr std::size_t kLabelsMax = 64;

class Handler : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, Handler> {
 public:
  explicit Handler(std::size_t elements_max) : elements_max_(elements_max) {}

  bool Null() { return true; }
  bool Bool(bool) { return true; }
  bool RawNumber(const char* s, rapidjson::SizeType n, bool) {
    const auto number = parse_sample_value({s, n});
    if (!number || !in_pair()) return true;
    pair_.at_seconds = *number;
    has_time_ = true;
    return true;
  }
  bool String(const char* s, rapidjson::SizeType n, bool) {
    const std::string_view text(s, n);
    switch (where()) {
      case Where::root:
        if (key() == "status") status = text;
        if (key() == "error") error = text;
        if (key() == "errorType") error_type = text;
        return true;
      case Where::data:
        if (key() == "resultType") type = text;
        return true;
      case Where::warnings: ++answer.warnings; return true;
      case Where::metric: return label(text);
      case Where::result:
      case Where::value:
        if (const auto number = parse_sample_value(text)) {
          pair_.value = *number;
          has_value_ = true;
        }
        return true;
      default: return true;
    }
  }
  bool Key(const char* s, rapidjson::SizeType n, bool) {
    stack_.back().key.assign(s, n);
    return true;
  }
  bool StartObject() {
    switch (where()) {
      case Where::nowhere: return open(stack_.empty() ? Where::root : Where::other);
      case Where::root: return open(key() == "data" ? Where::data : Where::other);
      case Where::result:
        pair_ = {};
        has_time_ = has_value_ = false;
        return open(Where::element);
      case Where::element: return open(key() == "metric" ? Where::metric : Where::other);
      default: return open(Where::other);
    }
  }
  bool StartArray() {
    switch (where()) {
      case Where::root: return open(key() == "warnings" ? Where::warnings : Where::other);
      case Where::data: return open(key() == "result" ? Where::result : Where::other);
      case Where::element: return open(key() == "value" ? Where::value : Where::other);
      default: return open(Where::other);
    }
  }
  bool EndObject(rapidjson::SizeType) {
    const Where ended = where();
    stack_.pop_back();
    return ended != Where::element || finish();
  }
  bool EndArray(rapidjson::SizeType) {
    const Where ended = where();
    stack_.pop_back();
    if (ended != Where::result) return true;
    has_result = true;
    return !(has_time_ && has_value_) || finish();  // A scalar stands in the result itself.
  }

  PromqlAnswer answer;
  std::string status, error, error_type, type;
  bool has_result = false;
  std::size_t incomplete = 0;    ///< elements without a float value: native histograms
  std::optional<Error> refusal;  ///< why it stopped reading, where it was not the JSON

 private:
  enum class Where { nowhere, root, data, warnings, result, element, metric, value, other };
  struct Frame {
    Where where;
    std::string key;
  };

  Where where() const { return stack_.empty() ? Where::nowhere : stack_.back().where; }
  const std::string& key() const { return stack_.back().key; }
  bool in_pair() const { return where() == Where::result || where() == Where::value; }
  bool open(Where next) {
    if (stack_.size() >= kDepthMax) return refuse(Error(Errc::corrupt, "the answer is nested deeper than " + std::to_string(kDepthMax)));
    stack_.push_back({next, {}});
    return true;
  }
  bool refuse(Error why) {
    refusal = std::move(why);
    return false;
  }
  bool label(std::string_view value) {
    const auto same = [&](const Labels::Pair& p) { return p.first == key(); };
    if (std::any_of(pair_.labels.begin(), pair_.labels.end(), same)) return refuse(Error(Errc::corrupt, "a label is given twice"));
    pair_.labels.emplace_back(key(), value);
    if (pair_.labels.size() <= kLabelsMax) return true;
    return refuse(Error(Errc::too_large, "an element has more than " + std::to_string(kLabelsMax) + " labels"));
  }
  bool finish() {
    if (!has_time_ || !has_value_) ++incomplete;
    if (answer.elements.size() >= elements_max_) {
      return refuse(Error(Errc::too_large, "the answer has more than " + std::to_string(elements_max_) + " elements"));
    }
    answer.elements.push_back(std::move(pair_));
    pair_ = {};
    has_time_ = has_value_ = false;
    return true;
  }

  std::size_t elements_max_;
  std::vector<Frame> stack_;
  PromqlElement pair_;
  bool has_time_ = false, has_value_ = false;
};

}  // namespace

Result<PromqlAnswer> read_promql_answer(std::string_view body, std::size_t elements_max) {
  Handler handler(elements_max);
  rapidjson::Reader reader;
  rapidjson::MemoryStream stream(body.data(), body.size());
  constexpr unsigned kFlags =
      rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag | rapidjson::kParseNumbersAsStringsFlag;
  const rapidjson::ParseResult parsed = reader.Parse<kFlags>(stream, handler);
  if (handler.refusal) return *handler.refusal;
  if (parsed.IsError()) {
    return Error(Errc::corrupt, "the answer is no JSON")
        .because("byte " + std::to_string(parsed.Offset()) + ": " + rapidjson::GetParseError_En(parsed.Code()));
  }
  if (handler.status == "error") {
    return Error(Errc::refused, "the server refused the query").because(printable(cut(handler.error_type + ": " + handler.error, 500)));
  }
  if (handler.status != "success" || !handler.has_result) return Error(Errc::corrupt, "the answer is none to an instant query");
  if (handler.type != "vector" && handler.type != "scalar") {
    return Error(Errc::unsupported, "the query's result is of type \"" + printable(cut(handler.type, 40)) + "\", not vector or scalar");
  }
  if (handler.incomplete > 0) return Error(Errc::unsupported, "the query's result has elements without a number, as native histograms are");
  if (handler.type == "scalar" && handler.answer.elements.size() != 1) return Error(Errc::corrupt, "a scalar without its value");
  return std::move(handler.answer);
}

}  // namespace rollbackd::checks
