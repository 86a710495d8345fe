// Flow: bus -> [UnitWatch] -facts-> UnitState of a driver or a check. A signal only updates what a whole look (GetAll) has begun with.
#include "io/unit_watch.hpp"

#include <time.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <string_view>
#include <utility>

#include "base/log.hpp"

namespace asio = boost::asio;

namespace rollbackd::io {
namespace {

constexpr const char* kSystemd = "org.freedesktop.systemd1";
constexpr const char* kManagerPath = "/org/freedesktop/systemd1";
constexpr const char* kManager = "org.freedesktop.systemd1.Manager";
constexpr const char* kProperties = "org.freedesktop.DBus.Properties";
constexpr Duration kAskTimeout = 10s;
constexpr Duration kLookRetry = 2s;  // When systemd does not answer though its bus does.
constexpr int kLooksMax = 8;         // In a row, because signals came in between.
/// Units whose jobs mean that the machine goes down.
constexpr std::array<std::string_view, 1> kShutdown = {"shutdown.target"};

std::string rule(const std::string& rest) { return std::string("type='signal',sender='") + kSystemd + "'," + rest; }

BusMethod get_all(std::string path) { return {kSystemd, std::move(path), kProperties, "GetAll"}; }

/// Whether the system is going down, as its manager says.
asio::awaitable<Result<bool>> ask_host_stopping(std::shared_ptr<SystemBus> bus) {
  BusMethod get{kSystemd, kManagerPath, kProperties, "Get"};
  Json arguments = Json::array().push(kManager).push("SystemState");
  auto answer = co_await bus->call(std::move(get), "ss", std::move(arguments), kAskTimeout);
  if (answer.has_error()) co_return answer.error();
  const Json& body = answer.value();
  co_return !body.elements().empty() && body.elements()[0].string_or("") == "stopping";
}

}  // namespace

std::string full_unit_name(std::string unit) {
  constexpr std::array<std::string_view, 11> kTypes = {".service", ".socket", ".target", ".device", ".mount", ".automount",
                                                       ".swap",    ".timer",  ".path",   ".slice",  ".scope"};
  const bool full = std::any_of(kTypes.begin(), kTypes.end(), [&](std::string_view type) { return unit.ends_with(type); });
  return full ? unit : unit + ".service";
}

BusMethod systemd_method(std::string member) { return {kSystemd, kManagerPath, kManager, std::move(member)}; }

Instant from_monotonic_us(const Clock& clock, std::int64_t us) {
  timespec mono{}, boot{};
  ::clock_gettime(CLOCK_MONOTONIC, &mono);
  ::clock_gettime(CLOCK_BOOTTIME, &boot);
  const auto ns = [](const timespec& t) { return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec; };
  return clock.from_boot_ns(us * 1000 + ns(boot) - ns(mono));
}

asio::awaitable<Result<UnitFacts>> ask_unit(std::shared_ptr<SystemBus> bus, std::string unit, Duration timeout) {
  const auto until = std::chrono::steady_clock::now() + timeout;
  BusMethod load = systemd_method("LoadUnit");
  Json name = Json::array().push(full_unit_name(unit));
  auto loaded = co_await bus->call(std::move(load), "s", std::move(name), timeout);
  if (loaded.has_error()) co_return loaded.error();
  const Json path = loaded.value().elements().empty() ? Json() : loaded.value().elements()[0];
  BusMethod all = get_all(path.string_or(""));
  Json every = Json::array().push("");  // Of all interfaces at once: one instant.
  const Duration left = until - std::chrono::steady_clock::now();
  auto properties = co_await bus->call(std::move(all), "s", std::move(every), left);
  if (properties.has_error()) co_return properties.error();
  UnitFacts facts;
  if (!properties.value().elements().empty()) update(facts, properties.value().elements()[0]);
  if (facts.id.empty()) co_return Error(Errc::corrupt, "systemd's answer about " + unit + " has no Id");
  co_return facts;
}

struct UnitWatch::Impl : std::enable_shared_from_this<UnitWatch::Impl> {
  Impl(const asio::any_io_executor& e, std::string u, Heard h)
      : executor(e), retry(e), bus(SystemBus::of(e)), unit(full_unit_name(std::move(u))), heard(std::move(h)) {}

  asio::any_io_executor executor;
  asio::steady_timer retry;
  std::shared_ptr<SystemBus> bus;
  std::string unit, path;
  Heard heard;
  bool ended = false;
  bool whole = false;  ///< `facts` began with a whole look over this connection
  bool looking = false, look_again = false;
  bool host_stopping = false;
  UnitFacts facts;
  std::unique_ptr<SystemBus::Subscription> connection, changes, manager, login;

  void begin() {
    // Members of the callbacks hold us weakly: they end with the subscriptions, which are ours.
    const auto weak = weak_from_this();
    manager = bus->on_signal(rule(std::string("path='") + kManagerPath + "',interface='" + kManager + "'"), [weak](const BusSignal& s) {
      if (const auto me = weak.lock(); me && !me->ended) me->on_manager(s);
    });
    login = bus->on_signal(
        "type='signal',sender='org.freedesktop.login1',interface='org.freedesktop.login1.Manager',member='PrepareForShutdown'",
        [weak](const BusSignal& s) {
          const auto me = weak.lock();
          if (me && !me->ended && !s.body.elements().empty()) me->host_stopping = s.body.elements()[0].bool_or(false);
        });
    connection = bus->on_connection([weak](const Error& error) {
      const auto me = weak.lock();
      if (!me || me->ended) return;
      if (error.code == Errc::none) return me->look();
      me->whole = false;
      me->say(error);
    });
    follow(unit_path(unit));
  }

  void follow(std::string where) {
    if (where == path) return;
    path = std::move(where);
    const auto weak = weak_from_this();
    changes =
        bus->on_signal(rule("path='" + path + "',interface='" + kProperties + "',member='PropertiesChanged'"), [weak](const BusSignal& s) {
          if (const auto me = weak.lock(); me && !me->ended) me->on_changed(s);
        });
  }

  void say(const Result<UnitFacts>& what) {
    const auto copy = heard;  // It may end us.
    copy(what);
  }

  void say_facts() {
    facts.host_stopping = host_stopping;
    say(facts);
  }

  void on_changed(const BusSignal& signal) {
    look_again = look_again || looking;  // The look under way may have been answered before this and resume after it.
    if (!whole || signal.body.elements().size() < 2) return;
    update(facts, signal.body.elements()[1]);
    // systemd sends the properties of the service first and those of the unit last: only then are they of one instant.
    if (signal.body.elements()[0].string_or("") == "org.freedesktop.systemd1.Unit") say_facts();
  }

  void on_manager(const BusSignal& signal) {
    const auto& body = signal.body.elements();
    const auto is_shutdown = [&](std::size_t at) {
      return body.size() > at && std::find(kShutdown.begin(), kShutdown.end(), body[at].string_or("")) != kShutdown.end();
    };
    if (signal.member == "JobNew" && is_shutdown(2)) host_stopping = true;
    if (signal.member == "JobRemoved" && is_shutdown(2) && body.size() > 3 && body[3].string_or("") != "done") look();  // Called off.
    // Units were read anew: what it is loaded from may be another file, a mask, or nothing.
    if (signal.member == "Reloading" && !body.empty() && !body[0].bool_or(true)) look();
  }

  void look() {
    look_again = true;
    if (looking) return;
    looking = true;
    asio::co_spawn(executor, look_whole(shared_from_this()), asio::detached);
  }

  static asio::awaitable<void> look_whole(std::shared_ptr<Impl> me) {
    for (int looks = 0; me->look_again && !me->ended; ++looks) {
      me->look_again = false;
      BusMethod subscribe = systemd_method("Subscribe");  // systemd sends signals only to those who asked. Twice is no error of ours.
      co_await me->bus->call(std::move(subscribe), "", Json::array(), kAskTimeout);
      auto stopping = co_await ask_host_stopping(me->bus);
      if (me->ended) break;
      if (stopping.has_value()) me->host_stopping = stopping.value();
      auto seen = co_await ask_unit(me->bus, me->unit, kAskTimeout);
      if (me->ended) break;
      if (seen.has_value() && me->path != unit_path(seen.value().id)) {  // It was an alias.
        me->follow(unit_path(seen.value().id));
        me->look_again = true;
        continue;
      }
      if (seen.has_value() && me->look_again && looks < kLooksMax) continue;  // With more news than that, the next one sets it right.
      me->whole = seen.has_value();
      if (seen.has_value()) {
        me->facts = std::move(seen.value());
        me->say_facts();
      } else if (me->bus->connected()) {
        const Error error = seen.error();
        me->say(error);
        me->retry.expires_after(kLookRetry);
        me->retry.async_wait([weak = me->weak_from_this()](boost::system::error_code stopped) {
          if (const auto again = weak.lock(); again && !stopped && !again->ended && !again->whole) again->look();
        });
      }
    }
    me->looking = false;
  }
};

UnitWatch::UnitWatch(const asio::any_io_executor& executor, std::string unit, Heard heard)
    : impl_(std::make_shared<Impl>(executor, std::move(unit), std::move(heard))) {
  impl_->begin();
}
UnitWatch::~UnitWatch() {
  impl_->ended = true;
  impl_->retry.cancel();
  impl_->connection.reset();
  impl_->changes.reset();
  impl_->manager.reset();
  impl_->login.reset();
}
const std::shared_ptr<SystemBus>& UnitWatch::bus() const { return impl_->bus; }

}  // namespace rollbackd::io
