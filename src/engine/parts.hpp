// A service's components together: one driver and one manager for all of them, so that the shell need not know how many there are.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "drivers/driver.hpp"
#include "rollback/recovery.hpp"

namespace rollbackd::engine {

/// One component's driver and, where it has one, its manager.
struct ServicePart {
  std::string name;
  std::unique_ptr<drivers::Driver> driver;
  std::unique_ptr<drivers::Manager> manager;
};
using ServiceParts = std::vector<std::shared_ptr<ServicePart>>;

/// Which release each component runs while the service is on a release, for all that the ledger knows.
using KnownParts = std::function<std::map<std::string, std::vector<ComponentRelease>>()>;

/// Two links that an outside deployment changes one after the other are told as one change: once nothing changed for kQuiet, at the latest
/// after kSettle.
inline constexpr Duration kQuiet = 500ms, kSettle = 2s;

/// Several drivers as one. Its release ids are composite (`name_of`); what one is made of comes from the ledger, from what was live when it
/// was last looked at, or is the directory of that name in every component. It is never guessed from the id.
class PartsDriver final : public drivers::Driver {
 public:
  PartsDriver(boost::asio::any_io_executor executor, const io::Clock& clock, ServiceParts parts, KnownParts known);

  boost::asio::awaitable<Result<World>> inspect() override;
  Result<std::vector<Step>> plan(const World& world, const std::string& release) const override;
  boost::asio::awaitable<Outcome> run(Step step, Duration deadline) override;
  boost::asio::awaitable<Outcome> undo(Step step, Duration deadline) override;
  boost::asio::awaitable<void> watch(std::function<void(drivers::LinkSeen)> sink) override;
  /// Ready only when every component is.
  boost::asio::awaitable<TargetFacts> arm(std::string release, std::string expected_digest) override;
  /// SHA-256 over one line "COMPONENT DIGEST" a component, in their order.
  boost::asio::awaitable<Result<std::string>> digest(std::string release) override;
  boost::asio::awaitable<TargetFacts> look(std::string release, std::string expected_digest) override;
  /// One component after the other; what changed is told by component.
  boost::asio::awaitable<Result<drivers::Reading>> read(std::string release, drivers::ReadOptions options) override;
  Result<Step> plan_removal(const ComponentRelease& part) const override;
  std::vector<ComponentRelease> half_removed() const override;
  Result<Release> describe(const std::string& release) const override;
  /// Marks what is not live in its component: a configuration that the good release has too is not to blame.
  boost::asio::awaitable<Result<>> mark_bad(std::string release, std::string reason) override;

  Result<std::vector<ComponentRelease>> parts_of(const std::string& release) const;

 private:
  ServicePart* find(const std::string& component) const;
  bool is_whole(const std::vector<ComponentRelease>& parts) const;
  boost::asio::awaitable<TargetFacts> each(std::string release, std::string expected_digest, bool arm);
  std::string digest_of(std::vector<std::string> parts);

  boost::asio::any_io_executor executor_;
  const io::Clock& clock_;
  ServiceParts parts_;
  KnownParts known_;
  std::vector<ComponentRelease> live_;             ///< as of the last look
  std::map<std::string, std::size_t> everywhere_;  ///< directory names, by how many components have one; as of the last look
  /// Each component's digest, by the release's: so that the one that changed is told, and what of it.
  std::map<std::string, std::vector<std::string>> digests_;
};

/// Several managers as one: it runs when all run, and is as old as the oldest.
class PartsManager final : public drivers::Manager {
 public:
  PartsManager(boost::asio::any_io_executor executor, ServiceParts parts);  ///< all with a manager

  boost::asio::awaitable<Result<>> attach() override;
  boost::asio::awaitable<Result<World::Process>> inspect() override;
  std::vector<Step> plan() const override;
  boost::asio::awaitable<Outcome> run(Step step, Duration deadline) override;
  /// Exits are told as they come, a start once all run.
  boost::asio::awaitable<void> watch(std::function<void(ProcessEvent)> sink) override;

  boost::asio::awaitable<std::vector<rollback::ManagedComponent>> inspect_each();

 private:
  boost::asio::any_io_executor executor_;
  ServiceParts parts_;
};

}  // namespace rollbackd::engine
