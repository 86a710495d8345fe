// Scrapes a target's metrics over HTTP, as Prometheus does, on a grid of planned instants.
// Flow: service -> [scrape check] -batch-> engine. Unpacked, read and stamped in slices, each a turn of the reactor, so that a large
// exposition holds nobody up. A failed scrape says `up` 0 and that the rest is not known; our own trouble says nothing of the target.
#include <re2/re2.h>

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "checks/expect.hpp"
#include "checks/exposition.hpp"
#include "checks/kinds.hpp"
#include "checks/parts.hpp"
#include "checks/probe_loop.hpp"
#include "checks/target.hpp"
#include "io/gzip.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kSliceBytes = 8 << 10;  ///< a fraction of a millisecond to unpack, read and stamp

/// What Prometheus 2 sends.
constexpr std::string_view kAccept =
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// Names of the series that come with every scrape, a failed one too.
constexpr std::array<std::string_view, 4> kAlways{"up", "scrape_duration_seconds", "scrape_samples_scraped",
                                                  "scrape_samples_post_metric_relabeling"};

/// Which of a target's names are kept.
class NameFilter {
 public:
  static Result<std::shared_ptr<const NameFilter>> make(const config::CheckSettings& settings) {
    auto filter = std::make_shared<NameFilter>();
    for (const auto& [patterns, into] : {std::pair(&settings.keep, &filter->keep_), std::pair(&settings.drop, &filter->drop_)}) {
      for (const std::string& pattern : *patterns) {
        RE2::Options options;
        options.set_log_errors(false);
        options.set_max_mem(1 << 20);
        auto regex = std::make_unique<const RE2>(pattern, options);
        if (!regex->ok()) {
          return Error(Errc::invalid_config, "check " + settings.name + " cannot read \"" + printable(cut(pattern, 200)) + "\"")
              .because(regex->error())
              .try_next("use RE2 syntax: no back references, no look-around");
        }
        into->push_back(std::move(regex));
      }
    }
    return std::shared_ptr<const NameFilter>(std::move(filter));
  }
  bool wants(const std::string& name) const { return (keep_.empty() || matches(keep_, name)) && !matches(drop_, name); }

 private:
  using Patterns = std::vector<std::unique_ptr<const RE2>>;
  static bool matches(const Patterns& patterns, const std::string& name) {
    return std::any_of(patterns.begin(), patterns.end(), [&](const auto& pattern) { return RE2::FullMatch(name, *pattern); });
  }
  Patterns keep_, drop_;
};

/// What one scrape brought.
struct Scraped {
  std::vector<Sample> samples;  ///< first those of kAlways, without their values yet
  std::size_t seen = 0;         ///< before keep and drop
  std::size_t kept = 0;
  std::uint64_t duplicates = 0, skewed = 0;
};

class ScrapeCheck final : public Check {
 public:
  ScrapeCheck(CheckContext context, io::HttpUrl url, std::shared_ptr<const NameFilter> filter)
      : context_(std::move(context)),
        url_(std::move(url)),
        filter_(std::move(filter)),
        client_(context_.executor, url_),
        labels_(context_, instance_of(url_.unix_socket, url_.host, url_.port)) {
    for (std::size_t i = 0; i < kAlways.size(); ++i) own_[i] = labels_.own(kAlways[i]);
  }

  asio::awaitable<void> run() override {
    return run_on_grid(&context_, &counters_, [this](Instant) { return probe(&client_, false); });
  }

  asio::awaitable<Batch> probe_now() override {
    io::HttpClient client(context_.executor, url_);       // Its own: the slot's scrape may be running.
    co_await asio::this_coro::throw_if_cancelled(false);  // Else a turn given up in the middle would end in an exception.
    std::optional<Batch> batch = co_await probe(&client, true);
    co_return told_at_once(context_, std::move(batch));
  }

  Source source() const override {
    Source out{context_.service, context_.settings.name, {}, 2 * context_.settings.interval + context_.settings.timeout};
    for (const std::string_view metric : kAlways) out.always.emplace_back(metric);
    return out;
  }

  const CheckCounters& counters() const override { return counters_; }

 private:
  /// @param aside  a second opinion: on a connection that is not kept
  /// @return nothing when it was cancelled
  asio::awaitable<std::optional<Batch>> probe(io::HttpClient* client, bool aside) {
    const Instant began = context_.clock->now();
    auto headers = headers_with_credentials(context_.settings);
    if (headers.has_error()) co_return cannot_look(began, headers.error());
    io::HttpRequest request;
    request.headers = std::move(*headers);
    add_header(request.headers, "Accept", std::string(kAccept));
    add_header(request.headers, "Accept-Encoding", "gzip");
    add_header(request.headers, "X-Prometheus-Scrape-Timeout-Seconds", timeout_seconds());
    request.body_bytes_max = static_cast<std::size_t>(context_.settings.body_bytes_max);
    request.fresh = aside;
    request.keep_alive = context_.settings.keep_alive && !aside;
    Result<io::HttpResponse> answer = co_await client->request(std::move(request), context_.settings.timeout);
    if (answer.has_error()) {
      const Error& error = answer.error();
      if (error.code == Errc::cancelled) co_return std::nullopt;
      const bool other_side =
          error.code == Errc::timed_out || error.code == Errc::unavailable || error.code == Errc::corrupt || error.code == Errc::too_large;
      if (!other_side) co_return cannot_look(began, error);
      co_return failed(began, error.code == Errc::timed_out ? error.what : error.text());
    }

    const std::string status = status_line(*answer, context_.clock->now() - began);
    if (answer->status != 200) co_return failed(began, status + ", but only 200 brings metrics");
    if (answer->cut) co_return failed(began, status + ", but the body is over body_bytes_max");
    Result<Scraped> scraped = co_await read(std::move(*answer));
    const bool cancelled = co_await is_cancelled();
    if (cancelled) co_return std::nullopt;
    if (scraped.has_error()) co_return failed(began, status + ", but " + scraped.error().text());
    co_return whole(began, status, std::move(*scraped));
  }

  /// Unpacks and reads the body, a slice a turn.
  asio::awaitable<Result<Scraped>> read(io::HttpResponse answer) {
    const std::string encoding = answer.headers["content-encoding"];
    const bool packed = encoding == "gzip" || encoding == "x-gzip";
    if (!packed && !encoding.empty() && encoding != "identity") {
      co_return Error(Errc::unsupported, "its encoding \"" + printable(cut(encoding, 40)) + "\" was not asked for");
    }
    const auto body_bytes_max = static_cast<std::size_t>(context_.settings.body_bytes_max);
    ExpositionLimits limits;
    limits.samples_max = static_cast<std::size_t>(context_.settings.sample_limit);
    const NameFilter* filter = filter_.get();
    ExpositionParser parser(format_of(answer.headers["content-type"]), limits,
                            [filter](const std::string& name) { return filter->wants(name); });
    std::optional<io::Gunzip> unpacker;
    if (packed) unpacker.emplace(std::move(answer.body));

    Scraped out;
    SampleSet samples;
    for (const Labels& own : own_) samples.add(own, 0);  // First, so that a target's own `up` cannot stand for ours.
    std::size_t bytes = 0;
    while (true) {
      std::string piece;
      if (packed) {
        Result<std::string> next = unpacker->next(kSliceBytes);
        if (next.has_error()) co_return next.error();
        piece = std::move(*next);
      } else {
        piece = answer.body.substr(bytes, kSliceBytes);
      }
      if (piece.empty()) break;
      bytes += piece.size();
      if (bytes > body_bytes_max) co_return Error(Errc::too_large, "unpacked it is over body_bytes_max");
      const Result<> fed = parser.feed(piece);
      if (fed.has_error()) co_return fed.error();
      stamp(parser.take(), samples, out);
      co_await asio::post(context_.executor, asio::use_awaitable);
      const bool cancelled = co_await is_cancelled();
      if (cancelled) co_return Error(Errc::cancelled, "the scrape was cancelled");
    }
    const Result<> finished = parser.finish();
    if (finished.has_error()) co_return finished.error();
    stamp(parser.take(), samples, out);
    out.seen = parser.seen();
    out.samples = samples.take();
    co_return out;
  }

  /// Labels what was read and leaves out what does not count.
  void stamp(std::vector<ExpositionSample> read, SampleSet& samples, Scraped& out) const {
    const ClockReading now = context_.clock->read();
    for (ExpositionSample& sample : read) {
      ++out.kept;
      if (sample.timestamp_ms && !is_of_now(static_cast<double>(*sample.timestamp_ms) / 1e3, now, context_.max_skew)) {
        ++out.skewed;
      } else if (!samples.add(labels_.stamped(std::move(sample.labels)), sample.value)) {
        ++out.duplicates;
      }
    }
  }

  static void add_header(std::map<std::string, std::string>& headers, const std::string& name, std::string value) {
    if (!has_header(headers, name)) headers.emplace(name, std::move(value));
  }

  std::string timeout_seconds() const {
    std::string text = std::to_string(std::chrono::duration<double>(context_.settings.timeout).count());
    text.erase(text.find_last_not_of('0') + 1);
    return text.ends_with('.') ? text + "0" : text;
  }

  /// Fills in what comes with every scrape: the first samples of `batch`.
  void set_own(Batch& batch, double up, Instant began, std::size_t seen, std::size_t kept) const {
    const std::array<double, kAlways.size()> values{up, std::chrono::duration<double>(context_.clock->now() - began).count(),
                                                    static_cast<double>(seen), static_cast<double>(kept)};
    for (std::size_t i = 0; i < values.size(); ++i) batch.samples[i].value = values[i];
  }

  Batch whole(Instant began, const std::string& status, Scraped scraped) {
    ++counters_.ok;
    counters_.duplicates += scraped.duplicates;
    counters_.skewed += scraped.skewed;
    Batch batch = batch_of(context_, began);
    std::string told = status + ", " + std::to_string(scraped.samples.size() - own_.size()) + " samples";
    if (scraped.duplicates > 0) told += ", " + std::to_string(scraped.duplicates) + " duplicates dropped";
    if (scraped.skewed > 0) told += ", " + std::to_string(scraped.skewed) + " with a timestamp far from now dropped";
    batch.detail = evidence(told);
    batch.samples = std::move(scraped.samples);
    set_own(batch, 1, began, scraped.seen, scraped.kept);
    return batch;
  }

  Batch failed(Instant began, const std::string& why) {
    ++counters_.failed;
    Batch batch = batch_of(context_, began);
    batch.detail = batch.unobserved = evidence(why);
    for (const Labels& own : own_) batch.samples.push_back({own, 0, false});
    set_own(batch, 0, began, 0, 0);
    return batch;
  }

  /// Our own trouble: whether the target is up is not known either.
  Batch cannot_look(Instant began, const Error& error) {
    ++counters_.unobserved;
    Batch batch = batch_of(context_, began);
    batch.detail = batch.unobserved = evidence(error.text());
    return batch;
  }

  CheckContext context_;
  io::HttpUrl url_;
  std::shared_ptr<const NameFilter> filter_;
  io::HttpClient client_;
  TargetLabels labels_;
  std::array<Labels, kAlways.size()> own_;
  CheckCounters counters_;
};

}  // namespace

Result<std::unique_ptr<Check>> make_scrape_check(CheckContext context) {
  const config::CheckSettings& settings = context.settings;
  auto url = io::HttpUrl::parse(settings.url);
  if (url.has_error()) return url.error();
  auto filter = NameFilter::make(settings);
  if (filter.has_error()) return filter.error();
  const Result<> credentials = check_credentials(settings);
  if (credentials.has_error()) return credentials.error();
  if (settings.interval < 1ms || settings.timeout < 1ms || settings.sample_limit < 1 || settings.body_bytes_max < 1) {
    return Error(Errc::invalid_config, "interval, timeout, sample_limit and body_bytes_max of check " + settings.name + " must be above 0");
  }
  return std::unique_ptr<Check>(std::make_unique<ScrapeCheck>(std::move(context), std::move(*url), std::move(*filter)));
}

}  // namespace rollbackd::checks
