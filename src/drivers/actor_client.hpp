// The daemon's side: a driver, a manager and a hook runner that only forward to the actor, and the connection they share.
#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>

#include "drivers/actor_protocol.hpp"
#include "drivers/driver.hpp"
#include "io/seqpacket.hpp"

namespace rollbackd::drivers {

/// The connection to the actor. Made anew when it is lost; whoever waits for an answer then is told `unavailable`.
class ActorLink : public std::enable_shared_from_this<ActorLink> {
 public:
  /// Makes a connection, or says why there is none now. Called on the reactor; does not wait.
  using Connect = std::function<Result<io::Seqpacket>()>;
  ActorLink(boost::asio::any_io_executor executor, Connect connect);
  ~ActorLink();
  ActorLink(const ActorLink&) = delete;
  ActorLink& operator=(const ActorLink&) = delete;

  /// The link of this executor's context; a null pointer where steps are done by this process, and for an empty executor, which no step
  /// can be run on. Set before drivers are made.
  static std::shared_ptr<ActorLink> of(const boost::asio::any_io_executor& executor);
  static void set(const boost::asio::any_io_executor& executor, std::shared_ptr<ActorLink> link);

  /// Says what operation the coming steps belong to: the actor has limits of its own by trigger, and refuses an old fencing token. A step
  /// of an operation that was not announced counts as automatic.
  void announce(const OperationRequest& request, std::int64_t fence);
  actor::About about(const std::string& operation) const;

  /// One request, one answer. @return the actor's error, `unavailable` (no actor, or it went away: whether it acted is not known),
  ///         `timed_out`, `cancelled`
  /// @param stop  once true the actor is told to give up
  /// @param answered  becomes true when what is returned is the actor's word, not the link's
  boost::asio::awaitable<Result<Json>> ask(actor::Request request, Duration timeout,
                                           std::shared_ptr<const std::atomic<bool>> stop = nullptr,
                                           std::shared_ptr<bool> answered = nullptr);
  /// A request that is answered by events, until it ends (the error says why) or is cancelled.
  boost::asio::awaitable<Error> follow(actor::Request request, std::function<void(const Json&)> event);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// Notes for the actor, where there is one, which operation the coming steps belong to.
void announce_operation(const boost::asio::any_io_executor& executor, const OperationRequest& request, std::int64_t fence);

/// @param local  reads what needs no rights: plans, descriptions, the watch on the link
std::unique_ptr<Driver> make_remote_driver(std::shared_ptr<ActorLink> link, DriverContext context, std::unique_ptr<Driver> local);
/// @param local  says what steps there are
std::unique_ptr<Manager> make_remote_manager(std::shared_ptr<ActorLink> link, DriverContext context, std::unique_ptr<Manager> local);
std::unique_ptr<HookRunner> make_remote_hooks(std::shared_ptr<ActorLink> link, DriverContext context, std::unique_ptr<HookRunner> local);

}  // namespace rollbackd::drivers
