// The table, and the functions that need more than one value or one window.
#include "promql/functions.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "promql/evaluator.hpp"
#include "promql/histogram.hpp"
#include "promql/label_functions.hpp"
#include "promql/range_functions.hpp"

namespace rollbackd::promql {
namespace {

namespace rf = range_functions;
using T = ValueType;

constexpr double kPi = 3.14159265358979323846;

/// In Prometheus's resolution and rounding: `Instant::seconds` divides nanoseconds, which no double holds exactly.
double unix_seconds(Instant t) { return static_cast<double>(t.millis()) / 1000; }

void drop_names(Operand& o) {
  for (Element& element : o.vector) element.drop_name = true;
}

/// As Go's math.Min and math.Max: the infinity that nothing can pass wins over NaN, NaN over everything else.
double smaller(double a, double b) {
  if (a == -HUGE_VAL || b == -HUGE_VAL) return -HUGE_VAL;
  return std::isnan(a) || std::isnan(b) ? std::nan("") : std::min(a, b);
}
double larger(double a, double b) {
  if (a == HUGE_VAL || b == HUGE_VAL) return HUGE_VAL;
  return std::isnan(a) || std::isnan(b) ? std::nan("") : std::max(a, b);
}

Operand clamped(std::vector<Operand>& args, double low, double high) {
  Operand out;
  if (high < low) return out;
  out.vector = std::move(args[0].vector);
  for (Element& element : out.vector) element.value = larger(low, smaller(high, element.value));
  drop_names(out);
  return out;
}

Operand clamp(Evaluator&, const Expr&, std::vector<Operand>& args) { return clamped(args, args[1].scalar, args[2].scalar); }
Operand clamp_min(Evaluator&, const Expr&, std::vector<Operand>& args) { return clamped(args, args[1].scalar, HUGE_VAL); }
Operand clamp_max(Evaluator&, const Expr&, std::vector<Operand>& args) { return clamped(args, -HUGE_VAL, args[1].scalar); }

Operand round(Evaluator&, const Expr&, std::vector<Operand>& args) {
  const double inverse = 1 / (args.size() > 1 ? args[1].scalar : 1);
  Operand out;
  out.vector = std::move(args[0].vector);
  for (Element& element : out.vector) element.value = std::floor(element.value * inverse + 0.5) / inverse;
  drop_names(out);
  return out;
}

Operand scalar(Evaluator&, const Expr&, std::vector<Operand>& args) {
  return Operand::of_scalar(args[0].vector.size() == 1 ? args[0].vector[0].value : std::nan(""));
}

Operand vector(Evaluator&, const Expr&, std::vector<Operand>& args) {
  Operand out;
  out.vector.push_back({{}, args[0].scalar});
  return out;
}

Operand time(Evaluator& evaluator, const Expr&, std::vector<Operand>&) { return Operand::of_scalar(unix_seconds(evaluator.now())); }
Operand pi(Evaluator&, const Expr&, std::vector<Operand>&) { return Operand::of_scalar(kPi); }

/// Of anything but a selector: the instant at which the value was computed.
Operand timestamp(Evaluator& evaluator, const Expr&, std::vector<Operand>& args) {
  Operand out;
  out.vector = std::move(args[0].vector);
  for (Element& element : out.vector) element.value = unix_seconds(evaluator.now());
  drop_names(out);
  return out;
}

Operand sorted(Evaluator& evaluator, const Expr& call, std::vector<Operand>& args, bool descending) {
  if (evaluator.of_range_query())
    evaluator.annotate(call, Annotation::Level::warning,
                       "sort is ineffective for range queries since results are always ordered by labels");
  Operand out;
  out.vector = std::move(args[0].vector);
  std::stable_sort(out.vector.begin(), out.vector.end(), [descending](const Element& a, const Element& b) {
    if (std::isnan(a.value) || std::isnan(b.value)) return !std::isnan(a.value) && std::isnan(b.value);
    return descending ? a.value > b.value : a.value < b.value;
  });
  return out;
}

Operand sort(Evaluator& evaluator, const Expr& call, std::vector<Operand>& args) { return sorted(evaluator, call, args, false); }
Operand sort_desc(Evaluator& evaluator, const Expr& call, std::vector<Operand>& args) { return sorted(evaluator, call, args, true); }

/// Functions of native histograms: floats have none, so there is nothing to give.
Operand of_native_histograms(Evaluator&, const Expr&, std::vector<Operand>&) { return {}; }

double sgn(double v) { return v < 0 ? -1 : v > 0 ? 1 : v; }
double deg(double v) { return v * 180 / kPi; }
double rad(double v) { return v * kPi / 180; }

/// A Unix time in its calendar parts, UTC.
struct Calendar {
  explicit Calendar(double unix_seconds) {
    valid = unix_seconds > -6e10 && unix_seconds < 2.5e11;  // Year 68 to 9892: what the calendar below can hold.
    if (!valid) return;
    const std::chrono::sys_seconds t{std::chrono::seconds(static_cast<std::int64_t>(unix_seconds))};
    day = std::chrono::floor<std::chrono::days>(t);
    date = std::chrono::year_month_day{day};
    within = t - day;
  }
  bool valid = false;
  std::chrono::sys_days day;
  std::chrono::year_month_day date;
  std::chrono::seconds within{};
};

double part_year(const Calendar& c) { return static_cast<int>(c.date.year()); }
double part_month(const Calendar& c) { return static_cast<unsigned>(c.date.month()); }
double part_day_of_month(const Calendar& c) { return static_cast<unsigned>(c.date.day()); }
double part_day_of_week(const Calendar& c) { return std::chrono::weekday(c.day).c_encoding(); }
double part_hour(const Calendar& c) { return static_cast<double>(c.within / 1h); }
double part_minute(const Calendar& c) { return static_cast<double>(c.within % 1h / 1min); }
double part_day_of_year(const Calendar& c) {
  return static_cast<double>((c.day - std::chrono::sys_days{c.date.year() / 1 / 1}).count() + 1);
}
double part_days_in_month(const Calendar& c) { return static_cast<unsigned>((c.date.year() / c.date.month() / std::chrono::last).day()); }

template <double (*Part)(const Calendar&)>
Operand calendar(Evaluator& evaluator, const Expr&, std::vector<Operand>& args) {
  Operand out;
  if (args.empty()) {
    out.vector.push_back({{}, unix_seconds(evaluator.now())});
  } else {
    out.vector = std::move(args[0].vector);
  }
  for (Element& element : out.vector) {
    const Calendar c(element.value);
    element.value = c.valid ? Part(c) : std::nan("");
  }
  drop_names(out);
  return out;
}

Function over(std::string_view name, std::optional<double> (*f)(const Window&), std::vector<T> args = {T::matrix}) {
  Function out{.name = name, .args = std::move(args)};
  out.over_range = f;
  return out;
}
Function of(std::string_view name, double (*f)(double)) {
  Function out{.name = name, .args = {T::vector}};
  out.of_value = f;
  return out;
}
Function special(std::string_view name, std::vector<T> args, Operand (*f)(Evaluator&, const Expr&, std::vector<Operand>&), int optional = 0,
                 T returns = T::vector) {
  Function out{.name = name, .args = std::move(args), .optional = optional, .returns = returns};
  out.special = f;
  return out;
}
/// `absent` and `absent_over_time`: the evaluator itself answers them, because blindness decides.
Function absent(std::string_view name, T arg) { return Function{.name = name, .args = {arg}}; }

std::vector<Function> make_table() {
  std::vector<Function> t{
      over("rate", rf::rate),
      over("increase", rf::increase),
      over("delta", rf::delta),
      over("irate", rf::irate),
      over("idelta", rf::idelta),
      over("deriv", rf::deriv),
      over("changes", rf::changes),
      over("resets", rf::resets),
      over("avg_over_time", rf::avg),
      over("min_over_time", rf::min),
      over("max_over_time", rf::max),
      over("sum_over_time", rf::sum),
      over("count_over_time", rf::count),
      over("last_over_time", rf::last),
      over("first_over_time", rf::first),
      over("present_over_time", rf::present),
      over("stddev_over_time", rf::stddev),
      over("stdvar_over_time", rf::stdvar),
      over("quantile_over_time", rf::quantile, {T::scalar, T::matrix}),
      over("predict_linear", rf::predict_linear, {T::matrix, T::scalar}),
      absent("absent", T::vector),
      absent("absent_over_time", T::matrix),
      of("abs", std::fabs),
      of("ceil", std::ceil),
      of("floor", std::floor),
      of("exp", std::exp),
      of("ln", std::log),
      of("log2", std::log2),
      of("log10", std::log10),
      of("sqrt", std::sqrt),
      of("sgn", sgn),
      of("sin", std::sin),
      of("cos", std::cos),
      of("tan", std::tan),
      of("asin", std::asin),
      of("acos", std::acos),
      of("atan", std::atan),
      of("sinh", std::sinh),
      of("cosh", std::cosh),
      of("tanh", std::tanh),
      of("asinh", std::asinh),
      of("acosh", std::acosh),
      of("atanh", std::atanh),
      of("deg", deg),
      of("rad", rad),
      special("clamp", {T::vector, T::scalar, T::scalar}, clamp),
      special("clamp_min", {T::vector, T::scalar}, clamp_min),
      special("clamp_max", {T::vector, T::scalar}, clamp_max),
      special("round", {T::vector, T::scalar}, round, 1),
      special("scalar", {T::vector}, scalar, 0, T::scalar),
      special("vector", {T::scalar}, vector),
      special("time", {}, time, 0, T::scalar),
      special("pi", {}, pi, 0, T::scalar),
      special("timestamp", {T::vector}, timestamp),
      special("sort", {T::vector}, sort),
      special("sort_desc", {T::vector}, sort_desc),
      special("histogram_quantile", {T::scalar, T::vector}, histogram_quantile),
      special("histogram_fraction", {T::scalar, T::scalar, T::vector}, histogram_fraction),
      special("histogram_avg", {T::vector}, of_native_histograms),
      special("histogram_count", {T::vector}, of_native_histograms),
      special("histogram_stddev", {T::vector}, of_native_histograms),
      special("histogram_stdvar", {T::vector}, of_native_histograms),
      special("histogram_sum", {T::vector}, of_native_histograms),
      special("label_replace", {T::vector, T::string, T::string, T::string, T::string}, label_replace),
      special("label_join", {T::vector, T::string, T::string, T::string}, label_join, -1),
      special("year", {T::vector}, calendar<part_year>, 1),
      special("month", {T::vector}, calendar<part_month>, 1),
      special("day_of_month", {T::vector}, calendar<part_day_of_month>, 1),
      special("day_of_week", {T::vector}, calendar<part_day_of_week>, 1),
      special("day_of_year", {T::vector}, calendar<part_day_of_year>, 1),
      special("days_in_month", {T::vector}, calendar<part_days_in_month>, 1),
      special("hour", {T::vector}, calendar<part_hour>, 1),
      special("minute", {T::vector}, calendar<part_minute>, 1),
  };
  for (Function& f : t) f.keeps_name = f.name == "last_over_time" || f.name == "first_over_time";
  std::sort(t.begin(), t.end(), [](const Function& a, const Function& b) { return a.name < b.name; });
  return t;
}

const std::vector<Function>& functions() {
  static const std::vector<Function> table = make_table();
  return table;
}

}  // namespace

const Function* find_function(std::string_view name) {
  const std::vector<Function>& table = functions();
  const auto at = std::lower_bound(table.begin(), table.end(), name, [](const Function& f, std::string_view n) { return f.name < n; });
  return at != table.end() && at->name == name ? &*at : nullptr;
}

FunctionName FunctionName::of(std::string_view name) {
  const auto known = aggregations();
  if (const auto at = std::find(known.begin(), known.end(), name); at != known.end())
    return {static_cast<std::uint16_t>(1 + (at - known.begin()))};
  const Function* f = find_function(name);
  return {static_cast<std::uint16_t>(f == nullptr ? 0 : 1 + known.size() + static_cast<std::size_t>(f - functions().data()))};
}

FunctionName::operator std::string_view() const {
  if (place == 0) return {};
  const auto known = aggregations();
  return place <= known.size() ? known[place - 1U] : functions()[place - 1U - known.size()].name;
}

}  // namespace rollbackd::promql
