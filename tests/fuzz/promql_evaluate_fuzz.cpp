// A store drawn from the first bytes, and the rest as PromQL over it: no crash, the same answer twice, and from its printed text too.
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "promql/evaluate.hpp"
#include "property.hpp"

using namespace rollbackd;

namespace {

constexpr Instant kNow = Instant::from_millis(1'760'000'000'000);
const ServiceKey kShop{"shop", "prod"};

/// xorshift64*: the store must be the same in every run.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed * 2 + 1) {}
  std::uint64_t roll(std::uint64_t sides) {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return (state_ * 0x2545F4914F6CDD1D >> 33) % sides;
  }

 private:
  std::uint64_t state_;
};

double some_value(Dice& dice, double last) {
  constexpr std::array kOdd{0.0,
                            -0.0,
                            1e308,
                            -1e308,
                            5e-324,
                            std::numeric_limits<double>::infinity(),
                            -std::numeric_limits<double>::infinity(),
                            std::numeric_limits<double>::quiet_NaN()};
  switch (dice.roll(8)) {
    case 0: return kOdd[dice.roll(kOdd.size())];
    case 1: return series::stale_nan();
    case 2: return static_cast<double>(dice.roll(1000)) - 500;
    default: return last + static_cast<double>(dice.roll(10));
  }
}

void fill_series(series::Store& store, Dice& dice, const Labels& labels) {
  double value = 0;
  const auto points = dice.roll(12);
  for (std::uint64_t i = 0; i < points; ++i) {
    value = some_value(dice, value);
    store.append(labels, {kNow - 15s * static_cast<int>(points - i), value});
  }
}

/// A few series of the names that the corpus speaks of: counters, gauges, buckets with odd bounds, a service with a silent check.
void fill(series::Store& store, std::uint64_t seed) {
  Dice dice(seed);
  if (seed % 2 == 1) {
    store.register_source({kShop, "health", {"up"}, 10s}, kNow - 60s);
    store.begin_epoch(kShop, kNow - 90s);
  }
  for (const char* name : {"a", "b", "up", "h_bucket"})
    for (const char* instance : {"1", "2", "+Inf", "0.5"}) {
      Labels labels{{"__name__", name}, {"service", "shop"}, {"environment", "prod"}, {"check", "health"}};
      labels.set(name[0] == 'h' ? "le" : "i", instance);
      if (dice.roll(2) == 1) labels.set("job", "j");
      fill_series(store, dice, labels);
    }
}

bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

bool same(const promql::Value& a, const promql::Value& b) {
  if (a.type != b.type || a.blind != b.blind || a.fed != b.fed || a.string != b.string || !same(a.scalar, b.scalar)) return false;
  if (a.vector.size() != b.vector.size()) return false;
  for (std::size_t i = 0; i < a.vector.size(); ++i)
    if (a.vector[i].labels != b.vector[i].labels || !same(a.vector[i].value, b.vector[i].value)) return false;
  return true;
}

bool names_each_once(const promql::Value& value) {
  for (std::size_t i = 0; i < value.vector.size(); ++i)
    for (std::size_t k = 0; k < i; ++k)
      if (value.vector[i].labels == value.vector[k].labels) return false;
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 2048) return 0;
  const std::string text(data + 1, data + size);
  const auto tree = promql::parse(text);
  if (!tree) return 0;
  series::Store store;
  fill(store, data[0]);
  const promql::StoreQuerier querier(store, data[0] % 4 == 3 ? &kShop : nullptr);
  promql::EvalOptions options{.at = kNow, .work_max = 20'000};
  if (data[0] % 8 > 3) {  // As one step of a range query, which decides what start(), end(), step() and range() are.
    options.start = kNow - 10min;
    options.end = kNow + 1min;
    options.step = 30s;
  }

  const auto value = promql::evaluate(**tree, querier, options);
  const auto twice = promql::evaluate(**tree, querier, options);
  const auto reparsed = promql::parse(promql::to_text(**tree));
  if (!reparsed) return 0;  // promql_parse_fuzz looks at that.
  const auto printed = promql::evaluate(**reparsed, querier, options);

  fuzz::property(value.has_value() == twice.has_value() && (!value || same(*value, *twice)), "evaluating twice gives the same", text);
  fuzz::property(value.has_value() == printed.has_value() && (!value || same(*value, *printed)), "the printed text means the same",
                 text + "\n" + promql::to_text(**tree));
  if (!value) return 0;
  fuzz::property(names_each_once(*value), "a vector names each label set once", text);
  fuzz::property(value->work <= options.work_max, "no more work is done than allowed", text);
  fuzz::property(value->annotations.size() <= 100, "no more is said than may be", text);
  options.annotate = false;
  const auto silent = promql::evaluate(**tree, querier, options);
  fuzz::property(silent && same(*value, *silent) && silent->annotations.empty(), "saying nothing changes no value", text);
  return 0;
}
