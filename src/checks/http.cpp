// Asks a service's health over HTTP, on a grid of planned instants.
// Flow: service -> [http check] -batch-> engine. A failed probe is a batch too; one that could not look says nothing of the service.
#include <algorithm>
#include <optional>

#include "checks/expect.hpp"
#include "checks/kinds.hpp"
#include "checks/parts.hpp"
#include "checks/probe_loop.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;

namespace {

class HttpCheck final : public Check {
 public:
  HttpCheck(CheckContext context, io::HttpUrl url, Expectation expectation)
      : context_(std::move(context)), url_(std::move(url)), expectation_(std::move(expectation)), client_(context_.executor, url_) {
    const std::string instance = instance_of(url_.unix_socket, url_.host, url_.port);
    for (std::size_t i = 0; i < kMetrics.size(); ++i) labels_[i] = labels_of(context_, kMetrics[i], instance);
  }

  asio::awaitable<void> run() override {
    return run_on_grid(&context_, &counters_, [this](Instant slot) { return probe(&client_, fresh_next_, slot); });
  }

  asio::awaitable<Batch> probe_now() override {
    io::HttpClient client(context_.executor, url_);  // Its own: the slot's probe may be running.
    std::optional<Batch> batch = co_await probe(&client, true, std::nullopt);
    co_return told_at_once(context_, std::move(batch));
  }

  Source source() const override {
    Source out{context_.service, context_.settings.name, {}, 2 * context_.settings.interval + context_.settings.timeout};
    for (const std::string_view metric : kMetrics) out.metrics.emplace_back(metric);
    return out;
  }

  void begin_epoch() override {
    failures_ = 0;
    first_failure_.reset();
  }
  const CheckCounters& counters() const override { return counters_; }

 private:
  static constexpr std::array<std::string_view, 6> kMetrics{"probe_success",   "probe_duration_seconds",     "probe_http_status_code",
                                                            "probe_timed_out", "probe_consecutive_failures", "probe_failing_seconds"};

  /// @param planned  the slot; nothing for a second opinion, which counts as the instant it really is
  /// @return nothing when it was cancelled
  asio::awaitable<std::optional<Batch>> probe(io::HttpClient* client, bool fresh, std::optional<Instant> planned) {
    io::HttpRequest request;
    request.method = context_.settings.method;
    request.headers = context_.settings.headers;
    request.body_bytes_max = static_cast<std::size_t>(context_.settings.body_bytes_max);
    request.fresh = fresh;
    request.keep_alive = context_.settings.keep_alive && planned.has_value();
    const Instant began = context_.clock->now();
    const auto answer = co_await client->request(std::move(request), context_.settings.timeout);
    if (answer.has_error() && answer.error().code == Errc::cancelled) co_return std::nullopt;
    co_return judged(answer, began, planned.value_or(began), context_.clock->now() - began);
  }

  Batch judged(const Result<io::HttpResponse>& answer, Instant began, Instant slot, Duration took) {
    Batch batch = batch_of(context_, began);
    bool timed_out = false;
    std::string failure;
    if (answer.has_error()) {
      const Error& error = answer.error();
      timed_out = error.code == Errc::timed_out;
      failure = timed_out ? error.what : error.text();
      batch.detail = evidence(failure);
      const bool other_side = timed_out || error.code == Errc::unavailable || error.code == Errc::corrupt || error.code == Errc::too_large;
      if (!other_side) {
        ++counters_.unobserved;
        fresh_next_ = true;
        batch.unobserved = evidence(failure);
        return batch;
      }
    } else {
      failure = expectation_.failure(*answer);
      const bool tell_why = !failure.empty() && expectation_.wants(answer->status);  // A wrong status says so itself.
      batch.detail = evidence(status_line(*answer, took) + (tell_why ? ", but " + failure : ""));
    }

    const bool success = failure.empty();
    fresh_next_ = !success;
    if (success) {
      ++counters_.ok;
      begin_epoch();
    } else {
      ++counters_.failed;
      ++failures_;
      first_failure_ = std::min(first_failure_.value_or(slot), slot);
    }
    batch.healthy = success;
    const double failing = success ? 0 : std::chrono::duration<double>(slot - *first_failure_).count();
    const std::array<double, kMetrics.size()> values{success ? 1.0 : 0.0,
                                                     std::chrono::duration<double>(took).count(),
                                                     answer.has_error() ? 0.0 : answer->status,
                                                     timed_out ? 1.0 : 0.0,
                                                     static_cast<double>(failures_),
                                                     failing};
    batch.samples.reserve(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) batch.samples.push_back({labels_[i], values[i], false});
    return batch;
  }

  CheckContext context_;
  io::HttpUrl url_;
  Expectation expectation_;
  io::HttpClient client_;
  std::array<Labels, kMetrics.size()> labels_;
  CheckCounters counters_;
  bool fresh_next_ = false;               ///< after a failure: a broken connection must not look like a broken service twice
  std::uint64_t failures_ = 0;            ///< in a row
  std::optional<Instant> first_failure_;  ///< the slot of the row's first
};

}  // namespace

Result<std::unique_ptr<Check>> make_http_check(CheckContext context) {
  auto url = io::HttpUrl::parse(context.settings.url);
  if (url.has_error()) return url.error();
  auto expectation = Expectation::make(context.settings.status, context.settings.body_matches, context.settings.body_not_matches);
  if (expectation.has_error()) return expectation.error();
  if (context.settings.interval < 1ms || context.settings.timeout < 1ms) {
    return Error(Errc::invalid_config, "interval and timeout of check " + context.settings.name + " must be 1ms or more");
  }
  return std::unique_ptr<Check>(std::make_unique<HttpCheck>(std::move(context), std::move(*url), std::move(*expectation)));
}

}  // namespace rollbackd::checks
