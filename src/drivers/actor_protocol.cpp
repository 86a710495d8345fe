// Turns requests and answers into messages and back. Nothing is believed: every field has its type and its bound, and a request that has
// what its verb does not need is as wrong as one that lacks something.
#include "drivers/actor_protocol.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

#include "base/ids.hpp"
#include "base/json_request.hpp"
#include "base/text.hpp"
#include "model/fields.hpp"

namespace rollbackd::drivers::actor {
namespace {

using model::Fields;

constexpr std::size_t kReleasesBytesMax = 40 << 10;
constexpr std::size_t kOutcomeBytesMax = 48 << 10;
constexpr std::size_t kTextBytesMax = 4096;
constexpr std::size_t kOperationBytesMax = 64;
constexpr std::size_t kDigestBytesMax = 128;
constexpr std::size_t kWordBytesMax = 64;
constexpr int kStepMax = 1000;
constexpr int kThreadsMax = 64;
constexpr Duration kDeadlineMax = 24h;
constexpr int kDepthMax = 16;
constexpr std::int64_t kBootNsMax = Duration(24h * 36'500).count();  ///< a hundred years; what is not known is sent as the year 1970

struct VerbRow {
  Verb verb;
  const char* name;
  bool release, step;
};
constexpr std::array<VerbRow, 15> kVerbs{{{Verb::hello, "hello", false, false},
                                          {Verb::inspect, "inspect", false, false},
                                          {Verb::run, "run", false, true},
                                          {Verb::undo, "undo", false, true},
                                          {Verb::arm, "arm", true, false},
                                          {Verb::digest, "digest", true, false},
                                          {Verb::look, "look", true, false},
                                          {Verb::mark_bad, "mark_bad", true, false},
                                          {Verb::manager_attach, "manager_attach", false, false},
                                          {Verb::manager_inspect, "manager_inspect", false, false},
                                          {Verb::manager_run, "manager_run", false, true},
                                          {Verb::manager_watch, "manager_watch", false, false},
                                          {Verb::hook_run, "hook_run", false, true},
                                          {Verb::forget, "forget", false, false},
                                          {Verb::read, "read", true, false}}};

const VerbRow& row_of(Verb verb) { return kVerbs[static_cast<std::size_t>(verb) - 1]; }

bool speaks_of_service(Verb verb) { return verb != Verb::hello && verb != Verb::forget; }

Json error_json(const Error& error) {
  Json json = Json::object();
  json.set("code", static_cast<int>(error.code)).set("what", cut(error.what, kTextBytesMax));
  if (!error.why.empty()) json.set("why", cut(error.why, kTextBytesMax));
  if (!error.next_step.empty()) json.set("next_step", cut(error.next_step, kTextBytesMax));
  return json;
}

Json about_json(const About& about) {
  Json json = Json::object();
  json.set("kind", static_cast<int>(about.kind)).set("trigger", static_cast<int>(about.trigger)).set("mode", static_cast<int>(about.mode));
  json.set("from", about.from).set("to", about.to).set("forced", about.forced).set("fence", about.fence);
  return json;
}

Result<About> about_from(const Json& json) {
  Fields fields(json, "request, about");
  About about;
  for (const char* key : {"kind", "trigger", "mode", "from", "to", "forced", "fence"}) fields.required(key);
  fields.get_enum("kind", OperationKind::rollback, OperationKind::deploy, about.kind);
  fields.get_enum("trigger", Trigger::automatic, Trigger::alert, about.trigger);
  fields.get_enum("mode", Mode::standard, Mode::emergency, about.mode);
  fields.get("from", about.from);
  fields.get("to", about.to);
  fields.get("forced", about.forced);
  fields.get("fence", about.fence);
  // A link that leads elsewhere has no release; the target always is one.
  if (!about.from.empty() && !is_release_id(about.from)) fields.fail("from", "it is no release id");
  if (!is_release_id(about.to)) fields.fail("to", "it is no release id");
  if (about.fence < 0) fields.fail("fence", "it is below 0");
  if (!fields.ok()) return fields.error();
  return about;
}

void check_step(Fields& fields, const Step& step) {
  const bool id_ok = !step.operation.empty() && step.operation.size() <= kOperationBytesMax &&
                     std::all_of(step.operation.begin(), step.operation.end(), [](char c) {
                       return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
                     });
  if (!id_ok) fields.fail("step", "its operation is no id");
  if (step.number < 1 || step.number > kStepMax) fields.fail("step", "its number is not from 1 to " + std::to_string(kStepMax));
  if (!step.component.empty() && !is_name(step.component)) fields.fail("step", "its component is no name");
  for (const std::string* word : {&step.driver, &step.action})
    if (word->empty() || word->size() > kWordBytesMax || printable(*word) != *word) fields.fail("step", "its driver or action is no word");
  if (!step.arguments.is_null() && !step.arguments.is_object()) fields.fail("step", "its arguments are no object");
}

Result<Json> body_of(std::string_view message) {
  if (message.size() > kMessageBytesMax) return Error(Errc::too_large, "a message is too long");
  return parse_request_json(message, kDepthMax);
}

Result<> check_version(Fields& fields) {
  int version = 0;
  fields.required("v");
  fields.get("v", version);
  if (!fields.ok()) return fields.error();
  if (version != kVersion)
    return Error(Errc::unsupported, "the other side speaks version " + std::to_string(version) + " of the actor's protocol")
        .because("this one speaks version " + std::to_string(kVersion))
        .try_next("restart rollbackd and rollbackd-actor, so that both are of one version");
  return {};
}

void only(Fields& fields, const Json& json, const std::set<std::string_view>& known) {
  for (const auto& [key, value] : json.members())
    if (!known.contains(key)) fields.fail(cut(printable(key), kWordBytesMax), "this request has no such field");
}

/// An instant, from its CLOCK_BOOTTIME; bounded, so that sums with it are none that do not fit.
void get_boot(Fields& fields, const char* key, const io::Clock& clock, Instant& out) {
  std::int64_t boot_ns = 0;
  fields.required(key);
  fields.get(key, boot_ns);
  if (boot_ns < -kBootNsMax || boot_ns > kBootNsMax) return fields.fail(key, "it is no time of this machine");
  out = clock.from_boot_ns(boot_ns);
}

}  // namespace

const char* to_string(Verb v) { return row_of(v).name; }

Result<std::string> Request::encode() const {
  Json json = Json::object();
  json.set("v", kVersion).set("id", static_cast<std::int64_t>(id)).set("do", to_string(verb));
  if (speaks_of_service(verb)) {
    json.set("service", service.name).set("environment", service.environment);
    if (verb != Verb::hook_run) json.set("component", component);
  }
  const VerbRow& row = row_of(verb);
  if (row.release) json.set("release", release);
  if (verb == Verb::arm || verb == Verb::look) json.set("digest", digest);
  if (verb == Verb::mark_bad) json.set("reason", cut(reason, kTextBytesMax));
  if (row.step) json.set("step", step.to_json()).set("about", about_json(about)).set("deadline_ns", deadline.count());
  if (verb == Verb::hook_run) json.set("facts", facts.is_null() ? Json::object() : facts);
  if (verb == Verb::forget) json.set("of", static_cast<std::int64_t>(of));
  if (verb == Verb::read) json.set("quick", quick).set("threads", threads).set("bytes_per_second", bytes_per_second);
  std::string out = json.dump();
  if (out.size() > kMessageBytesMax)
    return Error(Errc::too_large, "a request of " + std::to_string(out.size()) + " bytes is too long for the actor");
  return out;
}

Result<Request> Request::decode(std::string_view message) {
  const auto body = body_of(message);
  if (body.has_error()) return body.error();
  const Json& json = *body;
  Fields fields(json, "request");
  if (auto version = check_version(fields); version.has_error()) return version.error();
  Request out;
  std::string verb;
  for (const char* key : {"id", "do"}) fields.required(key);
  fields.get("id", out.id);
  fields.get("do", verb);
  if (!fields.ok()) return fields.error();
  const auto row = std::find_if(kVerbs.begin(), kVerbs.end(), [&](const VerbRow& r) { return verb == r.name; });
  if (row == kVerbs.end()) return Error(Errc::unsupported, "the actor does not know \"" + cut(printable(verb), kWordBytesMax) + "\"");
  out.verb = row->verb;
  std::set<std::string_view> known{"v", "id", "do"};
  const auto take = [&](const char* key, auto& value) {
    known.insert(key);
    fields.required(key);
    fields.get(key, value);
  };
  if (speaks_of_service(out.verb)) {
    take("service", out.service.name);
    take("environment", out.service.environment);
    if (!is_name(out.service.name) || !is_name(out.service.environment)) fields.fail("service", "it is no name");
    if (out.verb != Verb::hook_run) take("component", out.component);
    if (out.verb != Verb::hook_run && !is_name(out.component)) fields.fail("component", "it is no name");
  }
  if (row->release) {
    take("release", out.release);
    if (!is_release_id(out.release)) fields.fail("release", "it is no release id");
  }
  if (out.verb == Verb::arm || out.verb == Verb::look) take("digest", out.digest);
  if (out.digest.size() > kDigestBytesMax || printable(out.digest) != out.digest) fields.fail("digest", "it is no digest");
  if (out.verb == Verb::mark_bad) take("reason", out.reason);
  if (out.reason.size() > kTextBytesMax + 8) fields.fail("reason", "it is too long");
  if (row->step) {
    for (const char* key : {"step", "about", "deadline_ns"}) known.insert(key);
    std::int64_t deadline_ns = 0;
    fields.required("deadline_ns");
    fields.get("deadline_ns", deadline_ns);
    fields.take(Step::from_json(fields["step"]), out.step);
    fields.take(about_from(fields["about"]), out.about);
    out.deadline = Duration(deadline_ns);
    if (fields.ok()) check_step(fields, out.step);
    if (out.deadline <= Duration{} || out.deadline > kDeadlineMax) fields.fail("deadline_ns", "it is not within 24h");
  }
  if (out.verb == Verb::hook_run) {
    known.insert("facts");
    out.facts = fields["facts"];
    if (!out.facts.is_object()) fields.fail("facts", "it is no object");
  }
  if (out.verb == Verb::forget) take("of", out.of);
  if (out.verb == Verb::read) {
    take("quick", out.quick);
    take("threads", out.threads);
    take("bytes_per_second", out.bytes_per_second);
    if (out.threads < 1 || out.threads > kThreadsMax) fields.fail("threads", "it is not from 1 to " + std::to_string(kThreadsMax));
    if (out.bytes_per_second < 0) fields.fail("bytes_per_second", "it is below 0");
  }
  if (fields.ok()) only(fields, json, known);
  if (!fields.ok()) return fields.error();
  return out;
}

std::string Answer::encode() const {
  const auto text = [this](const Error& failure) {
    Json json = Json::object();
    json.set("v", kVersion).set("id", static_cast<std::int64_t>(id));
    if (failure.code != Errc::none) {
      json.set("error", error_json(failure));
    } else {
      json.set(event ? "event" : "result", result);
    }
    return json.dump();
  };
  std::string out = text(error);
  if (out.size() > kMessageBytesMax) out = text(Error(Errc::too_large, "the actor's answer is too long for a message"));
  return out;
}

Result<Answer> Answer::decode(std::string_view message) {
  const auto body = body_of(message);
  if (body.has_error()) return body.error();
  Fields fields(*body, "answer");
  if (auto version = check_version(fields); version.has_error()) return version.error();
  Answer out;
  fields.required("id");
  fields.get("id", out.id);
  const Json& json = *body;
  if (static_cast<int>(json.has("result")) + static_cast<int>(json.has("event")) + static_cast<int>(json.has("error")) != 1)
    fields.fail("result", "an answer has one of result, event and error");
  if (json.has("error") && fields.ok()) {
    Fields failure(json["error"], "answer, error");
    failure.required("code");
    failure.get_enum("code", Errc::invalid_argument, Errc::internal, out.error.code);
    failure.get("what", out.error.what);
    failure.get("why", out.error.why);
    failure.get("next_step", out.error.next_step);
    if (!failure.ok()) return failure.error();
  }
  if (!fields.ok()) return fields.error();
  out.event = json.has("event");
  out.result = out.event ? json["event"] : json["result"];
  return out;
}

std::uint64_t id_of(std::string_view message) {
  const auto body = body_of(message);
  const std::int64_t id = body.has_value() ? (*body)["id"].int_or(0) : 0;
  return id > 0 ? static_cast<std::uint64_t>(id) : 0;
}

Json to_json(const World& world, const io::Clock& clock) {
  Json releases = Json::array();
  std::size_t room = kReleasesBytesMax;
  // From the back: names mostly grow with time, and the newest are what a rollback goes to.
  std::vector<std::string> kept;
  for (auto at = world.releases.rbegin(); at != world.releases.rend(); ++at) {
    const bool live = *at == world.live;
    const std::size_t bytes = at->size() + 3;
    if (bytes > room && !live) continue;
    room -= std::min(room, bytes);
    kept.push_back(*at);
  }
  for (auto at = kept.rbegin(); at != kept.rend(); ++at) releases.push(*at);
  Json json = Json::object();
  json.set("link", static_cast<int>(world.link)).set("link_value", world.link_value);
  json.set("link_inode", world.link_inode).set("live", world.live).set("releases", std::move(releases));
  if (world.process) json.set("process", to_json(*world.process, clock));
  return json;
}

Result<World> world_from(const Json& json, const io::Clock& clock) {
  Fields fields(json, "world");
  World out;
  for (const char* key : {"link", "link_value", "link_inode", "live", "releases"}) fields.required(key);
  fields.get_enum("link", World::Link::missing, World::Link::not_a_link, out.link);
  fields.get("link_value", out.link_value);
  fields.get("link_inode", out.link_inode);
  fields.get("live", out.live);
  fields.get("releases", out.releases);
  if (!out.live.empty() && !is_release_id(out.live)) fields.fail("live", "it is no release id");
  for (const std::string& id : out.releases)
    if (!is_release_id(id)) fields.fail("releases", "one of them is no release id");
  if (json.has("process") && fields.ok()) {
    auto process = process_from(json["process"], clock);
    if (process.has_error()) return process.error();
    out.process = std::move(*process);
  }
  if (!fields.ok()) return fields.error();
  return out;
}

Json to_json(const World::Process& process, const io::Clock& clock) {
  Json json = Json::object();
  json.set("running", process.running).set("pid", process.pid).set("started_boot_ns", clock.to_boot_ns(process.started));
  json.set("executable", process.executable).set("stopped_cleanly", process.stopped_cleanly).set("last_exit", process.last_exit);
  return json;
}

Result<World::Process> process_from(const Json& json, const io::Clock& clock) {
  Fields fields(json, "process");
  World::Process out;
  for (const char* key : {"running", "pid"}) fields.required(key);
  fields.get("running", out.running);
  fields.get("pid", out.pid);
  get_boot(fields, "started_boot_ns", clock, out.started);
  fields.get("executable", out.executable);
  fields.get("stopped_cleanly", out.stopped_cleanly);
  fields.get("last_exit", out.last_exit);
  if (!fields.ok()) return fields.error();
  return out;
}

Json to_json(const ProcessEvent& event, const io::Clock& clock) {
  Json json = Json::object();
  json.set("kind", static_cast<int>(event.kind)).set("pid", event.pid);
  json.set("started_boot_ns", clock.to_boot_ns(event.started)).set("at_boot_ns", clock.to_boot_ns(event.at));
  json.set("code_known", event.code_known).set("exit_code", event.exit_code).set("signal", event.signal);
  json.set("requested", event.requested).set("oom", event.oom).set("detail", cut(event.detail, kTextBytesMax));
  return json;
}

Result<ProcessEvent> event_from(const Json& json, const io::Clock& clock) {
  Fields fields(json, "process event");
  ProcessEvent out;
  // `requested` and `code_known` decide what an exit is evidence of: never by default.
  for (const char* key : {"kind", "pid", "code_known", "exit_code", "signal", "requested"}) fields.required(key);
  fields.get_enum("kind", ProcessEvent::Kind::running, ProcessEvent::Kind::lost, out.kind);
  fields.get("pid", out.pid);
  get_boot(fields, "started_boot_ns", clock, out.started);
  get_boot(fields, "at_boot_ns", clock, out.at);
  fields.get("code_known", out.code_known);
  fields.get("exit_code", out.exit_code);
  fields.get("signal", out.signal);
  fields.get("requested", out.requested);
  fields.get("oom", out.oom);
  fields.get("detail", out.detail);
  if (!fields.ok()) return fields.error();
  return out;
}

Json to_json(const TargetFacts& facts) {
  Json json = Json::object();
  json.set("release", facts.release).set("present", facts.present).set("intact", facts.intact).set("why", cut(facts.why, kTextBytesMax));
  return json;
}

Result<TargetFacts> target_from(const Json& json) {
  Fields fields(json, "target");
  TargetFacts out;
  for (const char* key : {"release", "present", "intact"}) fields.required(key);
  fields.get("release", out.release);
  fields.get("present", out.present);
  fields.get("intact", out.intact);
  fields.get("why", out.why);
  if (!fields.ok()) return fields.error();
  return out;
}

Json to_json(const Outcome& outcome) {
  Json json = outcome.to_json();
  std::size_t longest = kOutcomeBytesMax;
  while (json.dump().size() > kOutcomeBytesMax && longest > kWordBytesMax) {
    longest /= 2;  // JSON's escapes may make a text six times as long.
    Outcome shorter = outcome;
    shorter.facts = Json::object();
    for (const auto& [key, value] : outcome.facts.members())
      shorter.facts.set(key, value.is_string() ? Json(cut(value.string_or(""), longest)) : value);
    for (std::string* text : {&shorter.error.what, &shorter.error.why, &shorter.error.next_step}) *text = cut(*text, longest);
    json = shorter.to_json();
  }
  if (json.dump().size() > kOutcomeBytesMax) json = Outcome{outcome.status, Json::object(), Error(outcome.error.code, "cut")}.to_json();
  return json;
}

}  // namespace rollbackd::drivers::actor
