// `rollbackctl stats` and `audit`: what people read, and the exit code of a broken chain.
#include "cli/insight.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/render.hpp"
#include "record/audit.hpp"
#include "record/stats.hpp"
#include "tests/cli/run_ctl.hpp"
#include "tests/support/run_for.hpp"

namespace rollbackd::cli {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

record::OperationRow rollback(OperationStatus status, Duration took) {
  record::OperationRow row;
  row.request.service = {"shop", "prod"};
  row.request.reason = "ProcessCrashed firing";
  row.status = status;
  row.begun = Instant::from_seconds(1'795'176'000);
  row.switched = row.begun + 8ms;
  row.ended = row.begun + took;
  row.phases = {{"switch", 8ms}};
  return row;
}

TEST(RenderStats, WithoutAnyOperationItSaysSoAndGivesNoRate) {
  const std::string text = render_stats(record::compute_stats({}, {}, Instant::from_seconds(1'795'176'000)).to_json());

  EXPECT_THAT(text, StartsWith("no operation yet (since 2026-11-20T12:00:00.000Z)"));
  EXPECT_THAT(text, Not(HasSubstr("%")));
}

TEST(RenderStats, ShowsTheRateWithWhatCountsTheDurationsAndTheReasons) {
  const std::string text =
      render_stats(record::compute_stats({rollback(OperationStatus::succeeded, 1s), rollback(OperationStatus::succeeded, 3s),
                                          rollback(OperationStatus::failed, 9s)},
                                         {}, std::nullopt)
                       .to_json());

  EXPECT_THAT(text, HasSubstr("66.6 %: 2 of 3 rollbacks that ended were verified"));
  EXPECT_THAT(text, HasSubstr("3      4.33 s  3.00 s  9.00 s  9.00 s"));
  EXPECT_THAT(text, HasSubstr("decision -> switched"));
  EXPECT_THAT(text, HasSubstr("3      ProcessCrashed firing"));
}

TEST(RenderStats, NinetyNinePointNineSomethingIsNeverRoundedUpToAHundred) {
  std::vector<record::OperationRow> rows(3000, rollback(OperationStatus::succeeded, 1s));
  rows.push_back(rollback(OperationStatus::failed, 1s));

  EXPECT_THAT(render_stats(record::compute_stats(rows, {}, std::nullopt).to_json()), HasSubstr("99.9 %"));
}

class AuditVerify : public testing::Test {
 protected:
  AuditVerify() {
    record::AuditLog log(path());
    for (const char* action : {"suspend", "resume", "mark"}) {
      record::AuditEntry entry;
      entry.principal = "uid:0";
      entry.action = action;
      entry.reason = "because";
      log.add(entry);
    }
    if (!log.flush(10s)) throw std::runtime_error("the audit log was not written");
    head = log.counters().head;
  }
  std::string path() const { return directory_ / "audit.log"; }
  std::string state() const { return std::filesystem::path(path()).parent_path().string(); }
  std::string text() const {
    std::ifstream in(path());
    std::stringstream out;
    out << in.rdbuf();
    return out.str();
  }
  void write(const std::string& bytes) const { std::ofstream(path(), std::ios::trunc) << bytes; }

  test::TempDir directory_;
  std::string head;
};

TEST_F(AuditVerify, AChainInOrderIs0WithCountAndHead) {
  const Ran ran = ctl({"audit", "verify", "--state", state()});

  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("ok: 3 entries in order, head 3 " + head));
}

TEST_F(AuditVerify, ABrokenOneIs1WithTheLineAndWhatIsWrong) {
  std::string bytes = text();
  const std::size_t second = bytes.find('\n') + 1;
  bytes.replace(bytes.find("because", second), 7, "bexause");
  write(bytes);

  const Ran ran = ctl({"audit", "verify", path()});
  const Ran as_json = ctl({"--format", "json", "audit", "verify", "--state", state()});

  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("audit.log:2: edited: entry 2"));
  EXPECT_EQ(as_json.code, 1);
  const Json verdict = Json::parse(as_json.out).value();
  EXPECT_EQ(verdict["line"].int_or(0), 2);
  EXPECT_FALSE(verdict["ok"].bool_or(true));
}

TEST_F(AuditVerify, ACutOffEndIsFoundAgainstANotedHead) {
  std::string bytes = text();
  write(bytes.substr(0, bytes.rfind("{\"seq\":3")));

  EXPECT_EQ(ctl({"audit", "verify", "--state", state()}).code, 0);
  EXPECT_EQ(ctl({"audit", "verify", "--state", state(), "--head", head}).code, 1);
  EXPECT_EQ(ctl({"audit", "verify", "--state", state(), "--head", "zz"}).code, 1) << "what is no hash is no head";
}

TEST_F(AuditVerify, WhatIsNotThereIsAnErrorAndTheHelpSaysWhatAChainCannotShow) {
  EXPECT_EQ(ctl({"audit", "verify", "--state", state() + "/nothing"}).code, 1);
  EXPECT_EQ(ctl({"audit", "verify", path() + ".9"}).code, 1);
  EXPECT_THAT(ctl({"audit", "verify", "--help"}).out, HasSubstr("end was cut off"));
}

}  // namespace
}  // namespace rollbackd::cli
