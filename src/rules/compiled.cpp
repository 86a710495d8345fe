#include "rules/compiled.hpp"

#include <algorithm>

#include "promql/statistics.hpp"

namespace rollbackd::rules {

std::uint32_t Compiled::group_of(const Labels& labels) {
  std::vector<Labels::Pair> pairs;
  for (const Labels::Pair& pair : labels.pairs())
    if (std::binary_search(shape_.grouping.begin(), shape_.grouping.end(), pair.first)) pairs.push_back(pair);
  Labels group(std::move(pairs));
  const auto at = std::find(groups_.begin(), groups_.end(), group);
  if (at != groups_.end()) return static_cast<std::uint32_t>(at - groups_.begin());
  groups_.push_back(std::move(group));
  return static_cast<std::uint32_t>(groups_.size() - 1);
}

void Compiled::add(std::uint32_t selector, series::Series& series) {
  for (std::uint8_t n = 0; n < shape_.part_count; ++n) {
    const ShapePart& part = shape_.parts[n];
    if (part.selector != selector) continue;
    Member member;
    member.series = &series;
    member.part = n;
    // Made even beyond the bound, as the series that are too many may go again.
    if (part.reading != Reading::latest) member.window = std::make_unique<SlidingWindow>(series);
    if (shape_.summed) member.group = group_of(series.labels);
    members_.push_back(std::move(member));
    for (std::size_t at = members_.size() - 1; at > 0 && members_[at].part < members_[at - 1].part; --at)
      std::swap(members_[at], members_[at - 1]);
  }
}

void Compiled::remove(std::uint32_t selector, const series::Series& series) {
  for (std::size_t n = members_.size(); n-- > 0;) {
    const Member& m = members_[n];
    if (m.series == &series && shape_.parts[m.part].selector == selector) members_.erase(&members_[n]);
  }
}

std::optional<double> Compiled::value_of(Member& member, Instant now) const {
  const ShapePart& part = shape_.parts[member.part];
  if (member.window) return member.window->value(part, now);
  const series::Series& series = *member.series;
  if (series.points.empty()) return std::nullopt;
  const series::Point& newest = series.points.back();
  if (newest.at < series::window_begin(series, now - part.reach, now) || series::is_stale_nan(newest.value)) return std::nullopt;
  return newest.value;
}

bool Compiled::keeps(double value) const {
  return shape_.constant_left ? holds(shape_.op, shape_.constant, value) : holds(shape_.op, value, shape_.constant);
}

void Compiled::emit(Labels labels, double value, std::vector<promql::Element>& out) const {
  const bool kept = keeps(value);
  if (!kept && !shape_.return_bool) return;
  out.push_back({std::move(labels), shape_.return_bool ? (kept ? 1.0 : 0.0) : value});
}

void Compiled::sum_up(Instant now, Sums& sums, std::vector<promql::Element>& out) {
  sums.order.clear();
  for (std::uint8_t n = 0; n < shape_.part_count; ++n) sums.groups[n].assign(groups_.size(), {});
  for (Member& member : members_) {
    const auto value = value_of(member, now);
    if (!value) continue;
    Sums::Group& group = sums.groups[member.part][member.group];
    if (!group.any && member.part == 0) sums.order.push_back(member.group);
    promql::KahanSum sum{group.sum, group.rest};
    sum.add(*value);
    group = {sum.sum, sum.rest, true};
  }
  const auto total = [](const Sums::Group& g) { return promql::KahanSum{g.sum, g.rest}.total(); };
  for (const std::uint32_t n : sums.order) {
    if (shape_.part_count == 2 && !sums.groups[1][n].any) continue;
    const double left = total(sums.groups[0][n]);
    const double value = shape_.part_count == 1 ? left : left / total(sums.groups[1][n]);
    if (keeps(value) || shape_.return_bool) emit(groups_[n], value, out);
  }
}

Compiled::Answer Compiled::evaluate(const series::Service& service, Instant now, Sums& sums, std::vector<promql::Element>& out) {
  Answer answer;
  if (members_.size() > kSeriesMax || series::Feeders::too_many(service)) return answer;
  for (std::uint8_t n = 0; n < shape_.part_count; ++n) {
    using Standing = series::Feeders::Standing;
    series::Feeders& feeders = n == 0 ? feeders_ : more_feeders_.edit();
    if (!feeders.known(service)) feeders.find(service, selectors_[shape_.parts[n].selector]->matchers);
    const Standing standing = feeders.standing(service, now);
    if (standing == Standing::blind) return answer;
    answer.fed = answer.fed || standing == Standing::live;
  }
  for (const Member& member : members_) {
    if (!member.series->points.empty() && member.series->points.back().at > now) return answer;
    answer.work -= member.window ? member.window->work() : 0;
  }
  answer.known = true;
  if (shape_.summed) {
    sum_up(now, sums, out);
  } else {
    for (Member& member : members_) {
      const auto value = value_of(member, now);
      if (!value || (!shape_.return_bool && !keeps(*value))) continue;
      Labels labels = member.series->labels;
      if (shape_.drops_name) labels.remove(kNameLabel);
      emit(std::move(labels), *value, out);
    }
  }
  for (const Member& member : members_) answer.work += member.window ? member.window->work() : 1;
  return answer;
}

std::optional<Instant> Compiled::next_leaving(Instant now) const {
  std::optional<Instant> next;
  for (const Member& member : members_) {
    std::optional<Instant> oldest;
    if (member.window) {
      oldest = member.window->oldest();
    } else if (!member.series->points.empty()) {
      oldest = member.series->points.back().at;
    }
    if (!oldest) continue;
    const Instant leaves = *oldest + shape_.parts[member.part].reach;
    if (leaves > now && (!next || leaves < *next)) next = leaves;
  }
  return next;
}

}  // namespace rollbackd::rules
