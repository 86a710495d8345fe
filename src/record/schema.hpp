// The tables of history.sqlite, as the list of migrations that leads to them. Written ones never change: a new version is a new entry.
#pragma once

#include <string>
#include <vector>

namespace rollbackd::record {

/// Entry i leads from PRAGMA user_version i to i + 1. Words as in DESIGN.md; times are unix nanoseconds (`_ns`); words, not numbers, for
/// kinds and statuses, so that a person with the sqlite3 shell can read it; lists and objects are JSON text.
const std::vector<std::string>& history_migrations();

}  // namespace rollbackd::record
