// Sends a notification as an HTTP POST of JSON.
#include <fstream>

#include "base/log.hpp"
#include "base/text.hpp"
#include "io/http_client.hpp"
#include "notify/channel.hpp"

namespace rollbackd::notify {
namespace {

constexpr std::size_t kUrlBytesMax = 8 << 10;
constexpr std::size_t kAnswerBytesMax = 4 << 10;
constexpr std::size_t kAnswerShownBytes = 200;
constexpr std::size_t kSecretBytesMin = 6;  // Shorter parts of a path are words like "hooks".

/// The only part of a webhook's URL that may be shown.
std::string place_of(const io::HttpUrl& url) { return url.unix_socket.empty() ? url.host + ":" + url.port : url.unix_socket; }

/// `text` without any part of the URL's path or query: servers like to repeat them in their error pages.
std::string without_secrets(std::string text, const io::HttpUrl& url) {
  std::vector<std::string> secrets;
  std::string part;
  for (const char c : url.target + "/") {
    if (c != '/' && c != '?' && c != '&' && c != '=') {
      part += c;
      continue;
    }
    if (part.size() >= kSecretBytesMin) secrets.push_back(part);
    part.clear();
  }
  for (const std::string& secret : secrets) {
    for (std::size_t at = text.find(secret); at != std::string::npos; at = text.find(secret, at)) text.replace(at, secret.size(), "…");
  }
  return text;
}

class WebhookChannel : public Channel {
 public:
  WebhookChannel(const config::ChannelSettings& settings, boost::asio::any_io_executor executor)
      : name_(settings.name),
        url_file_(settings.url_file),
        timeout_(settings.timeout),
        executor_(std::move(executor)),
        text_(settings.url) {}
  const std::string& name() const override { return name_; }

  /// Reads the URL, from its file when there is one. The error never holds the URL: only which kind of mistake it is.
  Result<> load() {
    std::string text = text_;
    if (!url_file_.empty()) {
      std::ifstream file(url_file_);
      std::string line(kUrlBytesMax, '\0');
      file.read(line.data(), static_cast<std::streamsize>(line.size()));
      line.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
      text = std::string(trim(line.substr(0, line.find('\n'))));
      if (text.empty())
        return Error(Errc::unavailable, "channel " + name_ + " has no url").because(url_file_ + " cannot be read, or is empty");
      if (text == text_ && url_) return {};
    }
    Result<io::HttpUrl> parsed = io::HttpUrl::parse(text);
    if (parsed.has_error()) {
      Error error(Errc::invalid_config, "the url of channel " + name_ + " cannot be used");
      if (parsed.error().code == Errc::unsupported) {
        return std::move(error)
            .because("https:// needs TLS, which this version does not offer")
            .try_next("send through a local relay, or type exec");
      }
      return std::move(error)
          .because("it is not of the form http://host:port/path")
          .try_next(url_file_.empty() ? "correct \"url\"" : "correct " + url_file_);
    }
    text_ = std::move(text);
    url_ = std::move(*parsed);
    return {};
  }

  boost::asio::awaitable<SendResult> send(Notification notification) override {
    SendResult result;
    if (!url_) {
      if (const Result<> loaded = load(); loaded.has_error()) {
        result.detail = loaded.error().text();
        co_return result;
      }
    }
    const io::HttpUrl url = *url_;
    io::HttpRequest request;
    request.method = "POST";
    request.headers["Content-Type"] = "application/json";
    request.body = message_json(notification).dump();
    request.body_bytes_max = kAnswerBytesMax;
    request.keep_alive = false;
    io::HttpClient client(executor_, url);
    const Result<io::HttpResponse> answer = co_await client.request(std::move(request), timeout_);
    if (answer.has_error()) {
      result.detail = without_secrets(answer.error().text(), url);
    } else {
      const int status = answer->status;
      result.sent = status >= 200 && status <= 299;
      result.retry = !result.sent && (status < 400 || status > 499 || status == 408 || status == 429);
      result.detail = place_of(url) + " answered " + std::to_string(status);
      if (!result.sent && !trim(answer->body).empty()) {
        result.detail += ": " + cut(printable(without_secrets(std::string(trim(answer->body)), url)), kAnswerShownBytes);
      }
    }
    // The secret may have been replaced since: then a refusal was of the old one.
    if (!result.sent && !url_file_.empty()) {
      const std::string before = text_;
      if (load().has_value() && text_ != before) result.retry = true;
    }
    co_return result;
  }

 private:
  std::string name_, url_file_;
  Duration timeout_;
  boost::asio::any_io_executor executor_;
  std::string text_;  ///< the whole URL; never shown
  std::optional<io::HttpUrl> url_;
};

}  // namespace

Result<std::unique_ptr<Channel>> make_webhook(const config::ChannelSettings& settings, boost::asio::any_io_executor executor) {
  if (settings.url.empty() == settings.url_file.empty()) {
    return Error(Errc::invalid_config,
                 "channel " + settings.name + " of type webhook has " + (settings.url.empty() ? "no url" : "two urls"))
        .try_next("set one of \"url\" and \"url_file\"");
  }
  auto channel = std::make_unique<WebhookChannel>(settings, std::move(executor));
  if (const Result<> loaded = channel->load(); loaded.has_error()) {
    if (loaded.error().code != Errc::unavailable) return loaded.error();
    log::warning("a channel has no url yet; it is read again at each attempt", {{"channel", settings.name}, {"why", loaded.error().why}});
  }
  return std::unique_ptr<Channel>(std::move(channel));
}

}  // namespace rollbackd::notify
