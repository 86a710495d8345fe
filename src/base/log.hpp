// The daemon's own log: one line an event, to stderr, with a level. spdlog stays behind this header.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace rollbackd::log {

enum class Level { debug, info, warning, error };

/// One "key=value" of a line; values are made printable and quoted where needed.
using Field = std::pair<std::string_view, std::string>;

/// Sets the least level that is written. Thread-safe, like everything here.
void set_level(Level level);
void write(Level level, std::string_view message, std::initializer_list<Field> fields = {});

inline void debug(std::string_view m, std::initializer_list<Field> f = {}) { write(Level::debug, m, f); }
inline void info(std::string_view m, std::initializer_list<Field> f = {}) { write(Level::info, m, f); }
inline void warning(std::string_view m, std::initializer_list<Field> f = {}) { write(Level::warning, m, f); }
inline void error(std::string_view m, std::initializer_list<Field> f = {}) { write(Level::error, m, f); }

}  // namespace rollbackd::log
