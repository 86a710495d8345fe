// Labels, credentials and sample sets of the checks that bring series from somewhere else.
#include "checks/target.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/text.hpp"

namespace rollbackd::checks {

namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

std::string base64(const std::string& text) {
  std::string out(4 * ((text.size() + 2) / 3) + 1, '\0');  // EVP_EncodeBlock ends it with a zero.
  const int size = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

/// A file's content without the white space around it.
Result<std::string> secret(const std::string& path) {
  constexpr std::size_t kBytesMax = 16 << 10;
  const std::string what = "cannot read " + path;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return Error::from_errno(what, errno);
  std::array<char, kBytesMax + 1> block;
  std::size_t had = 0;
  int failed = 0;
  while (had < block.size()) {
    const ssize_t n = ::read(fd, block.data() + had, block.size() - had);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) failed = errno;
    if (n <= 0) break;
    had += static_cast<std::size_t>(n);
  }
  ::close(fd);
  if (failed != 0) return Error::from_errno(what, failed);
  if (had > kBytesMax) return Error(Errc::io, what).because("it is over 16 KiB");
  const std::string_view text = trim(std::string_view(block.data(), had));
  if (text.empty()) return Error(Errc::io, what).because("it is empty");
  return std::string(text);
}

}  // namespace

TargetLabels::TargetLabels(const CheckContext& context, std::string instance)
    : ours_{{"service", context.service.name},
            {"environment", context.service.environment},
            {"check", context.settings.name},
            {"instance", std::move(instance)},
            {"job", context.settings.job.empty() ? context.service.name : context.settings.job}} {}

Labels TargetLabels::own(std::string_view metric) const {
  std::vector<Labels::Pair> labels = ours_;
  labels.emplace_back(kNameLabel, metric);
  return Labels(std::move(labels));
}

Labels TargetLabels::stamped(std::vector<Labels::Pair> labels) const {
  const auto taken = [&](const std::string& name) {
    const auto same = [&](const Labels::Pair& p) { return p.first == name; };
    return std::any_of(labels.begin(), labels.end(), same) || std::any_of(ours_.begin(), ours_.end(), same);
  };
  for (const Labels::Pair& our : ours_) {
    const auto theirs = std::find_if(labels.begin(), labels.end(), [&](const Labels::Pair& p) { return p.first == our.first; });
    if (theirs == labels.end()) continue;
    std::string name = theirs->first;
    do {
      name = "exported_" + name;
    } while (taken(name));
    theirs->first = std::move(name);
  }
  labels.insert(labels.end(), ours_.begin(), ours_.end());
  return Labels(std::move(labels));
}

bool SampleSet::add(Labels labels, double value) {
  samples_->push_back({std::move(labels), value, false});
  if (known_.insert(samples_->size() - 1).second) return true;
  samples_->pop_back();
  return false;
}

bool has_header(const std::map<std::string, std::string>& headers, std::string_view name) {
  const std::string wanted = lower(name);
  return std::any_of(headers.begin(), headers.end(), [&](const auto& header) { return lower(header.first) == wanted; });
}

Result<> check_credentials(const config::CheckSettings& settings) {
  const auto wrong = [&](std::string why) {
    return Error(Errc::invalid_config, "the credentials of check " + settings.name + " cannot be meant").because(std::move(why));
  };
  const bool basic = !settings.username.empty() || !settings.password_file.empty(), bearer = !settings.bearer_token_file.empty();
  if (settings.username.empty() != settings.password_file.empty()) return wrong("username and password_file belong together");
  if (settings.username.find(':') != std::string::npos) return wrong("a user name cannot hold a colon");
  if (basic && bearer) return wrong("both password_file and bearer_token_file are given");
  if ((basic || bearer) && has_header(settings.headers, "authorization")) return wrong("headers holds an Authorization of its own");
  return {};
}

Result<std::map<std::string, std::string>> headers_with_credentials(const config::CheckSettings& settings) {
  std::map<std::string, std::string> headers = settings.headers;
  const std::string& file = settings.bearer_token_file.empty() ? settings.password_file : settings.bearer_token_file;
  if (file.empty()) return headers;
  const Result<std::string> read = secret(file);
  if (read.has_error()) return read.error();
  headers["Authorization"] = settings.bearer_token_file.empty() ? "Basic " + base64(settings.username + ":" + *read) : "Bearer " + *read;
  return headers;
}

}  // namespace rollbackd::checks
