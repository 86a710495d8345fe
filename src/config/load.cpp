// Documents to settings: parse, write out what is short or left out, read by the tables, then hold the settings against each other.
// Flow: files -> [config] -> settings for every other room. Called at start, on reload and by `rollbackctl check config`.
#include "config/load.hpp"

#include <algorithm>
#include <tuple>

#include "config/cross_checks.hpp"
#include "config/expand.hpp"
#include "config/paths.hpp"
#include "config/reader.hpp"

namespace rollbackd::config {
namespace {

constexpr std::size_t kServicesMax = 1000;

/// One load: the documents must outlive the reading, since layers point into them.
class Loading {
 public:
  Loading(Loaded& out, const Glob& glob) : out_(out), reader_(out, glob) {}

  void main(const SourceFile& file) {
    main_source_ = {file.path, directory_of(file.path)};
    files_.push_back(file.path);
    auto document = parse_document(file.text, file.path, dialect_of(file.path, false), out_.problems);
    if (!document) {
      reader_.fail("services");  // How many there are is not known.
      return;
    }
    main_ = std::move(*document);
    if (main_.kind == Node::Kind::null) {  // An empty YAML file.
      main_.kind = Node::Kind::object;
      main_.position = {1, 1};
    }
    if (!reader_.is_object(main_, main_source_, "")) {
      main_ = Node{};
      return;
    }
    expand_main(main_);
    const Layer layer{&main_, &main_source_};
    reader_.object(settings_table(), {&layer, 1}, &out_.settings, "");
    for (std::size_t i = 0; i < out_.settings.routes.size(); ++i)
      out_.settings.routes[i].origin = reader_.where("routes[" + std::to_string(i) + "]");
    list(main_, main_source_);
  }

  void services(const SourceFile& file) {
    const Source source{file.path, directory_of(file.path)};
    files_.push_back(file.path);
    auto document = parse_document(file.text, file.path, dialect_of(file.path, false), out_.problems);
    if (!document) return reader_.fail("services");
    if (document->kind == Node::Kind::null) return;  // An empty YAML file.
    if (!reader_.is_object(*document, source, next_path())) return;
    if (!document->find("services")) return service(*document, source);
    for (const Node::Member& member : document->members)
      if (member.key != "services")
        reader_.problem(source, member.position, "a file of services.d holds \"services\" alone, found \"" + member.key + "\"",
                        "move it to the main file, or remove it");
    if (document->find("services")->kind != Node::Kind::array)
      return reader_.problem(source, document->find("services")->position, "\"services\" must be a list of objects",
                             "write it like [{\"name\": ...}]");
    list(*document, source);
  }

  void finish() {
    for (std::size_t i = 0; i < out_.settings.services.size(); ++i)
      if (reader_.sound(path_of(i))) check_service(out_.settings.services[i], path_of(i), reader_);
    check_whole(out_.settings, reader_);
    unused_environments();
    sort_problems();
  }

 private:
  static std::string path_of(std::size_t i) { return "services[" + std::to_string(i) + "]"; }
  std::string next_path() const { return path_of(out_.settings.services.size()); }

  void list(Node& root, const Source& source) {
    for (Node::Member& member : root.members)
      if (member.key == "services")
        for (Node& element : member.value.elements) service(element, source);
  }

  void service(Node& node, const Source& source) {
    if (out_.settings.services.size() == kServicesMax) {
      if (!too_many_)
        reader_.problem(source, node.position, "more than 1000 services", "run a second rollbackd with its own state directory");
      too_many_ = true;
      return;
    }
    const std::string path = next_path();
    ServiceSettings& settings = out_.settings.services.emplace_back();
    settings.origin = {source.file, node.position.line, node.position.column};
    if (!reader_.is_object(node, source, path)) return;
    expand_service(node, out_.settings.state_directory, source, reader_);
    const Node defaults = environment_defaults(node);
    const Layer layers[] = {{&node, &source}, {&defaults, &main_source_}};
    reader_.object(service_table(), layers, &settings, path);
  }

  /// {"policy": what `environments` says for this service's environment, "enforcement": if it says that too}.
  Node environment_defaults(const Node& service) const {
    Node out;
    out.kind = Node::Kind::object;
    const Node* environment = service.find("environment");
    const Node* environments = main_.find("environments");
    const Node* policy = environment && environments ? environments->find(environment->text) : nullptr;
    if (!policy || policy->kind != Node::Kind::object) return out;
    out.members.push_back(Node::Member{"policy", policy->position, *policy});
    if (const Node* enforcement = policy->find("enforcement")) {
      out.members.push_back(Node::Member{"enforcement", enforcement->position, *enforcement});
      std::erase_if(out.members.front().value.members, [](const Node::Member& m) { return m.key == "enforcement"; });
    }
    return out;
  }

  void unused_environments() {
    const Node* environments = main_.find("environments");
    if (!environments || !reader_.sound("services")) return;
    for (const Node::Member& member : environments->members) {
      const auto& all = out_.settings.services;
      if (std::any_of(all.begin(), all.end(), [&](const ServiceSettings& s) { return s.key.environment == member.key; })) continue;
      reader_.problem(main_source_, member.position, "no service is in the environment \"" + member.key + "\"",
                      "correct its name, or remove it");
      out_.problems.back().warning = true;
    }
  }

  /// File order, and each once: a wrong default of an environment shows again in each of its services.
  void sort_problems() {
    const auto rank = [&](const Problem& p) { return std::find(files_.begin(), files_.end(), p.file) - files_.begin(); };
    const auto key = [&](const Problem& p) { return std::tuple(rank(p), p.position.line, p.position.column); };
    auto& problems = out_.problems;
    std::stable_sort(problems.begin(), problems.end(), [&](const Problem& a, const Problem& b) { return key(a) < key(b); });
    const auto same = [&](const Problem& a, const Problem& b) { return key(a) == key(b) && a.what == b.what; };
    problems.erase(std::unique(problems.begin(), problems.end(), same), problems.end());
  }

  Loaded& out_;
  Reader reader_;
  Source main_source_;
  Node main_;
  std::vector<std::string> files_;
  bool too_many_ = false;
};

}  // namespace

bool Loaded::ok() const {
  return std::none_of(problems.begin(), problems.end(), [](const Problem& p) { return !p.warning; });
}

Loaded load(const SourceFile& main, const std::vector<SourceFile>& services, const Glob& glob) {
  Loaded out;
  Loading loading(out, glob);
  loading.main(main);
  for (const SourceFile& file : services) loading.services(file);
  loading.finish();
  return out;
}

}  // namespace rollbackd::config
