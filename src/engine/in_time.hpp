// Waits for work that cannot be stopped no longer than a deadline: a system call that hangs on its disk, a manager that never answers.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "base/time.hpp"
#include "io/fair_wait.hpp"

namespace rollbackd::engine {

namespace in_time_parts {

template <class R>
struct Shared {
  explicit Shared(const boost::asio::any_io_executor& e) : done(e) {}
  boost::asio::steady_timer done;
  std::optional<R> result;
};

template <class R>
boost::asio::awaitable<void> carry_out(std::shared_ptr<Shared<R>> shared, std::shared_ptr<const void>, boost::asio::awaitable<R> work,
                                       std::string who) {
  try {
    shared->result.emplace(co_await std::move(work));
  } catch (const std::exception& e) {
    shared->result.emplace(Error(Errc::internal, who + " ended by an exception").because(e.what()));
  }
  shared->done.cancel();
}

}  // namespace in_time_parts

/// Gives what `work` gives. Where that takes longer than `longest` it goes on by itself (with `owner`, whom it may refer to), and whatever
/// it then gives is passed by.
/// @param who  of the error: "the driver" @return `timed_out`, or `cancelled` when the waiting was
template <class R>
boost::asio::awaitable<R> in_time(boost::asio::any_io_executor executor, std::shared_ptr<const void> owner, boost::asio::awaitable<R> work,
                                  Duration longest, std::string who) {
  auto shared = std::make_shared<in_time_parts::Shared<R>>(executor);
  auto carrying = in_time_parts::carry_out<R>(shared, std::move(owner), std::move(work), who);
  boost::asio::co_spawn(executor, std::move(carrying), boost::asio::detached);
  auto answered = [shared] { return shared->result.has_value(); };
  const auto stopped = co_await io::wait_fairly(shared->done, longest, std::move(answered));
  if (!shared->result && stopped) co_return Error(Errc::cancelled, "nobody waits for " + who + " any more");
  if (!shared->result)
    co_return Error(Errc::timed_out, who + " gave no answer").because("not within " + format_duration(longest) + "; it may yet happen");
  co_return *std::move(shared->result);
}

}  // namespace rollbackd::engine
