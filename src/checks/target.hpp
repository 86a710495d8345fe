// What scrape and promql share: how a series of somebody else's gets our labels, credentials from files, and a scrape's samples, each once.
// Internal to checks/.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "checks/check.hpp"

namespace rollbackd::checks {

/// The labels of everything that one check brings from its target: service, environment, check, instance, job.
class TargetLabels {
 public:
  TargetLabels(const CheckContext& context, std::string instance);
  /// A series of the check itself, like `up`.
  Labels own(std::string_view metric) const;
  /// A series of the target's. Its own label of one of our names becomes exported_NAME, as with Prometheus's honor_labels: false.
  /// @param labels  each name at most once
  Labels stamped(std::vector<Labels::Pair> labels) const;

 private:
  std::vector<Labels::Pair> ours_;
};

/// Samples of one scrape: the first of a series counts, as in Prometheus.
class SampleSet {
 public:
  SampleSet() : known_(0, Hash{samples_.get()}, Same{samples_.get()}) {}
  /// @return false for a series that is there already
  bool add(Labels labels, double value);
  std::size_t size() const { return samples_->size(); }
  /// Takes them out; the set is of no use afterwards.
  std::vector<Sample> take() { return std::move(*samples_); }

 private:
  using Samples = std::vector<Sample>;
  struct Hash {
    const Samples* samples;
    std::size_t operator()(std::size_t i) const { return (*samples)[i].labels.hash(); }
  };
  struct Same {
    const Samples* samples;
    bool operator()(std::size_t a, std::size_t b) const { return (*samples)[a].labels == (*samples)[b].labels; }
  };
  std::unique_ptr<Samples> samples_ = std::make_unique<Samples>();  ///< at one address: the set looks into it
  std::unordered_set<std::size_t, Hash, Same> known_;
};

/// Settings that cannot be meant: half of a user name and password, two kinds of credentials, a password file beside an Authorization
/// header.
Result<> check_credentials(const config::CheckSettings& settings);

/// The request headers with the credentials as the files have them now. The files are read on the reactor: small ones on this machine.
/// @return `io` when a file cannot be read, is empty or over 16 KiB: our own trouble, which says nothing of the target
Result<std::map<std::string, std::string>> headers_with_credentials(const config::CheckSettings& settings);

/// Whether `headers` has `name`, in whatever case.
bool has_header(const std::map<std::string, std::string>& headers, std::string_view name);

}  // namespace rollbackd::checks
