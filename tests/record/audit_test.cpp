// The audit log: a chain that no byte of can be changed unseen, and a writer that loses nothing silently.
#include "record/audit.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/digest.hpp"
#include "base/text.hpp"
#include "record/audit_chain.hpp"

namespace rollbackd::record {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const Instant t0 = Instant::from_seconds(1'790'000'000);

AuditEntry entry(const std::string& action, const std::string& principal = "uid:0") {
  AuditEntry out;
  out.principal = principal;
  out.action = action;
  out.service = {"shop", "prod"};
  out.target = "v1";
  out.reason = "checkout is slow";
  out.outcome = "done";
  out.from = "unix";
  return out;
}

/// A log of `n` entries, as its lines.
std::vector<std::string> lines_of(int n) {
  std::vector<std::string> out;
  std::string prev(kAuditGenesis);
  for (int i = 1; i <= n; ++i) {
    std::string hash;
    out.push_back(audit_line(entry(i % 2 == 0 ? "suspend" : "resume"), static_cast<std::uint64_t>(i), t0 + i * 1s, prev, &hash) + "\n");
    prev = hash;
  }
  return out;
}

AuditVerdict verify(const std::vector<std::string>& lines, const std::string& head = "") {
  AuditVerifier verifier(true, head);
  verifier.add_file("audit.log", join(lines, ""));
  return verifier.finish();
}

std::string hash_in(const std::string& line) { return Json::parse(line)->operator[]("hash").string_or(""); }

TEST(AuditChain, ALogAsItWasWrittenIsInOrderAndTellsItsHead) {
  const auto lines = lines_of(5);

  const AuditVerdict verdict = verify(lines);

  EXPECT_TRUE(verdict.ok) << verdict.problem;
  EXPECT_EQ(verdict.entries, 5U);
  EXPECT_EQ(verdict.seq, 5U);
  EXPECT_EQ(verdict.head, hash_in(lines.back()));
  EXPECT_THAT(verdict.notes, IsEmpty());
}

TEST(AuditChain, AnEmptyLogIsInOrderAndHasNoHead) {
  const AuditVerdict verdict = verify({});

  EXPECT_TRUE(verdict.ok);
  EXPECT_EQ(verdict.entries, 0U);
  EXPECT_EQ(verdict.head, "");
}

TEST(AuditChain, ALineIsCanonicalJsonWhoseHashAnybodyCanComputeAgain) {
  const std::string line = lines_of(1).front();

  const Json json = *Json::parse(line);
  const std::string without = line.substr(0, line.find(",\"hash\":")) + "}";

  EXPECT_EQ(json["seq"].int_or(0), 1);
  EXPECT_EQ(json["principal"].string_or(""), "uid:0");
  EXPECT_EQ(json["reason"].string_or(""), "checkout is slow");
  EXPECT_EQ(json["prev"].string_or(""), kAuditGenesis);
  EXPECT_EQ(json["hash"].string_or(""), sha256_hex(without));
}

bool is_seen(std::string text, std::size_t at, int bit) {
  text[at] = static_cast<char>(text[at] ^ (1 << bit));
  AuditVerifier verifier(true, "");
  verifier.add_file("audit.log", text);
  return !verifier.finish().ok;
}

TEST(AuditChain, AFlippedBitOfAnyByteIsSeen) {
  const std::string whole = join(lines_of(8), "");

  for (std::size_t at = 0; at < whole.size(); ++at)
    ASSERT_TRUE(is_seen(whole, at, static_cast<int>(at % 8))) << "byte " << at << ": " << whole.substr(at, 20);
}

TEST(AuditChain, AFlippedBitIsSeenAnywhereInALongLog) {
  const std::string whole = join(lines_of(200), "");
  unsigned random = 12345;

  for (int n = 0; n < 2000; ++n) {
    random = random * 1103515245 + 12345;
    const std::size_t at = (random >> 4) % whole.size();
    ASSERT_TRUE(is_seen(whole, at, n % 8)) << "byte " << at;
  }
}

TEST(AuditChain, AnEditedEntryIsNamedWithItsLine) {
  auto lines = lines_of(5);
  lines[2].replace(lines[2].find("slow"), 4, "fast");

  const AuditVerdict verdict = verify(lines);

  EXPECT_FALSE(verdict.ok);
  EXPECT_EQ(verdict.line, 3U);
  EXPECT_THAT(verdict.problem, HasSubstr("edited: entry 3"));
  EXPECT_EQ(verdict.entries, 2U);
}

TEST(AuditChain, AnEntryThatWasEditedAndHashedAnewBreaksTheOneBehindIt) {
  auto lines = lines_of(5);
  AuditEntry other = entry("resume");
  other.reason = "nothing happened";
  lines[2] = audit_line(other, 3, t0, hash_in(lines[1]), nullptr) + "\n";

  const AuditVerdict verdict = verify(lines);

  EXPECT_FALSE(verdict.ok);
  EXPECT_EQ(verdict.line, 4U);
  EXPECT_THAT(verdict.problem, HasSubstr("hashed anew"));
}

TEST(AuditChain, RemovedInsertedReorderedAndCutOffAreToldApart) {
  const auto lines = lines_of(6);
  auto removed = lines, inserted = lines, reordered = lines, cut_off = lines, cut_in_the_middle = lines;
  removed.erase(removed.begin() + 2, removed.begin() + 4);
  inserted.insert(inserted.begin() + 3, lines[1]);
  std::swap(reordered[2], reordered[3]);
  cut_off.back().resize(40);
  cut_in_the_middle[2] = cut_in_the_middle[2].substr(0, 50) + "\n";

  EXPECT_THAT(verify(removed).problem, HasSubstr("removed: entries 3 to 4 are missing before entry 5"));
  EXPECT_THAT(verify(inserted).problem, HasSubstr("inserted or repeated: entry 2 stands where entry 4 should"));
  EXPECT_THAT(verify(reordered).problem, HasSubstr("reordered: entry 3 comes after entry 4"));
  EXPECT_THAT(verify(cut_off).problem, HasSubstr("cut off: the last line"));
  EXPECT_THAT(verify(cut_in_the_middle).problem, HasSubstr("cut off in the middle"));
  EXPECT_EQ(verify(cut_in_the_middle).line, 3U);
}

TEST(AuditChain, ABeginningThatIsGoneIsAProblemOfAWholeLogAndANoteOfOneFile) {
  auto lines = lines_of(5);
  lines.erase(lines.begin(), lines.begin() + 2);
  AuditVerifier one_file(false, "");
  one_file.add_file("audit.log", join(lines, ""));

  const AuditVerdict alone = one_file.finish();

  EXPECT_THAT(verify(lines).problem, HasSubstr("removed: entries 1 to 2 are missing"));
  EXPECT_TRUE(alone.ok) << alone.problem;
  EXPECT_THAT(alone.notes, ElementsAre(HasSubstr("begins with entry 3")));
}

TEST(AuditChain, ATailThatWasCutOffIsSeenOnlyAgainstAHeadThatWasNotedElsewhere) {
  auto lines = lines_of(5);
  const std::string noted = hash_in(lines[4]), earlier = hash_in(lines[2]);
  lines.pop_back();

  EXPECT_TRUE(verify(lines).ok) << "nothing in the log itself tells";
  EXPECT_FALSE(verify(lines, noted).ok);
  EXPECT_THAT(verify(lines, noted).problem, HasSubstr("the end was cut off"));
  EXPECT_TRUE(verify(lines, earlier).ok);
  EXPECT_THAT(verify(lines, earlier).notes, ElementsAre(HasSubstr("1 entries came after it")));
}

TEST(AuditChain, WhatAPersonWritesCannotForgeALine) {
  AuditEntry forged = entry("suspend");
  forged.reason = "x\"}\n{\"seq\":2,\"at\":\"\xff";
  forged.principal = std::string(100'000, 'a');

  const std::string line = audit_line(forged, 1, t0, kAuditGenesis, nullptr);

  EXPECT_EQ(line.find('\n'), line.npos);
  EXPECT_LT(line.size(), 10'000U);
  EXPECT_TRUE(verify({line + "\n"}).ok);
}

// ---- The writer ----

class AuditLogTest : public testing::Test {
 protected:
  AuditLogTest() {
    std::string name = testing::TempDir() + "/rollbackd-audit-XXXXXX";
    directory = ::mkdtemp(name.data());
    path = directory + "/audit.log";
  }
  ~AuditLogTest() override { std::filesystem::remove_all(directory); }

  std::string text(const std::string& file) const {
    std::ifstream in(file, std::ios::binary);
    std::stringstream out;
    out << in.rdbuf();
    return out.str();
  }
  void append(const std::string& bytes) const { std::ofstream(path, std::ios::binary | std::ios::app) << bytes; }
  AuditVerdict verdict(const std::string& head = "") const { return *verify_audit_files(*audit_files(directory), true, head); }
  void write(int n, AuditLimits limits = {}) const {
    AuditLog log(path, limits);
    for (int i = 0; i < n; ++i) log.add(entry("suspend"));
    ASSERT_TRUE(log.flush(10s));
  }

  std::string directory, path;
};

TEST_F(AuditLogTest, WhatWasFlushedIsOnDiskAndInOrder) {
  AuditLog log(path);
  for (int i = 0; i < 500; ++i) log.add(entry("mark"));
  ASSERT_TRUE(log.flush(10s));

  const AuditVerdict found = verdict();

  EXPECT_TRUE(found.ok) << found.problem;
  EXPECT_EQ(found.entries, 500U);
  EXPECT_EQ(log.counters().entries, 500U);
  EXPECT_EQ(log.counters().seq, 500U);
  EXPECT_EQ(log.counters().head, found.head);
  EXPECT_TRUE(log.counters().ok);
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(AuditLogTest, TheNextRunGoesOnWithTheChain) {
  write(3);
  write(2);

  EXPECT_TRUE(verdict().ok) << verdict().problem;
  EXPECT_EQ(verdict().entries, 5U);
}

TEST_F(AuditLogTest, ALineThatACrashTornIsClosedWithAnEntryAndStays) {
  write(3);
  append(R"({"seq":4,"at":"2026-1)");
  EXPECT_FALSE(verdict().ok) << "before it is closed";

  write(1);

  const AuditVerdict found = verdict();
  EXPECT_TRUE(found.ok) << found.problem;
  EXPECT_EQ(found.entries, 5U) << "three, the recovery, one";
  EXPECT_THAT(found.notes, ElementsAre(HasSubstr("21 bytes before this entry are no entry")));
  EXPECT_THAT(text(path), HasSubstr(R"({"seq":4,"at":"2026-1)"
                                    "\n"));
}

TEST_F(AuditLogTest, WhatWasTornAndClosedCannotBeEditedAnyMoreEither) {
  write(2);
  append(std::string(300, '\0') + "\ngarbage\n{\"seq\":3");
  write(1);
  ASSERT_TRUE(verdict().ok) << verdict().problem;
  std::string bytes = text(path);
  const std::size_t at = bytes.find("garbage");

  bytes[at] = 'G';
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;

  EXPECT_FALSE(verdict().ok);
  EXPECT_EQ(verdict().line, 3U);
}

TEST_F(AuditLogTest, AnEntryThatLacksOnlyItsNewlineIsNotTorn) {
  write(3);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);

  write(1);

  EXPECT_TRUE(verdict().ok) << verdict().problem;
  EXPECT_EQ(verdict().entries, 4U);
  EXPECT_THAT(verdict().notes, IsEmpty());
}

TEST_F(AuditLogTest, AFullFileIsSetAsideAndTheChainGoesOverIt) {
  AuditLimits limits;
  limits.file_bytes_max = 4000;
  limits.batch_max = 3;

  write(50, limits);
  write(3, limits);

  EXPECT_GT(audit_files(directory)->size(), 3U);
  EXPECT_TRUE(verdict().ok) << verdict().problem;
  EXPECT_EQ(verdict().entries, 53U);
  std::filesystem::remove(path + ".2");
  EXPECT_THAT(verdict().problem, HasSubstr("removed"));
}

TEST_F(AuditLogTest, ACrashRightAfterTheRenameOfAFullFileLosesNothing) {
  write(3);
  std::filesystem::rename(path, path + ".1");

  write(2);

  EXPECT_TRUE(verdict().ok) << verdict().problem;
  EXPECT_EQ(verdict().entries, 5U);
}

TEST_F(AuditLogTest, WhileTheDiskTakesNothingEntriesWaitAndThenSayHowManyWereLost) {
  AuditLimits limits;
  limits.queued_max = 4;
  limits.batch_max = 2;
  limits.retry_first = 5ms;
  limits.retry_max = 5ms;
  std::filesystem::create_directory(path);  // Nothing can be opened there.
  AuditLog log(path, limits);
  while (log.counters().ok) std::this_thread::yield();
  for (int i = 0; i < 100; ++i) log.add(entry("mark"));
  const AuditCounters unwell = log.counters();

  std::filesystem::remove(path);
  ASSERT_TRUE(log.flush(10s));

  EXPECT_FALSE(unwell.ok);
  EXPECT_GE(unwell.lost, 90U);
  EXPECT_TRUE(log.counters().ok);
  const AuditVerdict found = verdict();
  EXPECT_TRUE(found.ok) << found.problem;
  EXPECT_THAT(found.notes, ElementsAre(HasSubstr(std::to_string(log.counters().lost) + " entries before this one were lost")));
  EXPECT_EQ(found.entries - 1 + log.counters().lost, 100U) << "every entry was written or counted";
}

TEST_F(AuditLogTest, AFullDiskInTheMiddleOfABatchRepeatsAndLosesNothing) {
  AuditLimits limits;
  limits.retry_first = 5ms;
  limits.retry_max = 5ms;
  {
    AuditLog log(path, limits);
    for (int i = 0; i < 3; ++i) log.add(entry("mark"));
    ASSERT_TRUE(log.flush(10s));
    struct rlimit whole {};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &whole), 0);
    struct rlimit small = whole;
    small.rlim_cur = std::filesystem::file_size(path) + 1000;  // Room for two entries and a piece of the third.
    const auto before = ::signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 10; ++i) log.add(entry("mark"));
    while (log.counters().ok) std::this_thread::yield();
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &whole), 0);
    ASSERT_TRUE(log.flush(10s));
    ::signal(SIGXFSZ, before);
  }

  const AuditVerdict found = verdict();

  EXPECT_TRUE(found.ok) << found.problem;
  int marks = 0;
  for (const std::string& line : split(text(path), '\n')) marks += line.find("\"mark\"") != line.npos && line.ends_with("\"}") ? 1 : 0;
  EXPECT_EQ(marks, 13) << text(path);
  EXPECT_THAT(found.notes, SizeIs(1)) << "what was torn is closed";
}

TEST_F(AuditLogTest, EntriesAreReadNewestFirstByTheirFilters) {
  {
    AuditLimits limits;
    limits.file_bytes_max = 1000;
    limits.batch_max = 1;
    AuditLog log(path, limits);
    for (const char* action : {"suspend", "resume", "rollback"})
      for (const char* who : {"uid:0", "token:ci"}) log.add(entry(action, who));
    ASSERT_TRUE(log.flush(10s));
  }
  const auto files = *audit_files(directory);
  AuditFilter by_ci, newest_two, tomorrow;
  by_ci.principal = "token:ci";
  newest_two.limit = 2;
  tomorrow.since = Instant::from_seconds(4'000'000'000);

  const auto actions = [&](const AuditFilter& filter) {
    std::vector<std::string> out;
    for (const Json& found : *read_audit(files, filter)) out.push_back(found["seq"].dump() + found["action"].string_or(""));
    return out;
  };

  EXPECT_THAT(actions(by_ci), ElementsAre("6rollback", "4resume", "2suspend"));
  EXPECT_THAT(actions(newest_two), ElementsAre("6rollback", "5rollback"));
  EXPECT_THAT(actions(tomorrow), IsEmpty());
  AuditFilter of_a_word_in_a_reason;
  of_a_word_in_a_reason.principal = "checkout is slow";
  EXPECT_THAT(actions(of_a_word_in_a_reason), IsEmpty());
}

TEST_F(AuditLogTest, ADirectoryWithoutALogIsAnErrorAndNotAnEmptyLog) {
  EXPECT_EQ(audit_files(directory).error().code, Errc::not_found);
  EXPECT_EQ(audit_files(directory + "/nothing").error().code, Errc::not_found);
}

}  // namespace
}  // namespace rollbackd::record
