// Retention: what is old goes, and what stays can still be verified, whenever a crash or a full disk comes between.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "base/text.hpp"
#include "io/sqlite.hpp"
#include "record/audit.hpp"
#include "record/audit_chain.hpp"
#include "record/audit_file.hpp"
#include "record/history_rows.hpp"
#include "record/schema.hpp"

namespace rollbackd::record {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

const Instant t0 = Instant::from_seconds(1'700'000'000);
constexpr Duration kDay = 24h;

AuditEntry entry(int n) {
  AuditEntry out;
  out.principal = "uid:0";
  out.action = "suspend";
  out.reason = "entry " + std::to_string(n);
  return out;
}

class AuditRetentionTest : public testing::Test {
 protected:
  AuditRetentionTest() {
    std::string name = testing::TempDir() + "/rollbackd-retention-XXXXXX";
    directory = ::mkdtemp(name.data());
    path = directory + "/audit.log";
  }
  ~AuditRetentionTest() override { fs::remove_all(directory); }

  /// Files of `each` entries, the n-th file on day n from t0; the last is the present one.
  void make_files(int files, int each) {
    int n = 0;
    for (int file = 0; file < files; ++file) {
      auto log = AuditFile::open(path, file + 1 < files ? 1 : 1 << 20);  // 1: full at its first commit
      ASSERT_TRUE(log.has_value()) << log.error().text();
      for (int i = 0; i < each; ++i) log->append(entry(++n), t0 + kDay * file);
      ASSERT_TRUE(log->commit().has_value());
    }
  }
  AuditVerdict verdict(const std::string& where) const { return *verify_audit_files(*audit_files(where), true, ""); }
  AuditVerdict verdict() const { return verdict(directory); }
  /// Everything that is in the directory, as a crash right now would leave it.
  std::string copy_of_now() {
    const std::string copy = directory + "/copy" + std::to_string(++copies);
    fs::create_directory(copy);
    for (const auto& file : fs::directory_iterator(directory))
      if (file.is_regular_file()) fs::copy_file(file.path(), copy + "/" + file.path().filename().string());
    return copy;
  }
  Result<std::optional<AuditSegment>> oldest(AuditFile& file, int days) const { return file.oldest_segment(t0 + kDay * days); }

  std::string directory, path;
  int copies = 0;
};

TEST_F(AuditRetentionTest, AnOldFileGoesWholeAndTheRestVerifiesFromTheAnchorOn) {
  make_files(5, 3);
  auto file = AuditFile::open(path, 1 << 20);
  ASSERT_TRUE(file.has_value());
  EXPECT_FALSE(oldest(*file, 0)->has_value()) << "as old as that none is";

  const auto segment = oldest(*file, 1);
  ASSERT_TRUE(segment.has_value() && segment->has_value());
  EXPECT_EQ((*segment)->first_seq, 1U);
  EXPECT_EQ((*segment)->seq, 3U);
  file->append(anchor_entry(**segment), t0 + kDay * 9);
  ASSERT_TRUE(file->commit().has_value());
  ASSERT_TRUE(file->drop(**segment).has_value());

  EXPECT_FALSE(fs::exists(path + ".1"));
  const AuditVerdict found = verdict();
  EXPECT_TRUE(found.ok) << found.problem;
  EXPECT_EQ(found.first_seq, 4U);
  EXPECT_EQ(found.anchor_seq, 16U);
  EXPECT_EQ(found.since, format_rfc3339(t0 + kDay));
  EXPECT_THAT(found.notes,
              ElementsAre(HasSubstr("begins with entry 4 of " + found.since + ": retention dropped what is before it, as entry 16 says")));
  EXPECT_FALSE(oldest(*file, 1)->has_value());
}

TEST_F(AuditRetentionTest, WithoutItsAnchorAMissingBeginningIsAProblem) {
  make_files(4, 2);
  const std::string copy = copy_of_now();
  fs::remove(copy + "/audit.log.1");
  EXPECT_THAT(verdict(copy).problem, HasSubstr("removed: entries 1 to 2 are missing before entry 3, and no entry says"));

  auto file = AuditFile::open(path, 1 << 20);
  const auto segment = **oldest(*file, 3);
  AuditSegment other = segment;
  other.hash = std::string(64, 'a');
  file->append(anchor_entry(other), t0 + kDay * 9);
  ASSERT_TRUE(file->commit().has_value());
  ASSERT_TRUE(file->drop(segment).has_value());
  EXPECT_FALSE(verdict().ok) << "an anchor of another chain is none";

  AuditEntry words = entry(0);  // A person's words are no anchor either.
  words.target = std::to_string(segment.seq) + ":" + segment.hash;
  words.reason = "\"action\":\"audit.retained\"";
  file->append(words, t0 + kDay * 9);
  ASSERT_TRUE(file->commit().has_value());
  EXPECT_FALSE(verdict().ok);
  file->append(anchor_entry(segment), t0 + kDay * 9);
  ASSERT_TRUE(file->commit().has_value());
  EXPECT_TRUE(verdict().ok);
  fs::remove(path + ".2");
  EXPECT_FALSE(verdict().ok) << "more went than the anchor says";
}

TEST_F(AuditRetentionTest, TheNewestFileAndOneThatIsNotInOrderStay) {
  make_files(3, 2);
  auto file = AuditFile::open(path, 1 << 20);
  auto segment = oldest(*file, 100);
  ASSERT_TRUE(segment.has_value() && segment->has_value());
  ASSERT_TRUE(file->drop(**segment).has_value());
  EXPECT_FALSE(oldest(*file, 100)->has_value()) << "the chain's end may be in it";

  fs::remove_all(directory);
  fs::create_directory(directory);
  make_files(4, 2);
  file = AuditFile::open(path, 1 << 20);
  std::string text;
  {
    std::ifstream in(path + ".1", std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(in), {});
  }
  text[text.find("entry 1")] = 'E';
  std::ofstream(path + ".1", std::ios::binary | std::ios::trunc) << text;
  EXPECT_THAT(oldest(*file, 100).error().text(), HasSubstr("kept because the chain is not in order"));
  text[text.find("Entry 1")] = 'e';
  std::ofstream(path + ".1", std::ios::binary | std::ios::trunc) << text;
  EXPECT_TRUE(oldest(*file, 100)->has_value());
  fs::rename(path + ".2", path + ".9");
  EXPECT_TRUE(oldest(*file, 100).has_error()) << "the next file does not go on with it";
}

/// Any number of files, dropped one by one, cut off at every byte of an anchor and after every removal: always in order, always goes on.
TEST_F(AuditRetentionTest, WhereverACrashComesTheChainVerifiesAndGoesOn) {
  std::mt19937 random(7);  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same every time
  for (int round = 0; round < 4; ++round) {
    fs::remove_all(directory);
    fs::create_directory(directory);
    const int files = 3 + static_cast<int>(random() % 4), each = 1 + static_cast<int>(random() % 4);
    make_files(files, each);
    const int days = static_cast<int>(random() % 8);
    std::set<std::string> crashed{copy_of_now()};
    auto file = AuditFile::open(path, 1 << 20);
    for (auto segment = oldest(*file, days); segment.has_value() && segment->has_value(); segment = oldest(*file, days)) {
      const auto before = fs::file_size(path);
      file->append(anchor_entry(**segment), t0 + kDay * 50);
      ASSERT_TRUE(file->commit().has_value());
      for (auto size = before; size <= fs::file_size(path); size += 1 + random() % 97) {
        const std::string copy = copy_of_now();
        fs::resize_file(copy + "/audit.log", size);
        crashed.insert(copy);
      }
      crashed.insert(copy_of_now());
      ASSERT_TRUE(file->drop(**segment).has_value());
      crashed.insert(copy_of_now());
    }
    for (const std::string& copy : crashed) {
      {
        auto again = AuditFile::open(copy + "/audit.log", 1 << 20);  // The next run.
        ASSERT_TRUE(again.has_value()) << again.error().text();
        for (auto segment = oldest(*again, days); segment.has_value() && segment->has_value(); segment = oldest(*again, days)) {
          again->append(anchor_entry(**segment), t0 + kDay * 51);
          ASSERT_TRUE(again->commit().has_value());
          ASSERT_TRUE(again->drop(**segment).has_value());
        }
        again->append(entry(1000), t0 + kDay * 51);
        ASSERT_TRUE(again->commit().has_value());
      }
      const AuditVerdict found = verdict(copy);
      ASSERT_TRUE(found.ok) << copy << ": " << found.problem;
      ASSERT_GE(found.entries, static_cast<std::uint64_t>(each)) << "the newest files stay";
      if (found.first_seq > 1) {
        EXPECT_GT(found.anchor_seq, 0U);
      }
    }
  }
}

TEST_F(AuditRetentionTest, TheLogRetainsByItselfAndRotatesWhatNeverFills) {
  make_files(4, 2);  // Years ago.
  AuditLimits limits;
  limits.keep_for = 365 * kDay;
  limits.retain_every = 20ms;
  {
    AuditLog log(path, limits);
    const auto until = std::chrono::steady_clock::now() + 10s;
    while ((fs::exists(path + ".1") || fs::exists(path + ".2")) && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(1ms);
    log.add(entry(100));
    ASSERT_TRUE(log.flush(10s));
  }
  EXPECT_TRUE(fs::exists(path + ".4") && !fs::exists(path + ".5")) << "the present file began years ago, so it was set aside";
  const AuditVerdict found = verdict();
  EXPECT_TRUE(found.ok) << found.problem;
  EXPECT_GT(found.first_seq, 4U);
  EXPECT_GT(found.anchor_seq, 0U);
}

TEST_F(AuditRetentionTest, AFullDiskTakesNoAnchorAndSoLosesNoFile) {
  make_files(4, 2);
  AuditLimits limits;
  limits.keep_for = 365 * kDay;
  limits.retain_every = 5ms;
  limits.retry_first = 5ms;
  struct rlimit whole {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &whole), 0);
  struct rlimit small = whole;
  small.rlim_cur = fs::file_size(path) + 10;
  const auto before = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  {
    AuditLog log(path, limits);
    const auto until = std::chrono::steady_clock::now() + 10s;
    while (log.counters().ok && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(1ms);
    EXPECT_FALSE(log.counters().ok);
    EXPECT_TRUE(fs::exists(path + ".1"));
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &whole), 0);
    log.add(entry(100));
    ASSERT_TRUE(log.flush(10s));
  }
  ::signal(SIGXFSZ, before);
  const AuditVerdict found = verdict();
  EXPECT_TRUE(found.ok) << found.problem;
}

// ---- The history ----

class HistoryRetentionTest : public testing::Test {
 protected:
  HistoryRetentionTest() {
    auto opened = io::Database::open(":memory:");
    if (opened.has_error()) return;
    database.emplace(std::move(*opened));
    for (const std::string& migration : history_migrations()) EXPECT_TRUE(database->script(migration).has_value());
  }
  void operation(const std::string& id, const std::string& service, int day, OperationStatus status = OperationStatus::succeeded) {
    OperationRow row;
    row.request.operation = id;
    row.request.service = {service, "prod"};
    row.status = status;
    row.begun = t0 + kDay * day;
    ASSERT_TRUE(write_row(*database, row).has_value());
    StepRow step;
    step.step.operation = id;
    step.step.number = 1;
    step.begun = row.begun;
    ASSERT_TRUE(write_row(*database, step).has_value());
    Decision decision;
    decision.id = "d-" + id;
    decision.operation = id;
    decision.service = row.request.service;
    decision.at = row.begun;
    ASSERT_TRUE(write_row(*database, decision).has_value());
    DeploymentRow deployment;
    deployment.service = row.request.service;
    deployment.epoch = ++epoch;
    deployment.release = id;
    deployment.at = row.begun;
    ASSERT_TRUE(write_row(*database, deployment).has_value());
  }
  std::int64_t count(const std::string& what) { return *database->number("SELECT count(*) FROM " + what); }

  std::optional<io::Database> database;
  std::uint64_t epoch = 0;
};

TEST_F(HistoryRetentionTest, OldRowsGoInSmallBatchesTheNewestOfEachServiceAndOpenOnesStay) {
  ASSERT_TRUE(database);
  for (int i = 0; i < 20; ++i) operation("busy-" + std::to_string(i), "busy", i);
  for (int i = 0; i < 3; ++i) operation("quiet-" + std::to_string(i), "quiet", i);
  operation("open", "busy", 0, OperationStatus::running);

  std::int64_t rounds = 0, gone = 0;
  for (Result<std::int64_t> went(1); went.has_value() && *went > 0 && rounds < 100; ++rounds) {
    went = retain_since(*database, t0 + kDay * 15, 4, 7);
    ASSERT_TRUE(went.has_value()) << went.error().text();
    ASSERT_LE(*went, 7);
    gone += *went;
  }

  EXPECT_EQ(count("operations WHERE service='quiet'"), 3) << "fewer than are kept in any case";
  EXPECT_EQ(count("operations WHERE service='busy'"), 5 + 1) << "those of day 15 to 19, and the open one";
  EXPECT_EQ(count("operations WHERE operation='open'"), 1);
  for (const char* table : {"steps", "decisions"}) {
    EXPECT_EQ(count(table), 5 + 1 + 3) << table << " stay as long as their operation";
    EXPECT_EQ(count(std::string(table) + " WHERE operation='open'"), 1);
  }
  EXPECT_EQ(count("deployments WHERE service='busy'"), 5);
  EXPECT_EQ(*database->number("SELECT sum(count) FROM operation_totals"), 15) << "totals never fall";
  EXPECT_EQ(gone, 15 + 15 + 15 + 16);
  EXPECT_GT(rounds, 8);

  // However few rows a table may have, an open operation keeps its own.
  ASSERT_TRUE(retain_newest(*database, 1).has_value());
  EXPECT_EQ(count("operations WHERE operation='open'"), 1);
  EXPECT_EQ(count("steps WHERE operation='open'"), 1);
  EXPECT_EQ(count("decisions WHERE operation='open'"), 1);
}

}  // namespace
}  // namespace rollbackd::record
