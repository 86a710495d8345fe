// Runs a tree: walks its nodes, evaluates pipelines, calls functions, and says where something failed in Go's words.
#include <algorithm>

#include "rules/template_impl.hpp"

namespace rollbackd::rules::tmpl {
namespace {

using Kind = Node::Kind;

/// How a list ended: at its end, or by a break or a continue that the range around it takes.
enum class Flow { next, break_, continue_ };

/// Go's name of what a parameter takes.
std::string type_of(Param param) {
  switch (param) {
    case Param::any: return "interface {}";
    case Param::value: return "reflect.Value";
    case Param::string: return "string";
    case Param::sample: return "*template.sample";
    case Param::samples: return "template.queryResult";
  }
  return {};
}

class Executor {
 public:
  Executor(const Tree& tree, std::string_view text, const std::string& name, const TemplateContext& context)
      : tree_(tree), text_(text), parse_name_(name), name_(name), context_(context) {
    auto root = std::make_shared<Root>();
    const auto copy = [](const Labels& labels) { return std::make_shared<const StringMap>(labels.pairs().begin(), labels.pairs().end()); };
    root->labels = copy(context.labels);
    root->external_labels = copy(context.external_labels == nullptr ? Labels() : *context.external_labels);
    root->external_url = context.external_url;
    root->value = context.value;
    root_.v = std::shared_ptr<const Root>(std::move(root));
  }

  std::string run() {
    variables_.emplace_back("$", root_);
    walk_list(root_, tree_.root);
    return std::move(out_);
  }

 private:
  // ---- errors and bounds ----
  [[noreturn]] void fail(const std::string& what) const {
    if (at_ == nullptr) throw Failure{"template: " + name_ + ": " + what};
    const std::string_view before = text_.substr(0, at_->pos);
    const std::size_t line = 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
    const std::size_t start = before.rfind('\n');
    const std::size_t column = start == std::string_view::npos ? before.size() : before.size() - start - 1;
    throw Failure{"template: " + parse_name_ + ":" + std::to_string(line) + ":" + std::to_string(column) + ": executing " + quote(name_) +
                  " at <" + to_source(*at_) + ">: " + what};
  }
  void step(std::size_t count = 1) {
    if ((steps_ += count) > kStepsMax) fail("it takes more than " + std::to_string(kStepsMax) + " steps");
  }
  void write(std::string_view text) {
    if (out_.size() + text.size() > kOutputBytesMax) fail("it makes more than " + std::to_string(kOutputBytesMax) + " bytes");
    out_ += text;
  }

  /// What a value costs beside the step that made it.
  void charge(const Value& value) {
    if (const std::string* text = value.as<std::string>()) step(text->size() / kBytesAStep);
    if (const auto* samples = value.as<std::shared_ptr<const Samples>>()) step((*samples)->size());
  }
  struct Deeper {  ///< Bounds the recursion of what runs.
    explicit Deeper(Executor& e) : executor(e) {
      if (++executor.depth_ > kRunDepthMax) executor.fail("exceeded maximum template depth (" + std::to_string(kRunDepthMax) + ")");
    }
    ~Deeper() { --executor.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    Executor& executor;
  };

  // ---- walking ----
  Flow walk_list(const Value& dot, const Node& list) {
    for (const Node& node : list.children)
      if (const Flow flow = walk(dot, node); flow != Flow::next) return flow;
    return Flow::next;
  }

  Flow walk(const Value& dot, const Node& node) {
    const Deeper deeper(*this);
    at_ = &node;
    step();
    switch (node.kind) {
      case Kind::text: write(node.text); break;
      case Kind::action: {
        const Node& pipe = node.children.front();
        const Value value = pipeline(dot, pipe);
        at_ = &node;
        if (pipe.declared.empty()) write(print_action(value));
        break;
      }
      case Kind::if_:
      case Kind::with: return walk_if(dot, node);
      case Kind::range: return walk_range(dot, node);
      case Kind::template_: walk_template(dot, node); break;
      case Kind::break_: return Flow::break_;
      case Kind::continue_: return Flow::continue_;
      default: fail("unknown node: " + to_source(node));
    }
    return Flow::next;
  }

  Flow walk_if(const Value& dot, const Node& node) {
    const std::size_t mark = variables_.size();
    const Value value = pipeline(dot, node.children[0]);
    Flow flow = Flow::next;
    if (is_true(value))
      flow = walk_list(node.kind == Kind::with ? value : dot, node.children[1]);
    else if (node.children.size() > 2)
      flow = walk_list(dot, node.children[2]);
    variables_.resize(mark);
    return flow;
  }

  Flow walk_range(const Value& dot, const Node& node) {
    const std::size_t mark = variables_.size();
    const Value value = pipeline(dot, node.children[0]);
    const std::vector<Node>& declared = node.children[0].declared;
    const std::size_t inner = variables_.size();
    std::size_t rounds = 0;
    Flow flow = Flow::next;
    const auto round = [&](const Value& index, const Value& element) {
      ++rounds;
      step();
      if (node.children[0].assigns) {
        if (declared.size() > 1) assign(declared[0].ident.front(), index);
        assign(declared.back().ident.front(), element);
      } else {
        if (!declared.empty()) variables_[inner - 1].second = element;
        if (declared.size() > 1) variables_[inner - 2].second = index;
      }
      flow = walk_list(element, node.children[1]);
      variables_.resize(inner);
      return flow != Flow::break_;
    };
    iterate(value, declared.size(), round);
    flow = Flow::next;
    if (rounds == 0 && node.children.size() > 2) flow = walk_list(dot, node.children[2]);
    variables_.resize(mark);
    return flow;
  }

  template <class Round>
  void iterate(const Value& value, std::size_t declared, const Round& round) {
    if (value.is_none()) return;
    if (const auto* samples = value.as<std::shared_ptr<const Samples>>()) {
      for (std::size_t i = 0; i < (*samples)->size(); ++i)
        if (!round(Value{static_cast<std::int64_t>(i)}, Value{(**samples)[i]})) return;
    } else if (const auto* labels = value.as<std::shared_ptr<const StringMap>>()) {
      for (const auto& [name, text] : **labels)
        if (!round(Value{name}, Value{text})) return;
    } else if (const auto* map = value.as<std::shared_ptr<const ValueMap>>()) {
      for (const auto& [name, element] : (*map)->items)
        if (!round(Value{name}, element)) return;
    } else if (const auto* count = value.as<std::int64_t>()) {
      if (declared > 1) fail("can't use " + std::to_string(*count) + " to iterate over more than one variable");
      for (std::int64_t i = 0; i < *count; ++i)
        if (!round(Value{i}, Value{i})) return;
    } else {
      fail("range can't iterate over " + print_action(value));
    }
  }

  void walk_template(const Value& dot, const Node& node) {
    const auto found = tree_.defined.find(node.text);
    const bool itself = found == tree_.defined.end() && node.text == parse_name_;
    if (found == tree_.defined.end() && !itself) fail("template " + quote(node.text) + " not defined");
    const Value inner = node.children.empty() ? Value{} : pipeline(dot, node.children[0]);
    std::vector<std::pair<std::string, Value>> outside{{"$", inner}};
    std::swap(outside, variables_);
    std::string outer_name = std::exchange(name_, node.text);
    walk_list(inner, itself ? tree_.root : found->second);
    name_ = std::move(outer_name);
    std::swap(outside, variables_);
  }

  // ---- variables ----
  Value* find(const std::string& name) {
    const auto found = std::find_if(variables_.rbegin(), variables_.rend(), [&](const auto& v) { return v.first == name; });
    return found == variables_.rend() ? nullptr : &found->second;
  }
  void assign(const std::string& name, const Value& value) {
    Value* variable = find(name);
    if (variable == nullptr) fail("undefined variable: " + name);
    *variable = value;
  }

  // ---- evaluation ----
  Value pipeline(const Value& dot, const Node& pipe) {
    const Deeper deeper(*this);
    at_ = &pipe;
    std::optional<Value> value;
    for (const Node& command : pipe.children) {
      value = evaluate_command(dot, command, value);
      charge(*value);
    }
    for (const Node& variable : pipe.declared) {
      if (pipe.assigns && pipe.declared.size() == 1)
        assign(variable.ident.front(), *value);
      else if (!pipe.assigns)
        variables_.emplace_back(variable.ident.front(), *value);
    }
    return std::move(*value);
  }

  void no_function(const Node& command, const std::optional<Value>& last) const {
    if (command.children.size() > 1 || last) fail("can't give argument to non-function " + to_source(command.children.front()));
  }

  /// @param last  what the command before the bar gave: the final argument of this one
  Value evaluate_command(const Value& dot, const Node& command, const std::optional<Value>& last) {
    step();
    const Node& word = command.children.front();
    const std::span<const Node> args = std::span(command.children).subspan(1);
    switch (word.kind) {
      case Kind::identifier: return call(dot, word, command, args, last);
      case Kind::field: return fields(dot, dot, word, 0, args, last);
      case Kind::variable: return variable(dot, word, args, last);
      case Kind::chain: return chain(dot, word, args, last);
      case Kind::pipeline: no_function(command, last); return pipeline(dot, word);
      default: break;
    }
    at_ = &word;
    no_function(command, last);
    if (word.kind == Kind::nil) fail("nil is not a command");
    return literal(dot, word);
  }

  /// A word that stands for itself.
  Value literal(const Value& dot, const Node& word) {
    at_ = &word;
    switch (word.kind) {
      case Kind::dot: return dot;
      case Kind::boolean: return Value{word.truth};
      case Kind::string: return Value{word.value};
      case Kind::number: return constant(word);
      case Kind::nil: return Value{};
      default: fail("can't evaluate command " + quote(to_source(word)));
    }
  }

  Value constant(const Node& word) const {
    const Number& n = word.number;
    if (n.is_complex) return Value{Complex{}};
    const std::string& text = word.text;
    const bool hex = text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == 'x' && text.find_first_of("pP") == std::string::npos;
    if (n.is_float && !hex && text[0] != '\'' && text.find_first_of(".eEpP") != std::string::npos) return Value{n.f};
    if (n.is_int) return Value{n.i};
    fail(text + " overflows int");
  }

  Value variable(const Value& dot, const Node& word, std::span<const Node> args, const std::optional<Value>& last) {
    at_ = &word;
    const Value* value = find(word.ident.front());
    if (value == nullptr) fail("undefined variable: " + word.ident.front());
    if (word.ident.size() > 1) {
      const Value receiver = *value;  // The arguments may change the stack.
      return fields(dot, receiver, word, 1, args, last);
    }
    if (!args.empty() || last) fail("can't give argument to non-function " + to_source(word));
    return *value;
  }

  Value chain(const Value& dot, const Node& word, std::span<const Node> args, const std::optional<Value>& last) {
    at_ = &word;
    const Node& start = word.children.front();
    if (start.kind == Kind::nil) fail("indirection through explicit nil in " + to_source(word));
    const Value receiver = start.kind == Kind::pipeline ? pipeline(dot, start) : call(dot, start, start, {}, std::nullopt);
    return fields(dot, receiver, word, 0, args, last);
  }

  /// `.a.b.c`, from the field `from` of the node on. Only the last one, a method, can take arguments.
  Value fields(const Value& dot, Value value, const Node& node, std::size_t from, std::span<const Node> args,
               const std::optional<Value>& last) {
    at_ = &node;
    for (std::size_t i = from; i < node.ident.size(); ++i) {
      step();
      const bool final = i + 1 == node.ident.size();
      value = field(dot, value, node, node.ident[i], final ? args : std::span<const Node>(), final ? last : std::nullopt);
    }
    return value;
  }

  Value field(const Value& dot, const Value& receiver, const Node& node, const std::string& name, std::span<const Node> args,
              const std::optional<Value>& last) {
    if (receiver.is_none()) return Value{};
    if (const Time* t = receiver.as<Time>()) {
      if (std::optional<Value> result = time_method(dot, *t, node, name, args, last)) return *result;
    }
    const bool has_args = !args.empty() || last;
    if (const GoDuration* d = receiver.as<GoDuration>(); d != nullptr && !has_args) {
      if (std::optional<Value> result = duration_method(*d, name)) return *result;
    }
    if (std::optional<Value> found = member(receiver, name)) {
      const bool of_map = receiver.as<std::shared_ptr<const Root>>() == nullptr && receiver.as<SamplePtr>() == nullptr;
      if (has_args) fail(name + (of_map ? " is not a method but has arguments" : " has arguments but cannot be invoked as function"));
      return std::move(*found);
    }
    fail("can't evaluate field " + name + " in type " + type_name(receiver));
  }

  std::optional<Value> member(const Value& receiver, const std::string& name) const {
    if (const auto* labels = receiver.as<std::shared_ptr<const StringMap>>()) {
      const auto found = (*labels)->find(name);
      return Value{found == (*labels)->end() ? std::string() : found->second};
    }
    if (const auto* map = receiver.as<std::shared_ptr<const ValueMap>>()) {
      const auto found = (*map)->items.find(name);
      return found == (*map)->items.end() ? Value{} : found->second;
    }
    if (const auto* root = receiver.as<std::shared_ptr<const Root>>()) {
      if (name == "Labels") return Value{(*root)->labels};
      if (name == "ExternalLabels") return Value{(*root)->external_labels};
      if (name == "ExternalURL") return Value{(*root)->external_url};
      if (name == "Value") return Value{(*root)->value};
    }
    if (const SamplePtr* sample = receiver.as<SamplePtr>()) {
      if (*sample == nullptr) fail("nil pointer evaluating *template.sample." + name);
      if (name == "Labels") return Value{std::make_shared<const StringMap>((*sample)->labels)};
      if (name == "Value") return Value{(*sample)->value};
    }
    return std::nullopt;
  }

  /// The methods of time.Time that rules use.
  std::optional<Value> time_method(const Value& dot, Time t, const Node& node, const std::string& name, std::span<const Node> args,
                                   const std::optional<Value>& last) {
    const Function signature{name == "Format" ? std::vector{Param::string} : std::vector<Param>{}, false, {}};
    const std::vector<Value> given = arguments(dot, name, signature, args, last);
    at_ = &node;
    if (name == "Format") return Value{format_time(t.ms, *given.at(0).as<std::string>())};
    const auto number = [&](std::string_view layout) { return Value{static_cast<std::int64_t>(std::stoll(format_time(t.ms, layout)))}; };
    if (name == "Unix") return Value{t.ms >= 0 ? t.ms / 1000 : -((999 - t.ms) / 1000)};
    if (name == "UnixMilli") return Value{t.ms};
    if (name == "String") return Value{to_string(t)};
    if (name == "UTC") return Value{t};
    if (name == "Year") return number("2006");
    if (name == "Day") return number("2");
    if (name == "YearDay") return number("002");
    if (name == "Hour") return number("15");
    if (name == "Minute") return number("4");
    if (name == "Second") return number("5");
    if (name == "Month") return Value{format_time(t.ms, "January")};
    if (name == "Weekday") return Value{format_time(t.ms, "Monday")};
    return std::nullopt;
  }
  static std::optional<Value> duration_method(GoDuration d, const std::string& name) {
    const auto ns = static_cast<double>(d.ns);
    if (name == "String") return Value{to_string(d)};
    if (name == "Hours") return Value{ns / 3600e9};
    if (name == "Minutes") return Value{ns / 60e9};
    if (name == "Seconds") return Value{ns / 1e9};
    if (name == "Milliseconds") return Value{d.ns / 1'000'000};
    return std::nullopt;
  }

  // ---- calls ----
  Value call(const Value& dot, const Node& word, const Node& command, std::span<const Node> args, const std::optional<Value>& last) {
    at_ = &word;
    const std::string& name = word.text;
    const Function* function = find_function(name);
    if (function == nullptr) fail(quote(name) + " is not a defined function");
    if (name == "and" || name == "or") return short_circuit(dot, *function, name == "or", word, args, last);
    const std::vector<Value> values = arguments(dot, name, *function, args, last);
    try {
      Value result = function->run({values, context_});
      const std::string* text = result.as<std::string>();
      if (text != nullptr && text->size() > kOutputBytesMax)
        throw Failure{"the text is longer than " + std::to_string(kOutputBytesMax) + " bytes"};
      return result;
    } catch (const Failure& failure) {
      at_ = &command;
      fail("error calling " + name + ": " + failure.text);
    }
  }

  /// `and` and `or` look at no argument behind the one that decides.
  Value short_circuit(const Value& dot, const Function& function, bool decides, const Node& word, std::span<const Node> args,
                      const std::optional<Value>& last) {
    check_count(word.text, function, args.size(), last.has_value());
    Value value;
    for (const Node& arg : args) {
      value = argument(dot, Param::value, arg);
      if (is_true(value) == decides) return value;
    }
    return last ? *last : value;
  }

  void check_count(const std::string& name, const Function& function, std::size_t written, bool piped) const {
    const std::size_t given = written + (piped ? 1 : 0), wanted = function.params.size();
    if (function.variadic && given < wanted - 1)
      fail("wrong number of args for " + name + ": want at least " + std::to_string(wanted - 1) + " got " + std::to_string(written));
    if (!function.variadic && given != wanted)
      fail("wrong number of args for " + name + ": want " + std::to_string(wanted) + " got " + std::to_string(given));
  }

  std::vector<Value> arguments(const Value& dot, const std::string& name, const Function& function, std::span<const Node> args,
                               const std::optional<Value>& last) {
    check_count(name, function, args.size(), last.has_value());
    const auto param = [&](std::size_t i) { return function.params[std::min(i, function.params.size() - 1)]; };
    std::vector<Value> values;
    for (const Node& arg : args) values.push_back(argument(dot, param(values.size()), arg));
    if (last) values.push_back(checked(*last, param(values.size())));
    for (const Value& value : values) charge(value);
    return values;
  }

  Value argument(const Value& dot, Param param, const Node& word) {
    step();
    at_ = &word;
    switch (word.kind) {
      case Kind::dot: return checked(dot, param);
      case Kind::nil:
        if (param == Param::string) fail("cannot assign nil to string");
        return checked(Value{}, param);
      case Kind::field: return checked(fields(dot, dot, word, 0, {}, std::nullopt), param);
      case Kind::variable: return checked(variable(dot, word, {}, std::nullopt), param);
      case Kind::pipeline: return checked(pipeline(dot, word), param);
      case Kind::identifier: return checked(call(dot, word, word, {}, std::nullopt), param);
      case Kind::chain: return checked(chain(dot, word, {}, std::nullopt), param);
      default: break;
    }
    if (param == Param::any || param == Param::value) return literal(dot, word);
    if (param != Param::string) fail("can't handle " + to_source(word) + " for arg of type " + type_of(param));
    if (word.kind != Kind::string) fail("expected string; found " + to_source(word));
    return Value{word.value};
  }

  Value checked(const Value& value, Param param) const {
    switch (param) {
      case Param::any:
      case Param::value: return value;
      case Param::string:
        if (value.is_none()) fail("invalid value; expected string");
        if (value.as<std::string>() != nullptr) return value;
        break;
      case Param::sample:
        if (value.is_none()) return Value{SamplePtr()};
        if (value.as<SamplePtr>() != nullptr) return value;
        break;
      case Param::samples:
        if (value.is_none()) return Value{std::make_shared<const Samples>()};
        if (value.as<std::shared_ptr<const Samples>>() != nullptr) return value;
        break;
    }
    fail("wrong type for value; expected " + type_of(param) + "; got " + type_name(value));
  }

  const Tree& tree_;
  std::string_view text_;
  const std::string& parse_name_;
  std::string name_;  ///< of the template that runs
  const TemplateContext& context_;
  Value root_;
  std::vector<std::pair<std::string, Value>> variables_;
  std::string out_;
  const Node* at_ = nullptr;  ///< for errors
  std::size_t steps_ = 0;
  int depth_ = 0;
};

}  // namespace

std::string execute(const Tree& tree, std::string_view text, const std::string& name, const TemplateContext& context) {
  return Executor(tree, text, name, context).run();
}

}  // namespace rollbackd::rules::tmpl
