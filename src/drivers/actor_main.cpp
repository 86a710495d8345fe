// `rollbackd --actor`: its place, its signals and its end. It outlives whoever asked for a step until that step has ended.
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>

#include "base/log.hpp"
#include "drivers/actor_server.hpp"
#include "io/notify.hpp"

namespace asio = boost::asio;

namespace rollbackd::drivers {
namespace {

constexpr Duration kIdleMax = 60s;     ///< without a connection; then systemd starts it anew for the next one
constexpr Duration kStepPoll = 20ms;   ///< how often the end looks whether steps still run
constexpr Duration kStepsEnd = 15min;  ///< steps have deadlines of their own, far below

asio::awaitable<void> wait(Duration length) {
  asio::steady_timer timer(co_await asio::this_coro::executor, length);
  boost::system::error_code ignored;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

asio::awaitable<void> end_after_steps(std::shared_ptr<ActorServer> server, asio::io_context* context) {
  for (Duration waited{}; server->steps_running() > 0 && waited < kStepsEnd; waited += kStepPoll) co_await wait(kStepPoll);
  context->stop();
}

/// Serves the one connection that was inherited, and ends with it.
asio::awaitable<void> serve_inherited(std::shared_ptr<ActorServer> server, io::Seqpacket connection, asio::io_context* context) {
  co_await server->serve(std::move(connection));
  co_await end_after_steps(server, context);
}

asio::awaitable<void> serve_all(std::shared_ptr<ActorServer> server, io::SeqpacketListener listener, asio::io_context* context, int* code) {
  while (true) {
    auto connection = co_await listener.accept();
    if (connection.has_error()) {
      if (connection.error().code == Errc::cancelled) co_return;
      log::error("the actor cannot serve", {{"why", connection.error().text()}});
      *code = 1;
      context->stop();
      co_return;
    }
    asio::co_spawn(context->get_executor(), server->serve(std::move(*connection)), asio::detached);
  }
}

asio::awaitable<void> end_when_idle(std::shared_ptr<ActorServer> server, asio::io_context* context) {
  for (Duration idle{}; idle < kIdleMax; idle += 1s) {
    co_await wait(1s);
    if (server->connections() > 0 || server->steps_running() > 0) idle = Duration{};
  }
  log::info("the actor ends: nobody asks");
  co_await end_after_steps(server, context);
}

asio::awaitable<void> on_signals(std::shared_ptr<ActorServer> server, asio::io_context* context) {
  asio::signal_set signals(*context, SIGTERM, SIGINT);
  boost::system::error_code ignored;
  const int signal = co_await signals.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  log::info("the actor stops", {{"signal", std::to_string(signal)}});
  io::notify::stopping("waits for the end of its steps");
  co_await end_after_steps(server, context);
}

}  // namespace

int run_actor(ActorOptions options, ActorPlace place) {
  ::signal(SIGHUP, SIG_IGN);  // NOLINT(cert-err33-c): the files are looked at before each request
  asio::io_context context(1);
  auto server = std::make_shared<ActorServer>(context.get_executor(), std::move(options));
  const auto fail = [](const Error& error) {
    log::error("the actor cannot start", {{"error", error.text()}});
    return 1;
  };
  if (auto ready = server->prepare(); ready.has_error()) return fail(ready.error());

  int code = 0;
  if (place.fd >= 0) {
    io::Seqpacket inherited(context.get_executor(), io::Fd(place.fd), actor::kMessageBytesMax);
    asio::co_spawn(context, serve_inherited(server, std::move(inherited), &context), asio::detached);
  } else {
    io::Fd socket;
    if (place.from_systemd) {
      const auto handed = io::listen_fds();
      if (handed.size() != 1)
        return fail(Error(Errc::invalid_argument, "systemd handed over " + std::to_string(handed.size()) + " sockets")
                        .try_next("start rollbackd-actor.socket, or name a socket with --socket"));
      socket.reset(handed.front());
      asio::co_spawn(context, end_when_idle(server, &context), asio::detached);
    } else {
      auto made = io::listen_seqpacket(place.socket, 0666);  // Who may ask is decided by the peer's credentials.
      if (made.has_error()) return fail(made.error());
      socket = std::move(*made);
    }
    io::SeqpacketListener listener(context.get_executor(), std::move(socket), actor::kMessageBytesMax);
    asio::co_spawn(context, serve_all(server, std::move(listener), &context, &code), asio::detached);
  }
  asio::co_spawn(context, on_signals(server, &context), asio::detached);
  io::notify::ready("takes steps");
  context.run();
  server->join();
  if (!place.socket.empty()) ::unlink(place.socket.c_str());
  return code;
}

}  // namespace rollbackd::drivers
