// `rollbackd --actor`: the only process with root's rights. It takes steps as data from a daemon that has none, and believes nothing of it.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <memory>
#include <string>

#include "drivers/actor_protocol.hpp"
#include "io/seqpacket.hpp"

namespace rollbackd::drivers {

struct ActorOptions {
  std::string config;     ///< main configuration file, absolute; it and its directories must be root's
  std::string directory;  ///< the actor's own, 0700; default: the state directory's path with "-actor" appended
  std::string program;    ///< path of the rollbackd binary, for keepers and hooks
  uid_t daemon = 0;       ///< who may ask, beside root and the user of this process
};

/// Answers requests. Everything runs on the executor's one thread, blocking work on the actor's own workers.
class ActorServer : public std::enable_shared_from_this<ActorServer> {
 public:
  ActorServer(boost::asio::any_io_executor executor, ActorOptions options);
  ~ActorServer();
  /// Reads the configuration, makes the actor's directory and takes its lock; waits while another actor has it, as it may be in a step.
  Result<> prepare();
  /// Serves one connection to its end. A peer that may not ask is told so and left.
  boost::asio::awaitable<void> serve(io::Seqpacket connection);
  /// What a request is answered. A watch is answered through serve() alone.
  /// @param stop  once true a reading ends soon
  boost::asio::awaitable<Result<Json>> perform(actor::Request request, std::shared_ptr<const std::atomic<bool>> stop = nullptr);
  /// Waits for blocking work that is under way. Nothing may run on the executor any more, which must still be there.
  void join();
  /// Steps that run now, and connections that are served.
  std::size_t steps_running() const;
  std::size_t connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Where connections come from.
struct ActorPlace {
  std::string socket;         ///< listens here; or
  int fd = -1;                ///< one connected socket, inherited: the actor ends with it, and not before its steps; or
  bool from_systemd = false;  ///< a listening socket that systemd hands over; the actor ends when nobody has asked for a while
};
/// The actor's whole life. @return the process's exit code
int run_actor(ActorOptions options, ActorPlace place);

/// The directory of a service in which an actor, if there is or was one, keeps what the managers need: STATE-actor/services/NAME.ENV for
/// STATE/services/NAME.ENV.
std::string actor_service_directory(const std::string& service_directory);

}  // namespace rollbackd::drivers
