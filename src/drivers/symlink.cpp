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
#include "drivers/actor_config.hpp"
#include "drivers/await_outcome.hpp"
#include "drivers/guarded_path.hpp"
#include "drivers/layout.hpp"
#include "drivers/manifest.hpp"
#include "drivers/release_reading.hpp"
#include "drivers/removal.hpp"
#include "io/inotify.hpp"
#include "io/process.hpp"

namespace asio = boost::asio;

namespace rollbackd::drivers {
namespace {

using io::Fd;
using namespace asio::experimental::awaitable_operators;

constexpr std::size_t kKnownMax = 32;  // Manifests kept for quick looks; a ledger has no more rows.
constexpr std::size_t kReasonBytesMax = 4096;
constexpr int kThreadsInAHurry = 2;   // A rollback waits for the answer.
constexpr Duration kMissingFor = 1s;  // `ln -sfn` leaves a moment without a link.
constexpr Duration kParentRetry = 1s;
constexpr Duration kLookAnyway = 15s;  // inotify tells nothing of a renamed ancestor or a network file system.

Outcome refused(std::string what, std::string why) {
  return Outcome{Outcome::Status::refused, Json::object(), Error(Errc::refused, std::move(what)).because(std::move(why))};
}

Result<> write_marker(const Layout& layout, const std::string& release, const std::string& text) {
  const std::string name = bad_release_note(release), temporary = name + ".new", path = layout.releases + "/" + name;
  const auto releases = open_directory(layout.releases, layout.place.guarded);
  if (releases.has_error()) return releases.error();
  // A file of its own: what somebody left or put there under that name is not written into.
  if (::unlinkat(releases->get(), temporary.c_str(), 0) != 0 && errno != ENOENT) return Error::from_errno("cannot write " + path, errno);
  Fd file(::openat(releases->get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file) return Error::from_errno("cannot write " + path, errno);
  const ssize_t n = ::write(file.get(), text.data(), text.size());
  int why = n < 0 ? errno : n != static_cast<ssize_t>(text.size()) ? ENOSPC : 0;
  if (why == 0 && ::renameat(releases->get(), temporary.c_str(), releases->get(), name.c_str()) != 0) why = errno;
  if (why == 0) return {};
  ::unlinkat(releases->get(), temporary.c_str(), 0);
  return Error::from_errno("cannot write " + path, why);
}

Result<> remove_marker(const Layout& layout, const std::string& release) {
  const auto releases = open_directory(layout.releases, layout.place.guarded);
  if (releases.has_error()) return releases.error();
  if (::unlinkat(releases->get(), bad_release_note(release).c_str(), 0) == 0 || errno == ENOENT) return {};
  return Error::from_errno("cannot remove " + layout.releases + "/" + bad_release_note(release), errno);
}

/// For the actor: the link would lead, from where it is put, to the directory of that release and to no other.
DirectoryCheck leads_to_its_release(const Layout& layout, const std::string& value) {
  if (!layout.place.guarded) return {};
  return [layout, value](int directory) -> Result<> {
    const auto release = actor::open_release(layout.releases, layout.release_of(value));
    if (release.has_error()) return release.error();
    return actor::leads_to(directory, value, *release);
  };
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
    if (const std::string why = layout_.why_unfinished(release); !why.empty())
      return Error(Errc::refused, "release " + release + " is not whole").because(why).try_next("let the deployment end, or end it");
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
    if (step.driver == "symlink" && step.version == 1 && step.action == "remove") co_return co_await remove(std::move(step), deadline);
    if (auto no = check(step)) co_return *std::move(no);
    const std::string to = step.arguments["to_value"].string_or("");
    auto work = [layout = layout_, exchange = exchange_, turn = turn_, from = step.arguments["from_value"].string_or(""), to] {
      // One that hangs on its disk and a repeated one must not mix; the second finds out what the first did.
      const std::lock_guard lock(*turn);
      if (!layout.has_release(layout.release_of(to)))
        return refused("cannot switch to " + printable(to), "no release of " + layout.releases);
      return switch_link(layout.place, from, to, exchange, leads_to_its_release(layout, to));
    };
    co_return co_await await_outcome(context_.executor, context_.steps->run(std::move(work)), deadline);
  }

  asio::awaitable<Outcome> undo(Step step, Duration deadline) override {
    if (auto no = check(step)) co_return *std::move(no);
    const std::string from = step.arguments["from_value"].string_or("");
    if (layout_.release_of(from).empty())
      co_return refused("cannot undo the switch of " + layout_.place.path(),
                        printable(from) + " leads to no release of " + layout_.releases);
    // One that hangs and its undo must not mix: the undo finds out what the switch did.
    auto work = [layout = layout_, exchange = exchange_, turn = turn_, from, to = step.arguments["to_value"].string_or("")] {
      const std::lock_guard lock(*turn);
      return switch_link(layout.place, to, from, exchange);
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
    ReadOptions options;
    options.quick = true;
    auto found = co_await read(std::move(release), options);
    if (found.has_error()) co_return found.error();
    co_return std::move(found.value().digest);
  }

  asio::awaitable<Result<Reading>> read(std::string release, ReadOptions options) override {
    if (auto id = check_release_id(release); id.has_error()) co_return id.error();
    io::Worker* worker = options.worker != nullptr ? options.worker : context_.bulk;
    auto work = [layout = layout_, release, options, known = known_of(release), kept = kept_] {
      return read_release(layout, release, options, known, kept);
    };
    auto done = co_await worker->run(std::move(work));
    if (done.has_error()) co_return done.error();
    remember(release, std::move(done.value().known));
    co_return std::move(done.value().reading);
  }

  asio::awaitable<TargetFacts> look(std::string release, std::string expected_digest) override {
    if (const auto known = known_of(release)) {
      auto work = [path = layout_.release_path(release), known] { return first_change(path, known->manifest, {}, known->left_out); };
      const Result<std::string> changed = co_await context_.steps->run(std::move(work));
      if (changed.has_value() && changed.value().empty()) {
        const Reading same{known->manifest.digest, "", false, 0, 0};
        co_return judged(release, same, expected_digest);
      }
    }
    co_return co_await full_look(release, expected_digest);
  }

  Result<Step> plan_removal(const ComponentRelease& part) const override {
    if (auto id = check_release_id(part.release); id.has_error()) return id.error();
    Step step;
    step.component = context_.settings.name;
    step.driver = "symlink";
    step.action = "remove";
    step.arguments = Json::object();
    step.arguments.set("releases", layout_.releases).set("release", part.release);
    return step;
  }

  std::vector<ComponentRelease> half_removed() const override {
    std::vector<ComponentRelease> out;
    for (std::string& release : drivers::half_removed(layout_.releases)) out.push_back({context_.settings.name, std::move(release)});
    return out;
  }

  Result<Release> describe(const std::string& release) const override;

  asio::awaitable<Result<>> mark_bad(std::string release, std::string reason) override {
    if (auto id = check_release_id(release); id.has_error()) co_return id.error();
    std::string text;
    if (!reason.empty()) text = format_rfc3339(context_.clock->now()) + " " + cut(printable(reason), kReasonBytesMax) + "\n";
    auto work = [layout = layout_, release, text = std::move(text)] {
      return text.empty() ? remove_marker(layout, release) : write_marker(layout, release, text);
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
    ReadOptions options;
    options.threads = kThreadsInAHurry;
    const Result<Reading> found = co_await read(release, options);
    if (found.has_value()) co_return judged(release, found.value(), expected_digest);
    TargetFacts facts;
    facts.release = release;
    facts.present = layout_.has_release(release);
    facts.why = found.error().text();
    co_return facts;
  }

  static TargetFacts judged(const std::string& release, const Reading& found, const std::string& expected_digest) {
    TargetFacts facts;
    facts.release = release;
    facts.present = true;
    facts.intact = expected_digest.empty() || found.digest == expected_digest;
    if (facts.intact) return facts;
    facts.why = "its digest is " + found.digest.substr(0, 12) + "…, the ledger says " + expected_digest.substr(0, 12) + "…";
    if (!found.change.empty()) facts.why = found.change + "; " + facts.why;
    return facts;
  }

  asio::awaitable<Outcome> remove(Step step, Duration deadline) {
    const std::string release = step.arguments["release"].string_or("");
    if (step.arguments["releases"].string_or("") != layout_.releases || !is_release_id(release))
      co_return refused("cannot run this step", "its paths are not those of the settings");
    auto work = [layout = layout_, turn = turn_, release, kept = kept_] {
      // No switch of ours happens meanwhile: what is looked at before the rename still holds at it.
      const std::lock_guard lock(*turn);
      Outcome outcome = remove_release(layout, release);
      if (outcome.ok()) forget_manifest(kept, release);
      return outcome;
    };
    co_return co_await await_outcome(context_.executor, context_.bulk->run(std::move(work)), deadline);
  }

  /// Keeps a manifest for quick looks.
  void remember(const std::string& release, std::shared_ptr<const Known> known) {
    if (known_.size() >= kKnownMax && !known_.contains(release)) known_.erase(known_.begin());
    known_[release] = std::move(known);
  }
  std::shared_ptr<const Known> known_of(const std::string& release) const {
    const auto known = known_.find(release);
    return known == known_.end() ? nullptr : known->second;
  }
  std::string known_digest(const std::string& release) const {
    const auto known = known_of(release);
    return known ? known->manifest.digest : "";
  }

  DriverContext context_;
  Layout layout_;
  Exchange exchange_;
  std::shared_ptr<std::mutex> turn_ = std::make_shared<std::mutex>();  ///< of those who change links; held on workers only
  std::map<std::string, std::shared_ptr<const Known>> known_;          ///< touched on the reactor only
  std::string kept_ =                                                  ///< directory of manifests for people; empty: none are kept
      context_.service_directory.empty() ? "" : context_.service_directory + "/manifests/" + context_.settings.name;
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
  Release out = describe_release(layout_, release).release;
  // What release.json says of a digest cannot be ours: the file is part of the tree that ours is taken of.
  out.digest = known_digest(release);
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
  Layout layout{LinkPlace{slash == 0 ? "/" : current.substr(0, slash), current.substr(slash + 1), context.guarded}, releases};
  if (layout.place.name == "." || layout.place.name == "..") return wrong("`current` must end in the link's name");
  return std::unique_ptr<Driver>(std::make_unique<Symlink>(std::move(context), std::move(layout), std::move(exchange)));
}

}  // namespace rollbackd::drivers
