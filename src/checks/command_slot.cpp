#include "checks/command_slot.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <list>

namespace rollbackd::checks {

namespace asio = boost::asio;

namespace {

struct Waiter;
struct Slots {
  int taken = 0;
  std::list<Waiter*> waiting;  ///< bounded by the number of checks: each waits at most once for its slot and once for a second opinion
};
Slots& slots() {
  static thread_local Slots all;
  return all;
}

void give_back();

/// Stands in the queue as long as its coroutine's frame lives.
struct Waiter {
  explicit Waiter(const asio::any_io_executor& executor) : turn(executor), place(slots().waiting.insert(slots().waiting.end(), this)) {}
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  ~Waiter() {
    if (granted) {
      give_back();  // Its coroutine ended between being called and coming.
    } else if (waiting) {
      slots().waiting.erase(place);
    }
  }
  asio::steady_timer turn;
  bool waiting = true, granted = false;
  std::list<Waiter*>::iterator place;
};

void give_back() {
  if (slots().waiting.empty()) {
    --slots().taken;
    return;
  }
  Waiter* next = slots().waiting.front();
  slots().waiting.pop_front();
  next->waiting = false;
  next->granted = true;
  next->turn.cancel();
}

}  // namespace

asio::awaitable<std::optional<CommandSlot>> CommandSlot::take(asio::any_io_executor executor, Duration patience) {
  if (slots().taken < kCommandsMax) {
    ++slots().taken;
    co_return CommandSlot();
  }
  Waiter waiter(executor);
  waiter.turn.expires_after(patience);
  co_await waiter.turn.async_wait(asio::as_tuple(asio::use_awaitable));
  if (!waiter.granted) co_return std::nullopt;
  waiter.granted = false;  // It is the slot's now.
  co_return CommandSlot();
}

CommandSlot::~CommandSlot() {
  if (held_) give_back();
}

}  // namespace rollbackd::checks
