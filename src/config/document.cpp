// Text to a tree in which every value knows its place. JSON here (RapidJSON is included in this file alone), YAML in document_yaml.cpp.
#include "config/document.hpp"

#include <rapidjson/reader.h>

#include <algorithm>

#include "config/document_parts.hpp"

namespace rollbackd::config {
namespace {

/// The text as RapidJSON reads it. Its own StringStream is copied while a token is read, so `Tell` would be late in the events.
class TextStream {
 public:
  using Ch = char;
  explicit TextStream(std::string_view text) : text_(text) {}
  Ch Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  Ch Take() {
    const Ch c = Peek();
    ++at_;
    return c;
  }
  std::size_t Tell() const { return at_; }
  // Only for reading in place, which nobody asks for.
  Ch* PutBegin() { return nullptr; }
  void Put(Ch) {}
  void Flush() {}
  std::size_t PutEnd(Ch*) { return 0; }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

/// Turns RapidJSON's events into the tree. RapidJSON reports a token after reading it; where it began is found by skipping from the end of
/// the token before over blanks, separators and comments.
class JsonHandler : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, JsonHandler> {
 public:
  JsonHandler(std::string_view text, const TextStream& stream, const Lines& lines, TreeBuilder& builder)
      : text_(text), stream_(stream), lines_(lines), builder_(builder) {}

  bool Null() { return scalar(Node::Kind::null, "null"); }
  bool Bool(bool b) { return scalar(Node::Kind::boolean, b ? "true" : "false"); }
  bool RawNumber(const char* s, rapidjson::SizeType n, bool) { return scalar(Node::Kind::number, {s, n}); }
  bool String(const char* s, rapidjson::SizeType n, bool) { return scalar(Node::Kind::string, {s, n}); }
  bool Key(const char* s, rapidjson::SizeType n, bool) { return builder_.key(std::string(s, n), begin()); }
  bool StartObject() { return builder_.open(Node::Kind::object, begin()); }
  bool StartArray() { return builder_.open(Node::Kind::array, begin()); }
  bool EndObject(rapidjson::SizeType) { return end(); }
  bool EndArray(rapidjson::SizeType) { return end(); }

 private:
  bool scalar(Node::Kind kind, std::string_view text) {
    Node node;
    node.kind = kind;
    node.text = text;
    node.quoted = kind == Node::Kind::string;
    node.position = begin();
    return builder_.scalar(std::move(node));
  }
  bool end() {
    begin();
    return builder_.close();
  }
  Position begin() {
    std::size_t at = token_end_;
    while (at < text_.size()) {
      const std::string_view rest = text_.substr(at);
      if (rest.starts_with("//")) {
        at = text_.find('\n', at);
      } else if (rest.starts_with("/*")) {
        at = text_.find("*/", at + 2) + 2;
      } else if (std::string_view(" \t\r\n,:").find(rest.front()) != std::string_view::npos) {
        ++at;
      } else {
        break;
      }
    }
    token_end_ = stream_.Tell();
    return lines_.of_offset(at);
  }

  std::string_view text_;
  const TextStream& stream_;
  const Lines& lines_;
  TreeBuilder& builder_;
  std::size_t token_end_ = 0;
};

struct Explained {
  const char* what;
  const char* remedy;
};

Explained explain(rapidjson::ParseErrorCode code) {
  switch (code) {
    case rapidjson::kParseErrorDocumentEmpty: return {"expected a value, found the end of the file", "write at least {}"};
    case rapidjson::kParseErrorDocumentRootNotSingular:
      return {"expected the end of the file after the first value", "remove what follows"};
    case rapidjson::kParseErrorValueInvalid:
      return {"expected a value", "a value is an object, an array, a \"string\", a number, true, false or null"};
    case rapidjson::kParseErrorObjectMissName: return {"expected a key in double quotes", "write \"key\": value"};
    case rapidjson::kParseErrorObjectMissColon: return {"expected ':' after the key", "write \"key\": value"};
    case rapidjson::kParseErrorObjectMissCommaOrCurlyBracket: return {"expected ',' or '}'", "a comma may be missing before this"};
    case rapidjson::kParseErrorArrayMissCommaOrSquareBracket: return {"expected ',' or ']'", "a comma may be missing before this"};
    case rapidjson::kParseErrorStringUnicodeEscapeInvalidHex:
      return {"expected four hexadecimal digits after \\u", "write it like \\u00e9"};
    case rapidjson::kParseErrorStringUnicodeSurrogateInvalid:
      return {"expected the second half of a surrogate pair", "write the character itself"};
    case rapidjson::kParseErrorStringEscapeInvalid:
      return {"expected one of \" \\ / b f n r t u after a backslash", "a backslash in a string is written \\\\"};
    case rapidjson::kParseErrorStringMissQuotationMark:
      return {"expected a closing \" of this string", "a line break in a string is written \\n"};
    case rapidjson::kParseErrorStringInvalidEncoding:
      return {"expected UTF-8", "save the file as UTF-8; control characters are written \\u00XX"};
    case rapidjson::kParseErrorNumberTooBig:
      return {"expected a number within the range of a double", "write it in quotes if it is not a number"};
    case rapidjson::kParseErrorNumberMissFraction: return {"expected a digit after the decimal point", "write it like 1.5"};
    case rapidjson::kParseErrorNumberMissExponent: return {"expected a digit in the exponent", "write it like 1e5"};
    default: return {"expected a comment's end or a value", "close a comment with */"};
  }
}

template <unsigned flags>
bool read_json(std::string_view text, const Lines& lines, TreeBuilder& builder, bool comments) {
  constexpr unsigned kFlags = flags | rapidjson::kParseNumbersAsStringsFlag | rapidjson::kParseValidateEncodingFlag;
  TextStream stream(text);
  JsonHandler handler(text, stream, lines, builder);
  rapidjson::Reader reader;  // Recursive; the builder stops it at kDepthMax.
  if (reader.Parse<kFlags>(stream, handler)) return true;
  if (reader.GetParseErrorCode() == rapidjson::kParseErrorTermination) return false;  // The builder has said why.

  const std::size_t at = std::min(reader.GetErrorOffset(), text.size());
  Explained why = explain(reader.GetParseErrorCode());
  const std::size_t before = text.substr(0, at).find_last_not_of(" \t\r\n");
  if (!comments && text.substr(at).starts_with('/')) {
    why = {"expected no comment", "rule files may hold none, because promtool reads them too"};
  } else if (!comments && before != text.npos && text[before] == ',' && at < text.size() && (text[at] == '}' || text[at] == ']')) {
    why = {"expected another entry after the comma", "remove the trailing comma: promtool reads rule files too"};
  }
  return builder.fail(lines.of_offset(at), why.what, why.remedy);
}

/// Where the first thing stands that is not UTF-8; the text's size when there is none.
std::size_t first_not_utf8(std::string_view text) {
  TextStream stream(text);
  while (stream.Tell() < text.size()) {
    const std::size_t at = stream.Tell();
    if (!rapidjson::UTF8<>::Validate(stream, stream)) return at;  // Both in and out: what is put is dropped.
  }
  return text.size();
}

/// What holds for every dialect, before any parser sees the text. So each says the same of bytes that are no characters.
bool check_text(std::string_view text, const Lines& lines, TreeBuilder& builder) {
  if (text.size() > kTextBytesMax) return builder.fail({1, 1}, "the file is larger than 8 MiB", "split it");
  if (const std::size_t zero = text.find('\0'); zero != text.npos)
    return builder.fail(lines.of_offset(zero), "expected text, found a zero byte", "save the file as UTF-8");
  if (const std::size_t at = first_not_utf8(text); at < text.size())
    return builder.fail(lines.of_offset(at), "expected UTF-8", "save the file as UTF-8");
  return true;
}

}  // namespace

Result<Node> parse_document(std::string_view text, std::string_view file, Dialect dialect, std::vector<Problem>& problems) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // A byte order mark is no content.
  const std::size_t known = problems.size();
  const Lines lines(text.substr(0, std::min(text.size(), kTextBytesMax)));
  TreeBuilder builder(file, problems);
  bool done = check_text(text, lines, builder);
  if (done) {
    switch (dialect) {
      case Dialect::yaml: done = read_yaml(text, lines, false, builder); break;
      case Dialect::rules: done = read_yaml(text, lines, true, builder); break;
      case Dialect::strict_json: done = read_json<rapidjson::kParseNoFlags>(text, lines, builder, false); break;
      case Dialect::config_json:
        done = read_json<rapidjson::kParseCommentsFlag | rapidjson::kParseTrailingCommasFlag>(text, lines, builder, true);
        break;
    }
  }
  if (done) return builder.take();
  if (problems.size() == known) builder.fail({1, 1}, "the document cannot be read", "check its syntax");
  const Problem& last = problems.back();
  return Error(Errc::invalid_config, "cannot read " + std::string(file)).because(last.text());
}

}  // namespace rollbackd::config
