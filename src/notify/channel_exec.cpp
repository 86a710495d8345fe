// Hands a notification to a command of the user's: mail, a chat client, a pager's own tool.
#include "base/text.hpp"
#include "io/process.hpp"
#include "notify/channel.hpp"

namespace rollbackd::notify {
namespace {

constexpr int kTryAgain = 75;  // EX_TEMPFAIL of sysexits.h
constexpr std::size_t kOutputShownBytes = 200;

class ExecChannel : public Channel {
 public:
  explicit ExecChannel(const config::ChannelSettings& settings)
      : name_(settings.name), command_(settings.command), timeout_(settings.timeout) {}
  const std::string& name() const override { return name_; }

  boost::asio::awaitable<SendResult> send(Notification notification) override {
    io::CommandOptions options;
    options.argv = command_;
    options.input = message_json(notification).dump() + "\n";
    const Result<io::CommandResult> ran = co_await io::run_command(std::move(options), timeout_);
    SendResult result;
    if (ran.has_error()) {
      result.detail = command_.front() + ": " + ran.error().text();
      co_return result;
    }
    result.sent = ran->signal == 0 && ran->exit_code == 0;
    result.retry = !result.sent && (ran->signal != 0 || ran->exit_code == kTryAgain);
    result.detail = command_.front() + (ran->signal != 0 ? " was ended by signal " + std::to_string(ran->signal)
                                                         : " exited with status " + std::to_string(ran->exit_code));
    if (const std::string_view said = trim(ran->output); !result.sent && !said.empty()) {
      result.detail += ": " + printable(cut(said, kOutputShownBytes));
    }
    co_return result;
  }

 private:
  std::string name_;
  std::vector<std::string> command_;
  Duration timeout_;
};

}  // namespace

Result<std::unique_ptr<Channel>> make_exec(const config::ChannelSettings& settings) {
  if (settings.command.empty() || settings.command.front().empty()) {
    return Error(Errc::invalid_config, "channel " + settings.name + " of type exec has no command")
        .try_next("set \"command\": [\"/path/to/program\"]");
  }
  return std::unique_ptr<Channel>(std::make_unique<ExecChannel>(settings));
}

}  // namespace rollbackd::notify
