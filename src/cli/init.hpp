// `rollbackctl init UNIT`: finds what rollbackd must know of a systemd unit and writes a configuration that observes it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace rollbackd::cli {

struct InitOptions {
  std::string unit, environment = "prod";
  std::string output;  ///< file, "-" for standard output; empty: services.d/NAME.json beside `config`
  std::string config = "/etc/rollbackd/rollbackd.json";
  bool force = false;
};

/// Looks, writes, and tells on standard error what was found and what was not, with the line to fill in. What is written was accepted by
/// the loader first; otherwise nothing is written.
/// @return `not_found` (no such unit, no release link), `conflict` (the file is there), `invalid_config`, `unavailable` (no systemd), `io`
Result<> init(const InitOptions& options);

// ---- the finding, over facts that were gathered ----

/// What `systemctl show` says of a unit.
struct UnitFacts {
  std::string id, load_state, fragment_path, working_directory, root_directory, user, exec_start;
  int main_pid = 0;  ///< 0: it does not run
};
/// Reads "Key=value" lines; keys that are not asked for are passed over.
UnitFacts parse_unit(std::string_view text);

/// Every absolute path in the unit's working directory and command line, in that order, without repetition; at most 64.
std::vector<std::string> paths_of(const UnitFacts& unit);

/// What a path is when it is a symbolic link: the directory it leads to, absolute. Nothing for anything else, and for a link to a file.
using ReadLink = std::function<std::optional<std::string>(const std::string& path)>;

struct ReleaseLink {
  std::string current, releases, release;  ///< the link, the directory of releases, the one that is live
};
/// The link into a directory of releases that one of `paths` goes through: .../current -> .../releases/42, as Capistrano and Deployer leave
/// it. Of a path that lies within .../releases/42 itself (a process knows no link it came through), .../current is tried. A system's own
/// links, such as /bin and /var/run, are none: they lead out of their directory, or to nothing that has sisters.
std::optional<ReleaseLink> find_link(const std::vector<std::string>& paths, const ReadLink& read_link);

/// The deployment tool that keeps this layout, by what lies beside the link, and what its users should know; empty names where none is
/// known.
struct DeploymentTool {
  std::string name, note;
};
/// @param is_there  whether a path exists
DeploymentTool deployment_tool(const ReleaseLink& link, const std::function<bool(const std::string& path)>& is_there);

struct Listener {
  std::string host;  ///< where to reach it: "127.0.0.1" and "[::1]" for one that listens everywhere
  int port = 0;
  bool operator==(const Listener&) const = default;
};
/// The listening TCP sockets among `inodes`, from the text of /proc/PID/net/tcp or tcp6; by port, each once.
std::vector<Listener> listeners(std::string_view table, const std::vector<std::string>& inodes);

/// What was found about the service; an empty member is what was not.
struct Found {
  std::string unit, name, environment;
  ReleaseLink link;
  std::string url;  ///< answered 2xx
  std::string log;  ///< a file under /var/log
  int port = 0;     ///< the first that it listens on
};
/// "shop-api.service" -> "shop-api": what may be the name of a service.
std::string name_of(std::string_view unit);
/// The service's file: six lines, and comments for what a person should fill in or look at.
std::string render_init(const Found& found);

}  // namespace rollbackd::cli
