// One channel at a time: what counts as taken, what is worth another attempt, and what never shows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <fstream>

#include "notify/outbox.hpp"
#include "tests/notify/webhook_server.hpp"
#include "tests/support/run_for.hpp"

namespace rollbackd::notify {
namespace {

namespace asio = boost::asio;
using testing::HasSubstr;
using testing::Not;

class ChannelTest : public testing::Test {
 protected:
  asio::io_context context;
  test::TempDir directory;

  SendResult send(const config::ChannelSettings& settings) {
    Result<std::unique_ptr<Channel>> channel = make_channel(settings, context.get_executor());
    if (channel.has_error()) return SendResult{false, false, "not made: " + channel.error().text()};
    return send(**channel);
  }
  SendResult send(Channel& channel) {
    Notification notification;
    notification.key = "k1";
    notification.service = {"shop-api", "prod"};
    notification.title = "title";
    return test::run_for(context, channel.send(notification));
  }
  static config::ChannelSettings exec(const std::string& script, Duration timeout = 10s) {
    config::ChannelSettings settings;
    settings.name = "mail";
    settings.type = config::ChannelSettings::Type::exec;
    settings.command = {"/bin/sh", "-c", script};
    settings.timeout = timeout;
    return settings;
  }
  static config::ChannelSettings webhook(const std::string& url) {
    config::ChannelSettings settings;
    settings.name = "oncall";
    settings.url = url;
    return settings;
  }
};

TEST_F(ChannelTest, ACommandGetsTheMessageOnItsStandardInput) {
  const std::string file = directory / "got";

  const SendResult result = send(exec("cat > " + file));

  EXPECT_TRUE(result.sent) << result.detail;
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  const Result<Json> got = Json::parse(line);
  ASSERT_TRUE(got.has_value()) << line;
  EXPECT_EQ((*got)["key"].string_or(""), "k1");
  EXPECT_EQ((*got)["severity"].string_or(""), "info");
}

TEST_F(ChannelTest, ACommandSaysByItsStatusWhetherToTryAgain) {
  EXPECT_TRUE(send(exec("exit 75")).retry);
  EXPECT_TRUE(send(exec("kill -9 $$")).retry);
  const SendResult refused = send(exec("echo no such mailbox; exit 1"));
  EXPECT_FALSE(refused.sent);
  EXPECT_FALSE(refused.retry);
  EXPECT_THAT(refused.detail, HasSubstr("status 1: no such mailbox"));
}

TEST_F(ChannelTest, ACommandThatHangsOrIsMissingIsTriedAgain) {
  const SendResult hung = send(exec("sleep 30", 50ms));
  EXPECT_FALSE(hung.sent);
  EXPECT_TRUE(hung.retry);
  config::ChannelSettings missing = exec("");
  missing.command = {"/no/such/program"};
  EXPECT_TRUE(send(missing).retry);
}

TEST_F(ChannelTest, AWebhooksAnswerSaysWhetherToTryAgain) {
  struct Case {
    int status;
    bool sent, retry;
  };
  for (const Case& c :
       {Case{200, true, false}, Case{204, true, false}, Case{301, false, true}, Case{400, false, false}, Case{404, false, false},
        Case{408, false, true}, Case{429, false, true}, Case{500, false, true}, Case{503, false, true}}) {
    test::WebhookServer server(context);
    server->statuses = {c.status};
    const SendResult result = send(webhook(server.url()));
    EXPECT_EQ(result.sent, c.sent) << c.status;
    EXPECT_EQ(result.retry, c.retry) << c.status;
  }
}

TEST_F(ChannelTest, NoAnswerIsTriedAgain) {
  test::WebhookServer server(context);
  server->silent = true;
  config::ChannelSettings settings = webhook(server.url());
  settings.timeout = 50ms;

  EXPECT_TRUE(send(settings).retry);
  EXPECT_TRUE(send(webhook("http://127.0.0.1:1/hook")).retry);
}

TEST_F(ChannelTest, OnlyTheHostOfAWebhookIsEverShown) {
  test::WebhookServer server(context);
  server->statuses = {404, 200};
  server->answer_body = "nothing at /services/T0SECRET/B1SECRET?token=hunter2hunter2";

  const std::string refused = send(webhook(server.url("/services/T0SECRET/B1SECRET?token=hunter2hunter2"))).detail;
  const std::string unreachable = send(webhook("http://127.0.0.1:1/services/T0SECRET")).detail;
  const std::string unusable = send(webhook("ftp://example.org/T0SECRET")).detail;
  const std::string https = send(webhook("https://example.org/T0SECRET")).detail;

  for (const std::string& detail : {refused, unreachable, unusable, https}) {
    EXPECT_THAT(detail, Not(HasSubstr("SECRET")));
    EXPECT_THAT(detail, Not(HasSubstr("hunter2")));
  }
  EXPECT_THAT(refused, HasSubstr("127.0.0.1"));
  EXPECT_THAT(https, HasSubstr("TLS"));
}

TEST_F(ChannelTest, AUrlFileIsReadAgainAfterAFailure) {
  test::WebhookServer server(context);
  server->statuses = {404};
  const std::string file = directory / "url";
  config::ChannelSettings settings;
  settings.name = "oncall";
  settings.url_file = file;
  Result<std::unique_ptr<Channel>> channel = make_channel(settings, context.get_executor());
  ASSERT_TRUE(channel.has_value()) << channel.error().text();

  const SendResult without = send(**channel);
  EXPECT_FALSE(without.sent);
  EXPECT_TRUE(without.retry);

  std::ofstream(file) << server.url("/old") << "\nsecond line\n";
  const SendResult refused = send(**channel);
  EXPECT_FALSE(refused.sent);
  EXPECT_FALSE(refused.retry);

  server->statuses = {404};
  std::ofstream(file) << server.url("/older");
  (void)send(**channel);  // Refused, and reads the new url.
  server->statuses = {410};
  std::ofstream(file) << server.url("/new");
  const SendResult replaced = send(**channel);
  EXPECT_TRUE(replaced.retry) << "the refusal was of the old url";
  EXPECT_TRUE(send(**channel).sent);
  EXPECT_THAT(server->requests.back().head, HasSubstr("POST /new "));
}

TEST_F(ChannelTest, SettingsThatCannotWorkAreRefused) {
  config::ChannelSettings both = webhook("http://127.0.0.1:1/");
  both.url_file = "/etc/hostname";
  config::ChannelSettings no_command = exec("");
  no_command.command.clear();

  for (const config::ChannelSettings& settings : {both, webhook(""), webhook("https://example.org/"), no_command}) {
    const Result<std::unique_ptr<Channel>> channel = make_channel(settings, context.get_executor());
    ASSERT_TRUE(channel.has_error());
    EXPECT_EQ(channel.error().code, Errc::invalid_config);
    EXPECT_FALSE(channel.error().text().empty());
  }
}

}  // namespace
}  // namespace rollbackd::notify
