// DIRECTORY/alerts: one line "rollbackd-alerts FORMAT CRC32C BYTES", then as many bytes of JSON. All instants are distances to the one at
// which the alerts were known, and that one carries boot id, boot time and wall time.
#include "record/alerts_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "base/digest.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "io/process.hpp"

namespace rollbackd::record {
namespace {

using io::Fd;

constexpr const char* kMagic = "rollbackd-alerts";
constexpr int kFormat = 1;
constexpr std::size_t kBytesMax = std::size_t{4} << 20;

Json labels_json(const Labels& labels) {
  Json out = Json::object();
  for (const auto& [name, value] : labels.pairs()) out.set(name, value);
  return out;
}

Labels labels_from(const Json& json) {
  std::vector<Labels::Pair> pairs;
  for (const auto& [name, value] : json.members()) pairs.emplace_back(name, value.string_or(""));
  return Labels(std::move(pairs));
}

/// As text, because JSON knows neither NaN nor infinities.
std::string number_text(double v) {
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", v);
  return text;
}

/// Nanoseconds before `at`; null for nothing.
Json before(Instant at, const std::optional<Instant>& t) { return t ? Json((at - *t).count()) : Json(); }
std::optional<Instant> instant_from(Instant at, const Json& ago) {
  if (!ago.is_number()) return std::nullopt;
  return at - Duration(ago.int_or(0));
}

Json alert_json(const KeptAlert& alert, Instant at) {
  Json out;
  out.set("rule", alert.rule).set("labels", labels_json(alert.labels)).set("element", labels_json(alert.element));
  out.set("value", number_text(alert.value)).set("phase", static_cast<int>(alert.phase));
  out.set("since", before(at, alert.since)).set("active", before(at, alert.active_at));
  out.set("absent", before(at, alert.absent_since)).set("blind", before(at, alert.blind_since));
  return out;
}

KeptAlert alert_from(const Json& json, const ServiceKey& service, Instant at) {
  KeptAlert out;
  out.rule = json["rule"].string_or("");
  out.service = service;
  out.labels = labels_from(json["labels"]);
  out.element = labels_from(json["element"]);
  out.value = std::strtod(json["value"].string_or("0").c_str(), nullptr);
  out.phase = json["phase"].int_or(0) == static_cast<int>(AlertPhase::firing) ? AlertPhase::firing : AlertPhase::pending;
  out.since = instant_from(at, json["since"]).value_or(at);
  out.active_at = instant_from(at, json["active"]).value_or(at);
  out.absent_since = instant_from(at, json["absent"]);
  out.blind_since = instant_from(at, json["blind"]);
  return out;
}

std::string text_of(const KeptAlerts& alerts, const ClockReading& clock) {
  const Stamp stamp = clock.to_stamp(alerts.at);
  Json services = Json::array();
  std::size_t bytes = 0, count = 0;
  for (const KeptService& service : alerts.services) {
    Json list = Json::array();
    for (const KeptAlert& alert : service.alerts) {
      Json one = alert_json(alert, alerts.at);
      bytes += one.dump().size() + 1;
      if (++count > kKeptAlertsMax || bytes > kBytesMax - 4096) break;
      list.push(std::move(one));
    }
    Json one;
    one.set("service", service.service.name).set("environment", service.service.environment);
    one.set("epoch", static_cast<std::int64_t>(service.epoch)).set("release", service.release);
    one.set("switched", before(alerts.at, service.switched)).set("alerts", std::move(list));
    bytes += 256;
    services.push(std::move(one));
  }
  Json out;
  out.set("boot", stamp.boot_id).set("boot_ns", stamp.boot_ns).set("wall_ns", stamp.wall_ns).set("services", std::move(services));
  const std::string json = out.dump();
  char head[64];
  std::snprintf(head, sizeof head, "%s %d %08x %zu\n", kMagic, kFormat, crc32c(json), json.size());
  return head + json;
}

Error damaged(const std::string& path, std::string why) {
  return Error(Errc::corrupt, "cannot use " + path).because(std::move(why)).try_next("nothing: alerts are found anew, and it is replaced");
}

/// The JSON behind a head that fits it.
Result<Json> checked(const std::string& path, const std::string& text) {
  const std::size_t end = text.find('\n');
  const auto words = split(text.substr(0, end == std::string::npos ? 0 : end), ' ');
  if (words.size() != 4 || words[0] != kMagic) return damaged(path, "it does not begin as a file of alerts does");
  if (words[1] != std::to_string(kFormat)) return damaged(path, "its format is " + printable(cut(words[1], 16)));
  const std::string json = text.substr(end + 1);
  char sum[16];
  std::snprintf(sum, sizeof sum, "%08x", crc32c(json));
  if (words[2] != sum || words[3] != std::to_string(json.size())) return damaged(path, "its checksum or length is another");
  auto parsed = Json::parse(json);
  if (!parsed) return damaged(path, parsed.error().text());
  return parsed;
}

Result<std::string> read_whole(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (file.get() < 0) {
    if (errno == ENOENT) return Error(Errc::not_found, "there is no " + path);
    return Error::from_errno("cannot open " + path, errno);
  }
  struct stat facts {};
  if (::fstat(file.get(), &facts) != 0) return Error::from_errno("cannot look at " + path, errno);
  if (!S_ISREG(facts.st_mode)) return damaged(path, "it is not a regular file");
  if (static_cast<std::size_t>(facts.st_size) > kBytesMax) return damaged(path, "it is larger than 4 MiB");
  std::string text(static_cast<std::size_t>(facts.st_size), '\0');
  std::size_t at = 0;
  while (at < text.size()) {
    const ssize_t n = ::read(file.get(), text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno("cannot read " + path, errno);
    if (n == 0) break;
    at += static_cast<std::size_t>(n);
  }
  text.resize(at);
  return text;
}

int write_synced(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return ::fsync(fd) != 0 ? errno : 0;
}

}  // namespace

Result<> write_alerts(const std::string& directory, const KeptAlerts& alerts, const ClockReading& clock) {
  const std::string path = directory + "/alerts", unfinished = path + ".new";
  const Fd folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return Error::from_errno("cannot open " + directory, errno);
  if (::unlink(unfinished.c_str()) != 0 && errno != ENOENT) return Error::from_errno("cannot replace " + unfinished, errno);
  int error = 0;
  {
    const Fd file(::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (file.get() < 0) return Error::from_errno("cannot make " + unfinished, errno);
    error = write_synced(file.get(), text_of(alerts, clock));
  }
  if (error == 0 && ::rename(unfinished.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0 && ::fsync(folder.get()) != 0) error = errno;
  if (error == 0) return {};
  ::unlink(unfinished.c_str());
  return Error::from_errno("cannot write " + path, error);
}

Result<KeptAlerts> read_alerts(const std::string& directory, const ClockReading& clock) {
  const std::string path = directory + "/alerts";
  auto text = read_whole(path);
  if (!text) return text.error();
  auto json = checked(path, *text);
  if (!json) return json.error();
  KeptAlerts out;
  out.at = clock.to_instant({(*json)["boot"].string_or(""), (*json)["boot_ns"].int_or(0), (*json)["wall_ns"].int_or(0)});
  std::size_t count = 0;
  for (const Json& one : (*json)["services"].elements()) {
    KeptService service;
    service.service = {one["service"].string_or(""), one["environment"].string_or("")};
    service.epoch = static_cast<std::uint64_t>(one["epoch"].int_or(0));
    service.release = one["release"].string_or("");
    service.switched = instant_from(out.at, one["switched"]).value_or(out.at);
    for (const Json& alert : one["alerts"].elements()) {
      if (++count > kKeptAlertsMax) return damaged(path, "it holds more alerts than it may");
      service.alerts.push_back(alert_from(alert, service.service, out.at));
    }
    out.services.push_back(std::move(service));
  }
  return out;
}

}  // namespace rollbackd::record
