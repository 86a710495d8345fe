// Lets one run of something happen at a time; whoever only wants its answer may share it. Internal to checks/.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <optional>

#include "model/batch.hpp"

namespace rollbackd::checks {

class SingleRun {
 public:
  /// One run; nothing when it was cancelled.
  using Body = std::function<boost::asio::awaitable<std::optional<Batch>>()>;

  explicit SingleRun(const boost::asio::any_io_executor& executor) : ended_(executor, boost::asio::steady_timer::time_point::max()) {}
  bool under_way() const { return running_; }
  /// Waits for the run that is under way. @return its answer; nothing when it or the caller was cancelled, or when there is none
  boost::asio::awaitable<std::optional<Batch>> shared();
  /// Waits its turn, then runs `body`. @return nothing when it was cancelled
  boost::asio::awaitable<std::optional<Batch>> own(Body body);

 private:
  struct Mark;
  boost::asio::awaitable<void> until_ended(std::uint64_t run);

  boost::asio::steady_timer ended_;  ///< cancelled when a run has ended
  bool running_ = false;
  std::uint64_t run_ = 0;      ///< number of the one that began last
  std::optional<Batch> last_;  ///< its answer
};

}  // namespace rollbackd::checks
