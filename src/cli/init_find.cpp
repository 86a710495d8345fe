// What the facts about a unit say: release link, listening ports, the text of the configuration. Pure; init.cpp gathers the facts.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>

#include "base/ids.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/init.hpp"

namespace rollbackd::cli {

namespace {

constexpr std::size_t kPathsMax = 64;
constexpr std::size_t kPathBytesMax = 4096;

std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == 0 || slash == path.npos ? "/" : path.substr(0, slash);
}

std::string base_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

/// "/srv", "/srv/shop", "/srv/shop/current" of the last of them.
std::vector<std::string> prefixes(const std::string& path) {
  std::vector<std::string> out;
  for (std::size_t slash = path.find('/', 1); slash != path.npos; slash = path.find('/', slash + 1))
    if (slash > 0 && path[slash - 1] != '/') out.push_back(path.substr(0, slash));
  if (path.size() > 1) out.push_back(path);
  return out;
}

/// Whether a link at `path` to `target` looks like one to a release: its target has sisters in a directory of the same service.
bool leads_to_release(const std::string& path, const std::string& target) {
  const std::string home = directory_of(path), releases = directory_of(target), named = base_of(releases);
  if (home == "/" || releases == "/" || !is_release_id(base_of(target))) return false;
  if (named == "releases" || named == "versions") return true;
  // /opt/app/current -> /opt/app/app-1.2, or into a directory of releases that lies beside the link.
  static const std::vector<std::string> kLinks = {"current", "live", "active", "release", "latest"};
  return (releases == home || releases.starts_with(home + "/")) && std::find(kLinks.begin(), kLinks.end(), base_of(path)) != kLinks.end();
}

std::optional<ReleaseLink> try_link(const std::string& path, const ReadLink& read_link) {
  const auto target = read_link(path);
  if (!target || !leads_to_release(path, *target)) return std::nullopt;
  return ReleaseLink{path, directory_of(*target), base_of(*target)};
}

/// "0100007F:1F90" of /proc/net/tcp: each group of four bytes is in the machine's order. An address that is not understood is skipped.
std::optional<Listener> parse_address(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == text.npos || (colon != 8 && colon != 32)) return std::nullopt;
  const auto number = [](std::string_view hex) -> std::optional<unsigned> {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(hex.data(), hex.data() + hex.size(), value, 16);
    return error == std::errc() && end == hex.data() + hex.size() ? std::optional(value) : std::nullopt;
  };
  const auto port = number(text.substr(colon + 1));
  if (!port || *port == 0 || *port > 65535) return std::nullopt;
  Listener out{"127.0.0.1", static_cast<int>(*port)};
  std::vector<unsigned> words;
  for (std::size_t i = 0; i < colon; i += 8) {
    const auto word = number(text.substr(i, 8));
    if (!word) return std::nullopt;
    words.push_back(*word);
  }
  const auto dotted = [](unsigned w) {
    return std::to_string(w & 255) + "." + std::to_string(w >> 8 & 255) + "." + std::to_string(w >> 16 & 255) + "." +
           std::to_string(w >> 24);
  };
  if (words.size() == 1) {
    if (words[0] != 0) out.host = dotted(words[0]);
    return out;
  }
  const bool mapped = words[0] == 0 && words[1] == 0 && words[2] == 0xFFFF0000U;
  if (mapped) {
    if (words[3] != 0) out.host = dotted(words[3]);
    return out;
  }
  // [::] takes IPv4 too unless told otherwise; [::1] is asked by its own name.
  const bool any = std::all_of(words.begin(), words.end(), [](unsigned w) { return w == 0; });
  if (any) return out;
  std::string host = "[";
  for (std::size_t i = 0; i < words.size(); ++i) {
    char group[12];
    std::snprintf(group, sizeof group, "%x:%x", (words[i] & 255) << 8 | (words[i] >> 8 & 255),
                  (words[i] >> 16 & 255) << 8 | words[i] >> 24);
    host += (i == 0 ? "" : ":") + std::string(group);
  }
  out.host = host == "[0:0:0:0:0:0:0:1" ? "[::1]" : host + "]";
  return out;
}

std::vector<std::string> fields_of(std::string_view line) {
  std::vector<std::string> out;
  std::string field;
  for (const char c : line) {
    if (c != ' ' && c != '\t') {
      field += c;
    } else if (!field.empty()) {
      out.push_back(std::move(field));
      field.clear();
    }
  }
  if (!field.empty()) out.push_back(std::move(field));
  return out;
}

void each_line(std::string_view text, const std::function<void(std::string_view)>& take) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    take(text.substr(0, end));
    text = end == text.npos ? std::string_view() : text.substr(end + 1);
  }
}

}  // namespace

UnitFacts parse_unit(std::string_view text) {
  UnitFacts out;
  const std::map<std::string_view, std::string*> wanted = {{"Id", &out.id},
                                                           {"LoadState", &out.load_state},
                                                           {"FragmentPath", &out.fragment_path},
                                                           {"WorkingDirectory", &out.working_directory},
                                                           {"User", &out.user},
                                                           {"ExecStart", &out.exec_start},
                                                           {"RootDirectory", &out.root_directory}};
  each_line(text, [&](std::string_view line) {
    const auto equals = line.find('=');
    if (equals == line.npos) return;
    const std::string_view key = line.substr(0, equals), value = line.substr(equals + 1);
    if (key == "MainPID") std::from_chars(value.data(), value.data() + value.size(), out.main_pid);
    const auto at = wanted.find(key);
    if (at == wanted.end()) return;
    // A unit with several ExecStart lines (oneshot) has all of them looked at.
    *at->second += (at->second->empty() ? "" : " ") + std::string(value);
  });
  // "-/srv/shop" and "!/srv/shop": the sign says that it may be missing.
  while (!out.working_directory.empty() && out.working_directory.front() != '/' && out.working_directory.find('/') != std::string::npos)
    out.working_directory.erase(0, 1);
  return out;
}

std::vector<std::string> paths_of(const UnitFacts& unit) {
  std::vector<std::string> out;
  const auto add = [&](std::string path) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    if (path.size() < 2 || path.front() != '/' || path.size() > kPathBytesMax || out.size() >= kPathsMax) return;
    if (std::find(out.begin(), out.end(), path) == out.end()) out.push_back(std::move(path));
  };
  add(unit.working_directory);
  // A path begins after one of these and ends before the next: covers --config=/srv/x, PATH-like lists and shell words alike.
  constexpr std::string_view kEnds = " \t\"';=:,&|<>(){}[]";
  std::size_t i = 0;
  while (i < unit.exec_start.size()) {
    const auto end = std::min(unit.exec_start.find_first_of(kEnds, i), unit.exec_start.size());
    add(unit.exec_start.substr(i, end - i));
    i = end + 1;
  }
  return out;
}

std::optional<ReleaseLink> find_link(const std::vector<std::string>& paths, const ReadLink& read_link) {
  for (const auto& path : paths) {
    for (const auto& prefix : prefixes(path)) {
      // Deployer's `release` leads to what it is writing, and is gone when it has written it.
      if (base_of(prefix) == "release")
        if (auto link = try_link(directory_of(prefix) + "/current", read_link)) return link;
      if (auto link = try_link(prefix, read_link)) return link;
    }
  }
  for (const auto& path : paths) {
    for (const char* part : {"/releases/", "/versions/"}) {
      const auto at = path.find(part);
      if (at == path.npos || at == 0) continue;
      if (auto link = try_link(path.substr(0, at) + "/current", read_link)) return link;
    }
  }
  return std::nullopt;
}

DeploymentTool deployment_tool(const ReleaseLink& link, const std::function<bool(const std::string& path)>& is_there) {
  const std::string home = directory_of(link.current);
  const auto timestamp = [&](std::size_t digits) {
    return link.release.size() >= digits && std::all_of(link.release.begin(), link.release.begin() + static_cast<std::ptrdiff_t>(digits),
                                                        [](unsigned char c) { return std::isdigit(c) != 0; });
  };
  const std::string keep =
      "it removes old releases by itself: let it keep enough that the last good one stays (keep_releases), or ready turns no";
  if (is_there(home + "/.dep")) return {"Deployer", "what its link `release` leads to is taken for unfinished; " + keep};
  if (is_there(home + "/revisions.log") || (is_there(home + "/repo") && timestamp(14) && link.release.size() == 14))
    return {"Capistrano", keep};
  if (timestamp(14) && link.release.size() == 15 && link.release.back() == 'Z' && is_there(home + "/shared")) return {"Ansistrano", keep};
  return {};
}

std::vector<Listener> listeners(std::string_view table, const std::vector<std::string>& inodes) {
  std::vector<Listener> out;
  each_line(table, [&](std::string_view line) {
    // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...; state 0A is LISTEN.
    const auto fields = fields_of(line);
    if (fields.size() < 10 || fields[3] != "0A" || std::find(inodes.begin(), inodes.end(), fields[9]) == inodes.end()) return;
    const auto listener = parse_address(fields[1]);
    if (listener && std::find(out.begin(), out.end(), *listener) == out.end()) out.push_back(*listener);
  });
  std::sort(out.begin(), out.end(), [](const Listener& a, const Listener& b) { return a.port < b.port; });
  return out;
}

std::string name_of(std::string_view unit) {
  const auto dot = unit.rfind('.');
  std::string name(unit.substr(0, dot == unit.npos || dot == 0 ? unit.size() : dot));
  // A template's instance: app@blue is "app-blue", the template itself "app".
  for (char& c : name)
    if (!(std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-')) c = '-';
  while (!name.empty() && name.back() == '-') name.pop_back();
  while (!name.empty() && !std::isalnum(static_cast<unsigned char>(name.front()))) name.erase(0, 1);
  return name.substr(0, 64);
}

std::string render_init(const Found& found) {
  const auto text = [](const std::string& s) { return Json(s).dump(); };
  const bool usual = found.link.releases == directory_of(found.link.current) + "/releases";
  std::string out =
      "// Found by rollbackctl init. \"observe\" judges and tells, and changes nothing; \"automatic\" when `rollbackctl explain` has been "
      "right.\n{\n";
  out += "  \"name\": " + text(found.name) + ", \"environment\": " + text(found.environment) + ", \"automation\": \"observe\",\n";
  out += "  \"unit\": " + text(found.unit) + ",\n";
  out += "  \"current\": " + text(found.link.current) + ",\n";
  if (!usual) out += "  \"releases\": " + text(found.link.releases) + ",\n";
  if (found.url.empty()) {
    out += "  // No page answered. Where it tells that it is well:\n";
    out += "  // \"url\": \"http://127.0.0.1:" + (found.port != 0 ? std::to_string(found.port) : std::string("PORT")) + "/health\",\n";
  } else {
    out += "  \"url\": " + text(found.url) + ",\n";
  }
  const std::string log = found.log.empty() ? "/var/log/" + found.name + "/*.log" : found.log;
  out += "  // Lines that mean a broken release; make the pattern yours:\n";
  out += "  // \"checks\": [ { \"name\": \"log\", \"type\": \"log\", \"path\": " + text(log) +
         ", \"patterns\": { \"critical\": \"FATAL|panic\" } } ],\n";
  return out + "}\n";
}

}  // namespace rollbackd::cli
