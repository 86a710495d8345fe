#include "notify/store.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "base/text.hpp"

namespace rollbackd::notify {
namespace {

constexpr int kSetAsidePerRunMax = 3;
constexpr std::size_t kThinEvery = 1'000;
constexpr std::size_t kTitleBytesMax = 512, kTextBytesMax = 8 << 10, kDetailsBytesMax = 16 << 10;

/// Written ones never change. Times are unix nanoseconds.
const std::vector<std::string> kMigrations{R"sql(
CREATE TABLE outbox (
  channel TEXT NOT NULL, key TEXT NOT NULL,
  queued_ns INTEGER NOT NULL, severity INTEGER NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY (channel, key)
);
CREATE INDEX outbox_by_time ON outbox (queued_ns);
CREATE TABLE sent_keys (
  channel TEXT NOT NULL, key TEXT NOT NULL,
  at_ns INTEGER NOT NULL, how TEXT NOT NULL,
  PRIMARY KEY (channel, key)
) WITHOUT ROWID;
CREATE INDEX sent_keys_by_time ON sent_keys (at_ns);
)sql"};

bool is_damage(Errc code) { return code == Errc::corrupt || code == Errc::internal; }
std::int64_t integer(std::size_t value) { return static_cast<std::int64_t>(value); }

}  // namespace

std::string document_of(const Notification& notification) {
  Json json = Json::object();
  json.set("key", notification.key).set("service", notification.service.name).set("environment", notification.service.environment);
  json.set("severity", static_cast<int>(notification.severity));
  json.set("title", cut(notification.title, kTitleBytesMax)).set("text", cut(notification.text, kTextBytesMax));
  if (notification.details.dump().size() <= kDetailsBytesMax) {
    json.set("details", notification.details);
  } else {
    Json details = Json::object();
    if (notification.details.has("at")) details.set("at", cut(notification.details["at"].string_or(""), 64));
    details.set("left_out", "too large");
    json.set("details", std::move(details));
  }
  return json.dump();
}

Result<Notification> notification_of(const std::string& document) {
  Result<Json> json = Json::parse(document);
  if (json.has_error()) return json.error();
  Notification out;
  out.key = (*json)["key"].string_or("");
  if (out.key.empty()) return Error(Errc::corrupt, "a stored notification has no key");
  out.service = {(*json)["service"].string_or(""), (*json)["environment"].string_or("")};
  out.severity = static_cast<Notification::Severity>(std::clamp<std::int64_t>((*json)["severity"].int_or(3), 1, 3));
  out.title = (*json)["title"].string_or("");
  out.text = (*json)["text"].string_or("");
  out.details = (*json)["details"];
  return out;
}

Result<Loaded> Store::open(std::int64_t now_ns) {
  database_.reset();
  io::KeptOptions options;
  options.path = path_;
  options.migrations = kMigrations;
  bool anew = false;
  if (damaged_ && set_aside_count_ < kSetAsidePerRunMax) {
    ++set_aside_count_;
    if (const Result<std::string> aside = io::set_aside_database(path_); aside.has_error()) return aside.error();
    anew = true;
  }
  Result<io::Kept> kept = io::open_kept_file(options);
  if (kept.has_error()) return kept.error();
  damaged_ = false;
  database_.emplace(std::move(kept->database));
  Result<Loaded> loaded = load(now_ns);
  if (loaded.has_error()) {
    damaged_ = is_damage(loaded.error().code);
    database_.reset();
    return loaded;
  }
  loaded->anew = anew || !kept->set_aside.empty();
  return loaded;
}

Result<Loaded> Store::load(std::int64_t now_ns) {
  if (Result<> thinned = forget_old_keys(now_ns); thinned.has_error()) return thinned.error();
  Loaded loaded;
  std::vector<std::int64_t> unreadable;
  Result<> asked =
      database_->query("SELECT channel, queued_ns, document, rowid FROM outbox ORDER BY queued_ns, rowid LIMIT ?1",
                       {integer(limits_.waiting_max)}, [&](const io::SqlRow& row) {
                         Result<Notification> notification = notification_of(row.text(2));
                         if (notification.has_error()) {
                           log::error("a stored notification cannot be read and is left out", {{"why", notification.error().text()}});
                           unreadable.push_back(row.integer(3));
                           return;
                         }
                         loaded.waiting.push_back({row.text(0), std::move(*notification), row.integer(1)});
                       });
  if (asked.has_error()) return asked.error();
  for (const std::int64_t row : unreadable) {
    if (Result<> gone = database_->run("DELETE FROM outbox WHERE rowid=?1", {row}); gone.has_error()) return gone.error();
  }
  asked = database_->query("SELECT channel, key, at_ns, how FROM sent_keys ORDER BY at_ns", {}, [&](const io::SqlRow& row) {
    loaded.finished.push_back({row.text(0), row.text(1), row.integer(2), row.text(3)});
  });
  if (asked.has_error()) return asked.error();
  return loaded;
}

Result<> Store::forget_old_keys(std::int64_t now_ns) {
  finished_since_thinning_ = 0;
  if (Result<> done = database_->run("DELETE FROM sent_keys WHERE at_ns < ?1", {now_ns - limits_.sent_keys_age_max.count()});
      done.has_error()) {
    return done;
  }
  return database_->run(
      "DELETE FROM sent_keys WHERE (channel, key) IN (SELECT channel, key FROM sent_keys ORDER BY at_ns DESC LIMIT -1 OFFSET ?1)",
      {integer(limits_.sent_keys_max)});
}

Result<> Store::write(const Change& change) {
  if (change.kind == Change::Kind::queue) {
    // A key that is done with never waits again, however late its change is written.
    return database_->run(
        "INSERT OR REPLACE INTO outbox (channel, key, queued_ns, severity, document) SELECT ?1, ?2, ?3, ?4, ?5 "
        "WHERE NOT EXISTS (SELECT 1 FROM sent_keys WHERE channel=?1 AND key=?2)",
        {change.channel, change.key, change.at_ns, static_cast<std::int64_t>(change.severity), change.document});
  }
  if (change.kind == Change::Kind::finish) {
    ++finished_since_thinning_;
    const Result<> noted = database_->run("INSERT OR REPLACE INTO sent_keys (channel, key, at_ns, how) VALUES (?1, ?2, ?3, ?4)",
                                          {change.channel, change.key, change.at_ns, change.how});
    if (noted.has_error()) return noted;
  }
  return database_->run("DELETE FROM outbox WHERE channel=?1 AND key=?2", {change.channel, change.key});
}

Result<> Store::apply(const std::vector<Change>& changes) {
  if (!database_) return Error(Errc::unavailable, path_ + " is not open");
  const Result<> done = database_->transaction([&]() -> Result<> {
    for (const Change& change : changes) {
      if (Result<> written = write(change); written.has_error()) return written;
    }
    if (finished_since_thinning_ >= kThinEvery) return forget_old_keys(changes.back().at_ns);
    return {};
  });
  if (done.has_error()) {
    damaged_ = is_damage(done.error().code);
    database_.reset();
  }
  return done;
}

}  // namespace rollbackd::notify
