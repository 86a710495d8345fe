// The whole store as text, for `rollbackctl dump` and `replay`: OpenMetrics samples, with the epochs and the staleness markers as comments.
// Written as it is sent, some samples a turn.
// Flow: the judge's store -> [dump] -> HTTP.
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "api/prometheus_query.hpp"

namespace rollbackd::api {

namespace asio = boost::asio;
using io::ServerResponse;

namespace {

constexpr std::size_t kSamplesPerTurn = 1'000, kSeriesPerTurn = 500;
constexpr int kPassesMax = 4;
constexpr Instant kWhole{std::numeric_limits<std::int64_t>::max()};

bool is_plain(std::string_view name, bool colons) {
  const auto letter = [&](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colons && c == ':'); };
  if (name.empty() || !letter(name[0])) return false;
  for (const char c : name)
    if (!letter(c) && (c < '0' || c > '9')) return false;
  return true;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    out += c == '\n' ? std::string("\\n") : std::string(1, c);
  }
  return out + "\"";
}

std::string name_text(std::string_view name, bool colons) { return is_plain(name, colons) ? std::string(name) : quoted(name); }

/// Unix seconds, exactly: up to nine decimals, none that is not needed.
std::string exact_seconds(Instant at) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::int64_t ns = std::abs(at.ns());
  std::string out = (at.ns() < 0 ? "-" : "") + std::to_string(ns / kSecond);
  if (ns % kSecond == 0) return out;
  std::string fraction = std::to_string(kSecond + ns % kSecond);
  fraction[0] = '.';
  fraction.erase(fraction.find_last_not_of('0') + 1);
  return out + fraction;
}

/// name{a="b"}, or {"odd name",a="b"}.
std::string series_text(const Labels& labels) {
  const bool plain = is_plain(labels.name(), true);
  std::string inner;
  if (!plain && !labels.name().empty()) inner = quoted(labels.name());
  for (const auto& [name, value] : labels.pairs()) {
    if (name == kNameLabel) continue;
    if (!inner.empty()) inner += ',';
    inner += name_text(name, false) + "=" + quoted(value);
  }
  std::string out = plain ? std::string(labels.name()) : std::string();
  return inner.empty() && plain ? out : out + "{" + inner + "}";
}

std::string shortest(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  std::array<char, 64> buffer{};
  const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return {buffer.data(), written.ptr};
}

/// Goes over the store in passes, because series that end during one shift the places of those behind them: what a pass missed or could
/// not finish is found by the next.
class Dump {
 public:
  Dump(const engine::Engine& engine, std::uint64_t bytes_max, std::shared_ptr<int> seat)
      : engine_(engine), bytes_max_(bytes_max), seat_(std::move(seat)) {}

  std::string epochs() const {
    std::string out;
    const auto& names = engine_.epoch_releases();
    for (const auto& [service, starts] : engine_.judge().store().epochs()) {
      const auto known = names.find(service);
      for (const Instant at : starts) {
        std::string release;
        if (known != names.end())
          if (const auto named = known->second.find(at); named != known->second.end()) release = named->second;
        out += "# EPOCH service=" + quoted(service.name) + ",environment=" + quoted(service.environment);
        out += ",release=" + quoted(release) + " " + exact_seconds(at) + "\n";
      }
    }
    return out;
  }

  /// What the next turn has to say; empty at the end.
  Result<std::string> next() {
    std::string out;
    std::size_t samples = 0;
    for (std::size_t seen = 0; !ended_ && samples < kSamplesPerTurn && seen < kSeriesPerTurn; ++seen) {
      const auto found = engine_.judge().store().dump(place_, 1);
      if (found.empty()) {
        end_pass(out);
        continue;
      }
      samples += one(found.front(), kSamplesPerTurn - samples, out);
    }
    bytes_ += out.size();
    if (bytes_ > bytes_max_) return Error(Errc::too_large, "the recording is larger than " + std::to_string(bytes_max_ >> 20U) + " MiB");
    return out;
  }
  bool ended() const { return ended_; }

 private:
  void end_pass(std::string& out) {
    place_ = 0;
    if (std::exchange(wrote_, false) && ++passes_ < kPassesMax) return;
    out += "# EOF\n";
    ended_ = true;
  }
  std::size_t one(const series::Selected& s, std::size_t most, std::string& out) {
    Instant& last = written_.try_emplace(s.labels->hash(), Instant(std::numeric_limits<std::int64_t>::min())).first->second;
    const auto begin = std::upper_bound(s.points.begin(), s.points.end(), last, [](Instant t, const series::Point& p) { return t < p.at; });
    const auto count = std::min(most, static_cast<std::size_t>(s.points.end() - begin));
    if (last == kWhole || count == 0) {
      last = kWhole;
      ++place_;
      return 0;
    }
    const std::string name = series_text(*s.labels);
    for (const series::Point& p : std::span(begin, count)) {
      out += series::is_stale_nan(p.value) ? "# STALE " + name : name + " " + shortest(p.value);
      out += " " + exact_seconds(p.at) + "\n";
    }
    wrote_ = true;
    last = (begin + static_cast<std::ptrdiff_t>(count) - 1)->at;
    if (begin + static_cast<std::ptrdiff_t>(count) == s.points.end()) {
      last = kWhole;
      ++place_;
    }
    return count;
  }

  const engine::Engine& engine_;
  std::uint64_t bytes_max_, bytes_ = 0;
  std::shared_ptr<int> seat_;
  std::size_t place_ = 0;
  int passes_ = 0;
  bool wrote_ = false, ended_ = false;
  std::unordered_map<std::size_t, Instant> written_;  ///< by the hash of a series' labels: up to when; `kWhole` when all of it is
};

asio::awaitable<Result<std::string>> next_piece(std::shared_ptr<Dump> dump) {
  while (!dump->ended()) {
    co_await next_turn();
    auto piece = dump->next();
    if (!piece || !piece->empty()) co_return piece;
  }
  co_return std::string();
}

}  // namespace

Result<ServerResponse> PrometheusApi::dump() {
  if (dumps_.use_count() > static_cast<long>(limits_.dumps_max))
    return Error(Errc::unavailable, "too many recordings are being made at once");
  ++counters_.dumps;
  auto dump = std::make_shared<Dump>(engine_, limits_.dump_bytes_max, dumps_);
  ServerResponse out;
  out.content_type = "text/plain; charset=utf-8";
  out.body = dump->epochs();
  out.more = [dump] { return next_piece(dump); };
  return out;
}

}  // namespace rollbackd::api
