// What the daemon and the actor of root's say to each other, and the actor's memory after the disk had its way with it. By the first byte's
// low bits: a request ('0'), an answer ('1'), a world ('2'), an event ('3'), facts of a target ('4'), an outcome ('5'), a memory ('6'),
// the memory's file ('7').
#include <cstdint>

#include "base/digest.hpp"
#include "base/ids.hpp"
#include "drivers/actor_memory.hpp"
#include "drivers/actor_protocol.hpp"
#include "property.hpp"
#include "temporary.hpp"

using namespace rollbackd;
using namespace rollbackd::drivers;

namespace {

void check_error(const Error& error) {
  fuzz::property(error.code != Errc::none && !error.what.empty(), "an error says what", error.text());
}

/// What is asked of root has passed its bounds, whatever it is: these are all that paths and processes are made of.
void check_bounds(const actor::Request& request) {
  const auto release_or_nothing = [](const std::string& id) { return id.empty() || is_release_id(id); };
  const auto name_or_nothing = [](const std::string& name) { return name.empty() || is_name(name); };
  fuzz::property(
      name_or_nothing(request.service.name) && name_or_nothing(request.service.environment) && name_or_nothing(request.component),
      "names are names", request.service.text());
  fuzz::property(release_or_nothing(request.release) && release_or_nothing(request.about.from) && release_or_nothing(request.about.to),
                 "releases are release ids", request.release);
  fuzz::property(name_or_nothing(request.step.component) && request.step.number >= 0, "a step is bounded", request.step.component);
  fuzz::property(request.deadline >= Duration{} && request.deadline <= 24h, "a deadline is bounded");
  fuzz::property(request.threads >= 1 && request.threads <= 64 && request.bytes_per_second >= 0, "a pace is bounded");
}

void check_request(const std::string& text) {
  const auto request = actor::Request::decode(text);
  if (!request) return check_error(request.error());
  check_bounds(*request);
  fuzz::property(actor::id_of(text) == request->id || request->id == 0, "the id of a message is that of its request", text);
  const auto written = request->encode();
  if (!written) return fuzz::property(written.error().code == Errc::too_large, "only its length keeps it from being sent", text);
  const auto again = actor::Request::decode(*written);
  fuzz::property(again.has_value(), "a request that is sent can be read", *written + (again ? "" : again.error().text()));
  fuzz::property(*again->encode() == *written, "reading it changes nothing", *written);
}

void check_answer(const std::string& text) {
  const auto answer = actor::Answer::decode(text);
  if (!answer) return check_error(answer.error());
  const std::string written = answer->encode();
  fuzz::property(written.size() <= actor::kMessageBytesMax, "an answer fits into a message", text);
  const auto again = actor::Answer::decode(written);
  fuzz::property(again.has_value(), "an answer that is sent can be read", written + (again ? "" : again.error().text()));
  fuzz::property(again->encode() == written, "reading it changes nothing", written);
}

/// What was read once is written and read again without a change.
template <class Read, class Write>
void check_part(const Json& json, Read read, Write write) {
  const auto value = read(json);
  if (!value) return check_error(value.error());
  const std::string written = write(*value).dump();
  fuzz::property(written.size() <= actor::kMessageBytesMax - 1024 || written.size() <= json.dump().size() + 1024, "it fits", written);
  const auto reparsed = Json::parse(written);
  fuzz::property(reparsed.has_value(), "what is written is JSON", written);
  const auto again = read(*reparsed);
  fuzz::property(again.has_value(), "what is written can be read", written + (again ? "" : again.error().text()));
  fuzz::property(write(*again).dump() == written, "reading it changes nothing", written + "\n" + write(*again).dump());
}

void check_parts(char kind, const Json& json) {
  static const io::Clock clock;
  const auto write = [](const auto& value) { return actor::to_json(value, clock); };
  if (kind == 2)
    return check_part(
        json, [](const Json& j) { return actor::world_from(j, clock); }, write);
  if (kind == 3)
    return check_part(
        json, [](const Json& j) { return actor::event_from(j, clock); }, write);
  if (kind == 4) return check_part(json, actor::target_from, [](const TargetFacts& facts) { return actor::to_json(facts); });
  if (kind == 5) return check_part(json, Outcome::from_json, [](const Outcome& outcome) { return actor::to_json(outcome); });
  check_part(json, actor::Memory::from_json, [](const actor::Memory& memory) { return memory.to_json(); });
}

std::string slot(const std::string& text) {
  std::string header = "ROLLBACKD-ACTOR 1 2 " + std::to_string(text.size()) + " " + std::to_string(crc32c(text, 2)) + "\n";
  header.resize(128, ' ');
  std::string out = header + text;
  out.resize(actor::MemoryFile::kSlotBytes);
  return out;
}

/// The first slot holds the bytes under a right checksum, the second the bytes themselves.
void check_file(std::string bytes) {
  static const fuzz::TemporaryDirectory directory;
  const std::string path = directory.path() + "/memory";
  bytes.resize(std::min(bytes.size(), actor::MemoryFile::kSlotBytes - 128));
  std::string other = bytes;
  other.resize(actor::MemoryFile::kSlotBytes);
  fuzz::write_file(path, slot(bytes) + other);
  actor::Memory memory;
  auto file = actor::MemoryFile::open(path, memory);
  if (!file) return check_error(file.error());

  memory.begin("operation 1", "digest");
  memory.note_switch("operation", true, {Instant(5), {"boot", 5, 5}});
  if (!file->write(memory)) return;
  actor::Memory again;
  const auto opened = actor::MemoryFile::open(path, again);
  fuzz::property(opened.has_value(), "what was written can be opened", opened ? "" : opened.error().text());
  fuzz::property(again.fence == memory.fence && again.find("operation 1") && !again.find("operation 1")->outcome && !again.switches.empty(),
                 "what was written is remembered", again.to_json().dump());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 80 << 10) return 0;
  const std::string text(data + 1, data + size);
  const char kind = static_cast<char>(data[0] & 7);
  if (kind == 7) {
    check_file(text);
  } else if (kind == 0) {
    check_request(text);
  } else if (kind == 1) {
    check_answer(text);
  } else if (const auto json = Json::parse(text, 16)) {
    check_parts(kind, *json);
  }
  return 0;
}
