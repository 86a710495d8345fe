// Reads objects by their tables: checks every key and value, sets the settings, and remembers what came from where.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/document.hpp"
#include "config/load.hpp"
#include "config/settings_table.hpp"

namespace rollbackd::config {

/// Where a document came from.
struct Source {
  std::string file;
  std::string directory;  ///< relative paths start here
};

/// One object that may hold a table's keys. Of several layers the first that has a key counts.
struct Layer {
  const Node* node = nullptr;
  const Source* source = nullptr;
};

/// A node without a place (line 0) is a default that expand.cpp wrote: it shows as one.
class Reader {
 public:
  enum class Defaults { set, leave };
  Reader(Loaded& out, const Glob& glob) : out_(out), glob_(glob) {}

  /// Reads `target` (of the table's type) from the layers. Keys and values are judged in the first layer only, the others were read before.
  /// @param target  null: only judged
  /// Never stops early: each problem is recorded and the rest is read.
  void object(const Table& table, std::span<const Layer> layers, void* target, const std::string& path, Defaults defaults = Defaults::set);

  /// Where `path` ("services[0].policy.cooldown") stands, or else the nearest object around it.
  Origin where(std::string path) const;
  /// Whether a document, not a default, gave `path`.
  bool given(const std::string& path) const;
  /// False after a value of the wrong type or out of bounds at `path`: the setting then holds its default, and says nothing.
  bool sound(const std::string& path) const { return !failed_.contains(path); }
  void fail(const std::string& path) { failed_.insert(path); }
  void place(const std::string& path, const Node& node, const Source& source);
  void problem(const Source& source, Position position, std::string what, std::string remedy);
  /// A list's entry must be an object; the problem is recorded when it is not.
  bool is_object(const Node& node, const Source& source, const std::string& path);
  /// A problem at a setting.
  void problem_at(const std::string& path, std::string what, std::string remedy, bool warning = false);

 private:
  /// The word of the table's discriminator; empty when it is missing or wrong, and then every key may stand.
  std::string discriminate(const Table& table, std::span<const Layer> layers) const;
  void known_keys(const Table& table, const Layer& layer, const std::string& word);
  void field(const Field& field, std::span<const Layer> layers, void* target, const std::string& path, Defaults defaults);
  std::size_t entries(const Field& field, const Layer& layer, void* target, const std::string& path, std::size_t first);
  bool value(const Field& field, const Node& node, const Source& source, Value& out);
  bool scalar(const Field& field, const Node& node, const Source& source, Value& out);
  bool choice(const Field& field, const Node& node, const Source& source, Value& out);
  /// The field's choice that the text is, or null and a problem. @param what  "\"type\"", "an entry of \"inject\""
  const Choice* word(const Field& field, const std::string& what, const Node& node, const Source& source);
  bool texts(const Field& field, const Node& node, const Source& source, Value& out);
  bool map(const Field& field, const Node& node, const Source& source, Value& out);
  bool paths(const Field& field, const Node& node, const Source& source, Value& out);
  bool files(const Field& field, const Node& node, const Source& source, Value& out);
  bool within(const Field& field, std::int64_t number, const Node& node, const Source& source);
  bool passes(ValueCheck check, std::string_view text, Position position, const Source& source);
  void wrong_type(const Field& field, const Node& node, const Source& source);
  void show(const Field& field, const Value& value, const std::string& path, Origin origin);

  Loaded& out_;
  const Glob& glob_;
  std::map<std::string, Origin> places_;
  std::set<std::string> failed_;
};

/// A default as the tables hold it, read like a document's value. Paths among them are absolute.
Value default_value(const Field& field);

}  // namespace rollbackd::config
