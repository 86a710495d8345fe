// Tokens to a tree, with the refusals of Go's text/template: promtool refuses a rule file exactly where these do.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "rules/template_impl.hpp"

namespace rollbackd::rules::tmpl {
namespace {

using Kind = Node::Kind;

/// strconv.ParseUint with base 0: prefixes, and underscores between digits. @return none where it is no such number
std::optional<std::uint64_t> parse_whole(std::string_view text) {
  int base = 10;
  bool prefixed = false;
  if (text.size() > 1 && text[0] == '0') {
    const char mark = static_cast<char>(text[1] | 0x20);
    base = mark == 'x' ? 16 : mark == 'b' ? 2 : 8;
    prefixed = mark == 'x' || mark == 'b' || mark == 'o';
    text.remove_prefix(prefixed ? 2 : 1);
  }
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      digits += text[i];
      continue;
    }
    const bool digit_before = i > 0 ? text[i - 1] != '_' : base != 10;
    if (!digit_before || i + 1 == text.size()) return std::nullopt;
  }
  std::uint64_t value = 0;
  const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (failed != std::errc() || end != digits.data() + digits.size() || digits.empty()) return std::nullopt;
  return value;
}

/// strconv.ParseFloat of what the lexer lets through. Too large a number is refused, as in Go.
std::optional<double> parse_real(std::string_view text) {
  std::string digits(text);
  std::erase(digits, '_');
  const bool minus = digits.starts_with('-');
  std::string_view rest = digits;
  if (minus || rest.starts_with('+')) rest.remove_prefix(1);
  const bool hex = rest.starts_with("0x") || rest.starts_with("0X");
  if (hex && rest.find_first_of("pP") == std::string_view::npos) return std::nullopt;
  if (hex) rest.remove_prefix(2);
  double value = 0;
  const auto format = hex ? std::chars_format::hex : std::chars_format::general;
  const auto [end, failed] = std::from_chars(rest.data(), rest.data() + rest.size(), value, format);
  if (failed == std::errc::result_out_of_range && value == 0) value = 0;  // Too small a number is zero.
  if ((failed != std::errc() && !(failed == std::errc::result_out_of_range && std::fabs(value) < 1)) || end != rest.data() + rest.size())
    return std::nullopt;
  return minus ? -value : value;
}

void set_float(Number& n, double f) {
  n.is_float = true;
  n.f = f;
  if (f == std::trunc(f) && std::fabs(f) < 9.2e18) {
    n.is_int = true;
    n.i = static_cast<std::int64_t>(f);
  }
  if (f == std::trunc(f) && f >= 0 && f < 1.8e19) {
    n.is_uint = true;
    n.u = static_cast<std::uint64_t>(f);
  }
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& name) : tokens_(lex(text)), name_(name) {}

  Tree run() {
    Node root;
    while (peek_past_space().kind != Tok::eof) {
      if (peek().kind == Tok::left_delim && is_define()) {
        parse_define();
        continue;
      }
      Node node = text_or_action();
      if (node.kind == Kind::end || node.kind == Kind::else_) fail("unexpected " + to_source(node));
      root.children.push_back(std::move(node));
    }
    tree_.root = std::move(root);
    return std::move(tree_);
  }

 private:
  // ---- tokens ----
  const Token& peek() const { return tokens_[std::min(at_, tokens_.size() - 1)]; }
  const Token& next() {
    const Token& token = peek();
    if (at_ < tokens_.size()) ++at_;
    line_ = token.line;
    return token;
  }
  const Token& peek_past_space() {
    while (peek().kind == Tok::space) ++at_;
    return peek();
  }
  const Token& next_past_space() {
    peek_past_space();
    return next();
  }

  [[noreturn]] void fail(const std::string& what) const { throw Failure{"template: " + name_ + ":" + std::to_string(line_) + ": " + what}; }
  /// A token as Go shows it in errors.
  static std::string shown(const Token& token) {
    if (token.kind == Tok::eof) return "EOF";
    if (token.kind == Tok::error) return token.text;
    if (token.kind >= Tok::dot) return "<" + token.text + ">";
    if (token.text.size() > 10) return quote(token.text.substr(0, 10)) + "...";
    return quote(token.text);
  }
  [[noreturn]] void unexpected(const Token& token, const std::string& context) {
    line_ = token.line;
    if (token.kind == Tok::error) fail(token.text);
    fail("unexpected " + shown(token) + " in " + context);
  }
  const Token& expect(Tok kind, const std::string& context) {
    const Token& token = next_past_space();
    if (token.kind != kind) unexpected(token, context);
    return token;
  }

  struct Depth {  ///< Bounds the recursion: of parentheses and of blocks.
    explicit Depth(Parser& p) : parser(p) {
      if (++parser.depth_ > kDepthMax) parser.fail("nested deeper than " + std::to_string(kDepthMax) + " levels");
    }
    ~Depth() { --parser.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;
    Parser& parser;
  };
  /// Puts the variables back that were known before: those of a block end with it.
  struct Scope {
    explicit Scope(std::vector<std::string>& v) : variables(v), size(v.size()) {}
    ~Scope() { variables.resize(size); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    std::vector<std::string>& variables;
    std::size_t size;
  };

  static Node make(Kind kind, const Token& token) {
    Node node;
    node.kind = kind;
    node.pos = token.pos;
    node.text = token.text;
    return node;
  }

  // ---- blocks ----
  bool is_define() const {
    std::size_t i = at_ + 1;
    while (i < tokens_.size() && tokens_[i].kind == Tok::space) ++i;
    return i < tokens_.size() && tokens_[i].kind == Tok::define;
  }

  void parse_define() {
    next();
    next_past_space();
    const std::string context = "define clause";
    const std::string name = template_name(next_past_space(), context);
    expect(Tok::right_delim, context);
    define(name, context);
  }

  /// The body of a template up to its end. It sees no variable from outside.
  void define(const std::string& name, const std::string& context) {
    std::vector<std::string> outside{"$"};
    std::swap(outside, variables_);
    const int ranges = std::exchange(ranges_, 0);
    Node list;
    const Node last = item_list(list);
    if (last.kind != Kind::end) fail("unexpected " + to_source(last) + " in " + context);
    std::swap(outside, variables_);
    ranges_ = ranges;
    const auto is_empty = [](const Node& body) {
      return std::all_of(body.children.begin(), body.children.end(), [](const Node& node) {
        return node.kind == Kind::text && node.text.find_first_not_of(" \t\r\n") == std::string::npos;
      });
    };
    const auto [entry, fresh] = tree_.defined.try_emplace(name);
    if (!fresh && !is_empty(entry->second) && !is_empty(list)) fail("template: multiple definition of template " + quote(name));
    if (fresh || is_empty(entry->second)) entry->second = std::move(list);
  }

  std::string template_name(const Token& token, const std::string& context) {
    if (token.kind != Tok::string && token.kind != Tok::raw_string) unexpected(token, context);
    const std::optional<std::string> name = unquote(token.text);
    if (!name) fail("invalid syntax");
    return *name;
  }

  /// Reads up to an end or an else. @return that node
  Node item_list(Node& list) {
    list.pos = peek_past_space().pos;
    while (peek_past_space().kind != Tok::eof) {
      Node node = text_or_action();
      if (node.kind == Kind::end || node.kind == Kind::else_) return node;
      list.children.push_back(std::move(node));
    }
    fail("unexpected EOF");
  }

  Node text_or_action() {
    const Token& token = next_past_space();
    if (token.kind == Tok::text) return make(Kind::text, token);
    if (token.kind != Tok::left_delim) unexpected(token, "input");
    return action();
  }

  Node action() {
    const Depth depth(*this);
    const Token& token = next_past_space();
    switch (token.kind) {
      case Tok::block: return block(token);
      case Tok::break_: return jump(Kind::break_, token);
      case Tok::continue_: return jump(Kind::continue_, token);
      case Tok::else_: return else_control(token);
      case Tok::end: {
        Node node = make(Kind::end, token);
        expect(Tok::right_delim, "end");
        return node;
      }
      case Tok::if_: return control(Kind::if_, "if", token);
      case Tok::range: return control(Kind::range, "range", token);
      case Tok::with: return control(Kind::with, "with", token);
      case Tok::template_: return template_control();
      default: break;
    }
    --at_;
    Node node = make(Kind::action, peek());
    node.children.push_back(pipeline("command", Tok::right_delim));
    return node;
  }

  Node jump(Kind kind, const Token& token) {
    const std::string word = "{{" + token.text + "}}";
    Node node = make(kind, token);
    if (const Token& after = next_past_space(); after.kind != Tok::right_delim) unexpected(after, word);
    if (ranges_ == 0) fail(word + " outside {{range}}");
    return node;
  }

  Node else_control(const Token& token) {
    Node node = make(Kind::else_, token);
    const Tok after = peek_past_space().kind;
    // The block that it belongs to reads on: "else if" and "else with" are blocks of their own that share the end.
    if (after != Tok::if_ && after != Tok::with) expect(Tok::right_delim, "else");
    return node;
  }

  Node control(Kind kind, const std::string& context, const Token& token) {
    const Depth depth(*this);
    const Scope scope(variables_);
    Node node = make(kind, token);
    node.children.push_back(pipeline(context, Tok::right_delim));
    if (kind == Kind::range) ++ranges_;
    Node list;
    Node last = item_list(list);
    if (kind == Kind::range) --ranges_;
    node.children.push_back(std::move(list));
    if (last.kind == Kind::else_) node.children.push_back(else_list(kind, last));
    return node;
  }

  Node else_list(Kind kind, const Node& from) {
    Node list;
    list.pos = from.pos;
    const Tok after = peek().kind;
    if (after == Tok::if_ || after == Tok::with) {
      const Token& token = next();
      if ((kind == Kind::if_) != (after == Tok::if_) || kind == Kind::range) unexpected(token, "else");
      list.children.push_back(control(kind, kind == Kind::if_ ? "if" : "with", token));
      return list;
    }
    const Node last = item_list(list);
    if (last.kind != Kind::end) fail("expected end; found " + to_source(last));
    return list;
  }

  /// `block "name" pipeline` defines a template and uses it.
  Node block(const Token& token) {
    const std::string context = "block clause";
    const Token& name = next_past_space();
    Node node = make(Kind::template_, token);
    node.text = template_name(name, context);
    node.children.push_back(pipeline(context, Tok::right_delim));
    define(node.text, context);
    return node;
  }

  Node template_control() {
    const std::string context = "template clause";
    const Token& name = next_past_space();
    Node node = make(Kind::template_, name);
    node.text = template_name(name, context);
    if (next_past_space().kind == Tok::right_delim) return node;
    --at_;
    node.children.push_back(pipeline(context, Tok::right_delim));
    return node;
  }

  // ---- pipelines ----
  Node pipeline(const std::string& context, Tok end) {
    const Depth depth(*this);
    Node node = make(Kind::pipeline, peek_past_space());
    node.text.clear();
    declarations(node, context);
    while (true) {
      const Token& token = next_past_space();
      if (token.kind == end) break;
      switch (token.kind) {
        case Tok::boolean:
        case Tok::char_constant:
        case Tok::complex:
        case Tok::dot:
        case Tok::field:
        case Tok::identifier:
        case Tok::number:
        case Tok::nil:
        case Tok::raw_string:
        case Tok::string:
        case Tok::variable:
        case Tok::left_paren: break;
        default: unexpected(token, context);
      }
      --at_;
      node.children.push_back(command());
    }
    if (node.children.empty()) fail("missing value for " + context);
    for (std::size_t i = 1; i < node.children.size(); ++i) {
      switch (node.children[i].children.front().kind) {
        case Kind::boolean:
        case Kind::dot:
        case Kind::nil:
        case Kind::number:
        case Kind::string: fail("non executable command in pipeline stage " + std::to_string(i + 1));
        default: break;
      }
    }
    return node;
  }

  /// `$x :=`, `$x =`, and of a range `$i, $e :=`.
  void declarations(Node& node, const std::string& context) {
    while (peek_past_space().kind == Tok::variable) {
      const std::size_t back = at_;
      const Token& variable = next();
      const Tok after = peek_past_space().kind;
      const bool comma = after == Tok::character && peek().text == ",";
      if (after != Tok::assign && after != Tok::declare && !comma) {
        at_ = back;
        return;
      }
      next();
      node.assigns = after == Tok::assign;
      Node declared = make(Kind::variable, variable);
      declared.ident = {variable.text};
      node.declared.push_back(std::move(declared));
      variables_.push_back(variable.text);
      if (!comma) return;
      if (context != "range" || node.declared.size() > 1) fail("too many declarations in " + context);
      const Tok second = peek_past_space().kind;
      if (second != Tok::variable && second != Tok::right_delim && second != Tok::right_paren) fail("range can only initialize variables");
    }
  }

  Node command() {
    Node node = make(Kind::command, peek_past_space());
    node.text.clear();
    while (true) {
      peek_past_space();
      if (std::optional<Node> word = operand()) node.children.push_back(std::move(*word));
      const Token& token = next();
      if (token.kind == Tok::space) continue;
      if (token.kind == Tok::right_delim || token.kind == Tok::right_paren)
        --at_;
      else if (token.kind != Tok::pipe)
        unexpected(token, "operand");
      break;
    }
    if (node.children.empty()) fail("empty command");
    return node;
  }

  /// A term with the fields that follow it without a blank.
  std::optional<Node> operand() {
    std::optional<Node> node = term();
    if (!node || peek().kind != Tok::field) return node;
    Node chain = make(Kind::chain, peek());
    while (peek().kind == Tok::field) chain.ident.push_back(next().text.substr(1));
    switch (node->kind) {
      case Kind::field:
      case Kind::variable:
        node->ident.insert(node->ident.end(), chain.ident.begin(), chain.ident.end());
        node->pos = chain.pos;
        return node;
      case Kind::boolean:
      case Kind::string:
      case Kind::number:
      case Kind::nil:
      case Kind::dot: fail("unexpected . after term " + quote(to_source(*node)));
      default: break;
    }
    chain.children.push_back(std::move(*node));
    return chain;
  }

  std::optional<Node> term() {
    const Token& token = next_past_space();
    switch (token.kind) {
      case Tok::identifier:
        if (!is_function(token.text)) fail("function " + quote(token.text) + " not defined");
        return make(Kind::identifier, token);
      case Tok::dot: return make(Kind::dot, token);
      case Tok::nil: return make(Kind::nil, token);
      case Tok::variable: return use_variable(token);
      case Tok::field: {
        Node node = make(Kind::field, token);
        node.ident = {token.text.substr(1)};
        return node;
      }
      case Tok::boolean: {
        Node node = make(Kind::boolean, token);
        node.truth = token.text == "true";
        return node;
      }
      case Tok::number:
      case Tok::complex:
      case Tok::char_constant: return number(token);
      case Tok::left_paren: return pipeline("parenthesized pipeline", Tok::right_paren);
      case Tok::string:
      case Tok::raw_string: {
        Node node = make(Kind::string, token);
        const std::optional<std::string> value = unquote(token.text);
        if (!value) fail("invalid syntax");
        node.value = *value;
        return node;
      }
      default: break;
    }
    --at_;
    return std::nullopt;
  }

  Node use_variable(const Token& token) {
    if (std::find(variables_.begin(), variables_.end(), token.text) == variables_.end()) fail("undefined variable " + quote(token.text));
    Node node = make(Kind::variable, token);
    node.ident = {token.text};
    return node;
  }

  Node number(const Token& token) {
    Node node = make(Kind::number, token);
    if (token.kind == Tok::char_constant) {
      constant(token, node.number);
    } else if (token.kind == Tok::complex || token.text.ends_with('i')) {
      node.number.is_complex = true;  // Nobody's rule computes with it; it is printed as written.
    } else {
      plain(token.text, node.number);
    }
    return node;
  }

  void constant(const Token& token, Number& n) const {
    const std::optional<std::string> text = unquote(token.text);
    if (!text || text->empty()) fail("invalid syntax");
    std::uint32_t code = static_cast<unsigned char>((*text)[0]);
    const std::size_t size = code >= 0xf0 ? 4 : code >= 0xe0 ? 3 : code >= 0xc0 ? 2 : 1;
    // An escaped byte stands for itself, and is a single one.
    if (text->size() != size && text->size() != 1) fail("malformed character constant: " + token.text);
    if (text->size() > 1) code &= 0x3fU >> (size - 1);
    for (std::size_t i = 1; i < text->size(); ++i) code = code << 6 | (static_cast<unsigned char>((*text)[i]) & 0x3fU);
    n.is_int = n.is_uint = n.is_float = true;
    n.i = code;
    n.u = code;
    n.f = code;
  }

  void plain(const std::string& text, Number& n) const {
    const bool minus = text.starts_with('-'), sign = minus || text.starts_with('+');
    const std::optional<std::uint64_t> whole = parse_whole(std::string_view(text).substr(sign ? 1 : 0));
    constexpr std::uint64_t kLargest = 1ULL << 63;
    if (whole && (*whole < kLargest || (minus && *whole == kLargest))) {
      n.is_int = n.is_float = true;
      n.i = minus ? static_cast<std::int64_t>(0 - *whole) : static_cast<std::int64_t>(*whole);
      n.f = static_cast<double>(n.i);
    }
    if (whole && (!sign || *whole == 0)) {
      n.is_uint = true;
      n.u = *whole;
    }
    if (n.is_int) return;
    if (n.is_uint) {
      n.is_float = true;
      n.f = static_cast<double>(n.u);
      return;
    }
    const std::optional<double> real = parse_real(text);
    if (!real) fail("illegal number syntax: " + quote(text));
    if (text.find_first_of(".eEpP") == std::string::npos) fail("integer overflow: " + quote(text));
    set_float(n, *real);
  }

  std::vector<Token> tokens_;
  const std::string& name_;
  Tree tree_;
  std::vector<std::string> variables_{"$"};
  std::size_t at_ = 0;
  int line_ = 1, depth_ = 0, ranges_ = 0;
};

std::string dotted(const std::vector<std::string>& ident, const std::string& before) {
  std::string out = before;
  for (const std::string& name : ident) out += "." + name;
  return out;
}

std::string pipeline_source(const Node& node) {
  std::string out;
  for (const Node& variable : node.declared) out += (out.empty() ? "" : ", ") + variable.ident.front();
  if (!node.declared.empty()) out += node.assigns ? " = " : " := ";
  for (std::size_t i = 0; i < node.children.size(); ++i) out += (i > 0 ? " | " : "") + to_source(node.children[i]);
  return out;
}

std::string in_parens(const Node& node) { return node.kind == Kind::pipeline ? "(" + to_source(node) + ")" : to_source(node); }

}  // namespace

std::string to_source(const Node& node) {
  switch (node.kind) {
    case Kind::list: {
      std::string out;
      for (const Node& child : node.children) out += to_source(child);
      return out;
    }
    case Kind::action: return "{{" + to_source(node.children.front()) + "}}";
    case Kind::if_:
    case Kind::range:
    case Kind::with: {
      const std::string word = node.kind == Kind::if_ ? "if " : node.kind == Kind::range ? "range " : "with ";
      std::string out = "{{" + word + to_source(node.children[0]) + "}}" + to_source(node.children[1]);
      if (node.children.size() > 2) out += "{{else}}" + to_source(node.children[2]);
      return out + "{{end}}";
    }
    case Kind::template_: return "{{template " + quote(node.text) + (node.children.empty() ? "" : " " + to_source(node.children[0])) + "}}";
    case Kind::break_: return "{{break}}";
    case Kind::continue_: return "{{continue}}";
    case Kind::end: return "{{end}}";
    case Kind::else_: return "{{else}}";
    case Kind::pipeline: return pipeline_source(node);
    case Kind::command: {
      std::string out;
      for (const Node& word : node.children) out += (out.empty() ? "" : " ") + in_parens(word);
      return out;
    }
    case Kind::variable: return dotted({node.ident.begin() + 1, node.ident.end()}, node.ident.front());
    case Kind::field: return dotted(node.ident, "");
    case Kind::chain: return dotted(node.ident, in_parens(node.children.front()));
    case Kind::dot: return ".";
    case Kind::nil: return "nil";
    case Kind::text:
    case Kind::identifier:
    case Kind::boolean:
    case Kind::number:
    case Kind::string: return node.text;
  }
  return {};
}

Tree parse(std::string_view text, const std::string& name) { return Parser(text, name).run(); }

}  // namespace rollbackd::rules::tmpl
