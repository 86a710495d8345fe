// Gathers the facts about a unit from systemd, /proc and the unit's own pages, and writes what init_find.cpp makes of them.
// Flow: rollbackctl init -> [systemctl show, /proc, HTTP] -> init_find.cpp -> config/load -> services.d/NAME.json.
#include "cli/init.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <filesystem>

#include "base/ids.hpp"
#include "base/text.hpp"
#include "cli/load.hpp"
#include "io/http_client.hpp"
#include "io/process.hpp"

namespace rollbackd::cli {

namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;

constexpr Duration kSystemctlTimeout = 10s;
constexpr Duration kPageTimeout = 1s;
constexpr std::size_t kProcessesMax = 256;
constexpr std::size_t kHandlesMax = 4096;  ///< looked at in all processes together
constexpr std::size_t kListenersMax = 8;   ///< asked for a page; a service with more is told to name one
constexpr std::size_t kTableBytesMax = 32 << 20;
const std::vector<std::string> kPages = {"/health", "/healthz", "/-/healthy", "/"};

/// Runs a coroutine to its end on a reactor of its own: nothing else runs in this program. The coroutine reports errors by its result.
template <class T>
Result<T> wait(asio::io_context& context, asio::awaitable<Result<T>> work) {
  std::optional<Result<T>> out;
  asio::co_spawn(context, std::move(work), [&out](std::exception_ptr thrown, Result<T> result) {
    out = thrown ? Result<T>(Error(Errc::internal, "a request ended with an exception")) : std::move(result);
  });
  context.run();
  context.restart();
  return out ? std::move(*out) : Result<T>(Error(Errc::internal, "a request never ended"));
}

Result<UnitFacts> ask_systemd(const std::string& unit) {
  io::CommandOptions command;
  command.argv = {"systemctl",  "show",
                  "--no-pager", "--property=Id,LoadState,FragmentPath,ExecStart,WorkingDirectory,RootDirectory,MainPID,User",
                  "--",         unit};
  if (const char* bus = std::getenv("DBUS_SYSTEM_BUS_ADDRESS"))
    command.environment["DBUS_SYSTEM_BUS_ADDRESS"] = bus;  // NOLINT(concurrency-mt-unsafe)
  asio::io_context context;
  auto shown = wait<io::CommandResult>(context, io::run_command(std::move(command), kSystemctlTimeout));
  const std::string what = "cannot ask systemd about " + unit;
  if (!shown)
    return Error(Errc::unavailable, what).because(shown.error().text()).try_next("write the six lines by hand: man rollbackd.json");
  if (shown->exit_code != 0)
    return Error(Errc::unavailable, what)
        .because(std::string(trim(cut(shown->output, 400))))
        .try_next("write the six lines by hand: man rollbackd.json");
  UnitFacts facts = parse_unit(shown->output);
  if (facts.load_state == "masked")
    return Error(Errc::not_found, unit + " is masked").because("nothing can start it").try_next("systemctl unmask " + unit);
  if (facts.load_state != "loaded")
    return Error(Errc::not_found, "there is no unit " + unit)
        .because("systemd says: " + (facts.load_state.empty() ? std::string("nothing") : facts.load_state))
        .try_next("list them with: systemctl list-units --type=service");
  return facts;
}

std::optional<std::string> release_directory(const std::string& path) {
  std::error_code error;
  if (!fs::is_symlink(fs::symlink_status(path, error))) return std::nullopt;
  const fs::path written = fs::read_symlink(path, error);
  if (error) return std::nullopt;
  // One step only: what the link itself names is what will be exchanged.
  const fs::path target = (written.is_absolute() ? written : fs::path(path).parent_path() / written).lexically_normal();
  if (!fs::is_directory(target, error)) return std::nullopt;
  std::string out = target.string();
  while (out.size() > 1 && out.back() == '/') out.pop_back();
  return out;
}

/// The main process and all that came from it.
std::vector<int> family(int main_pid) {
  std::vector<int> out;
  if (main_pid > 0) out.push_back(main_pid);
  for (std::size_t i = 0; i < out.size() && out.size() < kProcessesMax; ++i) {
    const std::string pid = std::to_string(out[i]);
    std::error_code error;
    for (const auto& task : fs::directory_iterator("/proc/" + pid + "/task", error)) {
      auto children = read_file(task.path().string() + "/children", 64 << 10);
      if (!children) continue;
      for (std::size_t at = 0; at < children->size() && out.size() < kProcessesMax;) {
        const auto end = std::min(children->find(' ', at), children->size());
        const int child = std::atoi(children->substr(at, end - at).c_str());  // NOLINT(cert-err34-c): the kernel's own number; 0 is skipped
        if (child > 0 && std::find(out.begin(), out.end(), child) == out.end()) out.push_back(child);
        at = end + 1;
      }
    }
  }
  return out;
}

/// What the processes hold open and where they are.
struct Handles {
  std::vector<std::string> sockets;  ///< inodes
  std::vector<std::string> logs;     ///< files under /var/log
  std::vector<std::string> places;   ///< working directory and executable of the main process
  bool readable = true;              ///< false: not ours to look at
};

Handles handles_of(const std::vector<int>& pids) {
  Handles out;
  std::size_t seen = 0;
  for (const int pid : pids) {
    const std::string process = "/proc/" + std::to_string(pid);
    std::error_code error;
    if (pid == pids.front())
      for (const char* link : {"/cwd", "/exe"})
        if (const auto place = fs::read_symlink(process + link, error); !error) out.places.push_back(place.string());
    fs::directory_iterator entries(process + "/fd", error);
    if (error && pid == pids.front()) out.readable = false;
    for (; !error && entries != fs::directory_iterator() && seen < kHandlesMax; entries.increment(error), ++seen) {
      std::error_code gone;
      const std::string target = fs::read_symlink(entries->path(), gone).string();
      if (gone) continue;
      constexpr std::string_view kSocket = "socket:[";
      if (target.starts_with(kSocket)) out.sockets.push_back(target.substr(kSocket.size(), target.size() - kSocket.size() - 1));
      if (target.starts_with("/var/log/") && !target.ends_with(" (deleted)") && !target.starts_with("/var/log/journal/"))
        out.logs.push_back(target);
    }
  }
  return out;
}

std::vector<Listener> listeners_of(int pid, const std::vector<std::string>& sockets) {
  std::vector<Listener> out;
  for (const char* table : {"/net/tcp", "/net/tcp6"}) {
    auto text = read_file("/proc/" + std::to_string(pid) + table, kTableBytesMax);
    if (!text) continue;
    for (const auto& listener : listeners(*text, sockets))
      if (std::find(out.begin(), out.end(), listener) == out.end()) out.push_back(listener);
  }
  return out;
}

/// The first page that answers 2xx; empty when none does. A listener that does not speak HTTP is given up at its first page.
std::string health_page(const std::vector<Listener>& all) {
  asio::io_context context;
  for (std::size_t i = 0; i < all.size() && i < kListenersMax; ++i) {
    const std::string base = "http://" + all[i].host + ":" + std::to_string(all[i].port);
    auto url = io::HttpUrl::parse(base + "/");
    if (!url) continue;
    for (const auto& page : kPages) {
      io::HttpClient client(context.get_executor(), *url);
      io::HttpRequest request;
      request.target = page;
      request.keep_alive = false;
      auto answer = wait<io::HttpResponse>(context, client.request(std::move(request), kPageTimeout));
      if (!answer) break;
      if (answer->status >= 200 && answer->status <= 299) return base + page;
    }
  }
  return "";
}

std::string log_of(const Handles& handles, const std::string& name) {
  if (!handles.logs.empty()) return handles.logs.front();
  for (const std::string& pattern : {"/var/log/" + name + "/*.log", "/var/log/" + name + ".log"})
    if (!expand_glob(pattern).empty()) return pattern;
  return "";
}

/// The loader's own word on the new file, together with the configuration that is there.
Result<> accepted(const std::string& config, const std::string& path, const std::string& text) {
  config::SourceFile main{absolute(config), "{}"};
  if (auto there = read_file(main.path)) main.text = std::move(*there);
  std::vector<config::SourceFile> services;
  for (const auto& file : expand_glob(fs::path(main.path).parent_path().string() + "/services.d/*.json"))
    if (auto other = read_file(file); other && file != path) services.push_back({file, std::move(*other)});
  services.push_back({path, text});
  const config::Loaded loaded = config::load(main, services, expand_glob);
  for (const auto& problem : loaded.problems)
    if (!problem.warning && problem.file == path)
      return Error(Errc::invalid_config, "what was found makes no valid configuration, and nothing was written").because(problem.text());
  return {};
}

/// Whole or not at all, and never over a file that is there unless told so.
Result<> put(const std::string& path, const std::string& text, bool force) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  const std::string scratch = path + ".new";
  const std::string what = "cannot write " + path;
  const io::Fd file(::open(scratch.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file) return Error::from_errno(what, errno);
  const bool whole = ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(file.get()) == 0;
  const int placed = !whole ? -1 : force ? ::rename(scratch.c_str(), path.c_str()) : ::link(scratch.c_str(), path.c_str());
  const int why = errno;
  ::unlink(scratch.c_str());
  if (placed == 0) return {};
  if (why == EEXIST)
    return Error(Errc::conflict, path + " is there already").try_next("look at it; --force replaces it, --output writes elsewhere");
  return Error::from_errno(what, why);
}

void tell(const char* what, const std::string& found, const std::string& otherwise) {
  std::fprintf(stderr, "%-8s %s\n", what, printable(found.empty() ? "not found: " + otherwise : found).c_str());
}

}  // namespace

Result<> init(const InitOptions& options) {
  Found found;
  found.environment = options.environment;
  const std::string asked = options.unit.find('.') == std::string::npos ? options.unit + ".service" : options.unit;
  auto unit = ask_systemd(asked);
  if (!unit) return unit.error();
  found.unit = unit->id.empty() ? asked : unit->id;
  found.name = name_of(found.unit);

  const std::vector<int> pids = family(unit->main_pid);
  const Handles handles = handles_of(pids);
  std::vector<std::string> paths = paths_of(*unit);
  const std::size_t written = paths.size();
  paths.insert(paths.end(), handles.places.begin(), handles.places.end());
  auto link = find_link(paths, release_directory);
  if (!link) {
    std::string looked;
    for (std::size_t i = 0; i < written && i < 8; ++i) looked += (i == 0 ? "" : ", ") + paths[i];
    return Error(Errc::not_found, "no release link is in " + found.unit)
        .because("none of these goes through a link into a directory of releases: " + (looked.empty() ? std::string("(no path)") : looked))
        .try_next("start it through .../current, a link to .../releases/RELEASE (" +
                  (unit->fragment_path.empty() ? found.unit : unit->fragment_path) +
                  "), or write the six lines by hand: man rollbackd.json");
  }
  found.link = *link;
  const std::vector<Listener> listening = pids.empty() ? std::vector<Listener>() : listeners_of(pids.front(), handles.sockets);
  if (!listening.empty()) found.port = listening.front().port;
  found.url = health_page(listening);
  found.log = log_of(handles, found.name);

  const std::string text = render_init(found);
  std::string path = options.output;
  if (path.empty()) path = fs::path(absolute(options.config)).parent_path().string() + "/services.d/" + found.name + ".json";
  const bool to_screen = path == "-";
  if (!to_screen) path = absolute(path);
  if (auto fine = accepted(options.config, to_screen ? absolute(found.name + ".json") : path, text); !fine) return fine.error();

  const std::string why_no_port = pids.empty()              ? found.unit + " does not run"
                                  : !handles.readable       ? "its process may be looked at by root alone"
                                  : handles.sockets.empty() ? "it holds no socket"
                                                            : "it listens on no TCP port";
  std::string ports;
  for (const auto& one : listening) ports += (ports.empty() ? "" : ", ") + one.host + ":" + std::to_string(one.port);
  const std::string port = found.port == 0 ? "PORT" : std::to_string(found.port);
  tell("unit",
       found.unit + " (" + (unit->fragment_path.empty() ? "no file" : unit->fragment_path) + ", runs as " +
           (unit->user.empty() ? "root" : unit->user) + ")",
       "");
  tell("current", found.link.current + " -> " + found.link.release, "");
  tell("releases", found.link.releases, "");
  const DeploymentTool tool = deployment_tool(found.link, [](const std::string& where) {
    std::error_code error;
    return fs::exists(where, error);
  });
  if (!tool.name.empty()) tell("layout", tool.name + "; " + tool.note, "");
  tell("ports", ports, why_no_port);
  tell("url", found.url, "fill in: \"url\": \"http://127.0.0.1:" + port + "/health\",");
  tell("log", found.log, "fill in: \"path\" of the check in the file, when it writes one");
  if (!unit->root_directory.empty())
    tell("note", "the unit has RootDirectory=" + unit->root_directory + ": paths were looked for outside of it", "");
  if (to_screen) {
    std::fputs(text.c_str(), stdout);
    return {};
  }
  if (auto done = put(path, text, options.force); !done) return done.error();
  std::fprintf(stderr, "wrote    %s; next: rollbackctl check config && rollbackctl reload\n", printable(path).c_str());
  return {};
}

}  // namespace rollbackd::cli
