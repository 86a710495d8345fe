// What the tests of a real Engine share: a service on disk with a web server that answers for its live release, and an Engine over it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "io/http_server.hpp"
#include "tests/support/run_for.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using test::Background;
using test::run_for;
using test::run_until;
using test::TempDir;

constexpr Duration kPatience = 20s;

/// One failing probe is enough: the tests are about what follows from it.
inline constexpr const char* kRules = R"({"groups": [{"name": "shop", "rules": [
  {"alert": "Down", "expr": "probe_success == 0", "labels": {"rollbackd_action": "rollback"}}]}]})";

inline rules::Groups groups_of(const std::string& text) {
  std::vector<config::Problem> problems;
  auto groups = rules::parse_groups(text, "rules.json", std::nullopt, problems);
  for (const auto& problem : problems) ADD_FAILURE() << problem.text();
  return groups;
}

/// A service on disk: releases as directories, `current` as a link.
class Place {
 public:
  explicit Place(std::string root) : root_(std::move(root)) { fs::create_directories(releases()); }
  std::string releases() const { return root_ + "/releases"; }
  std::string current() const { return root_ + "/current"; }
  void release(const std::string& id) const {
    fs::create_directories(releases() + "/" + id);
    std::ofstream(releases() + "/" + id + "/app") << "the program of " << id << "\n";
  }
  /// Puts `current` on a release as a deployment from outside does.
  void link(const std::string& id) const {
    fs::create_symlink("releases/" + id, current() + ".new");
    fs::rename(current() + ".new", current());
  }
  std::string live() const { return fs::read_symlink(current()).filename().string(); }

 private:
  std::string root_;
};

inline config::ServiceSettings service_on(const Place& place, const ServiceKey& key) {
  config::ServiceSettings service;
  service.key = key;
  service.automation = config::Automation::automatic;
  config::ComponentSettings component;
  component.releases = place.releases();
  component.current = place.current();
  service.components.push_back(component);
  service.policy.start_grace = 0s;
  service.policy.settle = 2s;
  service.policy.cooldown = 0s;
  service.policy.trust_live = true;
  config::TestSettings healthy;
  healthy.name = "checks_healthy";
  healthy.for_ = 60ms;
  healthy.within = 5s;
  service.verify.push_back(healthy);
  return service;
}

/// An Engine on an io_context of its own, with a web server that answers /health for the service at `place`: 500 while one of `broken` is
/// live. Its end is that of a daemon: what was under way is dropped with the context.
class Daemon {
 public:
  Daemon(config::Settings settings, rules::Groups groups, const Place& place, const std::set<std::string>& broken)
      : server_(context_.get_executor(), [this, &place, &broken](io::ServerRequest) -> asio::awaitable<io::ServerResponse> {
          io::ServerResponse response;
          response.status = broken.contains(place.live()) ? 500 : 200;
          ++requests_;
          co_return response;
        }) {
    const auto port = server_.listen_tcp("127.0.0.1:0");
    if (!port) throw std::runtime_error(port.error().text());
    serving_.emplace(context_, server_.run());
    for (auto& service : settings.services)
      for (auto& check : service.checks) check.url = "http://127.0.0.1:" + std::to_string(*port) + "/health";
    engine_ = std::make_unique<Engine>(context_.get_executor(), std::move(settings), std::move(groups), EngineOptions{"", "test", false});
    Hooks hooks;
    hooks.operation_ended = [this](const record::OperationRow& row) { ended.push_back(row); };
    hooks.decided = [this](const Decision& decision) { decided.push_back(decision); };
    hooks.detected = [this](const ServiceKey&, Duration took) { detected.push_back(took); };
    hooks.tested = [this](const ServiceKey&, const std::string& test, bool passed) { tested.emplace_back(test, passed); };
    engine_->set_hooks(std::move(hooks));
  }
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  ~Daemon() {
    running_.reset();
    if (engine_->started()) run_for(context_, stopped(engine_.get()));
    serving_.reset();
    engine_.reset();
  }

  Result<> start() {
    Result<> started = run_for(context_, engine_->start(), kPatience);
    if (started) running_.emplace(context_, engine_->run());
    return started;
  }
  Engine& engine() { return *engine_; }
  asio::io_context& context() { return context_; }
  template <class Done>
  bool until(Done done) {
    return run_until(context_, done, kPatience);
  }
  template <class T>
  T run(asio::awaitable<T> work) {
    return run_for(context_, std::move(work), kPatience);
  }
  /// The standing of each release, by its id.
  std::string standing(const std::string& release, const ServiceSelector& of = {"shop", "prod"}) const {
    const auto ledger = engine_->releases(of);
    if (!ledger) return ledger.error().text();
    for (const Json& row : (*ledger)["releases"].elements())
      if (row["release"].string_or("") == release) return row["standing"].string_or("");
    return "not in the ledger";
  }
  Json shop() const { return engine_->service({"shop", "prod"}).value(); }
  bool held() const { return shop()["phase"].string_or("") == "held"; }
  bool ready() const { return engine_->readiness().elements().at(0)["ready"].bool_or(false); }
  int requests() const { return requests_; }

  std::vector<record::OperationRow> ended;
  std::vector<Decision> decided;
  std::vector<Duration> detected;
  std::vector<std::pair<std::string, bool>> tested;

 private:
  static asio::awaitable<bool> stopped(Engine* engine) {
    co_await engine->stop();
    co_return true;
  }
  asio::io_context context_{1};
  io::HttpServer server_;
  int requests_ = 0;
  std::optional<Background> serving_;
  std::unique_ptr<Engine> engine_;
  std::optional<Background> running_;
};

}  // namespace rollbackd::engine
