// Whether a service's configuration is valid, as its own validator says: at the start, at each epoch, on every change of its files, and
// each hour. Flow: files -> inotify -> [config check] -> validator -> batch -> engine. inotify is a hint; what the files look like counts.
#include <sys/inotify.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <set>

#include "checks/command_slot.hpp"
#include "checks/kinds.hpp"
#include "checks/looker.hpp"
#include "checks/parts.hpp"
#include "checks/probe_loop.hpp"
#include "checks/single_run.hpp"
#include "checks/watched_files.hpp"
#include "io/inotify.hpp"
#include "io/process.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr Duration kDebounce = 200ms;  ///< after the last change: an editor or a deployment writes more than once
constexpr int kDebouncesMax = 10;      ///< then it is looked at all the same
constexpr Duration kApart = 1s;        ///< between two validations for changes: one that writes beside its files must not go round for ever
constexpr Duration kRevalidate = 1h;   ///< what the files refer to (certificates, host names) may change without them
constexpr Duration kRetry = 15s;       ///< for inotify
constexpr int kCannotExecute = 126, kNotFound = 127;  ///< a shell's words for "could not run it"
constexpr std::uint32_t kEvents =
    IN_CLOSE_WRITE | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;

std::string first_line(std::string_view output) {
  output = trim(output);
  return std::string(trim(output.substr(0, output.find('\n'))));
}

class ConfigCheck final : public Check {
 public:
  explicit ConfigCheck(CheckContext context)
      : context_(std::move(context)),
        looker_(context_.executor),
        runs_(context_.executor),
        wake_(context_.executor),
        retry_(context_.executor),
        valid_labels_(labels_of(context_, "config_valid", host_name())),
        changes_labels_(labels_of(context_, "config_changes_total", host_name())) {}

  asio::awaitable<void> run() override {
    using namespace asio::experimental::awaitable_operators;
    co_await (keep_valid() || follow_events());
  }

  /// A validator that is running already began after whatever is asked about, so its answer is taken.
  asio::awaitable<Batch> probe_now() override {
    std::optional<Batch> shared = co_await runs_.shared();
    if (shared) co_return std::move(*shared);
    std::optional<Batch> own = co_await validate();
    co_return told_at_once(context_, std::move(own));
  }

  Source source() const override {
    return {context_.service,
            context_.settings.name,
            {"config_valid", "config_changes_total"},
            2 * context_.settings.interval + context_.settings.timeout};
  }

  /// What was known is of the release before: nothing is repeated of it, and the validator runs at once.
  void begin_epoch() override {
    ++epoch_;
    known_.reset();
    asked_ = true;
    wake_.cancel();
  }
  const CheckCounters& counters() const override { return counters_; }

 private:
  struct Known {
    bool valid = false;
    std::string detail;
  };

  // ---- Validating ----

  /// @return nothing when it was cancelled
  asio::awaitable<std::optional<Batch>> validate() {
    SingleRun::Body body = [this] { return run_validator(); };
    return runs_.own(std::move(body));
  }

  asio::awaitable<std::optional<Batch>> run_validator() {
    const std::optional<CommandSlot> slot = co_await CommandSlot::take(context_.executor, context_.settings.timeout);
    const bool cancelled = co_await is_cancelled();
    if (cancelled) co_return std::nullopt;
    const Instant began = context_.clock->now();
    const std::uint64_t epoch = epoch_;
    validated_ = began;
    if (!slot)
      co_return could_not_look(began, "the checks run " + std::to_string(kCommandsMax) + " commands already, and none ended within " +
                                          format_duration(context_.settings.timeout));
    io::CommandOptions options;
    options.argv = context_.settings.command;
    options.environment = context_.settings.environment;
    options.output_bytes_max = static_cast<std::size_t>(context_.settings.output_bytes_max);
    const auto result = co_await io::run_command(std::move(options), context_.settings.timeout);
    if (result.has_error() && result.error().code == Errc::cancelled) co_return std::nullopt;
    co_return judged(result, began, epoch);
  }

  Batch could_not_look(Instant began, const std::string& why) {
    known_.reset();
    ++counters_.unobserved;
    Batch batch = batch_of(context_, began);
    batch.unobserved = batch.detail = evidence(why);
    return batch;
  }

  Batch judged(const Result<io::CommandResult>& result, Instant began, std::uint64_t epoch) {
    if (result.has_error()) return could_not_look(began, result.error().text());
    const std::string line = first_line(result->output);
    if (result->signal != 0) return could_not_look(began, "the validator was killed by signal " + std::to_string(result->signal));
    if (result->exit_code == kCannotExecute || result->exit_code == kNotFound)
      return could_not_look(began, "the validator could not be run: " + line);

    Known known{result->exit_code == 0, {}};
    known.detail = known.valid
                       ? "the configuration is valid"
                       : "the configuration is invalid" +
                             (line.empty() ? ", says the validator by its exit status " + std::to_string(result->exit_code) : ": " + line);
    ++(known.valid ? counters_.ok : counters_.failed);
    Batch batch = said(known, began);
    if (epoch == epoch_) known_ = std::move(known);
    return batch;
  }

  Batch said(const Known& known, Instant began) const {
    Batch batch = batch_of(context_, began);
    batch.healthy = known.valid;
    batch.detail = evidence(known.detail);
    batch.samples.push_back({valid_labels_, known.valid ? 1.0 : 0.0, false});
    batch.samples.push_back({changes_labels_, static_cast<double>(changes_), true});
    return batch;
  }

  // ---- Looking ----

  /// Looks at the files, and watches where they are. Asks for a validation when they are not what they were.
  /// @return false when it was cancelled
  asio::awaitable<bool> look() {
    constexpr int kLooksMax = 3;
    for (int i = 0; i < kLooksMax; ++i) {
      auto work = [paths = context_.settings.paths] { return look_at_files(paths); };
      const std::optional<WatchedFiles> found = co_await looker_.look(std::move(work), context_.settings.timeout);
      const bool cancelled = co_await is_cancelled();
      if (cancelled) co_return false;
      if (!found) co_return true;  // A slow file system: the validator says the rest.
      if (fingerprint_ && *fingerprint_ != found->fingerprint) {
        ++changes_;
        asked_ = changed_ = true;
      }
      fingerprint_ = found->fingerprint;
      if (!watch(found->directories)) co_return true;  // Else something may have changed before the watch: once more.
    }
    co_return true;
  }

  /// @return whether a directory is watched that was not before
  bool watch(const std::set<std::string>& directories) {
    if (!inotify_) return false;
    std::set<int> watches;
    for (const std::string& directory : directories)
      if (const Result<int> added = inotify_->add(directory, kEvents); added.has_value()) watches.insert(*added);
    bool more = false;
    for (const int added : watches) more = more || !watches_.contains(added);
    for (const int old : watches_)
      if (!watches.contains(old)) inotify_->remove(old);
    watches_ = std::move(watches);
    return more;
  }

  asio::awaitable<void> follow_events() {
    co_await asio::this_coro::throw_if_cancelled(false);
    while (true) {
      auto opened = io::Inotify::open(context_.executor);
      if (opened.has_value()) {
        watches_.clear();
        inotify_.emplace(std::move(*opened));
        const bool cancelled = co_await take_events();
        inotify_.reset();
        if (cancelled) co_return;
      }
      retry_.expires_after(kRetry);
      const auto [stopped] = co_await retry_.async_wait(kToken);
      const bool cancelled = co_await is_cancelled();
      if (stopped || cancelled) co_return;
    }
  }

  /// @return true when it was cancelled, false when inotify failed
  asio::awaitable<bool> take_events() {
    hinted();  // To look is to watch.
    while (true) {
      const auto events = co_await inotify_->next();
      const bool cancelled = co_await is_cancelled();
      if (cancelled) co_return true;
      if (events.has_error()) co_return false;
      const bool tells = std::any_of(events->begin(), events->end(), [](const io::FileEvent& e) { return (e.mask & IN_IGNORED) == 0; });
      if (tells) hinted();
    }
  }

  void hinted() {
    hint_ = true;
    wake_.cancel();
  }

  // ---- The loop ----

  /// Waits until `until`, a hint or a question. @return false when cancelled
  asio::awaitable<bool> wait(Instant until) {
    wake_.expires_after(until - context_.clock->now());
    co_await wake_.async_wait(kToken);
    const bool cancelled = co_await is_cancelled();
    co_return !cancelled;
  }

  /// Lets a row of changes come to its end. @return false when cancelled
  asio::awaitable<bool> debounce() {
    if (!hint_) co_return true;
    for (int i = 0; hint_ && !asked_ && i < kDebouncesMax; ++i) {
      hint_ = false;
      const Instant quiet = context_.clock->now() + kDebounce;
      while (!asked_ && context_.clock->now() < quiet) {
        const bool go_on = co_await wait(quiet);
        if (!go_on) co_return false;
        if (hint_) break;
      }
    }
    hint_ = false;
    while (!asked_ && context_.clock->now() < not_before_) {
      const bool go_on = co_await wait(not_before_);
      if (!go_on) co_return false;
    }
    co_return true;
  }

  asio::awaitable<void> keep_valid() {
    co_await asio::this_coro::throw_if_cancelled(false);
    asked_ = true;
    Instant next = context_.clock->now();
    while (true) {
      const bool looked = co_await look();
      if (!looked) co_return;
      const Instant now = context_.clock->now();
      const bool due = now >= next;
      std::optional<Batch> batch;
      if (asked_ || (due && (!known_ || now - validated_.value_or(now) >= kRevalidate))) {
        asked_ = false;
        batch = co_await validate();
        const bool cancelled = co_await is_cancelled();
        if (!batch || cancelled) co_return;
      } else if (due && known_) {
        batch = said(*known_, now);
      }
      if (batch) {
        context_.sink(std::move(*batch));
        next = context_.clock->now() + context_.settings.interval;
      }
      if (changed_) not_before_ = context_.clock->now() + kApart;
      changed_ = false;
      while (!asked_ && !hint_ && context_.clock->now() < next) {
        const bool go_on = co_await wait(next);
        if (!go_on) co_return;
      }
      const bool go_on = co_await debounce();
      if (!go_on) co_return;
    }
  }

  CheckContext context_;
  Looker looker_;
  SingleRun runs_;
  asio::steady_timer wake_, retry_;
  CheckCounters counters_;
  Labels valid_labels_, changes_labels_;
  std::optional<io::Inotify> inotify_;
  std::set<int> watches_;
  std::optional<std::uint64_t> fingerprint_;  ///< of the files when they were looked at last
  std::uint64_t changes_ = 0;
  std::optional<Known> known_;  ///< in this epoch
  std::uint64_t epoch_ = 0;
  std::optional<Instant> validated_;  ///< when the validator began last
  bool asked_ = false;                ///< the validator is to run
  bool changed_ = false;              ///< because the files did
  Instant not_before_;                ///< no look for a hint before this
  bool hint_ = false;                 ///< something may have changed
};

}  // namespace

Result<std::unique_ptr<Check>> make_config_check(CheckContext context) {
  if (context.settings.command.empty() || context.settings.command[0].empty())
    return Error(Errc::invalid_config, "check " + context.settings.name + " has no command");
  for (const std::string& path : context.settings.paths)
    if (path.empty() || path[0] != '/')
      return Error(Errc::invalid_config, "a path of check " + context.settings.name + " is not absolute")
          .because(printable(cut(path, 200)));
  if (context.settings.interval < 1ms || context.settings.timeout < 1ms)
    return Error(Errc::invalid_config, "interval and timeout of check " + context.settings.name + " must be 1ms or more");
  return std::unique_ptr<Check>(std::make_unique<ConfigCheck>(std::move(context)));
}

}  // namespace rollbackd::checks
