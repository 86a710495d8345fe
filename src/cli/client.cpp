#include "cli/client.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <optional>

#include "base/text.hpp"
#include "io/http_client.hpp"

namespace rollbackd::cli {

namespace asio = boost::asio;

namespace {

constexpr Duration kRequestTimeout = 30s;
constexpr Duration kDownloadTimeout = 10min;
constexpr std::size_t kAnswerBytesMax = 64 << 20;

std::string percent_encoded(const std::string& text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  constexpr std::string_view kPlain = "-._~";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || kPlain.find(c) != kPlain.npos;
    if (plain) {
      out += c;
      continue;
    }
    out += '%';
    out += kHex[static_cast<unsigned char>(c) >> 4];
    out += kHex[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

}  // namespace

struct Client::Impl {
  std::string url, token;
  asio::io_context context;
  std::optional<io::HttpClient> http;

  Result<Answer> request(io::HttpRequest request) {
    request.body_bytes_max = kAnswerBytesMax;
    auto response = ask(std::move(request), kRequestTimeout);
    if (!response) return response.error();
    Answer answer;
    answer.status = response->status;
    auto body = Json::parse(response->body);
    answer.body = body ? std::move(*body) : Json(response->body);
    return answer;
  }
  Result<io::HttpResponse> ask(io::HttpRequest request, Duration timeout) {
    request.keep_alive = true;
    if (!token.empty()) request.headers["Authorization"] = "Bearer " + token;
    std::optional<Result<io::HttpResponse>> response;
    auto work = [](io::HttpClient& client, io::HttpRequest r, Duration t) -> asio::awaitable<Result<io::HttpResponse>> {
      co_return co_await client.request(std::move(r), t);
    };
    asio::co_spawn(context, work(*http, std::move(request), timeout),
                   [&](const std::exception_ptr&, Result<io::HttpResponse> r) { response = std::move(r); });
    context.restart();
    context.run();
    if (!response || !*response) {
      const Error& why = response->error();
      return Error(Errc::unavailable, "the daemon does not answer at " + url)
          .because(why.text())
          .try_next("is rollbackd running? name its address with --url");
    }
    return std::move(**response);
  }
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Result<Client> Client::open(const std::string& url, std::string token) {
  auto impl = std::make_unique<Impl>();
  impl->url = url;
  impl->token = std::move(token);
  const std::string http = url.starts_with("unix:") ? "http+unix://" + percent_encoded(url.substr(5)) : url;
  auto parsed = io::HttpUrl::parse(http);
  if (!parsed) return parsed.error();
  impl->http.emplace(impl->context.get_executor(), *parsed);
  return Client(std::move(impl));
}

Result<Answer> Client::get(const std::string& path, const std::map<std::string, std::string>& query) {
  io::HttpRequest request;
  request.target = path;
  char separator = '?';
  for (const auto& [key, value] : query) {
    if (value.empty()) continue;
    request.target += separator + percent_encoded(key) + "=" + percent_encoded(value);
    separator = '&';
  }
  return impl_->request(std::move(request));
}

Result<Answer> Client::post_form(const std::string& path, const std::map<std::string, std::string>& form) {
  io::HttpRequest request;
  request.method = "POST";
  request.target = path;
  for (const auto& [key, value] : form)
    request.body += (request.body.empty() ? "" : "&") + percent_encoded(key) + "=" + percent_encoded(value);
  request.headers["Content-Type"] = "application/x-www-form-urlencoded";
  return impl_->request(std::move(request));
}

Result<std::string> Client::get_text(const std::string& path, std::size_t bytes_max) {
  io::HttpRequest request;
  request.target = path;
  request.body_bytes_max = bytes_max;
  auto response = impl_->ask(std::move(request), kDownloadTimeout);
  if (!response) return response.error();
  if (response->status != 200)
    return Error(Errc::refused, "the daemon answered " + std::to_string(response->status)).because(cut(response->body, 512));
  if (response->cut) return Error(Errc::too_large, "the answer is larger than " + std::to_string(bytes_max >> 20U) + " MiB");
  return std::move(response->body);
}

Result<Answer> Client::post(const std::string& path, const Json& body) {
  io::HttpRequest request;
  request.method = "POST";
  request.target = path;
  request.body = body.dump();
  request.headers["Content-Type"] = "application/json";
  return impl_->request(std::move(request));
}

}  // namespace rollbackd::cli
