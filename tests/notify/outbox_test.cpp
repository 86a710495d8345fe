// The outbox against real webhooks on loopback and real SQLite files: what is sent, how often, and what a restart keeps.
#include "notify/outbox.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>

#include "io/sqlite.hpp"
#include "tests/notify/webhook_server.hpp"
#include "tests/support/run_for.hpp"

namespace rollbackd::notify {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using test::run_until;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

config::ChannelSettings webhook(const std::string& name, const std::string& url, int severity_min = 1) {
  config::ChannelSettings settings;
  settings.name = name;
  settings.url = url;
  settings.timeout = 5s;
  settings.severity_min = severity_min;
  return settings;
}

Notification notification(const std::string& key, Notification::Severity severity = Notification::Severity::page) {
  Notification out;
  out.key = key;
  out.service = {"shop-api", "prod"};
  out.severity = severity;
  out.title = "shop-api/prod was rolled back";
  out.text = "v2 -> v1";
  out.details.set("release", "v2");
  return out;
}

OutboxLimits quick() {
  OutboxLimits limits;
  limits.retry_first = 1ms;
  limits.retry_max = 20ms;
  limits.store_retry_first = 10ms;
  return limits;
}

class OutboxTest : public testing::Test {
 protected:
  asio::io_context context;
  test::TempDir directory;
  std::string path = directory / "outbox.sqlite";

  std::int64_t rows(const std::string& table) const {
    Result<io::Database> file = io::Database::open(path);
    if (file.has_error()) return -1;
    const Result<std::int64_t> count = file->number("SELECT count(*) FROM " + table);
    return count.has_value() ? *count : -1;
  }
};

TEST_F(OutboxTest, ANotificationArrivesAsJson) {
  test::WebhookServer server(context);
  Outbox outbox(context.get_executor(), path);
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
  test::Background running(context, outbox.run());

  outbox.push(notification("k1"));

  ASSERT_TRUE(run_until(context, [&] { return outbox.counters().sent == 1; }));
  const auto& request = server->requests.at(0);
  EXPECT_THAT(request.head, HasSubstr("POST /hook HTTP/1.1"));
  EXPECT_THAT(request.head, HasSubstr("Content-Type: application/json"));
  EXPECT_EQ(request.body["key"].string_or(""), "k1");
  EXPECT_EQ(request.body["service"].string_or(""), "shop-api");
  EXPECT_EQ(request.body["environment"].string_or(""), "prod");
  EXPECT_EQ(request.body["severity"].string_or(""), "page");
  EXPECT_EQ(request.body["title"].string_or(""), "shop-api/prod was rolled back");
  EXPECT_EQ(request.body["text"].string_or(""), "v2 -> v1");
  EXPECT_EQ(request.body["details"].dump(), R"({"release":"v2"})");
  EXPECT_THAT(request.body["at"].string_or(""), HasSubstr("T"));
  EXPECT_EQ(outbox.trouble(), "");
}

TEST_F(OutboxTest, AServersTroubleIsTriedAgainUntilItTakesTheMessage) {
  test::WebhookServer server(context);
  server->statuses = {500, 429, 408, 503};
  Outbox outbox(context.get_executor(), path, quick());
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
  test::Background running(context, outbox.run());

  outbox.push(notification("k1"));

  ASSERT_TRUE(run_until(context, [&] { return outbox.counters().sent == 1; }));
  EXPECT_THAT(server.keys(), ElementsAre("k1", "k1", "k1", "k1", "k1"));
  EXPECT_EQ(outbox.counters().retried, 4U);
  EXPECT_EQ(outbox.counters().given_up, 0U);
}

TEST_F(OutboxTest, ARefusalIsForGood) {
  test::WebhookServer server(context);
  server->statuses = {400};
  Outbox outbox(context.get_executor(), path, quick());
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
  test::Background running(context, outbox.run());

  outbox.push(notification("refused"));
  outbox.push(notification("next"));

  ASSERT_TRUE(run_until(context, [&] { return outbox.counters().sent == 1; }));
  EXPECT_THAT(server.keys(), ElementsAre("refused", "next"));
  EXPECT_EQ(outbox.counters().given_up, 1U);
}

TEST_F(OutboxTest, AMessageIsGivenUpWhenItsTimeIsOver) {
  test::WebhookServer server(context);
  server->statuses = std::deque<int>(1000, 503);
  OutboxLimits limits = quick();
  limits.give_up_after = 50ms;
  Outbox outbox(context.get_executor(), path, limits);
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
  test::Background running(context, outbox.run());

  outbox.push(notification("k1"));

  ASSERT_TRUE(run_until(context, [&] { return outbox.counters().given_up == 1; }));
  EXPECT_GE(outbox.counters().retried, 1U);
  EXPECT_EQ(outbox.counters().sent, 0U);
}

TEST_F(OutboxTest, OneKeyGoesToOneChannelOnceRestartsIncluded) {
  test::WebhookServer first(context), second(context);
  for (int start = 0; start < 2; ++start) {
    Outbox outbox(context.get_executor(), path, quick());
    ASSERT_TRUE(outbox.set_channels({webhook("first", first.url()), webhook("second", second.url())}).has_value());
    test::Background running(context, outbox.run());
    outbox.push(notification("k1"));
    outbox.push(notification("k1"));
    outbox.push(notification("k" + std::to_string(start + 2)));
    ASSERT_TRUE(run_until(context, [&] { return outbox.counters().sent == (start == 0 ? 4U : 2U); }));
    outbox.push(notification("k1"));
    EXPECT_EQ(outbox.counters().queued, start == 0 ? 4U : 2U);
  }

  EXPECT_THAT(first.keys(), ElementsAre("k1", "k2", "k3"));
  EXPECT_THAT(second.keys(), ElementsAre("k1", "k2", "k3"));
}

TEST_F(OutboxTest, WhatWaitsSurvivesARestart) {
  test::WebhookServer server(context);
  {
    Outbox outbox(context.get_executor(), path, quick());
    ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
    outbox.push(notification("never-run"));
  }
  server->silent = true;
  {
    Outbox outbox(context.get_executor(), path, quick());
    ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
    test::Background running(context, outbox.run());
    ASSERT_TRUE(run_until(context, [&] { return !server->requests.empty(); }));  // Under way when the daemon stops.
    outbox.push(notification("behind-it"));
    EXPECT_TRUE(running.stop());
    EXPECT_EQ(outbox.counters().retried, 0U);
  }
  server->silent = false;
  server->requests.clear();

  Outbox outbox(context.get_executor(), path, quick());
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
  test::Background running(context, outbox.run());

  ASSERT_TRUE(run_until(context, [&] { return outbox.counters().sent == 2; }));
  EXPECT_THAT(server.keys(), ElementsAre("never-run", "behind-it"));
  EXPECT_TRUE(running.stop());
  EXPECT_EQ(rows("outbox"), 0);
  EXPECT_EQ(rows("sent_keys"), 2);
}

TEST_F(OutboxTest, AMessageThatAWallClockMakesYearsOldIsStillTriedForAWhile) {
  {
    Outbox outbox(context.get_executor(), path, quick());
    ASSERT_TRUE(outbox.set_channels({webhook("oncall", "http://127.0.0.1:1/")}).has_value());
    outbox.push(notification("queued-in-1970"));
  }
  {
    Result<io::Database> file = io::Database::open(path);
    ASSERT_TRUE(file.has_value());
    ASSERT_TRUE(file->run("UPDATE outbox SET queued_ns = 1").has_value());  // A machine without a clock of its own, and then NTP.
  }
  test::WebhookServer server(context);
  server->statuses = {503, 503};

  Outbox outbox(context.get_executor(), path, quick());
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
  test::Background running(context, outbox.run());

  EXPECT_TRUE(run_until(context, [&] { return outbox.counters().sent == 1; }));
  EXPECT_EQ(outbox.counters().given_up, 0U);
}

TEST_F(OutboxTest, AStoredMessageThatCannotBeReadDoesNotStay) {
  {
    Outbox outbox(context.get_executor(), path, quick());
    ASSERT_TRUE(outbox.set_channels({webhook("oncall", "http://127.0.0.1:1/")}).has_value());
    outbox.push(notification("spoilt"));
    outbox.push(notification("well"));
  }
  {
    Result<io::Database> file = io::Database::open(path);
    ASSERT_TRUE(file.has_value());
    ASSERT_TRUE(file->run("UPDATE outbox SET document = '{' WHERE key = 'spoilt'").has_value());
  }

  const Outbox outbox(context.get_executor(), path, quick());

  EXPECT_EQ(rows("outbox"), 1);
}

TEST_F(OutboxTest, AMessageIsOnDiskWhileItWaits) {
  test::WebhookServer server(context);
  server->silent = true;
  Outbox outbox(context.get_executor(), path, quick());
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
  test::Background running(context, outbox.run());

  outbox.push(notification("k1"));

  EXPECT_TRUE(run_until(context, [&] { return rows("outbox") == 1; }));  // What a kill -9 would leave.
}

TEST_F(OutboxTest, ADeadChannelDelaysNoOther) {
  test::WebhookServer silent(context), alive(context);
  silent->silent = true;
  config::ChannelSettings waits = webhook("a-silent", silent.url());
  waits.timeout = 10min;
  Outbox outbox(context.get_executor(), path, quick());
  ASSERT_TRUE(outbox.set_channels({waits, webhook("b-refusing", "http://127.0.0.1:1/"), webhook("c-alive", alive.url())}).has_value());
  test::Background running(context, outbox.run());

  for (int i = 0; i < 20; ++i) outbox.push(notification("k" + std::to_string(i)));

  ASSERT_TRUE(run_until(context, [&] { return alive->requests.size() == 20; }));
  ASSERT_TRUE(run_until(context, [&] { return !outbox.trouble().empty(); }));
  EXPECT_EQ(silent->requests.size(), 1U);  // Still waiting for its answer.
  EXPECT_THAT(outbox.trouble(), HasSubstr("b-refusing"));
}

TEST_F(OutboxTest, AMessageThatFailsDoesNotHoldUpTheOnesBehindIt) {
  test::WebhookServer server(context);
  server->statuses = {500};
  OutboxLimits limits = quick();
  limits.retry_first = 30ms;
  Outbox outbox(context.get_executor(), path, limits);
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
  outbox.push(notification("info", Notification::Severity::info));
  outbox.push(notification("page-1"));
  outbox.push(notification("page-2"));
  test::Background running(context, outbox.run());

  ASSERT_TRUE(run_until(context, [&] { return outbox.counters().sent == 3; }));

  EXPECT_EQ(server.keys().front(), "page-1") << "pages go first";
  EXPECT_THAT(server.keys(), UnorderedElementsAre("page-1", "page-1", "page-2", "info"));
}

TEST_F(OutboxTest, EachChannelGetsOnlyWhatIsSevereEnoughForIt) {
  test::WebhookServer all(context), pages(context);
  Outbox outbox(context.get_executor(), path);
  ASSERT_TRUE(outbox.set_channels({webhook("all", all.url(), 1), webhook("pages", pages.url(), 3)}).has_value());
  test::Background running(context, outbox.run());

  outbox.push(notification("info", Notification::Severity::info));
  outbox.push(notification("warning", Notification::Severity::warning));
  outbox.push(notification("page", Notification::Severity::page));

  ASSERT_TRUE(run_until(context, [&] { return outbox.counters().sent == 4; }));
  EXPECT_EQ(all->requests.size(), 3U);
  EXPECT_THAT(pages.keys(), ElementsAre("page"));
}

TEST_F(OutboxTest, AFullQueueDropsTheOldestOfTheLeastSevere) {
  test::WebhookServer server(context);
  OutboxLimits limits = quick();
  limits.waiting_max = 3;
  Outbox outbox(context.get_executor(), path, limits);
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());

  outbox.push(notification("page-1"));
  outbox.push(notification("info-1", Notification::Severity::info));
  outbox.push(notification("info-2", Notification::Severity::info));
  outbox.push(notification("page-2"));
  outbox.push(notification("page-3"));
  outbox.push(notification("page-4"));
  test::Background running(context, outbox.run());

  ASSERT_TRUE(run_until(context, [&] { return outbox.counters().sent == 3; }));
  EXPECT_EQ(outbox.counters().dropped, 3U);
  EXPECT_THAT(server.keys(), ElementsAre("page-2", "page-3", "page-4"));
}

TEST_F(OutboxTest, WhatWaitsForAChannelThatIsGoneIsDroppedAndCounted) {
  test::WebhookServer server(context);
  {
    Outbox outbox(context.get_executor(), path, quick());
    ASSERT_TRUE(outbox.set_channels({webhook("old", server.url())}).has_value());
    outbox.push(notification("k1"));
  }
  Outbox outbox(context.get_executor(), path, quick());
  ASSERT_TRUE(outbox.set_channels({webhook("new", server.url())}).has_value());
  test::Background running(context, outbox.run());

  EXPECT_EQ(outbox.counters().dropped, 1U);
  outbox.push(notification("k2"));
  ASSERT_TRUE(run_until(context, [&] { return outbox.counters().sent == 1; }));
  EXPECT_THAT(server.keys(), ElementsAre("k2"));
}

TEST_F(OutboxTest, AReloadWhileSendingChangesTheChannels) {
  test::WebhookServer before(context), after(context);
  before->silent = true;
  Outbox outbox(context.get_executor(), path, quick());
  config::ChannelSettings old = webhook("oncall", before.url());
  old.timeout = 100ms;
  ASSERT_TRUE(outbox.set_channels({old, webhook("gone", before.url())}).has_value());
  test::Background running(context, outbox.run());
  outbox.push(notification("k1"));
  ASSERT_TRUE(run_until(context, [&] { return before->requests.size() == 2; }));

  ASSERT_TRUE(outbox.set_channels({webhook("oncall", after.url()), webhook("added", after.url())}).has_value());
  outbox.push(notification("k2"));

  ASSERT_TRUE(run_until(context, [&] { return outbox.counters().sent == 3; }));
  EXPECT_THAT(after.keys(), UnorderedElementsAre("k1", "k2", "k2"));
  EXPECT_EQ(outbox.counters().dropped, 1U);
}

TEST_F(OutboxTest, SettingsThatCannotWorkLeaveTheChannelsAsTheyWere) {
  test::WebhookServer server(context);
  Outbox outbox(context.get_executor(), path);
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
  test::Background running(context, outbox.run());

  EXPECT_EQ(outbox.set_channels({webhook("oncall", "not a url")}).error().code, Errc::invalid_config);
  EXPECT_EQ(outbox.set_channels({webhook("a", server.url()), webhook("a", server.url())}).error().code, Errc::invalid_config);
  EXPECT_EQ(outbox.set_channels({webhook("a", "")}).error().code, Errc::invalid_config);
  outbox.push(notification("k1"));

  EXPECT_TRUE(run_until(context, [&] { return outbox.counters().sent == 1; }));
}

TEST_F(OutboxTest, WithoutAFileItSendsFromMemoryAndSaysSo) {
  test::WebhookServer server(context);
  Outbox outbox(context.get_executor(), "/proc/no-such-place/outbox.sqlite", quick());
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
  test::Background running(context, outbox.run());

  outbox.push(notification("k1"));

  ASSERT_TRUE(run_until(context, [&] { return outbox.counters().sent == 1; }));
  EXPECT_THAT(outbox.trouble(), HasSubstr("in memory only"));
}

TEST_F(OutboxTest, WhenTheFileCanBeHadAgainItCatchesUp) {
  test::WebhookServer server(context);
  server->silent = true;
  fs::create_directory(path);
  Outbox outbox(context.get_executor(), path, quick());
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
  test::Background running(context, outbox.run());
  outbox.push(notification("k1"));
  outbox.push(notification("k2"));
  ASSERT_THAT(outbox.trouble(), HasSubstr("in memory only"));

  fs::remove(path);

  ASSERT_TRUE(run_until(context, [&] { return outbox.trouble().empty(); }));
  EXPECT_TRUE(run_until(context, [&] { return rows("outbox") == 2; }));
}

TEST_F(OutboxTest, ADamagedFileIsSetAsideAndMadeAnew) {
  std::ofstream(path) << std::string(5000, 'x');
  test::WebhookServer server(context);
  Outbox outbox(context.get_executor(), path, quick());
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
  test::Background running(context, outbox.run());

  outbox.push(notification("k1"));

  EXPECT_TRUE(run_until(context, [&] { return rows("sent_keys") == 1; }));
  EXPECT_EQ(fs::file_size(path + ".corrupt-1"), 5000U);
}

TEST_F(OutboxTest, AFileThatBreaksWhileItIsOpenIsWrittenAnewWithAllThatWaits) {
  test::WebhookServer server(context);
  Outbox outbox(context.get_executor(), path, quick());
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
  test::Background running(context, outbox.run());
  outbox.push(notification("sent"));
  ASSERT_TRUE(run_until(context, [&] { return rows("sent_keys") == 1; }));
  server->silent = true;
  outbox.push(notification("waits"));
  ASSERT_TRUE(run_until(context, [&] { return rows("outbox") == 1; }));
  {
    Result<io::Database> other = io::Database::open(path);
    ASSERT_TRUE(other.has_value() && other->script("DROP TABLE outbox").has_value());
  }

  outbox.push(notification("breaks"));

  EXPECT_TRUE(run_until(context, [&] { return rows("outbox") == 2 && rows("sent_keys") == 1; }));
  EXPECT_TRUE(fs::exists(path + ".corrupt-1"));
}

TEST_F(OutboxTest, HugeOrBrokenTextsAreBoundedAndStillSent) {
  test::WebhookServer server(context);
  Outbox outbox(context.get_executor(), path, quick());
  ASSERT_TRUE(outbox.set_channels({webhook("oncall", server.url())}).has_value());
  test::Background running(context, outbox.run());
  Notification huge = notification(std::string(5000, 'k'));
  huge.text = std::string(1 << 20, 'x');
  huge.details.set("evidence", std::string(1 << 20, 'y'));
  Notification broken = notification("broken");
  broken.title = "\xff\xfe";

  outbox.push(huge);
  outbox.push(broken);

  ASSERT_TRUE(run_until(context, [&] { return outbox.counters().sent == 2; }));
  EXPECT_LT(server->requests[0].body.dump().size(), 40'000U);
  EXPECT_THAT(server->requests[0].body["key"].string_or(""), HasSubstr("sha256-"));
  EXPECT_EQ(server->requests[1].body["title"].string_or(""), "\\xff\\xfe");
}

}  // namespace
}  // namespace rollbackd::notify
