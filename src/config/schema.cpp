// The tables as a JSON Schema (draft 4), for editors and for whoever writes configuration by program.
#include "base/time.hpp"
#include "config/load.hpp"
#include "config/settings_table.hpp"

namespace rollbackd::config {
namespace {

using Kind = Field::Kind;

Json object_schema(const Table& table);

std::string describe(const Field& field, const Table& table) {
  std::string out = field.doc;
  if (!field.only.empty()) {
    std::string words(field.only);
    for (std::size_t at = 0; (at = words.find(' ', at)) != words.npos; at += 2) words.replace(at, 1, ", ");
    out += " (" + std::string(table.discriminator) + " " + words + ")";
  }
  if (field.kind == Kind::duration) {
    if (field.min > 0) out += " At least " + format_duration(Duration(field.min)) + ".";
    if (field.max < std::numeric_limits<std::int64_t>::max()) out += " At most " + format_duration(Duration(field.max)) + ".";
  }
  return out;
}

Json typed(const char* type) { return Json::object().set("type", type); }

Json words_schema(const Field& field) {
  Json words = Json::array();
  for (const Choice& c : field.choices)
    if (!c.unavailable) words.push(c.word);
  return Json::object().set("enum", std::move(words));
}

Json entry_schema(const Field& field) {
  if (!field.choices.empty()) return words_schema(field);
  if (!field.numbers_too) return typed("string");
  return Json::object().set("type", Json::array().push("string").push("integer"));
}

void add_counts(Json& out, const Field& field, const char* least, const char* most) {
  if (field.min > 0) out.set(least, field.min);
  if (field.max < std::numeric_limits<std::int64_t>::max()) out.set(most, field.max);
}

Json shape(const Field& field) {
  Json out;
  switch (field.kind) {
    case Kind::text:
    case Kind::path: return typed("string");
    case Kind::duration:
      return typed("string").set("pattern", "^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$");
    case Kind::boolean: return typed("boolean");
    case Kind::integer:
      out = typed("integer");
      add_counts(out, field, "minimum", "maximum");
      return out;
    case Kind::choice: return words_schema(field);
    case Kind::texts:
    case Kind::paths:
    case Kind::files:
      out = typed("array").set("items", entry_schema(field));
      add_counts(out, field, "minItems", "maxItems");
      return out;
    case Kind::map:
      out = typed("object").set("additionalProperties", typed("string"));
      add_counts(out, field, "minProperties", "maxProperties");
      return out;
    case Kind::object: return object_schema(field.table());
    case Kind::objects:
      out = typed("array").set("items", object_schema(field.table()));
      add_counts(out, field, "minItems", "maxItems");
      return out;
    case Kind::object_map:
      out = typed("object").set("additionalProperties", object_schema(field.table()));
      add_counts(out, field, "minProperties", "maxProperties");
      return out;
  }
  return out;
}

Json fallback_json(const Field& field) {
  const std::string text = field.fallback;
  switch (field.kind) {
    case Kind::integer: return std::stoll(text);
    case Kind::boolean: return text == "true";
    case Kind::map: return Json::object();
    case Kind::texts:
    case Kind::paths:
    case Kind::files: return text.empty() ? Json::array() : Json::array().push(text);
    default: return text;
  }
}

Json object_schema(const Table& table) {
  Json properties = Json::object(), required = Json::array();
  for (const Field& field : table.fields) {
    if (field.unavailable) continue;
    Json property = shape(field);
    property.set("description", describe(field, table));
    if (field.fallback) property.set("default", fallback_json(field));
    properties.set(field.key, std::move(property));
    // What a short form or the discriminator may replace cannot be required of every document.
    if (field.required && field.only.empty() && field.kind != Kind::objects) required.push(field.key);
  }
  Json out = typed("object").set("additionalProperties", false).set("properties", std::move(properties));
  if (!required.elements().empty()) out.set("required", std::move(required));
  return out;
}

}  // namespace

Json schema() {
  Json out = Json::object();
  out.set("$schema", "http://json-schema.org/draft-04/schema#");
  out.set("title", "rollbackd configuration");
  out.set("description", "Generated from the settings tables in src/config/settings_table.cpp.");
  const Json body = object_schema(settings_table());
  for (const auto& [key, value] : body.members()) out.set(key, value);
  return out;
}

}  // namespace rollbackd::config
