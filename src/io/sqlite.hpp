// A thin layer over SQLite: values in, rows out, every failure a Result. Blocking: belongs on a thread of its own, never on the reactor.
// Flow: record/history and notify/outbox keep their tables through it; nothing here knows what is in them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace rollbackd::io {

/// What is bound to one `?` of a statement.
using SqlValue = std::variant<std::nullptr_t, std::int64_t, double, std::string>;

/// One row of an answer; valid only inside the callback that gets it.
class SqlRow {
 public:
  explicit SqlRow(sqlite3_stmt* statement) : statement_(statement) {}
  bool is_null(int column) const;
  std::int64_t integer(int column) const;
  double real(int column) const;
  std::string text(int column) const;

 private:
  sqlite3_stmt* statement_;
};

/// One connection. Used by one thread at a time; it may move between threads.
///
/// Error codes: `corrupt` (the file is damaged or no database), `internal` (the statement does not fit the schema), `io` (disk full,
/// read-only, not openable, I/O error: after a failed commit it is unknown whether the rows are there), `conflict` (locked by another
/// process beyond the busy timeout), `cancelled` (a time bound passed), `invalid_argument` and `too_large` (this row is refused; others are
/// not concerned).
class Database {
 public:
  struct Limits {
    Duration busy_timeout = 2s;  ///< waiting for another process's lock
  };
  /// Opens or makes the file (mode 0600). ":memory:" is a database of its own. Refuses a file that can only be read.
  static Result<Database> open(const std::string& path, Limits limits);
  static Result<Database> open(const std::string& path) { return open(path, Limits{}); }
  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();

  /// Runs one statement that answers nothing. Prepared statements are kept, at most 64.
  Result<> run(std::string_view sql, const std::vector<SqlValue>& values = {});
  /// Runs one statement and hands each row to `each`.
  Result<> query(std::string_view sql, const std::vector<SqlValue>& values, const std::function<void(const SqlRow&)>& each);
  /// Runs several statements without values; stops at the first that fails.
  Result<> script(const std::string& sql);
  /// The single number a statement answers; 0 when it answers no row.
  Result<std::int64_t> number(std::string_view sql, const std::vector<SqlValue>& values = {});
  /// Runs `work` in one transaction: committed when it succeeds, else rolled back.
  Result<> transaction(const std::function<Result<>()>& work);
  /// Whether the file is whole, indexes held against their tables too (one that does not match lets a row in twice); for at most
  /// `time_max`: a longer look counts as passed. @return `corrupt` with what it found
  Result<> quick_check(Duration time_max);
  /// Rows changed by the last `run`.
  std::int64_t changed() const;

 private:
  struct Impl;
  explicit Database(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// How a file of ours is opened.
struct KeptOptions {
  std::string path;
  /// `migrations[i]` leads from version i to i + 1 (PRAGMA user_version), each in a transaction. Written ones never change.
  std::vector<std::string> migrations;
  Duration busy_timeout = 2s;
  Duration quick_check_max = 2s;
};
/// A file of ours, or what stands in for it.
struct Kept {
  Database database;
  bool in_memory = false;
  std::string trouble;    ///< why it is in memory; "" when well
  std::string set_aside;  ///< where a corrupt file was put; "" when there was none
};
/// Opens the file in WAL mode (synchronous=NORMAL), checks it and brings it to the newest version. A corrupt one is renamed to
/// PATH.corrupt-N with its -wal and -shm and made anew. One that cannot be opened, or is of a newer version than we know, is left as it is,
/// and memory stands in.
/// @return an error only when not even memory can be had
Result<Kept> open_kept(const KeptOptions& options);
/// The same without memory as a way out: what a repeated attempt wants.
Result<Kept> open_kept_file(const KeptOptions& options);

/// Renames PATH, PATH-wal and PATH-shm to PATH.corrupt-N..., N the least free number from 1 to 100. Nothing is ever overwritten.
/// @return the new name
Result<std::string> set_aside_database(const std::string& path);

}  // namespace rollbackd::io
