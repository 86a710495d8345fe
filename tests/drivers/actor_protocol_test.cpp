#include "drivers/actor_protocol.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace rollbackd::drivers::actor {
namespace {

Request switch_request() {
  Request request;
  request.id = 7;
  request.verb = Verb::run;
  request.service = {"shop", "prod"};
  request.component = "app";
  request.step.operation = "0191-a";
  request.step.number = 1;
  request.step.component = "app";
  request.step.driver = "symlink";
  request.step.action = "switch";
  request.step.arguments = Json::object().set("current", "/srv/shop/current");
  request.about.trigger = Trigger::alert;
  request.about.from = "v2";
  request.about.to = "v1";
  request.about.forced = true;
  request.about.fence = 9;
  request.deadline = 30s;
  return request;
}

TEST(ActorProtocol, EveryVerbGoesThereAndBack) {
  for (int number = 1; number <= static_cast<int>(Verb::read); ++number) {
    Request request = switch_request();
    request.verb = static_cast<Verb>(number);
    request.release = "v1";
    request.digest = "abc";
    request.reason = "because";
    request.facts = Json::object().set("from", "v2");
    request.of = 3;

    const auto message = request.encode();
    ASSERT_TRUE(message.has_value());
    const auto back = Request::decode(*message);

    ASSERT_TRUE(back.has_value()) << to_string(request.verb) << ": " << back.error().text();
    EXPECT_EQ(back->verb, request.verb);
    EXPECT_EQ(*back->encode(), *message) << to_string(request.verb);
    EXPECT_EQ(id_of(*message), 7u);
  }
}

TEST(ActorProtocol, WhatIsWrongWithARequestIsNamedAndNothingIsGuessed) {
  const Json good = *Json::parse(*switch_request().encode());
  const auto said = [](const Json& json) {
    const auto decoded = Request::decode(json.dump());
    return decoded.has_error() ? decoded.error().text() : std::string("accepted");
  };
  ASSERT_EQ(said(good), "accepted");
  const auto with = [&](const char* key, Json value) {
    Json json = good;
    return json.set(key, std::move(value));
  };
  const auto in = [&](const char* part, const char* key, Json value) {
    Json inner = good[part];
    inner.set(key, std::move(value));
    return with(part, inner);
  };
  const struct {
    Json json;
    const char* says;
  } cases[] = {
      {with("v", 2), "version 2"},
      {with("v", "1"), "whole number"},
      {with("do", "rm"), "does not know \"rm\""},
      {with("id", -1), "id"},
      {with("service", "../shop"), "no name"},
      {with("environment", 3), "not a string"},
      {with("component", "a/b"), "no name"},
      {with("component", ""), "no name"},
      {with("deadline_ns", 0), "deadline_ns"},
      {with("deadline_ns", std::int64_t{1} << 62), "deadline_ns"},
      {with("step", Json()), "step"},
      {with("step", Json::array()), "step"},
      {with("about", Json::object()), "kind"},
      {with("shell", "sh -c id"), "shell"},
      {with("release", "v1"), "no such field"},
      {in("step", "operation", ""), "no id"},
      {in("step", "operation", "a/../b"), "no id"},
      {in("step", "number", 0), "number"},
      {in("step", "number", 1e300), "number"},
      {in("step", "action", "switch\n"), "no word"},
      {in("step", "arguments", "x"), "arguments"},
      {in("about", "to", "../../etc"), "no release id"},
      {in("about", "to", ""), "no release id"},
      {in("about", "trigger", 9), "no number 9"},
      {in("about", "fence", -1), "fence"},
      {in("about", "forced", "yes"), "true or false"},
  };
  for (const auto& one : cases) EXPECT_NE(said(one.json).find(one.says), std::string::npos) << one.says << " in: " << said(one.json);

  Request arm = switch_request();
  arm.verb = Verb::arm;
  for (const char* id : {"..", ".", "a/b", "a..b", "", "-rf", ".v1.BAD_RELEASE"}) {
    arm.release = id;
    EXPECT_EQ(Request::decode(*arm.encode()).error().code, Errc::corrupt) << id;
  }
  EXPECT_EQ(Request::decode(std::string(kMessageBytesMax + 1, ' ')).error().code, Errc::too_large);
  const auto twice = Request::decode(R"({"v": 1, "id": 3, "do": "hello", "do": "inspect"})");
  EXPECT_NE((twice ? std::string("accepted") : twice.error().text()).find("the key \"do\" twice"), std::string::npos);
  arm.reason = std::string(2 * kMessageBytesMax, 'x');
  arm.verb = Verb::hook_run;
  arm.facts = Json::object().set("long", arm.reason);
  EXPECT_EQ(arm.encode().error().code, Errc::too_large);
}

TEST(ActorProtocol, DamagedMessagesAreRefusedOrMeanWhatTheySay) {
  const std::string good = *switch_request().encode();
  std::mt19937 random(5);
  int refused = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string message = good;
    for (int times = 1 + static_cast<int>(random() % 4); times > 0; --times) {
      const std::size_t at = random() % message.size();
      switch (random() % 3) {
        case 0: message[at] = static_cast<char>(random()); break;
        case 1: message.erase(at, 1 + random() % 8); break;
        default: message.insert(at, 1 + random() % 8, static_cast<char>(random()));
      }
      if (message.empty()) message = "x";
    }
    const auto decoded = Request::decode(message);
    id_of(message);
    Answer::decode(message).has_value();
    if (decoded.has_error()) {
      ++refused;
      EXPECT_FALSE(decoded.error().what.empty());
    } else {
      EXPECT_TRUE(Request::decode(*decoded->encode()).has_value());  // Whatever was accepted is whole.
    }
  }
  EXPECT_GT(refused, 400);
  for (const char* message : {"", "null", "[]", "{}", "1", "\"x\"", "{\"v\":1}", "{\"v\":1,\"id\":1}", "{\"v\":1,\"id\":1,\"do\":null}"})
    EXPECT_TRUE(Request::decode(message).has_error()) << message;
  EXPECT_TRUE(Request::decode(std::string(1000, '[')).has_error());
}

TEST(ActorProtocol, AnswersCarryResultsEventsAndErrorsAndNeverExceedTheBound) {
  Answer answer;
  answer.id = 4;
  answer.result = Json::object().set("x", 1);
  EXPECT_EQ(Answer::decode(answer.encode())->result, answer.result);
  answer.event = true;
  EXPECT_TRUE(Answer::decode(answer.encode())->event);
  answer.error = Error(Errc::refused, "no").because("why").try_next("next");
  EXPECT_EQ(Answer::decode(answer.encode())->error, answer.error);
  Answer huge;
  huge.id = 1;
  huge.result = std::string(kMessageBytesMax, 'x');
  EXPECT_LE(huge.encode().size(), kMessageBytesMax);
  EXPECT_EQ(Answer::decode(huge.encode())->error.code, Errc::too_large);
  EXPECT_TRUE(Answer::decode("{\"v\":1,\"id\":1,\"result\":1,\"event\":1}").has_error());
  EXPECT_TRUE(Answer::decode("{\"v\":1,\"id\":1}").has_error());
}

TEST(ActorProtocol, TheWorldGoesThereAndBackAndTooManyReleasesLeaveTheLiveOneAndTheNewest) {
  const io::Clock clock;
  World world;
  world.link = World::Link::present;
  world.link_value = "releases/v1";
  world.link_inode = 77;
  world.live = "v1";
  world.releases = {"v1", "v2"};
  world.process = World::Process{.running = true, .pid = 5, .started = clock.now(), .executable = "/x", .last_exit = "exit 1"};
  const auto back = world_from(to_json(world, clock), clock);
  ASSERT_TRUE(back.has_value()) << back.error().text();
  EXPECT_EQ(back->releases, world.releases);
  EXPECT_EQ(back->link_inode, 77u);
  EXPECT_EQ(back->process->started, world.process->started);
  EXPECT_EQ(back->process->last_exit, "exit 1");

  world.live = "0000" + std::string(120, 'r');
  world.releases = {world.live};
  for (int i = 1000; i < 2000; ++i) world.releases.push_back(std::to_string(i) + std::string(120, 'r'));
  Answer answer;
  answer.result = to_json(world, clock);
  const auto cut = world_from(Answer::decode(answer.encode())->result, clock);
  ASSERT_TRUE(cut.has_value()) << cut.error().text();
  EXPECT_EQ(cut->releases.front(), world.live);
  EXPECT_EQ(cut->releases.back(), world.releases.back());
  EXPECT_LT(cut->releases.size(), 400u);
  EXPECT_TRUE(world_from(to_json(world, clock).set("live", "../x"), clock).has_error());
}

TEST(ActorProtocol, EventsTargetsAndLongOutcomesGoThereAndBack) {
  const io::Clock clock;
  ProcessEvent event;
  event.kind = ProcessEvent::Kind::exited;
  event.pid = 4;
  event.started = event.at = clock.now();
  event.exit_code = 3;
  event.requested = true;
  event.detail = "exit 3";
  const auto back = event_from(to_json(event, clock), clock);
  ASSERT_TRUE(back.has_value());
  EXPECT_TRUE(back->requested);
  EXPECT_EQ(back->at, event.at);
  EXPECT_EQ(back->detail, "exit 3");
  EXPECT_TRUE(event_from(to_json(event, clock).set("kind", 9), clock).has_error());
  EXPECT_TRUE(event_from(Json::object(), clock).has_error());
  for (const std::int64_t never : {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()})
    for (const char* key : {"started_boot_ns", "at_boot_ns"})
      EXPECT_TRUE(event_from(to_json(event, clock).set(key, never), clock).has_error()) << key;
  EXPECT_TRUE(event_from(to_json(ProcessEvent{}, clock), clock).has_value()) << "a time that is not known";
  EXPECT_EQ(target_from(to_json(TargetFacts{"v1", true, false, "touched"}))->why, "touched");

  Outcome outcome{Outcome::Status::failed, Json::object().set("exit_code", 3).set("output", std::string(60'000, '\x01')),
                  Error(Errc::io, "x")};
  const Json json = to_json(outcome);
  EXPECT_LT(json.dump().size(), kMessageBytesMax);
  const auto read = Outcome::from_json(json);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->facts["exit_code"].int_or(0), 3);
  EXPECT_GT(read->facts["output"].string_or("").size(), 1000u);
}

}  // namespace
}  // namespace rollbackd::drivers::actor
