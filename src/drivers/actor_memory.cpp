// The actor's memory on disk. A slot is "ROLLBACKD-ACTOR 1 SEQUENCE LENGTH CRC32C\n" and the JSON; the one with the higher sequence and a
// right checksum counts.
#include "drivers/actor_memory.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <sstream>

#include "base/digest.hpp"
#include "base/text.hpp"
#include "model/fields.hpp"

namespace rollbackd::drivers::actor {
namespace {

constexpr const char* kMagic = "ROLLBACKD-ACTOR";
constexpr int kFormat = 1;
constexpr std::size_t kHeaderBytes = 128;
constexpr std::size_t kJsonBytesMax = MemoryFile::kSlotBytes - kHeaderBytes;
constexpr std::size_t kTextBytesMax = 1024;  ///< of an outcome that is remembered

Json stamp_json(const Stamp& stamp) {
  return Json::object().set("boot_id", stamp.boot_id).set("boot_ns", stamp.boot_ns).set("wall_ns", stamp.wall_ns);
}

/// An outcome as it is remembered: with its facts, but without a hook's pages of output.
Json short_outcome(const Outcome& outcome, std::size_t bytes_max) {
  Outcome out = outcome;
  out.facts = Json::object();
  for (const auto& [key, value] : outcome.facts.members())
    out.facts.set(key, value.is_string() ? Json(cut(value.string_or(""), bytes_max)) : value);
  for (std::string* text : {&out.error.what, &out.error.why, &out.error.next_step}) *text = cut(*text, bytes_max);
  return out.to_json();
}

Json memory_json(const Memory& memory, std::size_t text_bytes_max) {
  Json steps = Json::array(), switches = Json::array();
  for (const Memory::Done& done : memory.steps) {
    Json json = Json::object();
    json.set("token", done.token).set("what", done.what);
    if (done.outcome) json.set("outcome", short_outcome(*done.outcome, text_bytes_max));
    steps.push(std::move(json));
  }
  for (const Memory::Switch& one : memory.switches) {
    Json json = Json::object();
    json.set("operation", one.operation).set("automatic", one.automatic).set("at", stamp_json(one.at)).set("steps", one.steps);
    if (!one.moves.empty()) model::put(json, "moves", one.moves);
    switches.push(std::move(json));
  }
  Json out = Json::object();
  out.set("format", kFormat).set("fence", memory.fence).set("steps", std::move(steps)).set("switches", std::move(switches));
  return out;
}

struct Slot {
  std::uint64_t sequence = 0;
  Memory memory;
};

/// The slot in `bytes`; nothing when it was never written, an error when it is damaged.
Result<std::optional<Slot>> read_slot(const std::string& bytes) {
  const auto damaged = [](std::string why) {
    return Error(Errc::corrupt, "a slot of the actor's memory is damaged").because(std::move(why));
  };
  if (std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == '\0'; })) return std::optional<Slot>();
  const std::size_t end = bytes.substr(0, kHeaderBytes).find('\n');
  if (end == std::string::npos) return damaged("it has no header");
  std::istringstream header(bytes.substr(0, end));
  std::string magic;
  int format = 0;
  Slot slot;
  std::size_t length = 0;
  std::uint32_t crc = 0;
  header >> magic >> format >> slot.sequence >> length >> crc;
  if (!header || magic != kMagic || format != kFormat || length > kJsonBytesMax) return damaged("its header is wrong");
  const std::string text = bytes.substr(kHeaderBytes, length);
  if (crc32c(text, static_cast<std::uint32_t>(slot.sequence)) != crc) return damaged("its checksum is wrong");
  const auto json = Json::parse(text);
  if (json.has_error()) return json.error();
  auto memory = Memory::from_json(*json);
  if (memory.has_error()) return memory.error();
  slot.memory = std::move(*memory);
  return std::optional<Slot>(std::move(slot));
}

}  // namespace

const Memory::Done* Memory::find(const std::string& token) const {
  const auto at = std::find_if(steps.begin(), steps.end(), [&](const Done& done) { return done.token == token; });
  return at == steps.end() ? nullptr : &*at;
}

void Memory::begin(const std::string& token, const std::string& what) {
  std::erase_if(steps, [&](const Done& done) { return done.token == token; });
  steps.push_back({token, what});
  while (steps.size() > kStepsMax) steps.pop_front();
}

void Memory::end(const std::string& token, const Outcome& outcome) {
  if (outcome.status == Outcome::Status::unknown || outcome.status == Outcome::Status::timed_out) return;
  for (Done& done : steps)
    if (done.token == token) done.outcome = outcome;
}

int Memory::switched(bool automatic, Duration length, const ClockReading& now, const std::string& operation) const {
  return static_cast<int>(std::count_if(switches.begin(), switches.end(), [&](const Switch& one) {
    return one.automatic == automatic && one.operation != operation && now.instant - now.to_instant(one.at) < length;
  }));
}

void Memory::note_switch(const std::string& operation, bool automatic, const ClockReading& now, const std::string& move) {
  auto at = std::find_if(switches.begin(), switches.end(), [&](const Switch& one) { return one.operation == operation; });
  if (at == switches.end()) at = switches.insert(at, Switch{operation, automatic, now.to_stamp(now.instant)});
  ++at->steps;
  if (!move.empty() && !has_moved(operation, move)) at->moves.push_back(move);
  std::size_t moves = 0;
  for (auto one = switches.rbegin(); one != switches.rend(); ++one)
    if ((moves += one->moves.size()) > kMovesMax) one->moves.clear();  // The oldest operations' first: nobody takes those back any more.
  while (switches.size() > kSwitchesMax) {
    // Persons' go first: however many they are, they must not make the automatic ones forgotten.
    const auto person = std::find_if(switches.begin(), switches.end(), [](const Switch& one) { return !one.automatic; });
    switches.erase(person == switches.end() ? switches.begin() : person);
  }
}

int Memory::steps_of(const std::string& operation) const {
  const auto at = std::find_if(switches.begin(), switches.end(), [&](const Switch& one) { return one.operation == operation; });
  return at == switches.end() ? 0 : at->steps;
}

bool Memory::has_moved(const std::string& operation, const std::string& move) const {
  return std::any_of(switches.begin(), switches.end(), [&](const Switch& one) {
    return one.operation == operation && std::find(one.moves.begin(), one.moves.end(), move) != one.moves.end();
  });
}

Json Memory::to_json() const { return memory_json(*this, kTextBytesMax); }

Result<Memory> Memory::from_json(const Json& json) {
  model::Fields fields(json, "actor's memory");
  Memory out;
  for (const char* key : {"format", "fence", "steps", "switches"}) fields.required(key);
  fields.get("fence", out.fence);
  for (const Json& one : fields["steps"].elements()) {
    model::Fields step(one, "actor's memory, steps");
    Done done;
    for (const char* key : {"token", "what"}) step.required(key);
    step.get("token", done.token);
    step.get("what", done.what);
    if (!step.ok()) return step.error();
    if (one.has("outcome")) {
      auto outcome = Outcome::from_json(one["outcome"]);
      if (outcome.has_error()) return outcome.error();
      done.outcome = std::move(*outcome);
    }
    out.steps.push_back(std::move(done));
  }
  for (const Json& one : fields["switches"].elements()) {
    model::Fields row(one, "actor's memory, switches"), at(one["at"], "actor's memory, switches");
    Switch entry;
    for (const char* key : {"operation", "automatic"}) row.required(key);
    row.get("operation", entry.operation);
    row.get("automatic", entry.automatic);
    row.get("steps", entry.steps);
    row.get("moves", entry.moves);
    at.get("boot_id", entry.at.boot_id);
    at.get("boot_ns", entry.at.boot_ns);
    at.get("wall_ns", entry.at.wall_ns);
    if (!row.ok()) return row.error();
    if (!at.ok()) return at.error();
    out.switches.push_back(std::move(entry));
  }
  if (!fields.ok()) return fields.error();
  if (out.steps.size() > kStepsMax || out.switches.size() > kSwitchesMax) return Error(Errc::corrupt, "the actor's memory is too long");
  return out;
}

Result<MemoryFile> MemoryFile::open(const std::string& path, Memory& memory) {
  MemoryFile out;
  out.path_ = path;
  out.file_.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!out.file_) return Error::from_errno("cannot open " + path, errno);
  struct stat facts {};
  if (::fstat(out.file_.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) return Error(Errc::io, path + " is no file");
  std::string bytes(2 * kSlotBytes, '\0');
  if (facts.st_size == 0) {  // New: written in full, so that no later write needs a block.
    const ssize_t n = ::pwrite(out.file_.get(), bytes.data(), bytes.size(), 0);
    if (n != static_cast<ssize_t>(bytes.size()) || ::fdatasync(out.file_.get()) != 0) {
      const int why = n >= 0 && n < static_cast<ssize_t>(bytes.size()) ? ENOSPC : errno;
      ::unlink(path.c_str());
      return Error::from_errno("cannot make " + path, why);
    }
    memory = Memory{};
    return out;
  }
  const Error damaged = Error(Errc::corrupt, "the actor's memory " + path + " is damaged").try_next("look at what is live, then remove it");
  if (facts.st_size != static_cast<off_t>(bytes.size())) return damaged;
  if (::pread(out.file_.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    return Error::from_errno("cannot read " + path, errno);
  std::optional<Slot> best;
  std::optional<Error> damage;
  for (std::size_t n = 0; n < 2; ++n) {
    auto slot = read_slot(bytes.substr(n * kSlotBytes, kSlotBytes));
    if (slot.has_error()) damage = slot.error();
    if (slot.has_value() && *slot && (!best || (*slot)->sequence > best->sequence)) best = std::move(**slot);
  }
  if (!best && damage) return Error(damaged).because(damage->text());
  if (best) {
    memory = std::move(best->memory);
    out.sequence_ = best->sequence;
  }
  return out;
}

Result<> MemoryFile::write(const Memory& memory) {
  std::size_t text_bytes_max = kTextBytesMax;
  std::string text = memory_json(memory, text_bytes_max).dump();
  while (text.size() > kJsonBytesMax && text_bytes_max > 1) text = memory_json(memory, text_bytes_max /= 2).dump();
  if (text.size() > kJsonBytesMax) return Error(Errc::too_large, "the actor's memory does not fit into " + path_);
  const std::uint64_t sequence = sequence_ + 1;
  std::string header = std::string(kMagic) + " " + std::to_string(kFormat) + " " + std::to_string(sequence) + " " +
                       std::to_string(text.size()) + " " + std::to_string(crc32c(text, static_cast<std::uint32_t>(sequence))) + "\n";
  header.resize(kHeaderBytes, ' ');
  const std::string bytes = header + text;
  const auto offset = static_cast<off_t>((sequence % 2) * kSlotBytes);
  const ssize_t n = ::pwrite(file_.get(), bytes.data(), bytes.size(), offset);
  if (n != static_cast<ssize_t>(bytes.size())) return Error::from_errno("cannot write " + path_, n < 0 ? errno : ENOSPC);
  if (::fdatasync(file_.get()) != 0) return Error::from_errno("cannot write " + path_, errno);
  sequence_ = sequence;
  return {};
}

}  // namespace rollbackd::drivers::actor
