#include "base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "base/text.hpp"

namespace rollbackd::log {
namespace {

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = std::make_shared<spdlog::logger>("rollbackd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *instance;
}

spdlog::level::level_enum level_of(Level level) {
  switch (level) {
    case Level::debug: return spdlog::level::debug;
    case Level::info: return spdlog::level::info;
    case Level::warning: return spdlog::level::warn;
    case Level::error: return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

void set_level(Level level) { logger().set_level(level_of(level)); }

void write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (!logger().should_log(level_of(level))) return;
  std::string line = printable(message);
  for (const auto& [key, value] : fields) {
    const std::string shown = printable(value);
    const bool quote = shown.empty() || shown.find_first_of(" =\"") != shown.npos;
    line += ' ';
    line += key;
    line += '=';
    if (quote) line += '"';
    for (const char c : shown) {
      if (c == '"') line += '\\';
      line += c;
    }
    if (quote) line += '"';
  }
  logger().log(level_of(level), "{}", line);
}

}  // namespace rollbackd::log
