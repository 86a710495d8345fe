#include "cli/load.hpp"

#include <glob.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/digest.hpp"
#include "config/time_zone.hpp"

namespace rollbackd::cli {

namespace {

config::Problem unreadable(const std::string& file, const Error& error) {
  config::Problem problem;
  problem.file = file;
  problem.position = {1, 1};
  problem.what = error.what + (error.why.empty() ? "" : ": " + error.why);
  problem.remedy = error.next_step;
  return problem;
}

/// A window whose time zone is not known could not be kept to: it is an error where it is written.
void check_time_zones(const config::Loaded& loaded, std::vector<config::Problem>& problems) {
  for (const config::Shown& shown : loaded.shown) {
    if (!shown.path.ends_with("].time_zone") || shown.path.find(".windows[") == std::string::npos || shown.origin.file.empty()) continue;
    const auto name = Json::parse(shown.value);
    if (!name || config::check_time_zone_name(name->string_or(""))) continue;
    constexpr std::size_t kBytesMax = 1 << 20;
    const std::string path = std::string(config::kZoneDirectory) + "/" + name->string_or("");
    const auto bytes = read_file(path, kBytesMax);
    const auto zone = bytes ? config::parse_time_zone(*bytes) : Result<config::TimeZone>(bytes.error());
    if (zone) continue;
    config::Problem problem;
    problem.file = shown.origin.file;
    problem.position = {shown.origin.line, shown.origin.column};
    problem.what = "the time zone \"" + name->string_or("") + "\" cannot be read: " + zone.error().text();
    problem.remedy = "correct its name, or install the time zones (package tzdata)";
    const auto same = [&](const config::Problem& p) {
      return p.file == problem.file && p.position.line == problem.position.line && p.what == problem.what;
    };
    if (std::none_of(problems.begin(), problems.end(), same)) problems.push_back(std::move(problem));
  }
}

}  // namespace

bool Configuration::ok() const {
  return std::none_of(problems.begin(), problems.end(), [](const config::Problem& p) { return !p.warning; });
}

Result<std::string> read_file(const std::string& path, std::size_t bytes_max) {
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (!file) return Error::from_errno("cannot read " + path, errno);
  std::string text;
  char buffer[65536];
  std::size_t n = 0;
  while ((n = std::fread(buffer, 1, sizeof buffer, file)) > 0 && text.size() <= bytes_max) text.append(buffer, n);
  const bool failed = std::ferror(file) != 0;
  const int why = errno;
  std::fclose(file);
  if (failed) return Error::from_errno("cannot read " + path, why);
  constexpr std::size_t kMiB = 1 << 20;
  const std::string bound = bytes_max >= kMiB ? std::to_string(bytes_max / kMiB) + " MiB" : std::to_string(bytes_max) + " bytes";
  if (text.size() > bytes_max) return Error(Errc::too_large, path + " is larger than " + bound);
  return text;
}

std::vector<std::string> expand_glob(const std::string& pattern) {
  constexpr std::size_t kFilesMax = 10'000;
  glob_t found{};
  std::vector<std::string> out;
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
    for (std::size_t i = 0; i < found.gl_pathc && i < kFilesMax; ++i) out.push_back(absolute(found.gl_pathv[i]));
  ::globfree(&found);
  std::sort(out.begin(), out.end());
  return out;
}

std::string absolute(const std::string& path) {
  std::error_code error;
  const auto whole = std::filesystem::absolute(path, error);
  return error ? path : whole.lexically_normal().string();
}

std::string digest_of(const Configuration& configuration) {
  std::string all;
  for (const config::Shown& shown : configuration.loaded.shown) all += shown.path + "=" + shown.value + "\n";
  for (const rules::Group& group : configuration.groups)
    for (const rules::Rule& rule : group.rules) all += group.name + "\n" + rule.name + "\n" + rule.expr_text + "\n";
  return "sha256:" + sha256_hex(all);
}

std::string default_rules_directory() {
  if (const char* named = std::getenv("ROLLBACKD_RULES_DIRECTORY")) return absolute(named);  // NOLINT(concurrency-mt-unsafe): at start only
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto directory = program.parent_path();
  // PREFIX/bin or PREFIX/sbin of an installation; SOURCE/build/PRESET/bin of a build tree.
  for (const char* beside : {"../share/rollbackd/rules", "../../../rules"}) {
    const auto candidate = (directory / beside).lexically_normal();
    if (std::filesystem::exists(candidate / "crash.json", error)) return candidate.string();
  }
  return "/usr/share/rollbackd/rules";
}

Configuration load_configuration(const std::string& path, const std::string& rules_directory) {
  Configuration out;
  const std::string main_path = absolute(path);
  auto main_text = read_file(main_path);
  if (!main_text) {
    out.problems.push_back(unreadable(main_path, std::move(main_text).error()));
    out.problems.back().remedy = "name another file with --config, or write one with the six lines of the README";
    return out;
  }
  std::vector<config::SourceFile> services;
  const std::string directory = std::filesystem::path(main_path).parent_path().string() + "/services.d";
  for (const char* ending : {"/*.json", "/*.yaml", "/*.yml"}) {
    for (const std::string& file : expand_glob(directory + ending)) {
      auto text = read_file(file);
      if (text) {
        services.push_back({file, std::move(*text)});
      } else {
        out.problems.push_back(unreadable(file, text.error()));
      }
    }
  }
  std::sort(services.begin(), services.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  out.loaded = config::load({main_path, std::move(*main_text)}, services, expand_glob);
  out.problems.insert(out.problems.end(), out.loaded.problems.begin(), out.loaded.problems.end());
  check_time_zones(out.loaded, out.problems);

  const auto add_rules = [&out](const std::string& file, const std::optional<ServiceKey>& only) {
    auto text = read_file(file);
    if (!text) {
      out.problems.push_back(unreadable(file, text.error()));
      return;
    }
    auto groups = rules::parse_groups(*text, file, only, out.problems);
    std::move(groups.begin(), groups.end(), std::back_inserter(out.groups));
  };
  if (out.loaded.settings.default_rules) {
    const auto packs = expand_glob(rules_directory + "/*.json");
    if (packs.empty()) {
      config::Problem problem;
      problem.file = main_path;
      problem.position = {1, 1};
      problem.what = "the shipped rule packs are not in " + rules_directory;
      problem.remedy = "set ROLLBACKD_RULES_DIRECTORY, or \"default_rules\": false with rules of your own";
      out.problems.push_back(std::move(problem));
    }
    for (const auto& file : packs) add_rules(file, std::nullopt);
  }
  for (const auto& file : out.loaded.settings.rule_files) add_rules(file, std::nullopt);
  for (const auto& service : out.loaded.settings.services)
    for (const auto& file : service.rule_files) add_rules(file, service.key);
  return out;
}

}  // namespace rollbackd::cli
