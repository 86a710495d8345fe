#include "model/operation.hpp"

#include <gtest/gtest.h>

#include "model/decision.hpp"

namespace rollbackd {
namespace {

const ClockReading kClock{Instant::from_seconds(1'800'000'000), Stamp{"boot-a", 5'000'000'000'000, 1'800'000'000'000'000'000}};

OperationRecord full_record() {
  OperationRecord record;
  record.node = "host-1";
  record.request = {.operation = "op-1",
                    .service = {"shop", "prod"},
                    .kind = OperationKind::withdraw,
                    .selection = Selection::specific,
                    .trigger = Trigger::manual,
                    .cause = Cause::operator_,
                    .mode = Mode::emergency,
                    .from = "v2",
                    .to = "v1",
                    .incident = "inc",
                    .reason = "because",
                    .principal = "uid:0 root",
                    .overrides = {"cooldown"},
                    .failure_type = "timeout"};
  record.phase = OperationPhase::verifying;
  record.status = OperationStatus::verifying;
  record.attempt = 2;
  record.fence = 9;
  record.from_path = "releases/v2";
  record.to_path = "releases/v1";
  record.armed_inode = 1234567890123;
  record.at = kClock.instant - 1s;
  record.begun = kClock.instant - 3s;
  record.switched = kClock.instant - 2s;
  record.note = "note";
  return record;
}

TEST(OperationRecord, ReadsBackWhatItWrote) {
  const OperationRecord record = full_record();
  const Json written = record.to_json(kClock);

  const auto read = OperationRecord::from_json(Json::parse(written.dump()).value(), kClock);

  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->to_json(kClock), written);
  EXPECT_EQ(read->request.kind, OperationKind::withdraw);
  EXPECT_EQ(read->request.overrides, std::vector<std::string>{"cooldown"});
  EXPECT_EQ(read->switched, record.switched);
  EXPECT_FALSE(read->restarted);
  EXPECT_EQ(read->armed_inode, 1234567890123U);
}

TEST(OperationRecord, KeepsWhereEachComponentWasAndIsToBe) {
  using Stands = ComponentMove::Stands;
  OperationRecord record = full_record();
  record.components = {{"app", "../releases/v2", "../releases/v1", 7, Stands::to},
                       {"config", "/etc/shop/releases/c2", "elsewhere/c1", 0, Stands::from},
                       {"assets", "a1", "a1", 9, Stands::elsewhere}};

  const auto read = OperationRecord::from_json(Json::parse(record.to_json(kClock).dump()).value(), kClock);

  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->components, record.components);
  EXPECT_EQ(read->components[1].from() + read->components[1].to() + read->components[2].to(), "c2c1a1");
}

TEST(OperationRecord, NamesTheFieldThatIsWrong) {
  struct Case {
    const char* field;
    Json bad;
  };
  const std::vector<Case> cases{{"format", 2},     {"node", 1},         {"phase", 8},      {"phase", "verifying"},
                                {"status", 0},     {"status", 12},      {"attempt", 1.5},  {"armed_inode", -1},
                                {"at", "now"},     {"from_path", true}, {"request", 1},    {"clock", Json()},
                                {"components", 1}, {"note", 3},         {"switched", "x"}, {"attempt", 99'999'999'999}};
  for (const Case& c : cases) {
    Json json = full_record().to_json(kClock);
    json.set(c.field, c.bad);

    const auto read = OperationRecord::from_json(json, kClock);

    ASSERT_TRUE(read.has_error()) << c.field << " " << c.bad.dump();
    EXPECT_EQ(read.error().code, Errc::corrupt);
  }
  Json json = full_record().to_json(kClock);
  json.set("phase", 8);
  EXPECT_NE(OperationRecord::from_json(json, kClock).error().text().find("phase"), std::string::npos);
}

TEST(OperationRecord, ARequestWithAnUnknownKindIsAnError) {
  Json json = full_record().to_json(kClock);
  Json request = json["request"];
  request.set("kind", 7);
  json.set("request", request);

  const auto read = OperationRecord::from_json(json, kClock);

  ASSERT_TRUE(read.has_error());
  EXPECT_NE(read.error().text().find("kind"), std::string::npos);
}

TEST(Step, ReadsBackWhatItWroteAndRefusesWhatIsNone) {
  const Step step{"op", 2, "app", "symlink", 1, "switch", Json::object().set("to", "releases/v1")};
  EXPECT_EQ(Step::from_json(step.to_json()).value(), step);
  Json bad = step.to_json();
  bad.set("number", "two");
  EXPECT_NE(Step::from_json(bad).error().text().find("number"), std::string::npos);
  EXPECT_NE(Step::from_json(Json::object()).error().text().find("operation"), std::string::npos);
}

TEST(Outcome, ReadsBackWhatItWroteAndRefusesAnUnknownStatus) {
  Outcome outcome{Outcome::Status::conflict, Json::object().set("pid", 4), Error(Errc::conflict, "moved").because("why").try_next("next")};
  const auto read = Outcome::from_json(outcome.to_json());
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->status, outcome.status);
  EXPECT_EQ(read->facts, outcome.facts);
  EXPECT_EQ(read->error, outcome.error);
  EXPECT_TRUE(Outcome::from_json(Json::object().set("status", 8)).has_error());
  EXPECT_TRUE(Outcome::from_json(Json::object().set("status", 1).set("error", 3)).has_error());
  EXPECT_TRUE(Outcome::from_json(Json::object().set("status", 1).set("error", Json::object().set("code", 16))).has_error());
}

TEST(OperationEnums, EveryNameReadsBackAndUnknownNamesAreNone) {
  for (int i = 1; i <= 6; ++i) EXPECT_EQ(operation_kind_from(to_string(static_cast<OperationKind>(i))), static_cast<OperationKind>(i));
  for (int i = 1; i <= 11; ++i)
    EXPECT_EQ(operation_status_from(to_string(static_cast<OperationStatus>(i))), static_cast<OperationStatus>(i));
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(trigger_from(to_string(static_cast<Trigger>(i))), static_cast<Trigger>(i));
  for (int i = 1; i <= 8; ++i) EXPECT_EQ(cause_from(to_string(static_cast<Cause>(i))), static_cast<Cause>(i));
  for (int i = 1; i <= 2; ++i) EXPECT_EQ(mode_from(to_string(static_cast<Mode>(i))), static_cast<Mode>(i));
  for (int i = 0; i <= 7; ++i) EXPECT_EQ(decision_kind_from(to_string(static_cast<DecisionKind>(i))), static_cast<DecisionKind>(i));
  EXPECT_STREQ(to_string(Cause::operator_), "operator");
  EXPECT_FALSE(operation_kind_from("Rollback"));
  EXPECT_FALSE(operation_status_from(""));
  EXPECT_FALSE(decision_kind_from("maybe"));
  EXPECT_FALSE(is_terminal(OperationStatus::verifying));
  EXPECT_TRUE(is_terminal(OperationStatus::unverified));
}

TEST(Decision, ItsJsonHasEveryGuardWithItsEvidence) {
  Decision decision;
  decision.service = {"shop", "prod"};
  decision.kind = DecisionKind::hold;
  decision.guards.push_back({"budget", false, true, false, "2 rollbacks in the last 24h, budget 2"});

  const Json json = decision.to_json();

  EXPECT_EQ(json["decision"].string_or(""), "hold");
  EXPECT_EQ(json["guards"].elements()[0]["evidence"].string_or(""), "2 rollbacks in the last 24h, budget 2");
}

}  // namespace
}  // namespace rollbackd
