// The settings as tables: one table an object, one row a key. Reading, `config show` and the JSON Schema all come from these rows.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/settings.hpp"
#include "config/value_checks.hpp"

namespace rollbackd::config {

/// One value as read from a document; which member counts depends on the row's kind.
struct Value {
  std::string text;         ///< text, path, choice
  std::int64_t number = 0;  ///< duration in ns, integer, boolean 0 or 1, choice's number
  std::vector<std::string> list;
  std::map<std::string, std::string> map;
};

/// One word that a choice knows.
struct Choice {
  const char* word;
  int number;
  const char* unavailable = nullptr;  ///< named by the design but not there yet: the remedy
};

struct Table;

/// One key of one object.
struct Field {
  enum class Kind { text, path, duration, integer, boolean, choice, texts, paths, files, map, object, objects, object_map };
  using Setter = void (*)(void* target, const Value& value);
  using Place =
      void* (*)(void* target);  ///< where a nested object goes; for `objects` a new element; null there: load.cpp reads the entries

  const char* key = "";
  Kind kind = Kind::text;
  const char* doc = "";            ///< one sentence
  const char* fallback = nullptr;  ///< the default as a person would write it; null: none
  Setter set = nullptr;            ///< null: read by expand.cpp only
  std::int64_t min = 0;            ///< of a duration (ns), an integer, or the number of entries
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
  bool required = false;
  std::string_view only = {};            ///< words of the table's discriminator for which the key means something; empty: all
  std::span<const Choice> choices = {};  ///< of a choice; of each entry of a list of texts
  ValueCheck check = nullptr;            ///< of a text, of each entry of a list, of each value of a map
  ValueCheck key_check = nullptr;        ///< of each key of a map
  const Table& (*table)() = nullptr;     ///< of nested objects
  Place place = nullptr;
  const char* remedy = nullptr;  ///< when it is missing, or not available
  bool unavailable = false;      ///< named by the design but not there yet
  bool secret = false;           ///< `config show` hides the value
  bool numbers_too = false;      ///< 200 counts as "200"
  bool may_be_empty = false;     ///< of a path: "" says that there is none
  bool merged = false;           ///< of objects: the entries of every layer count, not those of the first that has any
};

struct Table {
  const char* noun;           ///< "check"
  const char* discriminator;  ///< key whose word decides which keys count; null: none
  std::vector<Field> fields;
  const Field* find(std::string_view key) const;
};

const Table& settings_table();
const Table& service_table();
const Table& policy_table();

/// Whether `word` is one of the blank-separated `words` (empty: of course).
bool is_among(std::string_view word, std::string_view words);

}  // namespace rollbackd::config
