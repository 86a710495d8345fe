#include "io/sqlite.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <map>

#include "base/log.hpp"
#include "base/text.hpp"

namespace rollbackd::io {
namespace {

constexpr std::size_t kStatementsMax = 64;
constexpr int kSetAsideMax = 100;
constexpr int kProgressEveryOps = 10'000;

Errc kind_of(int rc) {
  switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return Errc::corrupt;
    case SQLITE_ERROR:
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_SCHEMA: return Errc::internal;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return Errc::conflict;
    case SQLITE_INTERRUPT: return Errc::cancelled;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH: return Errc::invalid_argument;
    case SQLITE_TOOBIG: return Errc::too_large;
    default: return Errc::io;
  }
}

using Clock = std::chrono::steady_clock;

/// SQLite asks it every few operations whether to go on; nonzero interrupts the statement.
int past_deadline(void* deadline) { return Clock::now() >= *static_cast<Clock::time_point*>(deadline) ? 1 : 0; }

}  // namespace

bool SqlRow::is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
std::int64_t SqlRow::integer(int column) const { return sqlite3_column_int64(statement_, column); }
double SqlRow::real(int column) const { return sqlite3_column_double(statement_, column); }
std::string SqlRow::text(int column) const {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  const int bytes = sqlite3_column_bytes(statement_, column);
  return data != nullptr ? std::string(data, static_cast<std::size_t>(bytes)) : std::string();
}

struct Database::Impl {
  sqlite3* handle = nullptr;
  std::string path;
  std::map<std::string, sqlite3_stmt*, std::less<>> statements;

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    forget_statements();
    sqlite3_close_v2(handle);
  }
  void forget_statements() {
    for (auto& [sql, statement] : statements) sqlite3_finalize(statement);
    statements.clear();
  }
  Error error(int rc, std::string what) const {
    return Error(kind_of(rc), std::move(what)).because(std::string(handle ? sqlite3_errmsg(handle) : sqlite3_errstr(rc)));
  }
  Result<sqlite3_stmt*> prepared(std::string_view sql) {
    if (const auto found = statements.find(sql); found != statements.end()) return found->second;
    if (statements.size() >= kStatementsMax) forget_statements();
    sqlite3_stmt* statement = nullptr;
    const int rc = sqlite3_prepare_v3(handle, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (rc != SQLITE_OK) return error(rc, "cannot prepare a statement for " + path);
    if (statement == nullptr) return Error(Errc::internal, "an empty SQL statement for " + path);
    statements.emplace(std::string(sql), statement);
    return statement;
  }
};

Database::Database(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Database::Database(Database&&) noexcept = default;
Database& Database::operator=(Database&&) noexcept = default;
Database::~Database() = default;

Result<Database> Database::open(const std::string& path, Limits limits) {
  if (path != ":memory:") {
    // Made here for its mode and for a clear error. Never opened when it exists: closing any handle of a file drops the POSIX locks that
    // another connection of this process holds on it.
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
      ::close(fd);
    } else if (errno != EEXIST) {
      return Error::from_errno("cannot make " + path, errno);
    }
    struct stat facts {};
    if (::stat(path.c_str(), &facts) != 0) return Error::from_errno("cannot open " + path, errno);
    if (!S_ISREG(facts.st_mode)) return Error(Errc::io, "cannot open " + path).because("it is not a regular file");
  }
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  const int rc = sqlite3_open_v2(path.c_str(), &impl->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (rc != SQLITE_OK) return impl->error(rc, "cannot open " + path);
  sqlite3_extended_result_codes(impl->handle, 1);
  sqlite3_busy_timeout(impl->handle, static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(limits.busy_timeout).count()));
  if (sqlite3_db_readonly(impl->handle, "main") == 1) return Error(Errc::io, "cannot open " + path).because("it can only be read");
  return Database(std::move(impl));
}

Result<> Database::query(std::string_view sql, const std::vector<SqlValue>& values, const std::function<void(const SqlRow&)>& each) {
  const Result<sqlite3_stmt*> prepared = impl_->prepared(sql);
  if (prepared.has_error()) return prepared.error();
  sqlite3_stmt* statement = *prepared;
  int rc = SQLITE_OK;
  for (std::size_t i = 0; i < values.size() && rc == SQLITE_OK; ++i) {
    const int at = static_cast<int>(i) + 1;
    if (const auto* number = std::get_if<std::int64_t>(&values[i])) {
      rc = sqlite3_bind_int64(statement, at, *number);
    } else if (const auto* real = std::get_if<double>(&values[i])) {
      rc = sqlite3_bind_double(statement, at, *real);
    } else if (const auto* text = std::get_if<std::string>(&values[i])) {
      // No copy is made: `values` outlives the statement's run.
      rc = sqlite3_bind_text64(statement, at, text->data(), text->size(), nullptr, SQLITE_UTF8);
    } else {
      rc = sqlite3_bind_null(statement, at);
    }
  }
  if (rc == SQLITE_OK) {
    const SqlRow row(statement);
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) each(row);
  }
  Result<> result;
  if (rc != SQLITE_DONE && rc != SQLITE_OK) result = impl_->error(rc, "a statement failed in " + impl_->path);
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  return result;
}

Result<> Database::run(std::string_view sql, const std::vector<SqlValue>& values) {
  return query(sql, values, [](const SqlRow&) {});
}

Result<> Database::script(const std::string& sql) {
  const int rc = sqlite3_exec(impl_->handle, sql.c_str(), nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return impl_->error(rc, "a statement failed in " + impl_->path);
  return {};
}

Result<std::int64_t> Database::number(std::string_view sql, const std::vector<SqlValue>& values) {
  std::int64_t answer = 0;
  const Result<> asked = query(sql, values, [&](const SqlRow& row) { answer = row.integer(0); });
  if (asked.has_error()) return asked.error();
  return answer;
}

Result<> Database::transaction(const std::function<Result<>()>& work) {
  if (Result<> begun = run("BEGIN IMMEDIATE"); begun.has_error()) return begun;
  Result<> done = work();
  if (done.has_value()) done = run("COMMIT");
  // Some failures have rolled back already; then this one has nothing to do and says so, which is no news.
  if (done.has_error() && sqlite3_get_autocommit(impl_->handle) == 0) (void)run("ROLLBACK");
  return done;
}

Result<> Database::quick_check(Duration time_max) {
  Clock::time_point deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(time_max);
  sqlite3_progress_handler(impl_->handle, kProgressEveryOps, past_deadline, &deadline);
  std::string found;
  const Result<> asked = query("PRAGMA integrity_check(1)", {}, [&](const SqlRow& row) { found = row.text(0); });
  sqlite3_progress_handler(impl_->handle, 0, nullptr, nullptr);
  if (asked.has_error()) {
    if (asked.error().code == Errc::cancelled) return {};
    return asked;
  }
  if (found != "ok") return Error(Errc::corrupt, impl_->path + " is damaged").because(cut(printable(found), 200));
  return {};
}

std::int64_t Database::changed() const { return sqlite3_changes64(impl_->handle); }

namespace {

constexpr std::int64_t kVersionsAheadMax = 1000;  ///< no program is that much newer: the number is damaged

Result<> migrate(Database& database, const KeptOptions& options) {
  const auto newest = static_cast<std::int64_t>(options.migrations.size());
  const Result<std::int64_t> found = database.number("PRAGMA user_version");
  if (found.has_error()) return found.error();
  if (*found > newest + kVersionsAheadMax)
    return Error(Errc::corrupt, options.path + " is damaged").because("its schema's version is " + std::to_string(*found));
  if (*found > newest) {
    return Error(Errc::unsupported, options.path + " was written by a newer version")
        .because("its schema is version " + std::to_string(*found) + ", this program knows up to " + std::to_string(newest))
        .try_next("install the newer program, or move the file away");
  }
  for (std::int64_t version = std::max<std::int64_t>(*found, 0); version < newest; ++version) {
    const auto step = [&]() -> Result<> {
      // Another process may have done it since; then this transaction has nothing left to do.
      const Result<std::int64_t> now = database.number("PRAGMA user_version");
      if (now.has_error()) return now.error();
      if (*now > version) return {};
      if (Result<> done = database.script(options.migrations[static_cast<std::size_t>(version)]); done.has_error()) return done;
      return database.script("PRAGMA user_version = " + std::to_string(version + 1));
    };
    if (Result<> done = database.transaction(step); done.has_error()) return done;
  }
  return {};
}

Result<Database> open_checked(const KeptOptions& options) {
  Database::Limits limits;
  limits.busy_timeout = options.busy_timeout;
  Result<Database> database = Database::open(options.path, limits);
  if (database.has_error()) return database;
  // The version comes first: a newer program's file must not even have its journal mode changed.
  const Result<std::int64_t> version = database->number("PRAGMA user_version");
  if (version.has_error()) return version.error();
  if (*version <= static_cast<std::int64_t>(options.migrations.size())) {
    if (Result<> checked = database->quick_check(options.quick_check_max); checked.has_error()) return checked.error();
    // Where shared memory is not offered SQLite stays in its old mode: slower, and as safe.
    if (Result<> set = database->script("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"); set.has_error()) return set.error();
  }
  if (Result<> migrated = migrate(*database, options); migrated.has_error()) return migrated.error();
  return database;
}

/// A file whose tables do not take our migrations is as useless to us as a damaged one, and is kept aside just the same.
bool is_damage(Errc code) { return code == Errc::corrupt || code == Errc::internal; }

}  // namespace

Result<std::string> set_aside_database(const std::string& path) {
  const auto exists = [](const std::string& name) {
    struct stat facts {};
    return ::lstat(name.c_str(), &facts) == 0;
  };
  for (int n = 1; n <= kSetAsideMax; ++n) {
    const std::string to = path + ".corrupt-" + std::to_string(n);
    if (exists(to) || exists(to + "-wal") || exists(to + "-shm")) continue;
    // The log first: left beside a new file it might be played into it. A crash in between leaves the damaged file, set aside again at the
    // next start.
    for (const char* part : {"-wal", "-shm"}) {
      if (::rename((path + part).c_str(), (to + part).c_str()) != 0 && errno != ENOENT) {
        return Error::from_errno("cannot set " + path + part + " aside", errno);
      }
    }
    if (::rename(path.c_str(), to.c_str()) != 0) return Error::from_errno("cannot set " + path + " aside", errno);
    return to;
  }
  return Error(Errc::too_large, "cannot set " + path + " aside")
      .because("there are " + std::to_string(kSetAsideMax) + " corrupt ones already")
      .try_next("look at them, and remove them");
}

Result<Kept> open_kept_file(const KeptOptions& options) {
  Result<Database> first = open_checked(options);
  if (first.has_value()) return Kept{std::move(*first), false, "", ""};
  if (!is_damage(first.error().code)) return first.error();
  const Result<std::string> aside = set_aside_database(options.path);
  if (aside.has_error()) return aside.error();
  log::error("a damaged database was set aside and made anew",
             {{"path", options.path}, {"set_aside", *aside}, {"why", first.error().text()}});
  Result<Database> anew = open_checked(options);
  if (anew.has_error()) return anew.error();
  return Kept{std::move(*anew), false, "", *aside};
}

Result<Kept> open_kept(const KeptOptions& options) {
  Result<Kept> file = open_kept_file(options);
  if (file.has_value()) return file;
  const std::string trouble = file.error().text();
  log::error("a database is kept in memory only, until the next start", {{"path", options.path}, {"why", trouble}});
  KeptOptions memory = options;
  memory.path = ":memory:";
  Result<Database> database = open_checked(memory);
  if (database.has_error()) return database.error();
  return Kept{std::move(*database), true, "in memory only: " + trouble, ""};
}

}  // namespace rollbackd::io
