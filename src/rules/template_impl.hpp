// The parts of the template engine: tokens, tree, values, functions. For template*.cpp alone.
// Flow: text -> template_lex -> template_parse -> template_exec, which calls template_functions and template_prometheus.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "rules/template.hpp"

namespace rollbackd::rules::tmpl {

inline constexpr std::size_t kTextBytesMax = 1 << 20;
inline constexpr std::size_t kOutputBytesMax = 256 << 10;  ///< of the whole text, and of every value on the way
inline constexpr std::size_t kStepsMax = 1'000'000;
inline constexpr std::size_t kBytesAStep = 64;  ///< so many bytes of text, once more touched, count as a step
inline constexpr int kDepthMax = 100;           ///< of parentheses, of blocks in blocks, of templates in templates
inline constexpr int kRunDepthMax = 400;        ///< of all these together while a template runs
inline constexpr int kArgsDepthMax = 16;        ///< of `args` in `args`

/// Thrown inside the engine with the whole message; template.cpp turns it into an Error. Never leaves template*.cpp.
struct Failure {
  std::string text;
};

// ---- tokens ----

enum class Tok {
  error,  ///< `text` is the message
  eof,
  text,
  left_delim,
  right_delim,
  space,
  identifier,
  field,     ///< ".name"
  variable,  ///< "$name"
  boolean,
  number,
  complex,
  char_constant,
  string,
  raw_string,
  assign,
  declare,
  pipe,
  left_paren,
  right_paren,
  character,
  // Keywords; `dot` is "." alone.
  dot,
  nil,
  block,
  break_,
  continue_,
  define,
  else_,
  end,
  if_,
  range,
  template_,
  with,
};

struct Token {
  Tok kind = Tok::eof;
  std::size_t pos = 0;  ///< byte offset in the text
  int line = 1;
  std::string text;
};

/// Cuts the text into tokens. What is wrong with it is the last token, as the parser may find something wrong before it.
std::vector<Token> lex(std::string_view text);

/// What a Go string literal stands for, quotes included in `literal`. @return none where Go refuses it
std::optional<std::string> unquote(std::string_view literal);

// ---- tree ----

struct Number {
  bool is_int = false, is_uint = false, is_float = false, is_complex = false;
  std::int64_t i = 0;
  std::uint64_t u = 0;
  double f = 0;
};

/// One node; `kind` says which fields count.
struct Node {
  enum class Kind {
    list,    ///< children
    text,    ///< text
    action,  ///< children: its pipeline
    if_,     ///< children: pipeline, list, perhaps the else's list; so too range and with
    range,
    with,
    template_,  ///< text: name; children: perhaps a pipeline
    break_,
    continue_,
    end,  ///< these two are the parser's alone
    else_,
    pipeline,    ///< declared: variables; children: commands
    command,     ///< children: its words
    identifier,  ///< text
    variable,    ///< ident: its name, then fields
    field,       ///< ident
    chain,       ///< children: what it starts from; ident: fields
    dot,
    nil,
    boolean,  ///< truth
    number,   ///< text as written, number
    string,   ///< text: as written; value: what it stands for
  };
  Kind kind = Kind::list;
  std::size_t pos = 0;
  std::string text, value;
  std::vector<std::string> ident;
  std::vector<Node> children, declared;
  bool assigns = false;  ///< pipeline: `=` and not `:=`
  bool truth = false;
  Number number;
};

/// The template's source again, as Go prints it in errors.
std::string to_source(const Node& node);

/// The tree of the text, and those of the templates that it defines.
struct Tree {
  Node root;
  std::map<std::string, Node, std::less<>> defined;
};

/// @param name  as it stands in errors. Throws Failure
Tree parse(std::string_view text, const std::string& name);

/// Whether a template may call `name`.
bool is_function(std::string_view name);

// ---- values ----

struct Sample {
  std::map<std::string, std::string> labels;
  double value = 0;
};
using SamplePtr = std::shared_ptr<const Sample>;
using Samples = std::vector<SamplePtr>;
using StringMap = std::map<std::string, std::string>;
struct Value;
/// What `args` gives. Its bounds keep what is made of it printable: a template may put it into itself.
struct ValueMap {
  std::map<std::string, Value> items;
  int depth = 1;
  std::size_t bytes = 0;  ///< of its texts, about
};

struct None {};  ///< nothing: what a missing key of `args` gives, and nil
struct Html {
  std::string text;
};  ///< what safeHtml gives: printed like a text, no string to a function
struct Byte {
  std::uint8_t value = 0;
};
struct Time {
  std::int64_t ms = 0;
};  ///< *time.Time, since 1970 in UTC
struct GoDuration {
  std::int64_t ns = 0;
};  ///< *time.Duration
struct Complex {
  double re = 0, im = 0;
};
struct Root {  ///< what `.` is at first
  std::shared_ptr<const StringMap> labels, external_labels;
  std::string external_url;
  double value = 0;
};

struct Value {
  std::variant<None, bool, std::int64_t, Byte, double, Complex, std::string, Html, std::shared_ptr<const StringMap>,
               std::shared_ptr<const ValueMap>, SamplePtr, std::shared_ptr<const Samples>, Time, GoDuration, std::shared_ptr<const Root>>
      v;
  template <class T>
  const T* as() const {
    return std::get_if<T>(&v);
  }
  bool is_none() const { return as<None>() != nullptr; }
};

/// Go's name of its type: "float64", "map[string]string".
std::string type_name(const Value& value);
/// Go's truth of a value: not the zero of its type.
bool is_true(const Value& value);
/// How an action prints it, and `printf "%v"` beside pointers: a missing value is "<no value>".
std::string print_action(const Value& value);
/// fmt.Sprint, fmt.Sprintln and fmt.Sprintf.
std::string sprint(std::span<const Value> args);
std::string sprintln(std::span<const Value> args);
std::string sprintf(std::string_view format, std::span<const Value> args);
/// strconv.Quote.
std::string quote(std::string_view text);
/// A double in Go's %v; in %.4g.
std::string four_digits(double v);

/// time.Time's Format with a Go layout, and its String.
std::string format_time(std::int64_t ms, std::string_view layout);
std::string to_string(Time t);
std::string to_string(GoDuration d);

// ---- functions ----

enum class Param { any, value, string, sample, samples };  ///< any: interface {}; value: reflect.Value of the builtin functions

struct Call {
  std::span<const Value> args;
  const TemplateContext& context;
};

struct Function {
  std::vector<Param> params;
  bool variadic = false;  ///< the last parameter stands for any number of arguments
  /// Throws Failure with the reason alone: the executor adds the place.
  std::function<Value(const Call&)> run;
};

/// Go's own functions (template_functions.cpp), and Prometheus's (template_prometheus.cpp).
const std::map<std::string, Function, std::less<>>& go_functions();
const std::map<std::string, Function, std::less<>>& prometheus_functions();
const Function* find_function(std::string_view name);
/// Go's url.QueryEscape.
std::string query_escape(std::string_view text);

/// Runs the tree. Throws Failure with the whole message.
std::string execute(const Tree& tree, std::string_view text, const std::string& name, const TemplateContext& context);

}  // namespace rollbackd::rules::tmpl
