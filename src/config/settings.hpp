// The settings of the daemon and of each service, as plain structs with their defaults. load.hpp reads them from documents.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "model/alert.hpp"
#include "model/batch.hpp"

namespace rollbackd::config {

enum class Automation : int { off = 0, observe = 1, approve = 2, automatic = 3 };
const char* to_string(Automation v);

enum class Enforcement : int { strict = 1, lenient = 2 };
const char* to_string(Enforcement v);

/// Where a setting stands: for errors, and for `config show`.
struct Origin {
  std::string file;  ///< empty: a default
  int line = 0, column = 0;
};

enum class ManagerType : int { none = 0, supervised = 1, command = 2, systemd = 3 };
const char* to_string(ManagerType v);

/// Who starts and stops a component's process.
struct ProcessSettings {
  ManagerType manager = ManagerType::none;
  // supervised: runs under a keeper of ours
  std::vector<std::string> command;  ///< argv; the program is looked up when it starts, so a path through `current` follows the link
  std::string working_directory;     ///< default: `current`
  std::map<std::string, std::string> environment;
  std::string user;                          ///< runs as; empty: as the daemon
  Duration stop_timeout = 10s;               ///< TERM, then KILL
  Duration restart_delay = 1s;               ///< before the keeper starts a crashed process again, doubling up to 30 s; 0: never
  std::int64_t output_bytes_max = 10 << 20;  ///< of the output file, then it is rotated once
  std::string output;                        ///< file; default STATE/services/NAME.ENV/output.log
  // command: argv of ours to call
  std::vector<std::string> start, stop, restart, status;  ///< status exits 0 when running
  std::string pid_file;
  Duration command_timeout = 30s;
  // systemd
  std::string unit;
  /// supervised: who is its parent. auto: a transient unit where systemd runs, else a keeper of ours.
  enum class Parent : int { auto_ = 0, keeper = 1, systemd = 2 } parent = Parent::auto_;
  bool operator==(const ProcessSettings&) const = default;
};

/// One component: a part of a service with its own link. The first names the service's release.
struct ComponentSettings {
  std::string name = "app";
  std::string driver = "symlink";
  std::string releases;  ///< directory of release directories
  std::string current;   ///< the link
  ProcessSettings process;
};

enum class CheckType : int {
  http = 1,
  process = 2,
  log = 3,
  tcp = 4,
  exec = 5,
  systemd = 6,
  scrape = 7,
  promql = 8,
  config = 9,
  file = 10
};
const char* to_string(CheckType v);

struct CheckSettings {
  std::string name;
  CheckType type = CheckType::http;
  Duration interval = 1s;
  Duration timeout = 500ms;
  // http
  std::string url;  ///< http://host:port/path; https needs TLS, which this version does not offer
  std::string method = "GET";
  std::map<std::string, std::string> headers;
  std::vector<std::string> status{"2xx"};  ///< "200", "2xx", "200-299"
  std::string body_matches;                ///< RE2, searched in the first body_bytes_max bytes; empty: not looked at
  std::string body_not_matches;
  std::int64_t body_bytes_max = 64 << 10;
  bool keep_alive = true;
  // process
  std::string pid_file;  ///< only for a process that no manager of ours starts
  // log
  std::string path;                             ///< absolute; the last part may be a glob
  std::map<std::string, std::string> patterns;  ///< name -> RE2
  std::int64_t line_bytes_max = 16 << 10;       ///< a longer line is cut and counted
  bool from_beginning = false;                  ///< of files that are there at the start; new files are always read whole
  // any that says healthy or not
  /// What the service needs (a database, an API) and this check looks at, instead of the service itself: it feeds `dependency_up`, is no
  /// part of the service's own health, and its failure holds a rollback.
  std::string dependency;
  // tcp
  std::string address;  ///< HOST:PORT, [IPv6]:PORT
  std::string send;     ///< sent once connected
  std::string expect;   ///< RE2, searched in what comes back; empty: connecting is enough
  // exec (Nagios plugin convention) and config (validator: exit 0 is valid)
  std::vector<std::string> command;
  std::map<std::string, std::string> environment;
  std::int64_t output_bytes_max = 16 << 10;
  // systemd
  std::string unit;  ///< default: the unit of the component's manager
  // scrape and promql; body_bytes_max is 16 MiB there unless given
  std::string job;                                         ///< label `job`; default: the service's name
  std::vector<std::string> keep;                           ///< RE2, anchored, on metric names; empty: all
  std::vector<std::string> drop;                           ///< the same; wins over keep
  std::int64_t sample_limit = 10'000;                      ///< a scrape with more is refused whole, as Prometheus does
  std::string username, password_file, bearer_token_file;  ///< files are read at every scrape: a rotated secret is taken
  std::map<std::string, std::string> queries;              ///< promql: recorded metric name -> expression; url is the server's base
  // config
  std::vector<std::string> paths;  ///< files, directories or globs that are watched
  // file: path must exist, and
  Duration age_max{};          ///< be no older than this (by mtime); 0: not looked at
  std::int64_t bytes_min = 0;  ///< have at least so many bytes
};

enum class TestType : int { checks_healthy = 1, http = 2, exec = 3, file_exists = 4, service_status = 5, identity = 6 };
const char* to_string(TestType v);

/// One verification test, run after any switch.
struct TestSettings {
  std::string name;  ///< default: its type, with a number where there are several
  TestType type = TestType::checks_healthy;
  Duration for_ = 5s;     ///< checks_healthy: healthy without a break for so long
  Duration within = 30s;  ///< the test must pass within so long
  Duration timeout = 5s;  ///< of one attempt
  std::string url;
  std::vector<std::string> status{"2xx"};
  std::string body_matches;
  std::vector<std::string> command;  ///< exec: exit 0 passes
  std::string path;                  ///< file_exists: relative to the release's directory unless absolute
  std::string json_pointer;
};

/// Where in an operation a hook is called. before_switch may still stop the operation; all the others come after the commit point.
enum class HookPoint : int { before_switch = 1, after_switch = 2, after_restart = 3, after_verify = 4, on_failure = 5 };
const char* to_string(HookPoint v);

/// A program of the operator's, called in the course of an operation.
struct HookSettings {
  std::string name;  ///< default: its point, with a number where there are several
  HookPoint at = HookPoint::before_switch;
  std::vector<std::string> command;  ///< argv; the program is an absolute path and belongs to root
  std::map<std::string, std::string> environment;
  Duration timeout = 10s;                    ///< then TERM, after two seconds KILL
  std::int64_t output_bytes_max = 64 << 10;  ///< kept of standard output and error together; the rest is read and dropped
  /// Its failure stops the operation (before_switch) or makes it `failed` (later ones); else it is a warning in the record.
  bool required = true;
};

/// A stretch of time that comes again, in which rollbackd does not act by itself and a person only with --lenient.
struct WindowSettings {
  std::string name;  ///< for people: "Black Friday"
  /// freeze: nothing is changed. maintenance: people work on it; alerts that begin in it are no evidence either.
  enum class Kind : int { freeze = 1, maintenance = 2 } kind = Kind::freeze;
  std::string begins;     ///< calendar expression of systemd.time(7): "Fri 17:00", "*-12-20 00:00"
  Duration length{};      ///< from each beginning
  std::string time_zone;  ///< IANA name; empty: UTC
  bool operator==(const WindowSettings&) const = default;
};

/// What is watched beside the releases, because it explains failures as well: shown as evidence, and a reason to hold.
struct ChangesSettings {
  std::string packages = "/var/log/dpkg.log";  ///< empty: packages are not watched
  std::vector<std::string> paths;              ///< configuration files and directories; globs
  bool units = true;                           ///< the unit's files and drop-ins, where systemd manages the service
  bool hold = true;                            ///< a change younger than the release holds; false: it is only shown
};

/// The files of the release that a rollback would go to, kept in the page cache, so that its start need not wait for the disk.
struct WarmSettings {
  bool enabled = false;
  std::int64_t memory_bytes_max = 256 << 20;
};

/// What `rollbackctl drill --inject` may do to this service. Only a marked one may be broken on purpose.
struct DrillSettings {
  bool marked = false;
  std::vector<std::string> inject;  ///< of crash, 500, log
  std::string log;                  ///< file that an injected line is appended to
  std::string fault_url;            ///< POST makes the service answer 500 until its next start
};

/// Where the running release can be asked for over the real path.
struct IdentitySettings {
  std::string url;           ///< empty: none
  std::string json_pointer;  ///< into the JSON answer; empty: the whole body, trimmed
};

struct PolicySettings {
  Duration bake_time = 10min;
  Duration start_grace = 30s;
  Duration settle = 1s;
  Duration cooldown = 15min;
  int budget_rollbacks = 2;
  Duration budget_per = 24h;
  int max_steps_back = 1;
  Duration deadline_standard = 60s;
  Duration deadline_emergency = 30s;
  Duration deadline_step = 30s;
  bool late_automatic = false;          ///< `late: automatic`
  bool trust_live = false;              ///< `trust_existing: live`: the release found live at first sight is good
  Duration approve_timeout = 30min;     ///< automation approve: how long a decision waits for a person; then it is held
  std::vector<WindowSettings> windows;  ///< freeze and maintenance
  int keep_releases = 0;                ///< releases kept on disk beside those that a rollback needs; 0: none is ever removed
  Duration keep_releases_for{};         ///< none younger than this is removed
  Duration scrub_interval = 24h;        ///< how often a hashed release is read again in full; 0: never
};

struct ServiceSettings {
  ServiceKey key;
  Automation automation = Automation::observe;
  Enforcement enforcement = Enforcement::strict;
  std::vector<ComponentSettings> components;
  std::vector<CheckSettings> checks;
  IdentitySettings identity;
  PolicySettings policy;
  std::vector<TestSettings> verify;
  std::vector<std::string> depends_on;  ///< "db/prod"
  std::vector<std::string> rule_files;  ///< service-local; absolute after loading
  std::vector<HookSettings> hooks{};
  ChangesSettings changes{};
  WarmSettings warm{};
  DrillSettings drill{};
  Origin origin;
};

/// Services that are rolled back together, in this order.
struct GroupSettings {
  std::string name;
  std::vector<std::string> services;  ///< "web/prod"
  Origin origin{};
};

/// Bounds on what the daemon does to all of its services together.
struct BreakerSettings {
  int max_concurrent = 3;  ///< automatic operations at a time
  int share_percent = 50;  ///< automatic rollbacks within `within`, of all services; beyond it everything holds
  Duration within = 10min;
  int services_min = 4;  ///< with fewer services the share is not asked
};

/// What an alert pushed from outside may cause. The first route that matches counts; an alert without one causes nothing.
struct RouteSettings {
  std::vector<std::string> match;  ///< Alertmanager's matchers: severity="critical", team!="x", service=~"shop.*"; all must hold
  AlertAction action = AlertAction::notify;
  std::string service;                            ///< "shop-api/prod"; empty: the alert's labels below name it
  std::string service_label = "service";          ///< label with the service's name
  std::string environment_label = "environment";  ///< label with its environment; an alert without it means the only one of that name
  Duration stale_after = 1h;                      ///< an alert that began longer ago is shown and causes nothing
  Origin origin{};
};

struct ChannelSettings {
  std::string name;
  enum class Type : int { webhook = 1, exec = 2 } type = Type::webhook;
  std::string url;                   ///< webhook; or from url_file
  std::string url_file;              ///< its first line is the url: keeps secrets out of the configuration
  std::vector<std::string> command;  ///< exec: the notification comes as JSON on standard input
  Duration timeout = 10s;
  int severity_min = 2;  ///< Notification::Severity: 1 info, 2 warning, 3 page
};

/// The whole configuration.
struct Settings {
  std::string state_directory = "/var/lib/rollbackd";
  std::string listen = "127.0.0.1:9474";
  std::string socket;                   ///< unix socket; default STATE/rollbackd.sock
  std::string token_file;               ///< default STATE/tokens; one token a line: NAME:SHA256HEX:ROLE:CREATED; changes over TCP need one
  std::vector<std::string> rule_files;  ///< Prometheus's meaning; globs expanded, absolute
  bool default_rules = true;            ///< the packs of the installation judge every service
  Duration max_skew = 5s;
  std::string log_level = "info";
  std::vector<ChannelSettings> notify;
  std::vector<RouteSettings> routes;
  std::vector<ServiceSettings> services;
  std::vector<GroupSettings> groups;
  BreakerSettings breaker;
  /// Who carries out steps: "auto" (the socket of `rollbackd --actor` where it is there, else "inline"), "inline" (this process),
  /// "fork" (a child started at the beginning), or the path of the actor's socket.
  std::string actor = "auto";
  std::string kill_switch;           ///< file that stops every action while it is there; default STATE/kill-switch
  Duration history_for = 365 * 24h;  ///< rows of the history and entries of the audit log are kept for so long
};

/// One setting with where it came from, for `config show`.
struct Shown {
  std::string path;   ///< "services[0].policy.cooldown"
  std::string value;  ///< as JSON text
  Origin origin;
};

}  // namespace rollbackd::config
