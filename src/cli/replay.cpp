// The command: which recording, which rules, which policy; what a replay takes for granted stands in its help.
#include "cli/replay.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <memory>

#include "base/text.hpp"
#include "base/when.hpp"
#include "cli/load.hpp"
#include "cli/one_of.hpp"
#include "cli/replay_fetch.hpp"
#include "cli/replay_run.hpp"
#include "cli/replay_text.hpp"

namespace rollbackd::cli {

namespace {

constexpr const char* kHelp =
    "The recording: files in Prometheus's text format (timestamps in milliseconds) or OpenMetrics (in seconds, `# EOF` last), such as\n"
    "`promtool tsdb dump` and rollbackd's own /api/v1/dump; - is the standard input. Or --from asks a server.\n"
    "The rules: --rules and --service-rules; else those of --config; else the shipped packs.\n"
    "Judging and deciding are the daemon's own, in virtual time. Taken for granted: a release has started when it is live; every\n"
    "operation and every look at the target succeeds; a second opinion is what the check recorded next; without --config automation is\n"
    "automatic and the policy the default; a release that was live at the beginning, with later ones recorded, is good; where one release\n"
    "alone is known it is new at the beginning, after a good one. A source is silent after 2.5 times its usual spacing.\n"
    "A rollback that is decided is not carried out: the recording shows what really went on, so watching goes on with that, and the\n"
    "incident is over 30s after its alerts. --act lets it succeed at once instead: an epoch of the target begins, though the samples\n"
    "that follow are still those of the release that was left. Exit code 0 whatever fired, unless --fail-on says otherwise.";

struct Options {
  std::vector<std::string> files, rules, service_rules, releases;
  std::string config, rules_directory, service, environment, service_label, from, start, end, step = "15s", interval, token_file, form,
                                                                                              rule, fail_on;
  bool act = false, no_act = false;
};

/// What one run of the command gathers.
class Command {
 public:
  explicit Command(const Options& options) : o_(options) {}

  Result<int> run(bool as_json) {
    for (const auto& step : {&Command::load_rules, &Command::choose_rules, &Command::read, &Command::name_releases})
      if (auto done = (this->*step)(); !done) return done.error();
    std::set<std::string> recorded;
    for (const auto& group : groups_)
      for (const auto& rule : group.rules)
        if (!rule.alerting) recorded.insert(rule.name);
    recorded.insert({"ALERTS", "ALERTS_FOR_STATE"});
    if (auto done = recording_->finish(recorded, world_.services); !done) return done.error();
    world_.act = o_.act;
    ReplayReport report(*recording_, groups_);
    Replay replay(*recording_, groups_, world_, report);
    replay.run();
    const std::string text = as_json ? report.json().pretty() + "\n" : report.text();
    std::fputs(text.c_str(), stdout);
    if (o_.fail_on == "firing") return report.fired() ? 1 : 0;
    if (o_.fail_on == "rollback") return report.decided_rollback() ? 1 : 0;
    return 0;
  }

 private:
  Result<> load_rules() {
    const std::string directory = o_.rules_directory.empty() ? default_rules_directory() : o_.rules_directory;
    if (!o_.config.empty()) {
      Configuration configuration = load_configuration(o_.config, directory);
      if (!configuration.ok()) return refused(configuration.problems, o_.config);
      for (const auto& service : configuration.loaded.settings.services) world_.services[service.key] = service;
      groups_ = std::move(configuration.groups);
    }
    if (o_.rules.empty() && o_.service_rules.empty()) return o_.config.empty() ? add({directory + "/*.json"}, std::nullopt) : Result<>();
    groups_.clear();
    if (auto added = add(o_.rules, std::nullopt); !added) return added;
    if (!o_.service_rules.empty() && o_.service.empty())
      return Error(Errc::invalid_argument, "--service-rules are one service's own").try_next("name it with --service and --env");
    return add(o_.service_rules, ServiceKey{o_.service, environment()});
  }

  Result<> add(const std::vector<std::string>& patterns, const std::optional<ServiceKey>& only) {
    std::vector<config::Problem> problems;
    for (const std::string& pattern : patterns) {
      const auto files = expand_glob(pattern);
      if (files.empty()) return Error(Errc::not_found, "there is no rule file " + pattern);
      for (const std::string& file : files) {
        auto text = read_file(file);
        if (!text) return text.error();
        auto groups = rules::parse_groups(*text, file, only, problems);
        std::move(groups.begin(), groups.end(), std::back_inserter(groups_));
        if (auto fine = refused(problems, file); !fine) return fine;
      }
    }
    return {};
  }

  static Result<> refused(const std::vector<config::Problem>& problems, const std::string& file) {
    std::vector<std::string> errors;
    for (const auto& problem : problems)
      if (!problem.warning) errors.push_back(problem.text());
    if (errors.empty()) return {};
    return Error(Errc::invalid_config, "cannot use " + file).because(join(errors, "; ")).try_next("rollbackctl check shows every problem");
  }

  /// Only the alerts that --rule names; recording rules stay, because alerts read them.
  Result<> choose_rules() {
    if (o_.rule.empty()) return {};
    const auto wanted = series::Matcher::make("alertname", series::Matcher::Op::regex, ".*(?:" + o_.rule + ").*");
    if (!wanted) return Error(Errc::invalid_argument, "--rule is no regular expression").because(wanted.error().text());
    std::size_t left = 0;
    for (auto& group : groups_) {
      std::erase_if(group.rules, [&](const rules::Rule& rule) { return rule.alerting && !wanted->matches(rule.name); });
      for (const auto& rule : group.rules) left += rule.alerting ? 1 : 0;
    }
    if (left == 0) return Error(Errc::not_found, "no alerting rule matches --rule " + o_.rule);
    return {};
  }

  /// --env, or the only environment in which --config has the service.
  std::string environment() const {
    if (!o_.environment.empty()) return o_.environment;
    std::vector<std::string> found;
    for (const auto& [key, settings] : world_.services)
      if (key.name == o_.service) found.push_back(key.environment);
    return found.size() == 1 ? found.front() : "";
  }

  static Result<std::optional<Instant>> moment(const std::string& text, const char* option) {
    if (text.empty()) return std::optional<Instant>();
    if (const auto seconds = parse_unix_seconds(text)) return std::optional<Instant>(*seconds);
    auto at = parse_when(text, Instant(static_cast<std::int64_t>(std::time(nullptr)) * 1'000'000'000));
    if (!at)
      return Error(Errc::invalid_argument, std::string(option) + ": " + at.error().what)
          .because(at.error().why)
          .try_next(at.error().next_step);
    return std::optional<Instant>(*at);
  }

  Result<> read() {
    RecordingOptions options;
    options.service = o_.service;
    options.environment = environment();
    options.service_label = o_.service_label;
    auto start = moment(o_.start, "--start");
    if (!start) return start.error();
    auto end = moment(o_.end, "--end");
    if (!end) return end.error();
    options.start = *start;
    options.end = *end;
    if (!o_.interval.empty()) {
      auto interval = parse_duration(o_.interval);
      if (!interval || *interval <= Duration{0}) return Error(Errc::invalid_argument, "--interval is no duration").try_next("such as 15s");
      options.interval = *interval;
    }
    if (o_.from.empty() == o_.files.empty())
      return Error(Errc::invalid_argument, "name files with recorded samples, or a server with --from");
    recording_.emplace(options);
    if (!o_.from.empty()) return fetch(*start, *end);
    std::optional<RecordedForm> form;
    if (!o_.form.empty()) form = o_.form == "text" ? RecordedForm::text : RecordedForm::openmetrics;
    for (const std::string& file : o_.files)
      if (auto done = read_recording(file, form, *recording_); !done) return done;
    return {};
  }

  Result<> fetch(const std::optional<Instant>& start, const std::optional<Instant>& end) {
    if (!start || !end) return Error(Errc::invalid_argument, "--from needs --start and --end");
    FetchOptions options;
    options.url = o_.from;
    options.start = *start;
    options.end = *end;
    auto step = parse_duration(o_.step);
    if (!step) return step.error();
    options.step = *step;
    if (!o_.token_file.empty()) {
      auto token = read_file(o_.token_file, 4096);
      if (!token) return token.error();
      options.token = std::string(trim(*token));
    }
    return fetch_recording(options, selectors_to_fetch(groups_), *recording_);
  }

  /// --release [SERVICE/ENVIRONMENT:]NAME@TIME
  Result<> name_releases() {
    for (const std::string& text : o_.releases) {
      const std::size_t colon = text.find(':'), sign = text.find('@');
      const bool named = colon != text.npos && colon < sign;
      const std::string release = named ? text.substr(colon + 1, sign - colon - 1) : text.substr(0, sign);
      if (sign == text.npos || release.empty()) {
        return Error(Errc::invalid_argument, "--release " + text + " names no release and time")
            .try_next("such as v2@2026-11-21T10:00:00Z, or shop/prod:v2@2026-11-21T10:00:00Z");
      }
      auto at = moment(text.substr(sign + 1), "--release");
      if (!at) return at.error();
      if (!*at) return Error(Errc::invalid_argument, "--release " + text + " has no time");
      ServiceKey service{o_.service, environment()};
      if (named) {
        const std::string whole = text.substr(0, colon);
        const std::size_t slash = whole.find('/');
        service = {whole.substr(0, slash), slash == whole.npos ? "" : whole.substr(slash + 1)};
      }
      if (auto added = recording_->add_epoch({service, release, **at}); !added) return added;
    }
    return {};
  }

  const Options& o_;
  rules::Groups groups_;
  ReplayWorld world_;
  std::optional<Recording> recording_;
};

}  // namespace

void add_replay_command(CLI::App& app, const InsightCommands& commands, int& result) {
  auto o = std::make_shared<Options>();
  auto* command = app.add_subcommand("replay", "Rules over recorded samples: when each would have fired, and what would have been decided");
  command->footer(kHelp);
  command->add_option("files", o->files, "Recorded samples; - is the standard input");
  command->add_option("--rules", o->rules, "Rule file, or a pattern of them, as Prometheus means it; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--service-rules", o->service_rules, "Rule file of --service's own; may be repeated")->allow_extra_args(false);
  command->add_option("--config", o->config, "The daemon's configuration: services with their checks and policies, and rules");
  command->add_option("--rules-directory", o->rules_directory, "Where the shipped packs are");
  command->add_option("--rule", o->rule, "Only alerts whose name this regular expression finds");
  command->add_option("--service", o->service, "Stamped on series without a label `service`");
  command->add_option("--env,-e", o->environment, "Stamped on series without a label `environment`");
  command->add_option("--service-label", o->service_label, "The label that names the service where `service` is missing, such as job");
  command->add_option("--release", o->releases, "A release that went live: [SERVICE/ENV:]NAME@TIME; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--from", o->from, "Ask this server's query_range: http://HOST:PORT, or unix:/path of rollbackd's socket");
  command->add_option("--bearer-token-file", o->token_file, "Its token");
  command->add_option("--step", o->step, "Of --from: between two samples")->capture_default_str();
  command->add_option("--start", o->start, "Only from then on: RFC 3339, 2026-11-21, 24h, unix seconds; windows begin empty there");
  command->add_option("--end", o->end, "Only up to then");
  command->add_option("--interval", o->interval, "Every source's usual spacing, instead of the median of its samples");
  command->add_option("--input-form", o->form, "text or openmetrics, instead of going by `# EOF`")->check(one_of({"text", "openmetrics"}));
  auto* act = command->add_flag("--act", o->act, "A decided rollback succeeds at once");
  command->add_flag("--no-act", o->no_act, "Watch on with the recorded truth (the default)")->excludes(act);
  command->add_option("--fail-on", o->fail_on, "End with 1 when a rule fired, or when a rollback was decided")
      ->check(one_of({"firing", "rollback"}));
  command->callback([o, &commands, &result] {
    auto ended = Command(*o).run(commands.json());
    result = ended ? *ended : commands.fail(ended.error());
  });
}

}  // namespace rollbackd::cli
