// A service's components together, as one driver and one manager.
// Flow: operation's steps -> [parts] -> each component's driver and manager; what they see -> [parts] -> service.
#include "engine/parts.hpp"

#include <algorithm>
#include <set>

#include "base/digest.hpp"
#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "engine/spawn.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;
using drivers::LinkSeen;

namespace {

constexpr std::size_t kDigestsMax = 64;  // Of releases whose parts' digests are known; a ledger has 32 rows.

Outcome nobody_runs(const Step& step) {
  Outcome outcome;
  outcome.status = Outcome::Status::refused;
  outcome.error = Error(Errc::refused, "cannot run this step").because("the service has no component " + printable(step.component));
  return outcome;
}

/// Says whose error it is.
Error named(Error error, const ServicePart& part) {
  error.what = part.name + ": " + error.what;
  return error;
}

/// Ends what runs for a coroutine when that ends, cancelled or not.
struct Tasks {
  std::vector<Task> all;
  ~Tasks() {
    for (const Task& task : all) task.cancel();
  }
};

/// "app: releases/v2, config: releases/c1": where the links lead, for people.
std::string values_of(const World& world) {
  std::string out;
  for (const World& part : world.parts) {
    out += (out.empty() ? "" : ", ") + part.component + ": ";
    out += part.link == World::Link::missing ? "missing" : part.link == World::Link::not_a_link ? "not a link" : part.link_value;
  }
  return out;
}

/// What the parts' watchers have said since it was asked last.
struct Heard {
  explicit Heard(const asio::any_io_executor& executor) : more(executor, asio::steady_timer::time_point::max()) {}
  asio::steady_timer more;  ///< cancelled when there is something
  bool changed = false;
  std::map<std::string, World::Link> links;
};

/// Waits for a change, at most `longest`. @return whether there was one
asio::awaitable<bool> changed_within(std::shared_ptr<Heard> heard, std::optional<Duration> longest) {
  if (!heard->changed) {
    if (longest) {
      heard->more.expires_after(*longest);
    } else {
      heard->more.expires_at(asio::steady_timer::time_point::max());
    }
    boost::system::error_code woken;
    co_await heard->more.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
  co_return std::exchange(heard->changed, false);
}

}  // namespace

PartsDriver::PartsDriver(asio::any_io_executor executor, const io::Clock& clock, ServiceParts parts, KnownParts known)
    : executor_(std::move(executor)), clock_(clock), parts_(std::move(parts)), known_(std::move(known)) {}

ServicePart* PartsDriver::find(const std::string& component) const {
  for (const auto& part : parts_)
    if (part->name == component) return part.get();
  return nullptr;
}

/// What the ledger has written down of other components than today's is of no use.
bool PartsDriver::is_whole(const std::vector<ComponentRelease>& parts) const {
  const auto same = [](const ComponentRelease& one, const std::shared_ptr<ServicePart>& part) { return one.component == part->name; };
  return std::equal(parts.begin(), parts.end(), parts_.begin(), parts_.end(), same);
}

Result<std::vector<ComponentRelease>> PartsDriver::parts_of(const std::string& release) const {
  const auto known = known_();
  if (const auto found = known.find(release); found != known.end() && is_whole(found->second)) return found->second;
  if (!live_.empty() && name_of(live_) == release) return live_;
  if (const auto found = everywhere_.find(release); found != everywhere_.end() && found->second == parts_.size()) {
    std::vector<ComponentRelease> same;
    for (const auto& part : parts_) same.push_back({part->name, release});
    return same;
  }
  return Error(Errc::not_found, "release " + printable(release) + " is not known")
      .because(
          "the ledger does not know which release of each component it is made of, and not every component has a directory of that name");
}

asio::awaitable<Result<World>> PartsDriver::inspect() {
  World whole;
  whole.link = World::Link::present;
  std::map<std::string, std::size_t> everywhere;
  std::vector<ComponentRelease> live;
  for (const auto& part : parts_) {
    auto seen = co_await part->driver->inspect();
    if (!seen) co_return seen.error();
    World& world = whole.parts.emplace_back(std::move(*seen));
    world.component = part->name;
    if (world.link != World::Link::present && whole.link == World::Link::present) whole.link = world.link;
    live.push_back({part->name, world.live});
    for (const std::string& release : world.releases) ++everywhere[release];
  }
  whole.live = whole.link == World::Link::present ? name_of(live) : "";  // Empty as well when one leads nowhere known.
  whole.link_value = values_of(whole);
  whole.link_inode = whole.parts.empty() ? 0 : whole.parts.front().link_inode;
  everywhere_ = std::move(everywhere);
  live_ = whole.live.empty() ? std::vector<ComponentRelease>{} : std::move(live);
  std::set<std::string> ids;
  for (const auto& [id, components] : everywhere_)
    if (components == parts_.size()) ids.insert(id);
  if (!whole.live.empty()) ids.insert(whole.live);
  for (const auto& [id, parts] : known_()) {
    bool on_disk = is_whole(parts);
    for (std::size_t i = 0; on_disk && i < parts.size(); ++i) {
      const auto& there = whole.parts[i].releases;
      on_disk = std::find(there.begin(), there.end(), parts[i].release) != there.end();
    }
    if (on_disk) ids.insert(id);
  }
  whole.releases.assign(ids.begin(), ids.end());
  co_return whole;
}

Result<std::vector<Step>> PartsDriver::plan(const World& world, const std::string& release) const {
  auto to = parts_of(release);
  if (!to) return to.error();
  if (world.parts.size() != parts_.size()) return Error(Errc::internal, "a world without its components cannot be planned from");
  std::vector<Step> steps;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    auto some = parts_[i]->driver->plan(world.parts[i], (*to)[i].release);
    if (!some) return some.error();
    for (Step& step : *some) steps.push_back(std::move(step));
  }
  return steps;
}

asio::awaitable<Outcome> PartsDriver::run(Step step, Duration deadline) {
  ServicePart* part = find(step.component);
  if (!part) co_return nobody_runs(step);
  co_return co_await part->driver->run(std::move(step), deadline);
}

asio::awaitable<Outcome> PartsDriver::undo(Step step, Duration deadline) {
  ServicePart* part = find(step.component);
  if (!part) co_return nobody_runs(step);
  co_return co_await part->driver->undo(std::move(step), deadline);
}

asio::awaitable<void> PartsDriver::watch(std::function<void(LinkSeen)> sink) {
  const auto heard = std::make_shared<Heard>(executor_);
  Tasks tasks;
  for (const auto& part : parts_) {
    auto links = part->driver->watch([heard, name = part->name](const LinkSeen& seen) {
      heard->links[name] = seen.link;
      heard->changed = true;
      heard->more.cancel();
    });
    tasks.all.push_back(spawn(executor_, part, std::move(links)));
  }
  bool told = false;
  while (true) {
    const bool changed = co_await changed_within(heard, std::nullopt);
    if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return;
    if (!changed || heard->links.size() < parts_.size()) continue;
    // Somebody who deploys changes one link after the other: what lies between is no release that anybody wanted.
    const Instant until = clock_.now() + kSettle;
    while (told && clock_.now() < until) {
      const bool more = co_await changed_within(heard, std::min<Duration>(kQuiet, until - clock_.now()));
      if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return;
      if (!more) break;
    }
    auto world = co_await inspect();
    if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return;
    if (!world) continue;
    // A link that is replaced in two steps is missing for a moment; its own watcher tells when that lasts.
    const bool a_moment =
        world->link == World::Link::missing &&
        std::none_of(heard->links.begin(), heard->links.end(), [](const auto& link) { return link.second == World::Link::missing; });
    if (a_moment) {
      heard->changed = true;
      continue;
    }
    told = true;
    LinkSeen seen{world->link, world->link_value, world->link_inode, world->live, clock_.now()};
    sink(std::move(seen));
  }
}

asio::awaitable<TargetFacts> PartsDriver::each(std::string release, std::string expected_digest, bool arm) {
  TargetFacts facts;
  facts.release = release;
  auto parts = parts_of(release);
  if (!parts) {
    facts.why = parts.error().text();
    co_return facts;
  }
  facts.present = facts.intact = true;
  const auto found = digests_.find(expected_digest);
  const std::vector<std::string> expected = found == digests_.end() ? std::vector<std::string>(parts_.size()) : found->second;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    drivers::Driver& driver = *parts_[i]->driver;
    TargetFacts one;
    if (arm) {
      one = co_await driver.arm((*parts)[i].release, expected[i]);
    } else {
      one = co_await driver.look((*parts)[i].release, expected[i]);
    }
    facts.present = facts.present && one.present;
    facts.intact = facts.intact && one.intact;
    if (!one.why.empty()) facts.why += (facts.why.empty() ? "" : "; ") + parts_[i]->name + ": " + one.why;
  }
  if (!facts.intact) co_return facts;
  const auto digest = co_await this->digest(release);
  facts.intact = digest.has_value() && (expected_digest.empty() || *digest == expected_digest);
  if (!digest) facts.why = digest.error().text();
  if (digest && !facts.intact)
    facts.why = "its digest is " + digest->substr(0, 12) + "…, the ledger says " + expected_digest.substr(0, 12) + "…";
  co_return facts;
}

asio::awaitable<TargetFacts> PartsDriver::arm(std::string release, std::string expected_digest) {
  return each(std::move(release), std::move(expected_digest), true);
}

asio::awaitable<TargetFacts> PartsDriver::look(std::string release, std::string expected_digest) {
  return each(std::move(release), std::move(expected_digest), false);
}

asio::awaitable<Result<std::string>> PartsDriver::digest(std::string release) {
  auto parts = parts_of(release);
  if (!parts) co_return parts.error();
  std::vector<std::string> digests;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    auto one = co_await parts_[i]->driver->digest((*parts)[i].release);
    if (!one) co_return one.error();
    digests.push_back(std::move(*one));
  }
  co_return digest_of(std::move(digests));
}

std::string PartsDriver::digest_of(std::vector<std::string> parts) {
  std::string lines;
  for (std::size_t i = 0; i < parts_.size(); ++i) lines += parts_[i]->name + " " + parts[i] + "\n";
  std::string whole = sha256_hex(lines);
  if (digests_.size() >= kDigestsMax) digests_.clear();
  digests_[whole] = std::move(parts);
  return whole;
}

asio::awaitable<Result<drivers::Reading>> PartsDriver::read(std::string release, drivers::ReadOptions options) {
  auto parts = parts_of(release);
  if (!parts) co_return parts.error();
  drivers::Reading whole;
  whole.in_full = false;
  std::vector<std::string> digests;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    auto one = co_await parts_[i]->driver->read((*parts)[i].release, options);
    if (!one) co_return named(one.error(), *parts_[i]);
    whole.in_full = whole.in_full || one->in_full;
    if (!one->change.empty()) whole.change += (whole.change.empty() ? "" : "; ") + parts_[i]->name + ": " + one->change;
    digests.push_back(std::move(one->digest));
  }
  whole.digest = digest_of(std::move(digests));
  co_return whole;
}

Result<Step> PartsDriver::plan_removal(const ComponentRelease& part) const {
  const ServicePart* owner = find(part.component);
  if (!owner) return Error(Errc::not_found, "the service has no component " + printable(part.component));
  return owner->driver->plan_removal(part);
}

std::vector<ComponentRelease> PartsDriver::half_removed() const {
  std::vector<ComponentRelease> out;
  for (const auto& part : parts_)
    for (ComponentRelease& one : part->driver->half_removed()) out.push_back(std::move(one));
  return out;
}

Result<Release> PartsDriver::describe(const std::string& release) const {
  auto parts = parts_of(release);
  if (!parts) return parts.error();
  Release whole;
  whole.id = release;
  std::string lines;
  bool all_hashed = true;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    auto one = parts_[i]->driver->describe((*parts)[i].release);
    if (!one) return one.error();
    if (i == 0) {
      whole.path = one->path;
      whole.commit = one->commit;
      whole.created = one->created;
    }
    // What one component cannot go back over, the service cannot.
    whole.irreversible = whole.irreversible || one->irreversible;
    whole.security_epoch = std::max(whole.security_epoch, one->security_epoch);
    if (whole.min_compatible.empty()) whole.min_compatible = one->min_compatible;
    all_hashed = all_hashed && !one->digest.empty();
    lines += parts_[i]->name + " " + one->digest + "\n";
  }
  if (all_hashed) whole.digest = sha256_hex(lines);
  return whole;
}

asio::awaitable<Result<>> PartsDriver::mark_bad(std::string release, std::string reason) {
  auto parts = parts_of(release);
  if (!parts) co_return parts.error();
  auto world = co_await inspect();
  if (!world) co_return world.error();
  Result<> first;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (!reason.empty() && world->parts[i].live == (*parts)[i].release) continue;
    auto marked = co_await parts_[i]->driver->mark_bad((*parts)[i].release, reason);
    if (!marked && first) first = marked.error();
  }
  co_return first;
}

PartsManager::PartsManager(asio::any_io_executor executor, ServiceParts parts) : executor_(std::move(executor)), parts_(std::move(parts)) {}

asio::awaitable<Result<>> PartsManager::attach() {
  Result<> first;
  for (const auto& part : parts_) {
    auto attached = co_await part->manager->attach();
    if (!attached && first) first = attached.error();
  }
  co_return first;
}

asio::awaitable<std::vector<rollback::ManagedComponent>> PartsManager::inspect_each() {
  std::vector<rollback::ManagedComponent> out;
  for (const auto& part : parts_) {
    rollback::ManagedComponent one;
    one.component = part->name;
    auto seen = co_await part->manager->inspect();
    if (seen) one.process = *seen;
    out.push_back(std::move(one));
  }
  co_return out;
}

asio::awaitable<Result<World::Process>> PartsManager::inspect() {
  std::optional<World::Process> whole;
  for (const auto& part : parts_) {
    auto seen = co_await part->manager->inspect();
    if (!seen) co_return named(seen.error(), *part);
    if (!whole) {
      whole = *seen;
    } else if (whole->running && !seen->running) {
      whole = *seen;  // The one that does not run is what there is to tell.
    } else if (whole->running && seen->running) {
      whole->started = std::min(whole->started, seen->started);
    } else if (!whole->running && !seen->running) {
      whole->stopped_cleanly = whole->stopped_cleanly && seen->stopped_cleanly;
    }
  }
  co_return *whole;
}

std::vector<Step> PartsManager::plan() const {
  std::vector<Step> steps;
  for (const auto& part : parts_) {
    for (Step& step : part->manager->plan()) {
      step.component = part->name;
      steps.push_back(std::move(step));
    }
  }
  return steps;
}

asio::awaitable<Outcome> PartsManager::run(Step step, Duration deadline) {
  for (const auto& part : parts_)
    if (part->name == step.component) co_return co_await part->manager->run(std::move(step), deadline);
  co_return nobody_runs(step);
}

asio::awaitable<void> PartsManager::watch(std::function<void(ProcessEvent)> sink) {
  const auto running = std::make_shared<std::map<std::string, ProcessEvent>>();
  Tasks tasks;
  for (const auto& part : parts_) {
    auto processes = part->manager->watch([running, sink, name = part->name, all = parts_.size()](const ProcessEvent& event) {
      if (event.kind != ProcessEvent::Kind::running) {
        running->erase(name);
        return sink(event);
      }
      (*running)[name] = event;
      if (running->size() < all) return;
      ProcessEvent whole = event;
      for (const auto& [component, one] : *running) {
        if (one.started >= whole.started) continue;
        whole.started = one.started;
        whole.pid = one.pid;
      }
      sink(whole);
    });
    tasks.all.push_back(spawn(executor_, part, std::move(processes)));
  }
  asio::steady_timer never(executor_, asio::steady_timer::time_point::max());
  boost::system::error_code woken;
  co_await never.async_wait(asio::redirect_error(asio::use_awaitable, woken));
}

}  // namespace rollbackd::engine
