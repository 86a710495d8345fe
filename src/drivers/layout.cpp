// Reads directories of releases as people and deployment tools leave them. Flow: symlink.cpp -> [here] -> the ledger's rows.
#include "drivers/layout.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <memory>

#include "base/ids.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "drivers/keeper_protocol.hpp"
#include "io/process.hpp"

namespace rollbackd::drivers {
namespace {

using io::Fd;

constexpr std::size_t kReleasesMax = 1000;
constexpr std::size_t kReleaseJsonBytesMax = 64 << 10;
constexpr std::size_t kArtifactsMax = 256;
constexpr std::size_t kLeftOutMax = 64;
constexpr std::size_t kLinksLookedAtMax = 10'000;
constexpr std::size_t kReleasesLogBytesMax = 1 << 20;
constexpr std::size_t kRevisionBytesMax = 4096;

struct Closer {
  void operator()(DIR* stream) const { ::closedir(stream); }
};
using Directory = std::unique_ptr<DIR, Closer>;

/// The link at `path`; empty when there is none.
std::string link_value(const std::string& path) {
  std::array<char, 4096> buffer;
  const ssize_t n = ::readlink(path.c_str(), buffer.data(), buffer.size());
  return n <= 0 ? std::string() : std::string(buffer.data(), static_cast<std::size_t>(n));
}

bool is_there(const std::string& path) {
  struct stat facts {};
  return ::lstat(path.c_str(), &facts) == 0;
}

/// A path inside a release, as release.json may name it: relative, without "." and "..".
bool is_inner_path(const std::string& path) {
  if (path.empty() || path.size() > 1024 || path.front() == '/' || path.back() == '/') return false;
  for (const std::string& part : split(path, '/'))
    if (part.empty() || part == "." || part == "..") return false;
  return true;
}

/// "2026-11-20T03:00:00+0000", as PHP's ISO 8601 writes it, in the form that a release's `created` has.
std::string with_colon_in_zone(std::string time) {
  const std::size_t n = time.size();
  const bool bare = n >= 5 && (time[n - 5] == '+' || time[n - 5] == '-') && time.find(':', n - 5) == time.npos;
  if (bare) time.insert(n - 2, ":");
  return time;
}

/// Deployer notes each deployment in a line of JSON; the last one of this name counts.
std::string created_by_deployer(const std::string& log, const std::string& release) {
  std::string out;
  for (const std::string& line : split(log, '\n')) {
    if (line.find(release) == line.npos) continue;
    const auto entry = Json::parse(line);
    if (!entry || !entry->is_object()) continue;
    const Json& name = (*entry)["release_name"];
    const bool same = name.is_string() ? name.string_or("") == release : name.is_number() && std::to_string(name.int_or(-1)) == release;
    if (same) out = with_colon_in_zone((*entry)["created_at"].string_or(""));
  }
  return cut(out, 64);
}

void describe_by_tools(const Layout& layout, Release& out) {
  if (out.commit.empty()) {
    if (const auto revision = keeper::read_file(out.path + "/REVISION", kRevisionBytesMax)) {
      const std::string first = std::string(trim(revision->substr(0, revision->find('\n'))));
      out.commit = cut(printable(first), 256);
    }
  }
  if (!out.created.empty()) return;
  if (const auto log = keeper::read_file(layout.place.directory + "/.dep/releases_log", kReleasesLogBytesMax))
    out.created = created_by_deployer(*log, out.id);
}

}  // namespace

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::string Layout::release_of(const std::string& value) const {
  const std::string target = without_trailing_slashes(value.starts_with('/') ? value : place.directory + "/" + value);
  const std::size_t slash = target.rfind('/');
  std::string id = target.substr(slash + 1);
  if (!is_release_id(id)) return {};
  const std::string parent = slash == 0 ? "/" : target.substr(0, slash);
  if (std::filesystem::path(parent).lexically_normal() == std::filesystem::path(releases).lexically_normal()) return id;
  struct stat a {
  }, b{};
  const bool same = ::stat(parent.c_str(), &a) == 0 && ::stat(releases.c_str(), &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
  return same ? id : std::string();
}

bool Layout::has_release(const std::string& release) const {
  struct stat facts {};
  return is_release_id(release) && ::lstat(release_path(release).c_str(), &facts) == 0 && S_ISDIR(facts.st_mode);
}

std::string Layout::value_for(const LinkFacts& now, const std::string& release) const {
  if (now.link != World::Link::present) return release_path(release);
  const std::string value = without_trailing_slashes(now.value);
  if (!release_of(value).empty()) {
    const std::size_t slash = value.rfind('/');
    return (slash == value.npos ? "" : value.substr(0, slash + 1)) + release;
  }
  if (value.starts_with('/')) return release_path(release);
  const std::string way = std::filesystem::path(releases).lexically_relative(place.directory).string();
  return way.empty() ? release_path(release) : (way == "." ? release : way + "/" + release);
}

Result<World> Layout::look() const {
  auto link = look_at_link(place);
  if (link.has_error()) return link.error();
  World world;
  world.link = link.value().link;
  world.link_value = link.value().value;
  world.link_inode = link.value().inode;
  if (world.link == World::Link::present) world.live = release_of(world.link_value);

  const Fd fd(::open(releases.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return Error::from_errno("cannot read the releases in " + releases, errno);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(releases.c_str()), ::closedir);
  if (!stream) return Error::from_errno("cannot read the releases in " + releases, errno);
  while (world.releases.size() < kReleasesMax) {
    const dirent* entry = ::readdir(stream.get());  // NOLINT(concurrency-mt-unsafe): the stream is this function's own
    if (!entry) break;
    struct stat facts {};
    if (is_release_id(entry->d_name) && ::fstatat(fd.get(), entry->d_name, &facts, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(facts.st_mode) &&
        why_unfinished(entry->d_name).empty())
      world.releases.emplace_back(entry->d_name);
  }
  // Beyond the bound the live one is still named: plans are made from it.
  if (!world.live.empty() && world.releases.size() == kReleasesMax && has_release(world.live) &&
      std::find(world.releases.begin(), world.releases.end(), world.live) == world.releases.end())
    world.releases.back() = world.live;
  std::sort(world.releases.begin(), world.releases.end());
  return world;
}

std::string Layout::why_unfinished(const std::string& release) const {
  const std::string writing = link_value(place.directory + "/release");
  const bool written = place.name != "release" && !writing.empty() && release_of(writing) == release;
  const bool noted = is_there(release_path(release) + "/DEPLOY_UNFINISHED");
  // Where the tool cannot rename links it makes `current` first and removes `release` after it.
  if ((!written && !noted) || release_of(link_value(place.path())) == release) return {};
  return noted ? "it holds a file DEPLOY_UNFINISHED: a deployment is writing it, or failed"
               : place.directory + "/release leads to it: a deployment is writing it, or failed";
}

std::vector<std::string> Layout::links_to(const std::string& release) const {
  std::vector<std::string> out;
  for (const std::string& where : {place.directory, releases}) {
    const Directory stream(::opendir(where.c_str()));
    if (!stream) continue;
    for (std::size_t looked = 0; looked < kLinksLookedAtMax; ++looked) {
      const dirent* entry = ::readdir(stream.get());  // NOLINT(concurrency-mt-unsafe): the stream is this function's own
      if (!entry) break;
      if (entry->d_type != DT_LNK && entry->d_type != DT_UNKNOWN) continue;
      const std::string path = where + "/" + entry->d_name, value = link_value(path);
      if (value.empty()) continue;
      const std::string whole = value.front() == '/' ? value : where + "/" + value;
      if (release_of(whole) == release && std::find(out.begin(), out.end(), path) == out.end()) out.push_back(path);
    }
  }
  return out;
}

std::string Layout::held_lock() const {
  const std::string lock = place.directory + "/.dep/deploy.lock";
  return is_there(lock) ? lock : std::string();
}

Said describe_release(const Layout& layout, const std::string& release) {
  Said said;
  Release& out = said.release;
  out.id = release;
  out.path = layout.release_path(release);
  const std::string path = out.path + "/release.json";
  const auto ignored = [&](const std::string& why) {
    log::warning("ignored what a release says of itself", {{"file", path}, {"why", why}});
  };
  const auto text = keeper::read_file(path, kReleaseJsonBytesMax);
  if (text.has_error()) {
    if (text.error().code != Errc::not_found) ignored(text.error().text());
    describe_by_tools(layout, out);
    return said;
  }
  const auto parsed = Json::parse(text.value());
  if (parsed.has_error() || !parsed.value().is_object()) {
    ignored(parsed.has_error() ? parsed.error().text() : "it is no object");
    describe_by_tools(layout, out);
    return said;
  }
  const Json& json = parsed.value();
  const auto member = [&](const char* key, bool (Json::*is)() const) -> const Json* {
    if (!json.has(key)) return nullptr;
    if ((json[key].*is)()) return &json[key];
    ignored(std::string(key) + " has the wrong type");
    return nullptr;
  };
  if (const Json* id = member("id", &Json::is_string); id && id->string_or("") != release)
    ignored("it says it is " + printable(cut(id->string_or(""), 128)));
  if (const Json* v = member("commit", &Json::is_string)) out.commit = cut(v->string_or(""), 256);
  if (const Json* v = member("created", &Json::is_string)) out.created = cut(v->string_or(""), 64);
  if (const Json* v = member("irreversible", &Json::is_bool)) out.irreversible = v->bool_or(false);
  if (const Json* v = member("security_epoch", &Json::is_number)) out.security_epoch = v->int_or(0);
  if (const Json* v = member("min_compatible", &Json::is_string)) {
    if (is_release_id(v->string_or(""))) {
      out.min_compatible = v->string_or("");
    } else {
      ignored("min_compatible is no release id");
    }
  }
  if (const Json* v = member("artifacts", &Json::is_array)) {
    for (const Json& a : v->elements()) {
      if (out.artifacts.size() >= kArtifactsMax) {
        ignored("more than " + std::to_string(kArtifactsMax) + " artifacts");
        break;
      }
      out.artifacts.push_back(
          Artifact{a["name"].string_or(""), a["locator"].string_or(""), a["size"].int_or(0), a["sha256"].string_or("")});
    }
  }
  if (const Json* v = member("mutable", &Json::is_array)) {
    for (const Json& inner : v->elements()) {
      if (said.left_out.size() < kLeftOutMax && is_inner_path(inner.string_or(""))) {
        said.left_out.push_back(inner.string_or(""));
      } else {
        ignored("a path of mutable is none within the release, or there are more than " + std::to_string(kLeftOutMax));
      }
    }
  }
  describe_by_tools(layout, out);
  return said;
}

}  // namespace rollbackd::drivers
