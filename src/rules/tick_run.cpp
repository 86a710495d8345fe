// A tick: each rule's result, then its alerts or its recorded series, then the staleness markers of what vanished.
#include "rules/tick_run.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "rules/alert_state.hpp"
#include "rules/template.hpp"

namespace rollbackd::rules {
namespace {

using Pairs = std::vector<Labels::Pair>;

/// What is remembered of a series beside its samples: what the next sample is held against.
struct Series {
  const Labels* labels = nullptr;
  std::optional<Instant> last;
  double value = 0;
  std::uint64_t returned = 0;  ///< number of the evaluation that last gave it
};

/// One alert with what its annotations are made of; they are expanded when somebody asks.
struct Active {
  AlertState state;
  Labels element;
  double value = 0;
  Instant at;                        ///< of the evaluation that last held it
  std::optional<Pairs> annotations;  ///< expanded at once where a template asks the storage
  std::array<Series*, 3> series{};   ///< ALERTS of each phase; made when first needed
  Series* for_state = nullptr;
};

struct RuleState {
  const Group* group = nullptr;
  const Rule* rule = nullptr;
  promql::ExprPtr expr;
  bool asks = false;  ///< one of its annotations may query: its answer belongs to that very moment
  std::map<Labels, Active> active;
  std::vector<Series*> previous;  ///< given by its last good evaluation
};

struct Output {
  Series* series = nullptr;
  double value = 0;
};

bool is_template(std::string_view text) { return text.find("{{") != std::string_view::npos; }

Error conflict(std::string what) { return Error(Errc::conflict, std::move(what)); }

/// `expr` with `step` written into every subquery that names none.
promql::ExprPtr with_step(const promql::ExprPtr& expr, Duration step) {
  promql::Expr copy = *expr;
  bool changed = false;
  for (promql::ExprPtr& arg : copy.args) {
    promql::ExprPtr other = with_step(arg, step);
    changed = changed || other != arg;
    arg = std::move(other);
  }
  if (copy.kind == promql::Expr::Kind::subquery && copy.step() == Duration{0}) {
    copy.rest.edit().step = step;
    changed = true;
  }
  return changed ? std::make_shared<const promql::Expr>(std::move(copy)) : expr;
}

/// A rule's or a template's result as elements.
Result<std::vector<promql::Element>> elements_of(Result<promql::Value> value) {
  if (!value) return value.error();
  if (value->type == promql::Value::Type::string) return Error(Errc::invalid_argument, "rule result is not a vector or scalar");
  if (value->type == promql::Value::Type::vector) return std::move(value->vector);
  std::vector<promql::Element> one(1);
  one[0].value = value->scalar;
  return one;
}

std::string text_of(const Error& error) { return error.why.empty() ? error.what : error.why; }

}  // namespace

struct TickRun::Impl {
  Impl(Groups g, TickSetup s) : groups(std::move(g)), setup(std::move(s)), store(setup.limits), querier(store) {
    for (const Group& group : groups) {
      for (const Rule& rule : group.rules) {
        RuleState state;
        state.group = &group;
        state.rule = &rule;
        state.expr = with_step(rule.expr, setup.subquery_step);
        for (const auto& [name, text] : rule.annotations.pairs()) {
          state.asks = state.asks || (is_template(text) && text.find("query") != std::string::npos);
        }
        rules.push_back(std::move(state));
      }
    }
  }

  Groups groups;
  TickSetup setup;
  series::Store store;
  promql::StoreQuerier querier;
  std::vector<RuleState> rules;
  std::unordered_map<Labels, Series, LabelsHash> known;
  std::uint64_t evaluation = 0, samples = 0;

  Result<promql::Value> evaluate(const promql::Expr& expr, Instant at) const {
    promql::EvalOptions options;
    options.at = at;
    options.work_max = setup.work_max;
    options.annotate = false;
    return promql::evaluate(expr, querier, options);
  }

  TemplateContext context(const Rule& rule, const Labels& labels, double value, Instant now) const {
    TemplateContext out{labels};
    out.name = rule.name;
    out.value = value;
    out.external_labels = &setup.external_labels;
    out.external_url = setup.external_url;
    out.now = now;
    out.query = [this](std::string_view text, Instant at) -> Result<std::vector<promql::Element>> {
      auto parsed = promql::parse(text);
      if (!parsed) return parsed.error();
      return elements_of(evaluate(*with_step(*parsed, setup.subquery_step), at));
    };
    return out;
  }

  std::string expand(const Rule& rule, const std::string& text, const Labels& labels, double value, Instant now) const {
    return is_template(text) ? expand_template(text, context(rule, labels, value, now)) : text;
  }
  Pairs expand_annotations(const Rule& rule, const Active& alert) const {
    Pairs out;
    for (const auto& [name, text] : rule.annotations.pairs())
      out.emplace_back(name, expand(rule, text, alert.element, alert.value, alert.at));
    for (const std::string& name : rule.annotations_empty) out.emplace_back(name, "");
    std::sort(out.begin(), out.end());
    return out;
  }

  Series* series_of(const Labels& labels) {
    const auto [at, is_new] = known.try_emplace(labels);
    if (is_new) at->second.labels = &at->first;
    return &at->second;
  }

  Result<> append(Series& series, series::Point point) {
    if (series.last && point.at < *series.last) return conflict("out of order sample");
    if (series.last && point.at == *series.last) {
      if (std::bit_cast<std::uint64_t>(point.value) == std::bit_cast<std::uint64_t>(series.value)) return {};
      return conflict("duplicate sample for timestamp " + std::to_string(point.at.millis()) + "; overrides not allowed: existing " +
                      format_go(series.value) + ", new value " + format_go(point.value));
    }
    if (++samples > setup.samples_max || known.size() > setup.limits.series_max)
      return Error(Errc::too_large, "the test holds more than " + std::to_string(setup.samples_max) + " samples or " +
                                        std::to_string(setup.limits.series_max) + " series");
    series.last = point.at;
    series.value = point.value;
    store.append(*series.labels, point);
    return {};
  }

  // What follows is one evaluation of one rule.

  Result<std::vector<Output>> run(RuleState& state, Instant now) {
    auto result = elements_of(evaluate(*state.expr, now - state.group->query_offset));
    if (!result) return result.error();
    return state.rule->alerting ? run_alert(state, *result, now) : run_recording(state, *result);
  }

  Result<std::vector<Output>> run_recording(const RuleState& state, const std::vector<promql::Element>& elements) {
    std::vector<Output> out;
    std::unordered_set<const Series*> seen;
    for (const promql::Element& element : elements) {
      Labels labels = element.labels;
      labels.set(kNameLabel, state.rule->name);
      for (const std::string& name : state.rule->labels_removed) labels.remove(name);
      for (const auto& [name, value] : state.rule->labels.pairs()) labels.set(name, value);
      Series* series = series_of(labels);
      if (!seen.insert(series).second)
        return Error(Errc::invalid_argument, "vector contains metrics with the same labelset after applying rule labels");
      out.push_back({series, element.value});
    }
    const auto limit = static_cast<std::size_t>(state.group->limit);
    if (limit > 0 && out.size() > limit)
      return Error(Errc::refused, "exceeded limit of " + std::to_string(limit) + " with " + std::to_string(out.size()) + " series");
    return out;
  }

  Labels labels_of_alert(const Rule& rule, const promql::Element& element, Instant now) const {
    Labels out = element.labels;
    out.remove(kNameLabel);
    for (const std::string& name : rule.labels_removed) out.remove(name);
    for (const auto& [name, text] : rule.labels.pairs()) out.set(name, expand(rule, text, element.labels, element.value, now));
    out.set("alertname", rule.name);
    return out;
  }

  Result<std::vector<Output>> run_alert(RuleState& state, std::vector<promql::Element>& elements, Instant now) {
    const Rule& rule = *state.rule;
    std::map<Labels, promql::Element*> made;
    for (promql::Element& element : elements) {
      if (!made.emplace(labels_of_alert(rule, element, now), &element).second)
        return Error(Errc::invalid_argument, "vector contains metrics with the same labelset after applying alert labels");
    }
    for (auto& [labels, element] : made) update(rule, state.active[labels], std::move(*element), now, state.asks);

    const AlertTiming timing{rule.pending_for, rule.keep_firing_for};
    for (auto at = state.active.begin(); at != state.active.end();) {
      AlertState& alert = at->second.state;
      alert = advance(timing, alert, made.contains(at->first) ? Evidence::present : Evidence::absent, now);
      at = alert.phase == AlertPhase::inactive ? state.active.erase(at) : std::next(at);
    }
    const auto limit = static_cast<std::size_t>(state.group->limit);
    if (const std::size_t n = state.active.size(); limit > 0 && n > limit) {
      state.active.clear();
      return Error(Errc::refused, "exceeded limit of " + std::to_string(limit) + " with " + std::to_string(n) + " alerts");
    }
    return alert_series(state);
  }

  void update(const Rule& rule, Active& alert, promql::Element element, Instant now, bool asks) const {
    alert.element = std::move(element.labels);
    alert.value = element.value;
    alert.at = now;
    if (asks) alert.annotations = expand_annotations(rule, alert);
  }

  std::vector<Output> alert_series(RuleState& state) {
    std::vector<Output> out;
    for (auto& [labels, alert] : state.active) {
      Series*& shown = alert.series[static_cast<std::size_t>(alert.state.phase)];
      if (shown == nullptr) {
        Labels full = state.rule->labels;  // A label whose template gave nothing shows as written, as in Prometheus.
        for (const auto& [name, value] : labels.pairs()) full.set(name, value);
        full.set(kNameLabel, "ALERTS_FOR_STATE");
        if (alert.for_state == nullptr) alert.for_state = series_of(full);
        full.set(kNameLabel, "ALERTS");
        full.set("alertstate", to_string(alert.state.phase));
        shown = series_of(full);
      }
      out.push_back({shown, 1});
      out.push_back({alert.for_state, static_cast<double>(alert.state.active_at.ns() / 1'000'000'000)});
    }
    return out;
  }

  /// Writes what an evaluation gave, and ends what the one before gave and this one did not.
  /// @return the last refusal of the store, as Prometheus keeps it
  std::optional<std::string> write(RuleState& state, const std::vector<Output>& outputs, Instant at) {
    std::optional<std::string> failure;
    ++evaluation;
    std::vector<Series*> given;
    given.reserve(outputs.size());
    for (const Output& output : outputs) {
      if (const auto written = append(*output.series, {at, output.value}); !written) {
        failure = text_of(written.error());
        continue;
      }
      output.series->returned = evaluation;
      given.push_back(output.series);
    }
    for (Series* series : state.previous) {
      // A refusal means that another rule gives the series now.
      if (series->returned != evaluation) static_cast<void>(append(*series, {at, series::stale_nan()}));
    }
    state.previous = std::move(given);
    return failure;
  }
};

TickRun::TickRun(Groups groups, TickSetup setup) : impl_(std::make_unique<Impl>(std::move(groups), std::move(setup))) {}
TickRun::~TickRun() = default;

Result<> TickRun::append(const Labels& series, series::Point point) { return impl_->append(*impl_->series_of(series), point); }

std::vector<TickFailure> TickRun::tick(Instant now) {
  std::vector<TickFailure> failures;
  for (RuleState& state : impl_->rules) {
    auto outputs = impl_->run(state, now);
    std::optional<std::string> failure;
    if (outputs) {
      failure = impl_->write(state, *outputs, now - state.group->query_offset);
    } else {
      failure = text_of(outputs.error());
    }
    if (failure) failures.push_back({state.group->name, state.rule->name, std::move(*failure)});
  }
  return failures;
}

std::vector<TickAlert> TickRun::alerts(std::string_view alertname) const {
  std::vector<TickAlert> out;
  for (const RuleState& state : impl_->rules) {
    if (!state.rule->alerting || state.rule->name != alertname) continue;
    for (const auto& [labels, alert] : state.active) {
      TickAlert shown;
      shown.labels = labels;
      shown.annotations = alert.annotations ? *alert.annotations : impl_->expand_annotations(*state.rule, alert);
      shown.phase = alert.state.phase;
      shown.active_at = alert.state.active_at;
      shown.value = alert.value;
      out.push_back(std::move(shown));
    }
  }
  return out;
}

Result<promql::Value> TickRun::query(const promql::ExprPtr& expr, Instant at) const {
  return impl_->evaluate(*with_step(expr, impl_->setup.subquery_step), at);
}

const series::Store& TickRun::store() const { return impl_->store; }

}  // namespace rollbackd::rules
