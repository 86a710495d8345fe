// Asks whether something accepts connections at an address, and perhaps answers as expected, on a grid of planned instants.
// Flow: address -> [tcp check] -batch-> engine. A failed probe is a batch too; one that could not look says nothing of the service.
#include <re2/re2.h>

#include <optional>

#include "checks/kinds.hpp"
#include "checks/parts.hpp"
#include "checks/probe.hpp"
#include "checks/probe_loop.hpp"
#include "io/tcp_client.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kAnswerBytesMax = 4096;

class TcpCheck final : public Check {
 public:
  TcpCheck(CheckContext context, io::TcpAddress address, std::shared_ptr<const RE2> expect)
      : context_(std::move(context)),
        address_(std::move(address)),
        expect_(std::move(expect)),
        client_(context_.executor, address_),
        record_(context_, &counters_, instance_of("", address_.host, address_.port)) {}

  asio::awaitable<void> run() override {
    return run_on_grid(&context_, &counters_, [this](Instant slot) { return probe(&client_, slot); });
  }

  asio::awaitable<Batch> probe_now() override {
    io::TcpClient client(context_.executor, address_);  // Its own: the slot's probe may be running.
    std::optional<Batch> batch = co_await probe(&client, std::nullopt);
    co_return told_at_once(context_, std::move(batch));
  }

  Source source() const override {
    return {context_.service, context_.settings.name, ProbeRecord::metrics(), 2 * context_.settings.interval + context_.settings.timeout};
  }
  void begin_epoch() override { record_.begin_epoch(); }
  const CheckCounters& counters() const override { return counters_; }

 private:
  /// @param planned  the slot; nothing for a second opinion, which counts as the instant it really is
  /// @return nothing when it was cancelled
  asio::awaitable<std::optional<Batch>> probe(io::TcpClient* client, std::optional<Instant> planned) {
    io::TcpRequest request;
    request.send = context_.settings.send;
    request.answer_bytes_max = kAnswerBytesMax;
    if (expect_)
      request.enough = [expect = expect_](std::string_view text) {
        return RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *expect);
      };
    const Instant began = context_.clock->now();
    const auto answer = co_await client->exchange(std::move(request), context_.settings.timeout);
    if (answer.has_error() && answer.error().code == Errc::cancelled) co_return std::nullopt;
    co_return judged(answer, began, planned.value_or(began), context_.clock->now() - began);
  }

  Batch judged(const Result<io::TcpAnswer>& answer, Instant began, Instant slot, Duration took) {
    Batch batch = batch_of(context_, began);
    if (answer.has_error()) {
      const Error& error = answer.error();
      batch.detail = evidence(error.text());
      const bool timed_out = error.code == Errc::timed_out;
      if (timed_out || error.code == Errc::unavailable) {
        record_.judged(batch, {slot, false, timed_out, took});
      } else {
        record_.unobserved(batch, error.text());
      }
      return batch;
    }
    batch.detail = evidence(detail_of(*answer, took));
    record_.judged(batch, {slot, answer->enough, false, took});
    return batch;
  }

  std::string detail_of(const io::TcpAnswer& answer, Duration took) const {
    const std::string in = " in " + format_duration(std::chrono::ceil<std::chrono::milliseconds>(took));
    if (answer.enough) return (expect_ ? "connected and answered as expected" : "connected") + in;
    const std::string sent = answer.text.empty() ? "nothing" : "\"" + cut(printable(answer.text), 200) + "\"";
    return "connected" + in + ", but " + (answer.closed ? "closed after it sent " : "it sent ") + sent + ", which does not match " +
           context_.settings.expect;
  }

  CheckContext context_;
  io::TcpAddress address_;
  std::shared_ptr<const RE2> expect_;  ///< null: connecting is enough
  io::TcpClient client_;
  CheckCounters counters_;
  ProbeRecord record_;
};

}  // namespace

Result<std::unique_ptr<Check>> make_tcp_check(CheckContext context) {
  auto address = io::TcpAddress::parse(context.settings.address);
  if (address.has_error()) return address.error();
  std::shared_ptr<const RE2> expect;
  if (!context.settings.expect.empty()) {
    RE2::Options options;
    options.set_log_errors(false);
    expect = std::make_shared<const RE2>(context.settings.expect, options);
    if (!expect->ok())
      return Error(Errc::invalid_config, "\"expect\" of check " + context.settings.name + " is no regular expression")
          .because(printable(expect->error()));
  }
  if (context.settings.interval < 1ms || context.settings.timeout < 1ms)
    return Error(Errc::invalid_config, "interval and timeout of check " + context.settings.name + " must be 1ms or more");
  return std::unique_ptr<Check>(std::make_unique<TcpCheck>(std::move(context), std::move(*address), std::move(expect)));
}

}  // namespace rollbackd::checks
