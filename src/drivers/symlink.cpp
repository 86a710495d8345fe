#include "drivers/symlink.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "drivers/await_outcome.hpp"
#include "drivers/keeper_protocol.hpp"
#include "drivers/manifest.hpp"
#include "io/inotify.hpp"
#include "io/process.hpp"

namespace asio = boost::asio;

namespace rollbackd::drivers {
namespace {

using io::Fd;
using namespace asio::experimental::awaitable_operators;

constexpr std::size_t kReleasesMax = 1000;
constexpr std::size_t kReleaseJsonBytesMax = 64 << 10;
constexpr std::size_t kArtifactsMax = 256;
constexpr std::size_t kKnownMax = 32;  // Manifests kept for quick looks; a ledger has no more rows.
constexpr std::size_t kReasonBytesMax = 4096;
constexpr Duration kMissingFor = 1s;  // `ln -sfn` leaves a moment without a link.
constexpr Duration kParentRetry = 1s;
constexpr Duration kLookAnyway = 15s;  // inotify tells nothing of a renamed ancestor or a network file system.

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

/// The facts of where a component's releases are and what its link means. Blocking; copied into the workers.
struct Layout {
  LinkPlace place;
  std::string releases;

  std::string release_path(const std::string& release) const { return releases + "/" + release; }

  /// The release that a link value leads to; empty when it leads anywhere else. The releases directory may have several names.
  std::string release_of(const std::string& value) const {
    const std::string target = without_trailing_slashes(value.starts_with('/') ? value : place.directory + "/" + value);
    const std::size_t slash = target.rfind('/');
    const std::string id = target.substr(slash + 1);
    if (!is_release_id(id)) return {};
    const std::string parent = slash == 0 ? "/" : target.substr(0, slash);
    if (std::filesystem::path(parent).lexically_normal() == std::filesystem::path(releases).lexically_normal()) return id;
    struct stat a {
    }, b{};
    const bool same = ::stat(parent.c_str(), &a) == 0 && ::stat(releases.c_str(), &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
    return same ? id : std::string();
  }

  bool has_release(const std::string& release) const {
    struct stat facts {};
    return is_release_id(release) && ::lstat(release_path(release).c_str(), &facts) == 0 && S_ISDIR(facts.st_mode);
  }

  /// How a link to `release` is written: the way the present one is, so relative stays relative.
  std::string value_for(const LinkFacts& now, const std::string& release) const {
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

  Result<World> look() const {
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
      if (is_release_id(entry->d_name) && ::fstatat(fd.get(), entry->d_name, &facts, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(facts.st_mode))
        world.releases.emplace_back(entry->d_name);
    }
    // Beyond the bound the live one is still named: plans are made from it.
    if (!world.live.empty() && world.releases.size() == kReleasesMax && has_release(world.live) &&
        std::find(world.releases.begin(), world.releases.end(), world.live) == world.releases.end())
      world.releases.back() = world.live;
    std::sort(world.releases.begin(), world.releases.end());
    return world;
  }
};

Outcome refused(std::string what, std::string why) {
  return Outcome{Outcome::Status::refused, Json::object(), Error(Errc::refused, std::move(what)).because(std::move(why))};
}

Result<> write_marker(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".new";
  Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file) return Error::from_errno("cannot write " + temporary, errno);
  const ssize_t n = ::write(file.get(), text.data(), text.size());
  if (n != static_cast<ssize_t>(text.size())) {
    const int why = n < 0 ? errno : ENOSPC;
    ::unlink(temporary.c_str());
    return Error::from_errno("cannot write " + temporary, why);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return Error::from_errno("cannot write " + path, errno);
  return {};
}

class Symlink final : public Driver {
 public:
  Symlink(DriverContext context, Layout layout, Exchange exchange)
      : context_(std::move(context)), layout_(std::move(layout)), exchange_(std::move(exchange)) {}

  asio::awaitable<Result<World>> inspect() override {
    auto work = [layout = layout_] { return layout.look(); };
    co_return co_await context_.steps->run(std::move(work));
  }

  Result<std::vector<Step>> plan(const World& world, const std::string& release) const override {
    if (auto id = check_release_id(release); id.has_error()) return id.error();
    if (world.link == World::Link::not_a_link)
      return Error(Errc::refused, layout_.place.path() + " is not a link").try_next("make it a link into " + layout_.releases);
    if (!layout_.has_release(release)) return Error(Errc::not_found, "no release " + release + " in " + layout_.releases);
    Step step;
    step.component = context_.settings.name;
    step.driver = "symlink";
    step.action = "switch";
    step.arguments = Json::object();
    step.arguments.set("current", layout_.place.path())
        .set("from_value", world.link_value)
        .set("to_value", layout_.value_for(LinkFacts{world.link, world.link_value, world.link_inode}, release))
        .set("armed", layout_.place.armed_path());
    return std::vector<Step>{std::move(step)};
  }

  asio::awaitable<Outcome> run(Step step, Duration deadline) override {
    if (auto no = check(step)) co_return *std::move(no);
    const std::string to = step.arguments["to_value"].string_or("");
    if (!layout_.has_release(layout_.release_of(to)))
      co_return refused("cannot switch to " + printable(to), "no release of " + layout_.releases);
    auto work = [layout = layout_, exchange = exchange_, turn = turn_, from = step.arguments["from_value"].string_or(""), to] {
      // One that hangs on its disk and a repeated one must not mix; the second finds out what the first did.
      const std::lock_guard lock(*turn);
      return switch_link(layout.place, from, to, exchange);
    };
    co_return co_await await_outcome(context_.executor, context_.steps->run(std::move(work)), deadline);
  }

  asio::awaitable<Outcome> undo(Step step, Duration deadline) override {
    if (auto no = check(step)) co_return *std::move(no);
    auto work = [layout = layout_, from = step.arguments["from_value"].string_or("")] {
      auto now = look_at_link(layout.place);
      if (now.has_error()) return Outcome{Outcome::Status::failed, Json::object(), now.error()};
      if (now.value().link != World::Link::not_a_link && now.value().value == from) {
        Json facts = Json::object();
        facts.set("link_value", now.value().value).set("link_inode", now.value().inode);
        return Outcome{Outcome::Status::already_done, std::move(facts), Error()};
      }
      return refused("cannot undo the switch of " + layout.place.path(),
                     "it is the commit point: " + printable(now.value().value) + " is live");
    };
    co_return co_await await_outcome(context_.executor, context_.steps->run(std::move(work)), deadline);
  }

  asio::awaitable<void> watch(std::function<void(LinkSeen)> sink) override;

  asio::awaitable<TargetFacts> arm(std::string release, std::string expected_digest) override {
    TargetFacts facts = co_await full_look(release, expected_digest);
    if (!facts.intact) co_return facts;
    auto work = [layout = layout_, exchange = exchange_, turn = turn_, release]() -> Result<bool> {
      const std::lock_guard lock(*turn);
      auto now = look_at_link(layout.place);
      if (now.has_error()) return now.error();
      if (now.value().link == World::Link::not_a_link) return Error(Errc::refused, layout.place.path() + " is not a link");
      return arm_link(layout.place, layout.value_for(now.value(), release), exchange);
    };
    const Result<bool> exchanges = co_await context_.steps->run(std::move(work));
    if (exchanges.has_error()) {
      facts.why = "intact, but not armed: " + exchanges.error().text();
    } else if (!exchanges.value()) {
      facts.why = "the file system of " + layout_.place.directory +
                  " cannot exchange two names: a deployment from outside in the same moment would be overwritten unseen, and a switch "
                  "needs disk space";
    }
    co_return facts;
  }

  asio::awaitable<Result<std::string>> digest(std::string release) override {
    if (auto id = check_release_id(release); id.has_error()) co_return id.error();
    auto work = [path = layout_.release_path(release)] { return hash_tree(path); };
    auto manifest = co_await context_.bulk->run(std::move(work));
    if (manifest.has_error()) co_return manifest.error();
    co_return remember(release, std::move(manifest.value()));
  }

  asio::awaitable<TargetFacts> look(std::string release, std::string expected_digest) override {
    if (const auto known = known_.find(release); known != known_.end()) {
      auto work = [path = layout_.release_path(release), manifest = known->second] { return first_change(path, *manifest); };
      const Result<std::string> changed = co_await context_.steps->run(std::move(work));
      if (changed.has_value() && changed.value().empty()) {
        co_return judged(release, known_digest(release), expected_digest);
      }
    }
    co_return co_await full_look(release, expected_digest);
  }

  Result<Release> describe(const std::string& release) const override;

  asio::awaitable<Result<>> mark_bad(std::string release, std::string reason) override {
    if (auto id = check_release_id(release); id.has_error()) co_return id.error();
    auto work = [path = layout_.releases + "/." + release + ".BAD_RELEASE",
                 text = format_rfc3339(context_.clock->now()) + " " + cut(printable(reason), kReasonBytesMax) + "\n"] {
      return write_marker(path, text);
    };
    co_return co_await context_.steps->run(std::move(work));
  }

 private:
  /// A step says what it does; whether it may, is decided here again: its paths must be those of the settings.
  std::optional<Outcome> check(const Step& step) const {
    if (step.driver != "symlink" || step.version != 1 || step.action != "switch")
      return refused("cannot run this step",
                     step.driver + " " + step.action + " version " + std::to_string(step.version) + " is none of symlink's");
    if (step.arguments["current"].string_or("") != layout_.place.path() ||
        step.arguments["armed"].string_or("") != layout_.place.armed_path())
      return refused("cannot run this step", "its paths are not those of the settings");
    if (layout_.release_of(step.arguments["to_value"].string_or("")).empty())
      return refused("cannot run this step",
                     printable(step.arguments["to_value"].string_or("")) + " does not lead to a release in " + layout_.releases);
    return std::nullopt;
  }

  asio::awaitable<TargetFacts> full_look(std::string release, std::string expected_digest) {
    const Result<std::string> digest = co_await this->digest(release);
    if (digest.has_value()) co_return judged(release, digest.value(), expected_digest);
    TargetFacts facts;
    facts.release = release;
    facts.present = layout_.has_release(release);
    facts.why = digest.error().text();
    co_return facts;
  }

  static TargetFacts judged(const std::string& release, const std::string& digest, const std::string& expected_digest) {
    TargetFacts facts;
    facts.release = release;
    facts.present = true;
    facts.intact = expected_digest.empty() || digest == expected_digest;
    if (!facts.intact) facts.why = "its digest is " + digest.substr(0, 12) + "…, the ledger says " + expected_digest.substr(0, 12) + "…";
    return facts;
  }

  /// Keeps a manifest for quick looks. @return its digest
  std::string remember(const std::string& release, Manifest manifest) {
    std::string digest = manifest.digest;
    if (known_.size() >= kKnownMax && !known_.contains(release)) known_.erase(known_.begin());
    known_[release] = std::make_shared<const Manifest>(std::move(manifest));
    return digest;
  }
  std::string known_digest(const std::string& release) const {
    const auto known = known_.find(release);
    return known == known_.end() ? "" : known->second->digest;
  }

  DriverContext context_;
  Layout layout_;
  Exchange exchange_;
  std::shared_ptr<std::mutex> turn_ = std::make_shared<std::mutex>();  ///< of those who change links; held on workers only
  std::map<std::string, std::shared_ptr<const Manifest>> known_;       ///< touched on the reactor only
};

asio::awaitable<void> Symlink::watch(std::function<void(LinkSeen)> sink) {
  asio::steady_timer timer(context_.executor);
  std::optional<io::Inotify> events;
  int watched = -1;
  std::optional<LinkFacts> reported;
  std::optional<Instant> missing_since;
  const auto same = [](const LinkFacts& a, const LinkFacts& b) { return a.link == b.link && a.value == b.value && a.inode == b.inode; };
  while (true) {
    // First the watch, then the look: what happens between is told twice rather than not at all.
    if (!events) {
      auto opened = io::Inotify::open(context_.executor);
      if (opened.has_value()) events.emplace(std::move(opened.value()));
    }
    bool watching = false;
    if (events) {
      // Adding it again gives the same watch, unless another directory has come to this place.
      const auto added = events->add(layout_.place.directory,
                                     IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR);
      watching = added.has_value();
      if (watching && watched >= 0 && added.value() != watched) events->remove(watched);
      watched = watching ? added.value() : -1;
    }
    auto work = [layout = layout_]() -> Result<std::pair<LinkFacts, std::string>> {
      auto now = look_at_link(layout.place);
      if (now.has_error()) return now.error();
      std::string live = now.value().link == World::Link::present ? layout.release_of(now.value().value) : std::string();
      return std::make_pair(std::move(now.value()), std::move(live));
    };
    const auto seen = co_await context_.steps->run(std::move(work));
    if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return;
    Duration wait = watching ? kLookAnyway : kParentRetry;
    if (seen.has_value()) {
      const auto& [now, live] = seen.value();
      const Instant at = context_.clock->now();
      if (now.link == World::Link::missing) {
        if (!missing_since) missing_since = at;
        if (at - *missing_since < kMissingFor) wait = std::min(wait, kMissingFor - (at - *missing_since));
      } else {
        missing_since.reset();
      }
      const bool settled = !missing_since || at - *missing_since >= kMissingFor;
      if (settled && !(reported && same(*reported, now))) {
        reported = now;
        sink(LinkSeen{now.link, now.value, now.inode, live, at});
      }
    } else {
      wait = kParentRetry;
    }

    timer.expires_after(wait);
    bool woken = false;
    while (!woken) {
      if (!events) {
        co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
        woken = true;
      } else {
        auto both = co_await (events->next() || timer.async_wait(asio::as_tuple(asio::use_awaitable)));
        if (both.index() == 1) {
          woken = true;
        } else if (const auto& heard = std::get<0>(both); heard.has_error()) {
          events.reset();
          watched = -1;
        } else {
          for (const io::FileEvent& event : heard.value())
            woken = woken || event.name.empty() || event.name == layout_.place.name;  // Without a name: overflow, or the directory itself.
        }
      }
      if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return;
    }
  }
}

Result<Release> Symlink::describe(const std::string& release) const {
  if (auto id = check_release_id(release); id.has_error()) return id.error();
  if (!layout_.has_release(release)) return Error(Errc::not_found, "no release " + release + " in " + layout_.releases);
  Release out;
  out.id = release;
  out.path = layout_.release_path(release);
  // What release.json says of a digest cannot be ours: the file is part of the tree that ours is taken of.
  out.digest = known_digest(release);

  const std::string path = out.path + "/release.json";
  const auto ignored = [&](const std::string& why) {
    log::warning("ignored what a release says of itself", {{"file", path}, {"why", why}});
  };
  const auto text = keeper::read_file(path, kReleaseJsonBytesMax);
  if (text.has_error()) {
    if (text.error().code != Errc::not_found) ignored(text.error().text());
    return out;
  }
  const auto parsed = Json::parse(text.value());
  if (parsed.has_error() || !parsed.value().is_object()) {
    ignored(parsed.has_error() ? parsed.error().text() : "it is no object");
    return out;
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
  return out;
}

}  // namespace

Result<std::unique_ptr<Driver>> make_symlink_driver(DriverContext context, Exchange exchange) {
  const std::string current = without_trailing_slashes(context.settings.current);
  const std::string releases = without_trailing_slashes(context.settings.releases);
  const std::size_t slash = current.rfind('/');
  const auto wrong = [&](const std::string& why) {
    return Error(Errc::invalid_config, "component " + context.settings.name + " of " + context.service.text() + " cannot be switched")
        .because(why);
  };
  if (!current.starts_with('/') || slash + 1 == current.size()) return wrong("`current` must be an absolute path of a link");
  if (!releases.starts_with('/')) return wrong("`releases` must be an absolute path of a directory");
  if (!context.clock || !context.steps || !context.bulk) return Error(Errc::internal, "a driver without clock or workers");
  Layout layout{LinkPlace{slash == 0 ? "/" : current.substr(0, slash), current.substr(slash + 1)}, releases};
  if (layout.place.name == "." || layout.place.name == "..") return wrong("`current` must end in the link's name");
  return std::unique_ptr<Driver>(std::make_unique<Symlink>(std::move(context), std::move(layout), std::move(exchange)));
}

}  // namespace rollbackd::drivers
