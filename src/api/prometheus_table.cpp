// The series of a query's answer, and how they are written. Pure.
// Flow: prometheus_query -> [table] -> HTTP.
#include <algorithm>

#include "api/prometheus_query.hpp"

namespace rollbackd::api {

namespace {

constexpr std::size_t kPointBytes = 24;   ///< [1795176001.5,"12.25"],
constexpr std::size_t kSeriesBytes = 32;  ///< what stands around its labels

std::size_t text_bytes(const Labels& labels) {
  std::size_t n = kSeriesBytes;
  for (const auto& [name, value] : labels.pairs()) n += name.size() + value.size() + 6;
  return n;
}

}  // namespace

Result<> PrometheusApi::Table::add(const Labels& labels, std::span<const series::Point> points) {
  if (points.empty()) return {};
  // A step gives its series mostly in the order of the step before.
  const auto [place, is_new] = index_.try_emplace(labels, rows_.size());
  if (is_new) {
    if (rows_.size() >= limits_.series_max)
      return Error(Errc::too_large, "the answer would have more than " + std::to_string(limits_.series_max) + " series");
    rows_.push_back({labels, {}});
    bytes_ += text_bytes(labels);
  }
  bytes_ += points.size() * kPointBytes;
  points_ += points.size();
  if (bytes_ > limits_.answer_bytes_max)
    return Error(Errc::too_large, "the answer would be larger than " + std::to_string(limits_.answer_bytes_max >> 20U) + " MiB");
  auto& all = rows_[place->second].points;
  all.insert(all.end(), points.begin(), points.end());
  return {};
}

bool PrometheusApi::Table::finish(std::size_t limit) {
  // A vector stays in the evaluation's order, because `sort` and its like make one.
  if (type == Type::matrix) std::sort(rows_.begin(), rows_.end(), [](const Row& a, const Row& b) { return a.labels < b.labels; });
  index_.clear();  // It names places that are gone.
  if (limit == 0 || rows_.size() <= limit || (type != Type::matrix && type != Type::vector)) return false;
  rows_.resize(limit);
  return true;
}

void PrometheusApi::Table::write(prometheus::Pieces& out) const {
  if (type == Type::string) {
    out.tail() += R"("resultType":"string","result":[)";
    prometheus::append_time(out.tail(), at);
    out.tail() += ',';
    prometheus::append_text(out.tail(), text);
    out.tail() += ']';
    return;
  }
  if (type == Type::scalar) {
    out.tail() += R"("resultType":"scalar","result":)";
    const series::Point& p = rows_.at(0).points.at(0);
    prometheus::append_point(out.tail(), p.at, p.value);
    return;
  }
  out.tail() += type == Type::matrix ? R"("resultType":"matrix","result":[)" : R"("resultType":"vector","result":[)";
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const Row& row = rows_[i];
    out.tail() += i == 0 ? R"({"metric":)" : R"(,{"metric":)";
    prometheus::append_labels(out.tail(), row.labels);
    out.tail() += type == Type::matrix ? R"(,"values":[)" : R"(,"value":)";
    for (std::size_t k = 0; k < row.points.size(); ++k) {
      std::string& piece = out.tail();
      if (k > 0) piece += ',';
      prometheus::append_point(piece, row.points[k].at, row.points[k].value);
    }
    out.tail() += type == Type::matrix ? "]}" : "}";
  }
  out.tail() += ']';
}

}  // namespace rollbackd::api
