// Asks a service's health over HTTP, on a grid of planned instants.
// Flow: service -> [http check] -batch-> engine. A failed probe is a batch too; one that could not look says nothing of the service.
#include <optional>

#include "checks/expect.hpp"
#include "checks/kinds.hpp"
#include "checks/parts.hpp"
#include "checks/probe.hpp"
#include "checks/probe_loop.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;

namespace {

constexpr std::string_view kStatusCode = "probe_http_status_code";

class HttpCheck final : public Check {
 public:
  HttpCheck(CheckContext context, io::HttpUrl url, Expectation expectation)
      : context_(std::move(context)),
        url_(std::move(url)),
        expectation_(std::move(expectation)),
        client_(context_.executor, url_),
        record_(context_, &counters_, instance_of(url_.unix_socket, url_.host, url_.port)),
        status_labels_(labels_of(context_, kStatusCode, instance_of(url_.unix_socket, url_.host, url_.port))) {}

  asio::awaitable<void> run() override {
    return run_on_grid(&context_, &counters_, [this](Instant slot) { return probe(&client_, fresh_next_, slot); });
  }

  asio::awaitable<Batch> probe_now() override {
    io::HttpClient client(context_.executor, url_);  // Its own: the slot's probe may be running.
    std::optional<Batch> batch = co_await probe(&client, true, std::nullopt);
    co_return told_at_once(context_, std::move(batch));
  }

  Source source() const override {
    Source out{context_.service, context_.settings.name, ProbeRecord::metrics(),
               2 * context_.settings.interval + context_.settings.timeout};
    out.metrics.emplace_back(kStatusCode);
    return out;
  }

  void begin_epoch() override { record_.begin_epoch(); }
  const CheckCounters& counters() const override { return counters_; }

 private:
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
        fresh_next_ = true;
        record_.unobserved(batch, failure);
        return batch;
      }
    } else {
      failure = expectation_.failure(*answer);
      const bool tell_why = !failure.empty() && expectation_.wants(answer->status);  // A wrong status says so itself.
      batch.detail = evidence(status_line(*answer, took) + (tell_why ? ", but " + failure : ""));
    }

    fresh_next_ = !failure.empty();
    record_.judged(batch, {slot, failure.empty(), timed_out, took});
    batch.samples.push_back({status_labels_, answer.has_error() ? 0.0 : answer->status, false});
    return batch;
  }

  CheckContext context_;
  io::HttpUrl url_;
  Expectation expectation_;
  io::HttpClient client_;
  CheckCounters counters_;
  ProbeRecord record_;
  Labels status_labels_;
  bool fresh_next_ = false;  ///< after a failure: a broken connection must not look like a broken service twice
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
