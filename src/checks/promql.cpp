// Asks a Prometheus-compatible server instant queries and records what they give, on a grid of planned instants.
// Flow: service -> [promql check] -batch-> engine. All queries of a slot are one batch: either all were answered or nothing is known. The
// server's outage says nothing of the service.
#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cmath>

#include "checks/expect.hpp"
#include "checks/kinds.hpp"
#include "checks/parts.hpp"
#include "checks/probe_loop.hpp"
#include "checks/promql_answer.hpp"
#include "checks/target.hpp"
#include "io/worker.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kReadAtOnceBytes = 32 << 10;  ///< of an answer; a larger one is read on a thread of its own
constexpr std::size_t kElementsATurn = 256;         ///< that get their labels in one turn of the reactor

/// Whether the server answered. Not `up`: a rule on that means the service's own targets, and this server is none.
constexpr std::string_view kUp = "promql_up";

std::string form_encoded(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~') {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

bool is_metric_name(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':'; };
  const auto allowed = [&](char c) { return letter(c) || (c >= '0' && c <= '9'); };
  return !name.empty() && letter(name.front()) && std::all_of(name.begin(), name.end(), allowed);
}

class PromqlCheck final : public Check {
 public:
  PromqlCheck(CheckContext context, io::HttpUrl url)
      : context_(std::move(context)),
        url_(std::move(url)),
        client_(context_.executor, url_),
        labels_(context_, instance_of(url_.unix_socket, url_.host, url_.port)),
        up_(labels_.own(kUp)) {}

  asio::awaitable<void> run() override {
    return run_on_grid(&context_, &counters_, [this](Instant) { return probe(&client_, false); });
  }

  asio::awaitable<Batch> probe_now() override {
    io::HttpClient client(context_.executor, url_);       // Its own: the slot's queries may be running.
    co_await asio::this_coro::throw_if_cancelled(false);  // Else a turn given up in the middle would end in an exception.
    std::optional<Batch> batch = co_await probe(&client, true);
    co_return told_at_once(context_, std::move(batch));
  }

  Source source() const override {
    Source out{context_.service, context_.settings.name, {}, 2 * context_.settings.interval + context_.settings.timeout};
    for (const auto& [name, expression] : context_.settings.queries) out.metrics.push_back(name);
    out.always.emplace_back(kUp);
    return out;
  }

  const CheckCounters& counters() const override { return counters_; }

 private:
  /// @param aside  a second opinion: on a connection that is not kept
  /// @return nothing when it was cancelled
  asio::awaitable<std::optional<Batch>> probe(io::HttpClient* client, bool aside) {
    const Instant began = context_.clock->now();
    auto headers = headers_with_credentials(context_.settings);
    if (headers.has_error()) co_return unknown(began, headers.error());
    headers->insert_or_assign("Content-Type", "application/x-www-form-urlencoded");

    SampleSet samples;
    samples.add(up_, 1);
    bool fresh = aside;
    for (const auto& [name, expression] : context_.settings.queries) {
      const Duration left = began + context_.settings.timeout - context_.clock->now();
      if (left < 1ms) {
        const Error late(Errc::timed_out, "not all queries were answered within " + format_duration(context_.settings.timeout));
        co_return unknown(began, late);
      }
      io::HttpRequest request;
      request.method = "POST";
      request.target = url_.target + "api/v1/query";
      request.headers = *headers;
      request.body = "query=" + form_encoded(expression) + "&timeout=" + std::to_string(left / 1ms) + "ms";
      request.body_bytes_max = static_cast<std::size_t>(context_.settings.body_bytes_max);
      request.fresh = std::exchange(fresh, false);
      request.keep_alive = context_.settings.keep_alive;
      Result<io::HttpResponse> answer = co_await client->request(std::move(request), left);
      const bool cancelled = co_await is_cancelled();
      if (cancelled || (answer.has_error() && answer.error().code == Errc::cancelled)) co_return std::nullopt;
      if (answer.has_error()) co_return unknown(began, answer.error());
      const Result<> taken = co_await take(name, std::move(*answer), &samples);
      const bool cancelled_meanwhile = co_await is_cancelled();
      if (cancelled_meanwhile) co_return std::nullopt;
      if (taken.has_error()) co_return unknown(began, taken.error());
    }

    ++counters_.ok;
    Batch batch = batch_of(context_, began);
    batch.detail = evidence(std::to_string(context_.settings.queries.size()) + " queries answered with " +
                            std::to_string(samples.size() - 1) + " values by " + url_.host_header);
    batch.samples = samples.take();
    co_return batch;
  }

  /// Adds the elements of one answer to `samples`, as series called `name`.
  asio::awaitable<Result<>> take(std::string name, io::HttpResponse response, SampleSet* samples) {
    const auto of_query = [&](Error error) {
      error.what = "query " + name + ": " + error.what;
      return error;
    };
    if (response.cut) co_return of_query(Error(Errc::too_large, "the answer is over body_bytes_max"));
    const int status = response.status;
    const std::string status_text = "HTTP " + std::to_string(status) + " " + cut(printable(response.reason), 100);
    const auto elements_max = static_cast<std::size_t>(context_.settings.sample_limit);
    Result<PromqlAnswer> answer = PromqlAnswer{};
    if (response.body.size() <= kReadAtOnceBytes) {
      answer = read_promql_answer(response.body, elements_max);
    } else {
      if (!reader_) reader_.emplace(1);
      auto work = [body = std::move(response.body), elements_max] { return read_promql_answer(body, elements_max); };
      auto reading = reader_->run(std::move(work));
      answer = co_await std::move(reading);
    }
    if (answer.has_error() && answer.error().code == Errc::refused) co_return of_query(answer.error());  // In the server's own words.
    if (status != 200) co_return of_query(Error(Errc::unavailable, status_text));
    if (answer.has_error()) co_return of_query(answer.error());
    counters_.warnings += answer->warnings;

    std::size_t done = 0;
    for (PromqlElement& element : answer->elements) {
      if (samples->size() > elements_max) {
        co_return of_query(Error(Errc::too_large, "the answers have more than " + std::to_string(elements_max) + " elements"));
      }
      const ClockReading now = context_.clock->read();
      if (!is_of_now(element.at_seconds, now, context_.max_skew)) {
        const double away = std::abs(element.at_seconds - Instant(now.stamp.wall_ns).seconds());
        co_return of_query(Error(Errc::conflict, "the result is not of now but " + std::to_string(away) + " s away")
                               .because("this machine's clock or the server's is wrong"));
      }
      const auto named = [](const Labels::Pair& p) { return p.first == kNameLabel; };
      std::erase_if(element.labels, named);
      element.labels.emplace_back(kNameLabel, name);
      if (!samples->add(labels_.stamped(std::move(element.labels)), element.value)) ++counters_.duplicates;
      if (++done % kElementsATurn == 0) {
        co_await asio::post(context_.executor, asio::use_awaitable);
        const bool cancelled = co_await is_cancelled();
        if (cancelled) co_return Error(Errc::cancelled, "the queries were cancelled");
      }
    }
    co_return Result<>{};
  }

  /// Nothing is known of the queries. Whether the server answers is, unless the trouble is our own.
  Batch unknown(Instant began, const Error& error) {
    ++counters_.unobserved;
    Batch batch = batch_of(context_, began);
    batch.detail = batch.unobserved = evidence(error.text());
    if (error.code != Errc::io && error.code != Errc::invalid_argument) batch.samples.push_back({up_, 0, false});
    return batch;
  }

  CheckContext context_;
  io::HttpUrl url_;
  io::HttpClient client_;
  TargetLabels labels_;
  Labels up_;
  CheckCounters counters_;
  std::optional<io::Worker> reader_;  ///< made with the first large answer
};

}  // namespace

Result<std::unique_ptr<Check>> make_promql_check(CheckContext context) {
  const config::CheckSettings& settings = context.settings;
  const auto wrong = [&](std::string why) {
    return Error(Errc::invalid_config, "the check " + settings.name + " cannot be made").because(std::move(why));
  };
  auto url = io::HttpUrl::parse(settings.url);
  if (url.has_error()) return url.error();
  if (url->target.find('?') != std::string::npos) return wrong("url is the server's base, without a query");
  if (!url->target.ends_with('/')) url->target += '/';
  const Result<> credentials = check_credentials(settings);
  if (credentials.has_error()) return credentials.error();
  if (settings.interval < 1ms || settings.timeout < 1ms || settings.sample_limit < 1 || settings.body_bytes_max < 1) {
    return wrong("interval, timeout, sample_limit and body_bytes_max must be above 0");
  }
  if (settings.queries.empty()) return wrong("it has no queries");
  for (const auto& [name, expression] : settings.queries) {
    if (!is_metric_name(name) || name == kUp) return wrong("\"" + printable(cut(name, 100)) + "\" cannot be a metric's name here");
    if (trim(expression).empty()) return wrong("the query " + name + " is empty");
  }
  return std::unique_ptr<Check>(std::make_unique<PromqlCheck>(std::move(context), std::move(*url)));
}

}  // namespace rollbackd::checks
