#include "checks/watched_files.hpp"

#include <dirent.h>
#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/text.hpp"

namespace rollbackd::checks {
namespace {

constexpr std::size_t kFilesMax = 4096;
constexpr std::size_t kDirectoriesMax = 256;

bool has_wildcard(std::string_view text) { return text.find_first_of("*?[") != text.npos; }

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == path.npos ? "/" : path.substr(0, slash);
}

/// Collects what one look finds. FNV-1a over all of it.
class Look {
 public:
  WatchedFiles take() { return std::move(out_); }

  void path(const std::string& pattern) {
    add(pattern);
    watch_way_to(pattern.substr(0, has_wildcard(pattern) ? pattern.rfind('/', pattern.find_first_of("*?[")) : pattern.npos));
    if (!has_wildcard(pattern)) return file(pattern, true);
    glob_t found{};
    if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
      for (std::size_t i = 0; i < found.gl_pathc; ++i) {
        watch(parent_of(found.gl_pathv[i]));
        file(found.gl_pathv[i], true);
      }
    ::globfree(&found);
    watch_directories_of(pattern);
  }

 private:
  void add(std::string_view text) {
    for (const char c : text) mix(static_cast<unsigned char>(c));
    mix(0);
  }
  template <class Number>
  void add_number(Number number) {
    const auto bits = static_cast<std::uint64_t>(number);
    for (int i = 0; i < 64; i += 8) mix(static_cast<unsigned char>(bits >> i));
  }
  void mix(unsigned char byte) { hash_ = out_.fingerprint = (hash_ ^ byte) * 1099511628211U; }

  /// What is at `name`; of a directory its entries, too.
  void file(const std::string& name, bool entries) {
    if (++files_ > kFilesMax) {
      out_.complete = false;
      return;
    }
    add(name);
    struct stat facts {};
    if (::stat(name.c_str(), &facts) != 0) return add_number(-1);
    add_number(facts.st_dev);
    add_number(facts.st_ino);
    if (S_ISDIR(facts.st_mode)) return entries ? directory(name) : void();  // Its times change with each file beside those that matter.
    add_number(facts.st_size);
    add_number(facts.st_mode);
    add_number(facts.st_ctim.tv_sec);  // Changes with the content, the rights and the name, and cannot be set back.
    add_number(facts.st_ctim.tv_nsec);
  }

  void directory(const std::string& name) {
    watch(name);
    DIR* stream = ::opendir(name.c_str());
    if (stream == nullptr) return add_number(-1);
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(stream)) {  // NOLINT(concurrency-mt-unsafe): a stream of our own
      const std::string_view entry_name = entry->d_name;
      if (entry_name == "." || entry_name == "..") continue;
      if (names.size() == kFilesMax) {
        out_.complete = false;
        break;
      }
      names.emplace_back(entry_name);
    }
    ::closedir(stream);
    std::sort(names.begin(), names.end());
    for (const std::string& entry : names) file(name + "/" + entry, false);
  }

  void watch(const std::string& directory) {
    if (out_.directories.size() < kDirectoriesMax) {
      out_.directories.insert(directory);
    } else if (!out_.directories.contains(directory)) {
      out_.complete = false;
    }
  }

  /// The directories that tell when `name` comes, goes or changes, and those of each link on the way: a link that is switched changes the
  /// file without any word from the file's own directory.
  void watch_way_to(const std::string& name) {
    std::string deepest = "/";
    for (std::size_t end = name.find('/', 1);; end = name.find('/', end + 1)) {
      const std::string part = name.substr(0, end);
      struct stat facts {};
      if (::lstat(part.c_str(), &facts) != 0) break;
      if (S_ISLNK(facts.st_mode)) watch(parent_of(part));
      if (::stat(part.c_str(), &facts) != 0 || !S_ISDIR(facts.st_mode)) break;
      if (end == name.npos) break;
      deepest = part;
    }
    watch(deepest);
  }

  /// Of a pattern every directory that its directory part means: a new file appears there.
  void watch_directories_of(const std::string& pattern) {
    std::string above = parent_of(pattern);
    for (; has_wildcard(above); above = parent_of(above)) {
      glob_t found{};
      if (::glob(above.c_str(), GLOB_ONLYDIR, nullptr, &found) == 0)
        for (std::size_t i = 0; i < found.gl_pathc; ++i) watch(found.gl_pathv[i]);
      ::globfree(&found);
    }
    watch(above);
  }

  WatchedFiles out_;
  std::uint64_t hash_ = 14695981039346656037U;
  std::size_t files_ = 0;
};

}  // namespace

WatchedFiles look_at_files(const std::vector<std::string>& paths) {
  Look look;
  for (const std::string& path : paths) look.path(path);
  return look.take();
}

}  // namespace rollbackd::checks
