// sd-bus in bounded turns of the reactor: its file descriptor and its timeout wake us, sd_bus_process() does the rest.
#include "io/dbus.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <list>
#include <optional>
#include <vector>

#include "base/log.hpp"
#include "io/process.hpp"

namespace asio = boost::asio;

namespace rollbackd::io {
namespace {

using Steady = std::chrono::steady_clock;

constexpr int kMessagesPerTurn = 16;
constexpr Duration kConnectTimeout = 5s;
constexpr Duration kRetryFirst = 100ms, kRetryMax = 10s;
constexpr std::size_t kCallsMax = 4096;  // In flight; more is a bug of ours.
constexpr int kDepthMax = 32;            // Of a value; the specification allows 64 containers.
constexpr const char* kUsualAddress = "unix:path=/run/dbus/system_bus_socket";

std::string address_of_bus() {
  const char* told = ::getenv("DBUS_SYSTEM_BUS_ADDRESS");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  return told && *told ? told : kUsualAddress;
}

Json clamped(std::uint64_t value) {
  return Json(static_cast<std::int64_t>(std::min<std::uint64_t>(value, std::numeric_limits<std::int64_t>::max())));
}

// ---- Messages to Json ----

template <class T>
int read_basic(sd_bus_message* message, char type, T& value) {
  return sd_bus_message_read_basic(message, type, &value);
}

int read_value(sd_bus_message* message, Json& out, int depth);

/// Everything up to the end of the container that is open.
int read_rest(sd_bus_message* message, Json& out, int depth) {
  while (true) {
    const int at_end = sd_bus_message_at_end(message, 0);
    if (at_end != 0) return at_end < 0 ? at_end : 0;
    Json value;
    if (const int r = read_value(message, value, depth); r < 0) return r;
    out.push(std::move(value));
  }
}

int read_dictionary(sd_bus_message* message, Json& out, const char* entry, int depth) {
  out = Json::object();
  while (true) {
    const int entered = sd_bus_message_enter_container(message, SD_BUS_TYPE_DICT_ENTRY, entry);
    if (entered <= 0) return entered;
    Json key, value;
    int r = read_value(message, key, depth);
    if (r >= 0) r = read_value(message, value, depth);
    if (r >= 0) r = sd_bus_message_exit_container(message);
    if (r < 0) return r;
    out.set(key.is_string() ? key.string_or("") : key.dump(), std::move(value));
  }
}

int read_container(sd_bus_message* message, Json& out, char type, const char* contents, int depth) {
  if (depth >= kDepthMax) return -EMSGSIZE;
  const std::string inside = contents;  // The message's own text changes as it is read.
  int r = sd_bus_message_enter_container(message, type, inside.c_str());
  if (r < 0) return r;
  if (type == SD_BUS_TYPE_VARIANT) {
    r = read_value(message, out, depth + 1);
  } else if (type == SD_BUS_TYPE_ARRAY && inside.starts_with('{')) {
    r = read_dictionary(message, out, inside.substr(1, inside.size() - 2).c_str(), depth + 1);
  } else {
    out = Json::array();
    r = read_rest(message, out, depth + 1);
  }
  return r < 0 ? r : sd_bus_message_exit_container(message);
}

int read_value(sd_bus_message* message, Json& out, int depth) {
  char type = 0;
  const char* contents = nullptr;
  int r = sd_bus_message_peek_type(message, &type, &contents);
  if (r <= 0) return r < 0 ? r : -ENXIO;
  const auto number = [&](auto value) {
    r = read_basic(message, type, value);
    if (r >= 0) out = Json(value);
    return r;
  };
  switch (type) {
    case SD_BUS_TYPE_BYTE: return number(std::uint8_t{});
    case SD_BUS_TYPE_INT16: return number(std::int16_t{});
    case SD_BUS_TYPE_UINT16: return number(std::uint16_t{});
    case SD_BUS_TYPE_INT32: return number(std::int32_t{});
    case SD_BUS_TYPE_UINT32: return number(std::uint32_t{});
    case SD_BUS_TYPE_INT64: return number(std::int64_t{});
    case SD_BUS_TYPE_DOUBLE: return number(double{});
    case SD_BUS_TYPE_UINT64: {
      std::uint64_t value = 0;
      r = read_basic(message, type, value);
      out = clamped(value);
      return r;
    }
    case SD_BUS_TYPE_BOOLEAN: {
      int value = 0;
      r = read_basic(message, type, value);
      out = Json(value != 0);
      return r;
    }
    case SD_BUS_TYPE_STRING:
    case SD_BUS_TYPE_OBJECT_PATH:
    case SD_BUS_TYPE_SIGNATURE: {
      const char* text = nullptr;
      r = read_basic(message, type, text);
      if (r >= 0) out = Json(text ? text : "");
      return r;
    }
    case SD_BUS_TYPE_ARRAY:
    case SD_BUS_TYPE_STRUCT:
    case SD_BUS_TYPE_VARIANT: return read_container(message, out, type, contents ? contents : "", depth);
    default: {
      const char skipped[2] = {type, '\0'};
      return sd_bus_message_skip(message, skipped);
    }
  }
}

Result<Json> body_of(sd_bus_message* message) {
  Json body = Json::array();
  sd_bus_message_rewind(message, 1);
  if (const int r = read_rest(message, body, 0); r < 0)
    return Error(Errc::corrupt, "a D-Bus message cannot be read").because(std::strerror(-r));  // NOLINT(concurrency-mt-unsafe)
  return body;
}

// ---- Json to messages ----

/// The length of the first complete type of `signature`; 0 when there is none.
std::size_t type_length(std::string_view signature) {
  if (signature.empty()) return 0;
  if (signature[0] == 'a') {
    const std::size_t rest = type_length(signature.substr(1));
    return rest == 0 ? 0 : 1 + rest;
  }
  if (signature[0] != '(' && signature[0] != '{') return 1;
  int open = 0;
  for (std::size_t i = 0; i < signature.size(); ++i) {
    if (signature[i] == '(' || signature[i] == '{') ++open;
    if ((signature[i] == ')' || signature[i] == '}') && --open == 0) return i + 1;
  }
  return 0;
}

int append_all(sd_bus_message* message, std::string_view signature, const Json& values);

int append_value(sd_bus_message* message, const std::string& type, const Json& value) {
  const auto number = [&]<class T>(T) {
    const T narrowed = static_cast<T>(value.int_or(0));
    return sd_bus_message_append_basic(message, type[0], &narrowed);
  };
  switch (type[0]) {
    case SD_BUS_TYPE_BYTE: return number(std::uint8_t{});
    case SD_BUS_TYPE_INT32: return number(std::int32_t{});
    case SD_BUS_TYPE_UINT32: return number(std::uint32_t{});
    case SD_BUS_TYPE_INT64: return number(std::int64_t{});
    case SD_BUS_TYPE_UINT64: return number(std::uint64_t{});
    case SD_BUS_TYPE_BOOLEAN: {
      const int flag = value.bool_or(false) ? 1 : 0;
      return sd_bus_message_append_basic(message, type[0], &flag);
    }
    case SD_BUS_TYPE_STRING:
    case SD_BUS_TYPE_OBJECT_PATH: return sd_bus_message_append_basic(message, type[0], value.string_or("").c_str());
    case SD_BUS_TYPE_VARIANT: {
      const std::string inside = value["signature"].string_or("");
      if (type_length(inside) != inside.size() || inside.empty()) return -EINVAL;
      int r = sd_bus_message_open_container(message, type[0], inside.c_str());
      if (r >= 0) r = append_value(message, inside, value["value"]);
      return r < 0 ? r : sd_bus_message_close_container(message);
    }
    case SD_BUS_TYPE_ARRAY: {
      const std::string element = type.substr(1);
      int r = sd_bus_message_open_container(message, type[0], element.c_str());
      for (const Json& one : value.elements())
        if (r >= 0) r = append_value(message, element, one);
      return r < 0 ? r : sd_bus_message_close_container(message);
    }
    case SD_BUS_TYPE_STRUCT_BEGIN: {
      const std::string members = type.substr(1, type.size() - 2);
      int r = sd_bus_message_open_container(message, SD_BUS_TYPE_STRUCT, members.c_str());
      if (r >= 0) r = append_all(message, members, value);
      return r < 0 ? r : sd_bus_message_close_container(message);
    }
    default: return -EOPNOTSUPP;
  }
}

int append_all(sd_bus_message* message, std::string_view signature, const Json& values) {
  for (const Json& value : values.elements()) {
    const std::size_t length = type_length(signature);
    if (length == 0) return -EINVAL;
    if (const int r = append_value(message, std::string(signature.substr(0, length)), value); r < 0) return r;
    signature.remove_prefix(length);
  }
  return signature.empty() ? 0 : -EINVAL;
}

Error error_of(const BusMethod& method, const sd_bus_error& error) {
  const std::string_view name = error.name ? error.name : "";
  const auto is = [&](std::string_view suffix) { return name.ends_with(suffix); };
  Errc code = Errc::io;
  if (is(".NoSuchUnit") || is(".NoSuchJob") || is(".UnknownObject") || is(".ServiceUnknown") || is(".FileNotFound")) code = Errc::not_found;
  if (is(".UnitMasked") || is(".UnitExists") || is(".TransactionIsDestructive") || is(".OnlyByDependency")) code = Errc::refused;
  if (is(".AccessDenied") || is(".InteractiveAuthorizationRequired") || is(".AuthFailed")) code = Errc::unauthorized;
  if (is(".Disconnected") || is(".NoServer") || is(".NoReply")) code = Errc::unavailable;
  // sd-bus says NoReply of both a connection that ended and its own timeout.
  const bool late = error.message && std::string_view(error.message).find("timed out") != std::string_view::npos;
  if (is(".Timeout") || is(".TimedOut") || (is(".NoReply") && late)) code = Errc::timed_out;
  return Error(code, method.member + " failed on the system bus")
      .because(std::string(name) + (error.message ? std::string(": ") + error.message : ""));
}

}  // namespace

// ---- The connection ----

struct SystemBus::Impl : std::enable_shared_from_this<SystemBus::Impl> {
  explicit Impl(const asio::any_io_executor& e) : executor(e), timer(e), retry(e) {}

  enum class State { connecting, ready, away };

  struct Call {
    explicit Call(const asio::any_io_executor& e) : done(e, Steady::time_point::max()) {}
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    ~Call() { sd_bus_slot_unref(slot); }
    void finish(Result<Json> r) {
      if (result) return;
      result.emplace(std::move(r));
      done.cancel();
    }
    BusMethod method;
    sd_bus_slot* slot = nullptr;
    asio::steady_timer done;
    std::optional<Result<Json>> result;
  };
  struct Match {
    Match() = default;
    Match(const Match&) = delete;
    Match& operator=(const Match&) = delete;
    ~Match() { sd_bus_slot_unref(slot); }
    std::string rule;
    std::function<void(const BusSignal&)> heard;
    sd_bus_slot* slot = nullptr;
    bool ended = false;
  };
  struct Listener {
    std::function<void(const Error&)> changed;
    bool ended = false;
  };

  asio::any_io_executor executor;
  asio::steady_timer timer, retry;
  State state = State::connecting;
  sd_bus* bus = nullptr;
  std::optional<asio::posix::stream_descriptor> descriptor;
  Error why_away;
  Duration retry_delay = kRetryFirst;
  Steady::time_point connect_until;
  std::uint64_t generation = 0;  ///< of the connection; handlers of an older one do nothing
  bool reading = false, writing = false;
  bool turning = false;
  std::list<std::shared_ptr<Call>> calls;
  std::list<std::shared_ptr<asio::steady_timer>> waiting;  ///< calls that wait for the connection
  std::list<std::shared_ptr<Match>> matches;
  std::list<std::shared_ptr<Listener>> listeners;

  ~Impl() { close(); }

  void close() {
    ++generation;
    for (const auto& match : matches) {
      sd_bus_slot_unref(match->slot);
      match->slot = nullptr;
    }
    for (const auto& call : calls) {
      sd_bus_slot_unref(call->slot);
      call->slot = nullptr;
    }
    if (descriptor) descriptor->release();  // It is sd-bus's.
    descriptor.reset();
    if (bus) sd_bus_close_unref(bus);
    bus = nullptr;
    reading = writing = false;
  }

  void connect() {
    state = State::connecting;
    connect_until = Steady::now() + kConnectTimeout;
    const std::string address = address_of_bus();
    int r = sd_bus_new(&bus);
    if (r >= 0) r = sd_bus_set_address(bus, address.c_str());
    if (r >= 0) r = sd_bus_set_bus_client(bus, 1);
    if (r >= 0) r = sd_bus_start(bus);
    if (r >= 0) r = sd_bus_get_fd(bus);
    if (r < 0) return lose(r, "cannot connect to the system bus at " + address);
    descriptor.emplace(executor, r);
    turn();
  }

  void lose(int error, const std::string& what) {
    lose(Error(Errc::unavailable, what)
             .because(std::strerror(error < 0 ? -error : error))  // NOLINT(concurrency-mt-unsafe)
             .try_next("see that dbus runs; it is tried again by itself"));
  }

  /// The connection is gone: everybody is told, and it is tried again.
  void lose(Error error) {
    const bool news = state == State::ready || why_away.code == Errc::none;
    close();
    state = State::away;
    why_away = std::move(error);
    const auto self = shared_from_this();
    for (const auto& call : std::list(calls)) call->finish(why_away);
    for (const auto& one : waiting) one->cancel();
    retry.expires_after(retry_delay);
    retry_delay = std::min(2 * retry_delay, kRetryMax);
    retry.async_wait([weak = weak_from_this()](boost::system::error_code stopped) {
      if (const auto me = weak.lock(); me && !stopped && me->state == State::away) me->connect();
    });
    if (news) tell(why_away);
  }

  void tell(const Error& error) {
    for (const auto& listener : std::list(listeners))
      if (!listener->ended) listener->changed(error);
  }

  void ready() {
    state = State::ready;
    retry_delay = kRetryFirst;
    why_away = Error();
    for (const auto& one : waiting) one->cancel();
    for (const auto& match : matches) install(*match);
    tell(Error());  // The bus handles what we send in its order: whatever is asked from now on comes after the matches.
  }

  static int on_installed(sd_bus_message* message, void* data, sd_bus_error*) {
    auto& match = *static_cast<Match*>(data);
    const sd_bus_error* error = sd_bus_message_get_error(message);
    const bool lost = error && std::string_view(error->name ? error->name : "").ends_with(".NoReply");  // Then it is made anew.
    if (error && !lost)
      log::error("the system bus did not take a match", {{"rule", match.rule}, {"error", error->message ? error->message : ""}});
    return 1;
  }
  static int on_heard(sd_bus_message* message, void* data, sd_bus_error*) {
    auto& match = *static_cast<Match*>(data);
    if (match.ended) return 0;
    const auto text = [](const char* t) { return std::string(t ? t : ""); };
    auto body = body_of(message);
    sd_bus_message_rewind(message, 1);  // Another match may read it too.
    if (body.has_error()) return 0;
    BusSignal signal{text(sd_bus_message_get_path(message)), text(sd_bus_message_get_interface(message)),
                     text(sd_bus_message_get_member(message)), std::move(body.value())};
    const auto heard = match.heard;  // It may end its own subscription.
    heard(signal);
    return 0;
  }

  void install(Match& match) {
    if (sd_bus_add_match_async(bus, &match.slot, match.rule.c_str(), on_heard, on_installed, &match) < 0)
      log::error("a match rule is wrong", {{"rule", match.rule}});
  }

  /// Handles what came, at most kMessagesPerTurn, and sees to the next waking.
  void turn() {
    if (turning || !bus) return;
    const auto self = shared_from_this();
    turning = true;
    int r = 1, handled = 0;
    for (; r > 0 && handled < kMessagesPerTurn && bus; ++handled) r = sd_bus_process(bus, nullptr);
    turning = false;
    if (r < 0) return lose(r, "the connection to the system bus broke");
    if (!bus) return;
    if (state == State::connecting) {
      const int is_ready = sd_bus_is_ready(bus);
      if (is_ready > 0) ready();
      if (is_ready < 0) return lose(is_ready, "cannot connect to the system bus");
      if (is_ready == 0 && Steady::now() >= connect_until) return lose(ETIMEDOUT, "the system bus does not answer");
    }
    arm(r > 0);
  }

  void arm(bool more) {
    if (!bus) return;
    const auto on = generation;
    if (more) {
      asio::post(executor, [weak = weak_from_this(), on] {
        if (const auto me = weak.lock(); me && me->generation == on) me->turn();
      });
      return;
    }
    const int events = sd_bus_get_events(bus);
    if (events < 0) return lose(events, "the connection to the system bus broke");
    using Descriptor = asio::posix::descriptor_base;
    if ((events & POLLIN) != 0) wait(reading, Descriptor::wait_read);
    if ((events & POLLOUT) != 0) wait(writing, Descriptor::wait_write);

    std::uint64_t at_us = 0;
    if (sd_bus_get_timeout(bus, &at_us) < 0) at_us = UINT64_MAX;
    auto at = Steady::time_point::max();  // libstdc++'s steady_clock is CLOCK_MONOTONIC, as sd-bus's times are.
    if (at_us < static_cast<std::uint64_t>(INT64_MAX / 1000)) at = Steady::time_point(std::chrono::microseconds(at_us));
    if (state == State::connecting) at = std::min(at, connect_until);
    if (at == Steady::time_point::max()) return;
    timer.expires_at(at);
    timer.async_wait([weak = weak_from_this(), on](boost::system::error_code stopped) {
      if (const auto me = weak.lock(); me && !stopped && me->generation == on) me->turn();
    });
  }

  void wait(bool& flag, asio::posix::descriptor_base::wait_type what) {
    if (flag) return;
    flag = true;
    descriptor->async_wait(what, [weak = weak_from_this(), on = generation, &flag](boost::system::error_code) {
      const auto me = weak.lock();
      if (!me || me->generation != on) return;
      flag = false;
      me->turn();
    });
  }

  static int on_reply(sd_bus_message* message, void* data, sd_bus_error*) {
    auto& call = *static_cast<Call*>(data);
    if (const sd_bus_error* error = sd_bus_message_get_error(message)) {
      call.finish(error_of(call.method, *error));
    } else {
      call.finish(body_of(message));
    }
    return 1;
  }

  Result<std::shared_ptr<Call>> begin(BusMethod method, const std::string& signature, const Json& arguments, Duration timeout) {
    const auto bad = [&](int r) {
      return Error(Errc::invalid_argument, "cannot call " + method.member + " on the system bus")
          .because(std::strerror(-r));  // NOLINT(concurrency-mt-unsafe)
    };
    if (calls.size() >= kCallsMax) return Error(Errc::too_large, "too many calls to the system bus are under way");
    auto made = std::make_shared<Call>(executor);
    sd_bus_message* message = nullptr;
    int r = sd_bus_message_new_method_call(bus, &message, method.destination.c_str(), method.path.c_str(), method.interface.c_str(),
                                           method.member.c_str());
    if (r >= 0) r = append_all(message, signature, arguments);
    const auto us = std::max<std::int64_t>(std::chrono::duration_cast<std::chrono::microseconds>(timeout).count(), 1);
    if (r >= 0) r = sd_bus_call_async(bus, &made->slot, message, on_reply, made.get(), static_cast<std::uint64_t>(us));
    sd_bus_message_unref(message);
    if (r < 0) return bad(r);
    made->method = std::move(method);
    calls.push_back(made);
    if (!turning) arm(false);  // There may be something to write now, and there is a timeout.
    return made;
  }
};

namespace {

/// Remembers an execution context's connection without keeping it.
struct BusService : asio::execution_context::service {
  using key_type = BusService;
  static inline asio::execution_context::id id;
  explicit BusService(asio::execution_context& context) : service(context) {}
  void shutdown() override {}
  std::weak_ptr<SystemBus> bus;
};

template <class Owned>
class Ended final : public SystemBus::Subscription {
 public:
  Ended(std::shared_ptr<Owned> owned, std::function<void(Owned&)> end) : owned_(std::move(owned)), end_(std::move(end)) {}
  ~Ended() override { end_(*owned_); }

 private:
  std::shared_ptr<Owned> owned_;
  std::function<void(Owned&)> end_;
};

}  // namespace

std::shared_ptr<SystemBus> SystemBus::of(const asio::any_io_executor& executor) {
  auto& kept = asio::use_service<BusService>(asio::query(executor, asio::execution::context));
  auto bus = kept.bus.lock();
  if (!bus) {
    bus = std::make_shared<SystemBus>(executor);
    kept.bus = bus;
  }
  return bus;
}

SystemBus::SystemBus(const asio::any_io_executor& executor) : impl_(std::make_shared<Impl>(executor)) { impl_->connect(); }
SystemBus::~SystemBus() {
  impl_->close();
  for (const auto& call : std::list(impl_->calls)) call->finish(Error(Errc::cancelled, "the system bus is no longer used"));
}
bool SystemBus::connected() const { return impl_->state == Impl::State::ready; }

asio::awaitable<Result<Json>> SystemBus::call(BusMethod method, std::string signature, Json arguments, Duration timeout) {
  const auto self = shared_from_this();
  Impl& me = *impl_;
  const auto until = Steady::now() + timeout;
  if (me.state == Impl::State::connecting) {
    auto timer = std::make_shared<asio::steady_timer>(me.executor, until);
    const auto place = me.waiting.insert(me.waiting.end(), timer);
    co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
    me.waiting.erase(place);
    const auto cancelled = co_await asio::this_coro::cancellation_state;
    if (cancelled.cancelled() != asio::cancellation_type::none) co_return Error(Errc::cancelled, "no longer waiting for the system bus");
  }
  if (me.state == Impl::State::away) co_return me.why_away;
  if (me.state != Impl::State::ready) co_return Error(Errc::timed_out, "the system bus did not answer within " + format_duration(timeout));

  auto begun = me.begin(std::move(method), signature, arguments, until - Steady::now());
  if (begun.has_error()) co_return begun.error();
  const auto call = begun.value();
  bool cancelled = false;
  while (!call->result && !cancelled) {
    co_await call->done.async_wait(asio::as_tuple(asio::use_awaitable));
    const auto state = co_await asio::this_coro::cancellation_state;
    cancelled = state.cancelled() != asio::cancellation_type::none;
  }
  me.calls.remove(call);
  if (!call->result) co_return Error(Errc::cancelled, "no longer waiting for " + call->method.member);
  co_return std::move(*call->result);
}

std::unique_ptr<SystemBus::Subscription> SystemBus::on_signal(std::string rule, std::function<void(const BusSignal&)> heard) {
  auto match = std::make_shared<Impl::Match>();
  match->rule = std::move(rule);
  match->heard = std::move(heard);
  impl_->matches.push_back(match);
  if (impl_->state == Impl::State::ready) {
    impl_->install(*match);
    if (!impl_->turning) impl_->arm(false);
  }
  auto end = [impl = impl_](Impl::Match& one) {
    one.ended = true;
    // Freed a moment later: this may be inside sd-bus's own walk over its matches, with ours as the caller.
    auto found = std::find_if(impl->matches.begin(), impl->matches.end(), [&](const auto& m) { return m.get() == &one; });
    if (found == impl->matches.end()) return;
    asio::post(impl->executor, [impl, kept = *found] {
      sd_bus_slot_unref(kept->slot);
      kept->slot = nullptr;
      if (impl->bus) impl->arm(false);  // That the match is no longer wanted is still to be written.
    });
    impl->matches.erase(found);
  };
  return std::make_unique<Ended<Impl::Match>>(std::move(match), std::move(end));
}

std::unique_ptr<SystemBus::Subscription> SystemBus::on_connection(std::function<void(const Error&)> changed) {
  auto listener = std::make_shared<Impl::Listener>();
  listener->changed = std::move(changed);
  impl_->listeners.push_back(listener);
  if (impl_->state != Impl::State::connecting) {
    // Not from inside this call: the caller has no subscription yet.
    asio::post(impl_->executor, [weak = std::weak_ptr(impl_), listener] {
      const auto impl = weak.lock();
      if (impl && !listener->ended && impl->state != Impl::State::connecting) listener->changed(impl->why_away);
    });
  }
  auto end = [impl = impl_](Impl::Listener& one) {
    one.ended = true;
    impl->listeners.remove_if([&](const auto& l) { return l.get() == &one; });
  };
  return std::make_unique<Ended<Impl::Listener>>(std::move(listener), std::move(end));
}

std::string unit_path(const std::string& unit) {
  char* path = nullptr;
  if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit.c_str(), &path) < 0) return "";
  std::string out = path;
  std::free(path);  // NOLINT: sd-bus hands out malloc's memory
  return out;
}

bool systemd_reachable() {
  if (sd_booted() <= 0) return false;
  const std::string address = address_of_bus();
  constexpr std::string_view kPath = "unix:path=";
  const std::size_t begins = address.find(kPath);
  if (begins == std::string::npos) return false;
  const std::size_t from = begins + kPath.size();
  const std::string path = address.substr(from, address.find_first_of(",;", from) - from);
  sockaddr_un name{};
  if (path.size() >= sizeof name.sun_path) return false;
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  return socket && ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
}

}  // namespace rollbackd::io
