// The state file: what survives a torn write, a flipped bit, a full disk and a failed write, and what is refused.
#include "record/state_file.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "record/block.hpp"

namespace rollbackd::record {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kSlot = 5 * kBlock;
constexpr std::size_t kRing = 10 * kBlock;
constexpr std::size_t kFile = 16 * kBlock;

const ServiceKey kService{"shop-api", "prod"};

ClockReading a_clock() {
  ClockReading clock;
  clock.instant = Instant::from_millis(1'700'000'000'000);
  clock.stamp = {"11111111-2222-3333-4444-555555555555", 1'000'000'000'000, clock.instant.ns()};
  return clock;
}

/// A directory of this test's own, removed with everything in it.
class Directory {
 public:
  explicit Directory(const std::string& under = fs::temp_directory_path().string()) {
    std::string form = under + "/rollbackd-state-XXXXXX";
    if (::mkdtemp(form.data()) == nullptr) std::abort();
    path_ = form;
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::string file() const { return path_ + "/shop-api.prod.state"; }

 private:
  std::string path_;
};

ServiceState a_state(std::uint64_t epoch, std::size_t rows = 4) {
  ServiceState state;
  state.service = kService;
  state.epoch.number = epoch;
  state.epoch.release = "v" + std::to_string(epoch);
  state.epoch.switched = a_clock().instant;
  for (std::size_t i = 0; i < rows; ++i) {
    LedgerEntry entry;
    entry.release.id = "v" + std::to_string(i);
    entry.release.path = "/srv/shop-api/releases/v" + std::to_string(i);
    entry.release.digest = std::string(64, static_cast<char>('a' + epoch % 20));
    entry.first_seen = entry.last_live = a_clock().instant - 1h;
    entry.reason = std::string(200, 'r');
    state.ledger.push_back(entry);
  }
  return state;
}

OperationRecord a_record(int attempt) {
  OperationRecord record;
  record.request.operation = "018bcfe5-6800-7000-8000-000000000001";
  record.request.service = kService;
  record.request.from = "v2";
  record.request.to = "v1";
  record.request.reason = std::string(600, static_cast<char>('a' + attempt % 20));  // More than a sector, so that a record can tear.
  record.phase = OperationPhase::switching;
  record.status = OperationStatus::running;
  record.attempt = attempt;
  record.at = record.begun = a_clock().instant;
  return record;
}

std::string text(const ServiceState& state) { return state.to_json(a_clock()).dump(); }

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
/// Overwrites in place where the size stays: truncating first would make ext4 flush, a thousand times.
void put_contents(const std::string& path, const std::string& bytes) {
  std::error_code missing;
  const bool same_size = fs::file_size(path, missing) == bytes.size();
  const auto how = same_size ? std::ios::in | std::ios::out : std::ios::out | std::ios::trunc;
  std::fstream(path, std::ios::binary | how) << bytes;
}

StateFile open_well(const Directory& directory, StateRead& read) {
  auto file = StateFile::open(directory.path(), kService, a_clock(), read);
  if (file.has_error()) ADD_FAILURE() << file.error().text();
  return std::move(file.value());
}
StateRead read_again(const Directory& directory) {
  StateRead read;
  open_well(directory, read);
  return read;
}
Error refused(const Directory& directory) {
  StateRead read;
  auto file = StateFile::open(directory.path(), kService, a_clock(), read);
  return file.has_error() ? file.error() : Error();
}

/// A file with state 1 and 2 in its slots, and records 1 to `records` in its ring.
void write_history(const Directory& directory, int records = 2) {
  StateRead read;
  StateFile file = open_well(directory, read);
  ASSERT_TRUE(file.write_state(a_state(1), a_clock()).has_value());
  ASSERT_TRUE(file.write_state(a_state(2), a_clock()).has_value());
  for (int i = 1; i <= records; ++i) ASSERT_TRUE(file.write_record(a_record(i), a_clock()).has_value());
}

// ---- Well ----

TEST(StateFile, IsMadeWholeZeroedAndPrivate) {
  const Directory directory;

  const StateRead read = read_again(directory);

  EXPECT_TRUE(read.fresh);
  EXPECT_TRUE(read.readable);
  EXPECT_FALSE(read.state);
  EXPECT_FALSE(read.last_record);
  EXPECT_EQ(contents(directory.file()), std::string(kFile, '\0'));
  EXPECT_EQ(fs::status(directory.file()).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory.path()), fs::directory_iterator()), 1) << "nothing is left beside it";
}

TEST(StateFile, GivesBackTheLatestStateAndTheLastRecord) {
  const Directory directory;
  write_history(directory);

  const StateRead read = read_again(directory);

  EXPECT_FALSE(read.fresh);
  EXPECT_EQ(read.note, "");
  ASSERT_TRUE(read.state);
  EXPECT_EQ(text(*read.state), text(a_state(2)));
  ASSERT_TRUE(read.last_record);
  EXPECT_EQ(read.last_record->attempt, 2);
  EXPECT_EQ(read.last_record->begun, a_clock().instant);
}

TEST(StateFile, EveryWriteIsTheLatestAcrossManyReopeningsAndRoundsOfTheRing) {
  const Directory directory;
  for (int i = 1; i <= 20; ++i) {
    StateRead read;
    StateFile file = open_well(directory, read);
    ASSERT_TRUE(file.write_state(a_state(static_cast<std::uint64_t>(i)), a_clock()).has_value());
    ASSERT_TRUE(file.write_record(a_record(i), a_clock()).has_value());
    const StateRead after = read_again(directory);
    ASSERT_EQ(text(after.state.value()), text(a_state(static_cast<std::uint64_t>(i))));
    ASSERT_EQ(after.last_record.value().attempt, i);
  }
}

TEST(StateFile, ASmallStateAfterALargeOneReadsBackAsItself) {
  const Directory directory;
  StateRead read;
  StateFile file = open_well(directory, read);
  for (const std::size_t rows : {30U, 30U, 1U, 1U}) ASSERT_TRUE(file.write_state(a_state(rows, rows), a_clock()).has_value());

  EXPECT_EQ(text(read_again(directory).state.value()), text(a_state(1, 1)));
}

TEST(StateFile, WorksWhereTheFileSystemHasNoDirectWrites) {
  if (::access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "no tmpfs at /dev/shm";
  const Directory directory("/dev/shm");

  write_history(directory, 7);

  const StateRead read = read_again(directory);
  EXPECT_EQ(text(read.state.value()), text(a_state(2)));
  EXPECT_EQ(read.last_record.value().attempt, 7);
}

TEST(StateFile, NeedsNoNewBlockOnceItIsThere) {
  const Directory directory;
  read_again(directory);
  const auto blocks = [&] {
    struct stat facts {};
    EXPECT_EQ(::stat(directory.file().c_str(), &facts), 0);
    return facts.st_blocks;
  };
  const auto before = blocks();

  write_history(directory, 12);

  EXPECT_GE(before * 512, static_cast<blkcnt_t>(kFile));
  EXPECT_EQ(blocks(), before);
}

TEST(StateFile, WorksOnAFullDisk) {
  const Directory directory;
  if (::mount("tmpfs", directory.path().c_str(), "tmpfs", 0, "size=256k") != 0) GTEST_SKIP() << "cannot mount a small tmpfs here";
  {
    StateRead read;
    StateFile file = open_well(directory, read);
    std::ofstream filler(directory.path() + "/filler");
    while (filler << std::string(kBlock, 'x') << std::flush) {
    }
    EXPECT_TRUE(file.write_state(a_state(1), a_clock()).has_value());
    EXPECT_TRUE(file.write_record(a_record(1), a_clock()).has_value());

    StateRead other;
    auto second = StateFile::open(directory.path(), {"other", "prod"}, a_clock(), other);
    EXPECT_TRUE(second.has_error()) << "a new one has no room";
    EXPECT_THAT(second.has_error() ? second.error().text() : "", HasSubstr("64 KiB"));
    EXPECT_FALSE(fs::exists(directory.path() + "/other.prod.state"));
  }
  EXPECT_EQ(text(read_again(directory).state.value()), text(a_state(1)));
  ::umount2(directory.path().c_str(), MNT_DETACH);
}

// ---- Too large ----

TEST(StateFile, AStateThatDoesNotFitIsRefusedAndTheFileStaysTrusted) {
  const Directory directory;
  write_history(directory);
  StateRead read;
  StateFile file = open_well(directory, read);

  const auto written = file.write_state(a_state(3, 200), a_clock());

  ASSERT_TRUE(written.has_error());
  EXPECT_EQ(written.error().code, Errc::too_large);
  EXPECT_TRUE(file.trusted());
  EXPECT_EQ(text(read_again(directory).state.value()), text(a_state(2)));
  EXPECT_TRUE(file.write_state(a_state(4), a_clock()).has_value());
  EXPECT_EQ(text(read_again(directory).state.value()), text(a_state(4)));
}

TEST(StateFile, ALongRecordLosesWordsAndNothingElse) {
  const Directory directory;
  StateRead read;
  StateFile file = open_well(directory, read);
  OperationRecord record = a_record(1);
  record.note = std::string(5000, 'n');
  record.request.reason = std::string(3000, '\x01');  // Six bytes each in JSON.
  record.from_path = std::string(1000, 'f');

  ASSERT_TRUE(file.write_record(record, a_clock()).has_value());

  const OperationRecord back = read_again(directory).last_record.value();
  EXPECT_EQ(back.from_path, record.from_path);
  EXPECT_EQ(back.request.to, "v1");
  EXPECT_THAT(back.note, HasSubstr("nnnn"));
  EXPECT_THAT(back.note, HasSubstr("…"));
  EXPECT_LT(back.request.reason.size(), 1000U);
}

TEST(StateFile, ARecordWhoseFactsDoNotFitIsRefusedAndTheFileStaysTrusted) {
  const Directory directory;
  StateRead read;
  StateFile file = open_well(directory, read);
  OperationRecord record = a_record(1);
  record.to_path = std::string(4096, 't');

  EXPECT_EQ(file.write_record(record, a_clock()).error().code, Errc::too_large);
  EXPECT_TRUE(file.trusted());
}

// ---- Damage ----

TEST(StateFile, ATornSlotLeavesTheStateBeforeItWhereverItTore) {
  const Directory directory;
  write_history(directory);
  const std::string before = contents(directory.file());
  {
    StateRead read;
    StateFile file = open_well(directory, read);
    ASSERT_TRUE(file.write_state(a_state(3), a_clock()).has_value());
  }
  const std::string after = contents(directory.file());
  const std::string old_state = text(a_state(2)), new_state = text(a_state(3));
  int seen_old = 0, seen_new = 0;

  for (std::size_t cut = 0; cut <= kFile; cut += 512) {
    for (const bool front_first : {true, false}) {
      const std::string torn = front_first ? after.substr(0, cut) + before.substr(cut) : before.substr(0, cut) + after.substr(cut);
      put_contents(directory.file(), torn);
      const StateRead read = read_again(directory);
      ASSERT_TRUE(read.readable) << cut << ": " << read.note;
      const std::string got = text(read.state.value());
      ASSERT_EQ(got, torn == after ? new_state : old_state) << cut;
      got == new_state ? ++seen_new : ++seen_old;
      EXPECT_EQ(read.note.empty(), torn == before || torn == after) << cut;
    }
  }
  EXPECT_GT(seen_old, 8);
  EXPECT_GT(seen_new, 8);
}

TEST(StateFile, AfterATornSlotTheNextWriteGoesThere) {
  const Directory directory;
  write_history(directory);
  std::string bytes = contents(directory.file());
  const StateRead whole = read_again(directory);
  for (std::size_t slot : {0U, 1U}) {  // Whichever holds the older one: the newer must survive the write.
    Block block = decode_block(BlockKind::state, std::span<const char>(bytes).subspan(slot * kSlot, kSlot));
    if (block.json != text(*whole.state)) bytes[slot * kSlot + 600] ^= 1;
  }
  put_contents(directory.file(), bytes);
  StateRead read;
  StateFile file = open_well(directory, read);
  ASSERT_TRUE(file.write_state(a_state(3), a_clock()).has_value());

  EXPECT_EQ(read_again(directory).note, "") << "both slots are whole again";
  EXPECT_EQ(text(read_again(directory).state.value()), text(a_state(3)));
}

TEST(StateFile, ATornRecordIsIgnoredAndTheOneBeforeCounts) {
  for (int records = 1; records <= 8; ++records) {
    const Directory directory;
    write_history(directory, records);
    const std::string before = contents(directory.file());
    {
      StateRead read;
      StateFile file = open_well(directory, read);
      ASSERT_TRUE(file.write_record(a_record(records + 1), a_clock()).has_value());
    }
    std::string torn = contents(directory.file());
    const auto changed = std::mismatch(torn.begin(), torn.end(), before.begin()).first - torn.begin();
    const auto block = static_cast<std::size_t>(changed) / kBlock * kBlock;
    torn.replace(block + 512, kBlock - 512, before, block + 512, kBlock - 512);
    put_contents(directory.file(), torn);

    StateRead read;
    StateFile file = open_well(directory, read);
    EXPECT_TRUE(read.readable) << read.note;
    EXPECT_EQ(read.last_record.value().attempt, records);
    EXPECT_THAT(read.note, HasSubstr("torn operation record"));

    ASSERT_TRUE(file.write_record(a_record(100), a_clock()).has_value());
    EXPECT_EQ(read_again(directory).last_record.value().attempt, 100);
    EXPECT_EQ(read_again(directory).note, "");
  }
}

TEST(StateFile, AFirstWriteThatWasTornIsAFileWithoutAState) {
  const Directory directory;
  {
    StateRead read;
    StateFile file = open_well(directory, read);
    ASSERT_TRUE(file.write_state(a_state(1), a_clock()).has_value());
  }
  std::string bytes = contents(directory.file());
  std::fill(bytes.begin() + 512, bytes.end(), '\0');
  put_contents(directory.file(), bytes);

  StateRead read;
  StateFile file = open_well(directory, read);
  EXPECT_TRUE(read.readable);
  EXPECT_FALSE(read.state);
  EXPECT_THAT(read.note, HasSubstr("very first write was torn"));
  ASSERT_TRUE(file.write_state(a_state(1), a_clock()).has_value());
  EXPECT_EQ(read_again(directory).note, "");
}

TEST(StateFile, DamageInBothSlotsIsUnreadableAndTakesNoWrite) {
  const Directory directory;
  write_history(directory);
  std::string bytes = contents(directory.file());
  bytes[700] ^= 4;
  bytes[kSlot + 700] ^= 4;
  put_contents(directory.file(), bytes);

  StateRead read;
  StateFile file = open_well(directory, read);

  EXPECT_FALSE(read.readable);
  EXPECT_FALSE(read.state);
  EXPECT_THAT(read.note, HasSubstr("slot A is corrupt; slot B is corrupt"));
  EXPECT_FALSE(file.trusted());
  EXPECT_TRUE(file.write_state(a_state(3), a_clock()).has_error());
  EXPECT_EQ(contents(directory.file()), bytes) << "what a person may still read stays as it is";
}

TEST(StateFile, GarbageIsUnreadableAndNotFresh) {
  const Directory directory;
  put_contents(directory.file(), std::string(kFile, 'x'));

  const StateRead read = read_again(directory);

  EXPECT_FALSE(read.readable);
  EXPECT_FALSE(read.fresh);
}

TEST(StateFile, MoreDamagedRecordsThanACrashCanLeaveAreUnreadable) {
  const Directory directory;
  write_history(directory, 6);
  std::string bytes = contents(directory.file());
  bytes[kRing + 100] ^= 1;
  bytes[kRing + kBlock + 100] ^= 1;
  put_contents(directory.file(), bytes);

  EXPECT_FALSE(read_again(directory).readable);
}

TEST(StateFile, FiveHundredRandomDamagesGiveTheOldStateOrTheNewOneOrNone) {
  const Directory directory;
  write_history(directory, 6);
  const std::string good = contents(directory.file());
  const std::string old_state = text(a_state(1)), new_state = text(a_state(2));
  std::mt19937 random(20261120);  // NOLINT(cert-msc51-cpp): the same damages every time
  const auto below = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
  int olds = 0, news = 0, nones = 0;

  for (int round = 0; round < 500; ++round) {
    std::string bytes = good;
    const std::size_t flips = 1 + below(8);
    for (std::size_t i = 0; i < flips; ++i) bytes[below(kFile)] ^= static_cast<char>(1U << below(8));
    if (round % 3 == 0) {  // A sector of somebody else's.
      const std::size_t at = below(kFile / 512) * 512;
      for (std::size_t i = 0; i < 512; ++i) bytes[at + i] = static_cast<char>(below(256));
    }
    if (round % 5 == 0) bytes[(round % 2) * kSlot + below(64)] ^= 1;  // Headers in particular.
    put_contents(directory.file(), bytes);
    const StateRead read = read_again(directory);
    if (!read.readable) {
      ++nones;
      ASSERT_FALSE(read.state);
      continue;
    }
    const std::string got = text(read.state.value());
    ASSERT_THAT(got, testing::AnyOf(old_state, new_state)) << round;
    got == old_state ? ++olds : ++news;
    ASSERT_GE(read.last_record.value().attempt, 5) << round;
  }
  EXPECT_GT(olds, 10);
  EXPECT_GT(news, 10);
  EXPECT_GT(nones, 10);
}

// ---- What is not ours, or not yet ----

/// The bytes of `file` with a whole block of `json` and `format` at `at`, its checksum right.
void put_block(const Directory& directory, BlockKind kind, std::size_t at, std::size_t size, const std::string& json) {
  std::string bytes = contents(directory.file());
  encode_block(kind, 99, json, std::span<char>(bytes).subspan(at, size));
  put_contents(directory.file(), bytes);
}

TEST(StateFile, AStateOfALaterFormatIsUnreadableEvenBesideAnOlderOne) {
  const Directory directory;
  write_history(directory);
  Json json = a_state(9).to_json(a_clock());
  json.set("format", 2);
  put_block(directory, BlockKind::state, 0, kSlot, json.dump());

  const StateRead read = read_again(directory);

  EXPECT_FALSE(read.readable);
  EXPECT_THAT(read.note, HasSubstr("format 1, not 2"));
}

TEST(StateFile, ARecordOfALaterFormatIsUnreadable) {
  const Directory directory;
  write_history(directory);
  Json json = a_record(9).to_json(a_clock());
  json.set("format", 2);
  put_block(directory, BlockKind::record, kRing, kBlock, json.dump());

  const StateRead read = read_again(directory);

  EXPECT_FALSE(read.readable);
  EXPECT_THAT(read.note, HasSubstr("format 1, not 2"));
}

TEST(StateFile, TheStateOfAnotherServiceIsUnreadable) {
  const Directory directory;
  write_history(directory);
  ServiceState other = a_state(9);
  other.service = {"shop-web", "prod"};
  put_block(directory, BlockKind::state, 0, kSlot, text(other));

  const StateRead read = read_again(directory);

  EXPECT_FALSE(read.readable);
  EXPECT_THAT(read.note, HasSubstr("the state of shop-web/prod, not of shop-api/prod"));
}

TEST(StateFile, AFileOfTheWrongSizeIsRefused) {
  const Directory directory;
  put_contents(directory.file(), std::string(100, '\0'));

  EXPECT_EQ(refused(directory).code, Errc::corrupt);
  EXPECT_THAT(refused(directory).why, HasSubstr("100 bytes instead of 65536"));
}

TEST(StateFile, ASymbolicLinkAtItsPlaceIsRefusedAndNotFollowed) {
  const Directory directory;
  put_contents(directory.path() + "/elsewhere", std::string(kFile, '\0'));
  fs::create_symlink("elsewhere", directory.file());

  EXPECT_THAT(refused(directory).why, HasSubstr("symbolic link"));

  fs::remove(directory.path() + "/elsewhere");
  EXPECT_THAT(refused(directory).why, HasSubstr("symbolic link")) << "a dangling one too";
  EXPECT_FALSE(fs::exists(directory.path() + "/elsewhere"));
}

TEST(StateFile, AnythingButARegularFileIsRefused) {
  const Directory fifo, folder;
  ASSERT_EQ(::mkfifo(fifo.file().c_str(), 0600), 0);
  ASSERT_TRUE(fs::create_directory(folder.file()));

  EXPECT_THAT(refused(fifo).why, HasSubstr("not a regular file"));
  EXPECT_NE(refused(folder).code, Errc::none);
}

TEST(StateFile, AMissingDirectoryAndANameThatIsNoneAreRefused) {
  StateRead read;

  EXPECT_EQ(StateFile::open("/nonexistent/rollbackd", kService, a_clock(), read).error().code, Errc::io);
  EXPECT_EQ(StateFile::open("/tmp", {"../etc", "prod"}, a_clock(), read).error().code, Errc::invalid_argument);
}

// ---- A failed write ----

/// While it lives no file may grow, or be written, beyond `bytes`: writes there fail with EFBIG.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  sighandler_t handler_;
};

TEST(StateFile, AfterAFailedWriteNothingIsWrittenUntilItIsOpenedAnew) {
  const Directory directory;
  write_history(directory);
  StateRead read;
  StateFile file = open_well(directory, read);
  ASSERT_TRUE(file.trusted());
  {
    const FileSizeLimit limit(kBlock);
    EXPECT_EQ(file.write_record(a_record(3), a_clock()).error().code, Errc::io);
  }
  const std::string bytes = contents(directory.file());

  const auto record = file.write_record(a_record(4), a_clock());
  const auto state = file.write_state(a_state(3), a_clock());

  EXPECT_FALSE(file.trusted());
  ASSERT_TRUE(record.has_error());
  ASSERT_TRUE(state.has_error());
  EXPECT_THAT(state.error().text(), HasSubstr("File too large"));
  EXPECT_THAT(state.error().next_step, HasSubstr("restart rollbackd"));
  EXPECT_EQ(contents(directory.file()), bytes);

  StateRead anew;
  StateFile again = open_well(directory, anew);
  EXPECT_TRUE(again.trusted());
  EXPECT_TRUE(again.write_record(a_record(4), a_clock()).has_value());
}

TEST(StateFile, AFailedWriteIsAFailureWithoutDirectWritesToo) {
  if (::access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "no tmpfs at /dev/shm";
  const Directory directory("/dev/shm");
  write_history(directory);
  StateRead read;
  StateFile file = open_well(directory, read);
  {
    const FileSizeLimit limit(kBlock);
    EXPECT_TRUE(file.write_record(a_record(3), a_clock()).has_error());
  }

  EXPECT_FALSE(file.trusted());
  EXPECT_EQ(read_again(directory).last_record.value().attempt, 2);
}

// ---- The directory's lock ----

TEST(DirectoryLock, MakesThePrivateDirectoryAndKeepsOthersOut) {
  const Directory directory;
  const std::string state = directory.path() + "/var/lib/rollbackd";

  auto first = DirectoryLock::take(state);
  auto second = DirectoryLock::take(state);

  ASSERT_TRUE(first.has_value()) << first.error().text();
  EXPECT_EQ(fs::status(state).permissions(), fs::perms::owner_all);
  ASSERT_TRUE(second.has_error());
  EXPECT_EQ(second.error().code, Errc::conflict);
  EXPECT_THAT(second.error().why, HasSubstr("pid " + std::to_string(::getpid())));
}

TEST(DirectoryLock, EndsWithItsHolder) {
  const Directory directory;
  { const auto lock = DirectoryLock::take(directory.path()); }
  put_contents(directory.path() + "/lock", "123456789 a longer text\n");

  auto again = DirectoryLock::take(directory.path());
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(contents(directory.path() + "/lock"), std::to_string(::getpid()) + "\n");

  DirectoryLock moved = std::move(again.value());
  EXPECT_TRUE(DirectoryLock::take(directory.path()).has_error()) << "moving it does not let go";
}

TEST(DirectoryLock, AHolderThatIsJustEndingIsWaitedFor) {
  const Directory directory;
  auto holder = std::make_unique<Result<DirectoryLock>>(DirectoryLock::take(directory.path()));
  ASSERT_TRUE(holder->has_value());
  std::thread ending([&] {
    std::this_thread::sleep_for(60ms);
    holder.reset();
  });

  const auto next = DirectoryLock::take(directory.path());

  ending.join();
  EXPECT_TRUE(next.has_value()) << next.error().text();
}

TEST(DirectoryLock, FollowsNoSymbolicLink) {
  const Directory directory;
  fs::create_symlink("/etc/hostname", directory.path() + "/lock");

  EXPECT_TRUE(DirectoryLock::take(directory.path()).has_error());
}

TEST(DirectoryLock, RemovingItsFileLetsNobodyIn) {
  const Directory directory;
  const auto lock = DirectoryLock::take(directory.path());
  ASSERT_TRUE(lock.has_value());

  fs::remove(directory.path() + "/lock");
  EXPECT_EQ(DirectoryLock::take(directory.path()).error().code, Errc::conflict);
  EXPECT_EQ(DirectoryLock::take(directory.path()).error().code, Errc::conflict) << "nor the file that the attempt made";
  put_contents(directory.path() + "/another", "");
  fs::rename(directory.path() + "/another", directory.path() + "/lock");
  EXPECT_EQ(DirectoryLock::take(directory.path()).error().code, Errc::conflict);
}

TEST(DirectoryLock, IsTheSameByWhateverPathTheDirectoryIsReached) {
  const Directory directory, elsewhere;
  const std::string state = directory.path() + "/state", link = elsewhere.path() + "/link";
  auto lock = DirectoryLock::take(state);
  ASSERT_TRUE(lock.has_value());
  fs::create_directory_symlink(state, link);
  fs::create_directory_symlink(directory.path(), elsewhere.path() + "/parent");

  for (const std::string& path : {link, elsewhere.path() + "/parent/state", state + "/", state + "/../state"})
    EXPECT_EQ(DirectoryLock::take(path).error().code, Errc::conflict) << path;

  fs::rename(state, directory.path() + "/moved");
  EXPECT_EQ(DirectoryLock::take(directory.path() + "/moved").error().code, Errc::conflict) << "moving it away is no way either";
}

TEST(DirectoryLock, AProgramThatItsHolderStartedDoesNotKeepIt) {
  const Directory directory;
  int pid = 0;
  {
    const auto lock = DirectoryLock::take(directory.path());
    ASSERT_TRUE(lock.has_value());
    char name[] = "sleep", length[] = "1000";
    char* argv[] = {name, length, nullptr};
    char* envp[] = {nullptr};
    ASSERT_EQ(::posix_spawn(&pid, "/bin/sleep", nullptr, nullptr, argv, envp), 0);
  }

  // The kernel lets the parent go on a moment before it closes what the new program shall not have.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  auto next = DirectoryLock::take(directory.path());
  while (next.has_error() && std::chrono::steady_clock::now() < until) next = DirectoryLock::take(directory.path());
  EXPECT_TRUE(next.has_value()) << "a keeper survives its daemon, and must not keep the next one out";
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

// ---- The bytes ----

TEST(Block, HasTheLayoutThatTheHeaderSays) {
  std::vector<char> bytes(kBlock);
  encode_block(BlockKind::record, 0x0102, "{}", bytes);

  EXPECT_EQ(std::string(bytes.data(), 8), "rbdrecrd");
  EXPECT_EQ(std::string(bytes.data() + 8, 16), std::string("\1\0\0\0\2\0\0\0\2\1\0\0\0\0\0\0", 16));
  EXPECT_EQ(std::string(bytes.data() + 32, 3), std::string("{}\0", 3));
  EXPECT_EQ(decode_block(BlockKind::record, bytes).health, Block::Health::whole);
  EXPECT_EQ(decode_block(BlockKind::state, bytes).health, Block::Health::corrupt) << "of the other kind";
}

TEST(Block, NoSingleFlippedBitOfItIsOverlooked) {
  std::vector<char> bytes(512);
  encode_block(BlockKind::state, 7, R"({"a":1})", bytes);
  const std::size_t covered = kBlockHeaderBytes + 7;

  for (std::size_t bit = 0; bit < covered * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<char>(1U << (bit % 8));
    ASSERT_EQ(decode_block(BlockKind::state, bytes).health, Block::Health::corrupt) << bit;
    bytes[bit / 8] ^= static_cast<char>(1U << (bit % 8));
  }
}

}  // namespace
}  // namespace rollbackd::record
