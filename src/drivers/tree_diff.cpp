// Compares two release trees by name, kind, size and content.
// Flow: rollback --dry-run -> [tree diff on the bulk worker] -> what would change.
#include "drivers/tree_diff.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <map>
#include <optional>

#include "base/text.hpp"
#include "io/process.hpp"

namespace rollbackd::drivers {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLinesMax = 2000;      // Of one text, to be aligned; beyond it nothing of it is shown.
constexpr std::size_t kLineBytesMax = 160;   // Shown of one.
constexpr std::size_t kRandomBytesMin = 20;  // Text of one piece with letters and digits, from this length on, may be a key.
constexpr std::size_t kAligned = 1'000'000;  // Cells of the table that aligns two texts.
constexpr std::array<const char*, 14> kSecretNames{"passw",   "passphrase", "pwd",        "secret", "token",  "api_key", "apikey",
                                                   "api-key", "private",    "credential", "auth",   "cookie", "signing", "dsn"};
constexpr std::array<const char*, 12> kTextEndings{".json", ".yaml",   ".yml",        ".toml", ".ini", ".conf",
                                                   ".cfg",  ".config", ".properties", ".env",  ".xml", ".txt"};

struct Entry {
  bool is_link = false;
  std::int64_t bytes = 0;
  dev_t device = 0;
  ino_t inode = 0;
  mode_t mode = 0;
};
using Tree = std::map<std::string, Entry>;

Result<Tree> read_tree(const std::string& root, std::size_t files_max, bool& whole) {
  Tree tree;
  std::error_code error;
  fs::recursive_directory_iterator at(root, fs::directory_options::none, error), end;
  if (error) return Error(Errc::io, "cannot read " + root).because(error.message());
  for (; at != end; at.increment(error)) {
    if (error) return Error(Errc::io, "cannot read " + root).because(error.message());
    struct stat facts {};
    if (::lstat(at->path().c_str(), &facts) != 0) continue;  // Gone meanwhile: the other tree tells.
    if (S_ISDIR(facts.st_mode)) continue;
    if (tree.size() >= files_max) {
      whole = false;
      break;
    }
    tree[at->path().lexically_relative(root).string()] =
        Entry{S_ISLNK(facts.st_mode), facts.st_size, facts.st_dev, facts.st_ino, static_cast<mode_t>(facts.st_mode & 07777)};
  }
  return tree;
}

io::Fd open_file(const std::string& path) { return io::Fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)); }

/// Whether two files of one size hold the same bytes; nothing when one cannot be read.
std::optional<bool> same_bytes(const std::string& a, const std::string& b) {
  const io::Fd one = open_file(a), other = open_file(b);
  if (!one || !other) return std::nullopt;
  std::vector<char> left(64 << 10), right(64 << 10);
  while (true) {
    const ssize_t n = ::read(one.get(), left.data(), left.size());
    const ssize_t m = ::read(other.get(), right.data(), right.size());
    if (n < 0 || m < 0) return std::nullopt;
    if (n != m || !std::equal(left.begin(), left.begin() + n, right.begin())) return false;
    if (n == 0) return true;
  }
}

std::string link_target(const std::string& path) {
  std::array<char, 4096> buffer;
  const ssize_t n = ::readlink(path.c_str(), buffer.data(), buffer.size());
  return n < 0 ? std::string() : std::string(buffer.data(), static_cast<std::size_t>(n));
}

bool is_configuration(const std::string& path) {
  return std::any_of(kTextEndings.begin(), kTextEndings.end(), [&](const char* ending) { return path.ends_with(ending); });
}

std::optional<std::string> read_text(const std::string& path, std::int64_t bytes_max) {
  const io::Fd file = open_file(path);
  if (!file) return std::nullopt;
  std::string text(static_cast<std::size_t>(bytes_max) + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = ::read(file.get(), text.data() + size, text.size() - size);
    if (n < 0) return std::nullopt;
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  text.resize(size);
  if (size > static_cast<std::size_t>(bytes_max) || text.find('\0') != text.npos) return std::nullopt;
  if (text.find("PRIVATE KEY") != text.npos) return std::nullopt;  // Not a line of it.
  return text;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// "Aa1..." of one piece, long, with letters and digits: nobody writes that by hand.
std::string mask_random(const std::string& line) {
  std::string out;
  for (std::size_t at = 0; at < line.size();) {
    std::size_t end = at;
    bool digit = false, letter = false;
    const auto is_piece = [](unsigned char c) { return std::isalnum(c) || c == '+' || c == '/' || c == '_' || c == '-' || c == '='; };
    while (end < line.size() && is_piece(static_cast<unsigned char>(line[end]))) {
      digit = digit || std::isdigit(static_cast<unsigned char>(line[end]));
      letter = letter || std::isalpha(static_cast<unsigned char>(line[end]));
      ++end;
    }
    if (end == at) {
      out += line[at++];
      continue;
    }
    const bool path = line.compare(at, end - at, "/") == 0 || (line[at] == '/' && line.find('/', at + 1) < end);
    out += end - at >= kRandomBytesMin && digit && letter && !path ? "***" : line.substr(at, end - at);
    at = end;
  }
  return out;
}

}  // namespace

const char* to_string(FileChange::Kind v) {
  switch (v) {
    case FileChange::Kind::added: return "added";
    case FileChange::Kind::removed: return "removed";
    case FileChange::Kind::changed: return "changed";
  }
  return "changed";
}

Json TreeDiff::to_json() const {
  Json json = Json::object();
  json.set("added", added).set("removed", removed).set("changed", changed).set("same", same).set("whole", whole);
  if (!why.empty()) json.set("why", why);
  Json list = Json::array();
  for (const FileChange& file : files) {
    Json row = Json::object();
    row.set("change", to_string(file.kind)).set("path", printable(file.path));
    if (file.kind != FileChange::Kind::added) row.set("bytes_from", file.bytes_from);
    if (file.kind != FileChange::Kind::removed) row.set("bytes_to", file.bytes_to);
    if (!file.lines.empty()) {
      Json text = Json::array();
      for (const std::string& line : file.lines) text.push(line);
      row.set("lines", std::move(text));
    }
    list.push(std::move(row));
  }
  json.set("files", std::move(list));
  return json;
}

std::string mask_secrets(const std::string& line, bool mask_every_value) {
  std::string out = line;
  // ://user:password@
  for (std::size_t at = out.find("://"); at != out.npos; at = out.find("://", at + 3)) {
    const std::size_t end = out.find_first_of("/ \"'", at + 3);
    const std::size_t host = out.rfind('@', end == out.npos ? out.size() : end);
    const std::size_t colon = out.find(':', at + 3);
    if (host != out.npos && host > at && colon < host) out.replace(colon + 1, host - colon - 1, "***");
  }
  const std::size_t sign = out.find_first_of(":=");
  const std::string key = lower(out.substr(0, sign));
  const bool called_so =
      std::any_of(kSecretNames.begin(), kSecretNames.end(), [&](const char* name) { return key.find(name) != key.npos; });
  if (sign != out.npos && (called_so || mask_every_value)) {
    // Several on one line (JSON without breaks): all of the rest goes.
    const bool ends_in_comma = out.ends_with(',');
    return out.substr(0, sign + 1) + " ***" + (ends_in_comma ? "," : "");
  }
  const std::string all = lower(out);
  if (std::any_of(kSecretNames.begin(), kSecretNames.end(), [&](const char* name) { return all.find(name) != all.npos; })) return "***";
  return mask_random(out);
}

std::vector<std::string> diff_lines(const std::string& from, const std::string& to, bool mask_every_value) {
  std::vector<std::string> a = lines_of(from), b = lines_of(to), out;
  if (a.size() > kLinesMax || b.size() > kLinesMax) return out;
  std::size_t first = 0;
  while (first < a.size() && first < b.size() && a[first] == b[first]) ++first;
  std::size_t last_a = a.size(), last_b = b.size();
  while (last_a > first && last_b > first && a[last_a - 1] == b[last_b - 1]) --last_a, --last_b;
  const std::size_t n = last_a - first, m = last_b - first;
  const auto say = [&](char sign, const std::string& line) {
    out.push_back(sign + printable(cut(mask_secrets(line, mask_every_value), kLineBytesMax)));
  };
  if (n * m > kAligned) return out;
  // Longest common subsequence of what is left, from the end.
  std::vector<std::uint16_t> common((n + 1) * (m + 1), 0);
  const auto cell = [&](std::size_t i, std::size_t j) -> std::uint16_t& { return common[i * (m + 1) + j]; };
  for (std::size_t i = n; i-- > 0;)
    for (std::size_t j = m; j-- > 0;)
      cell(i, j) =
          a[first + i] == b[first + j] ? static_cast<std::uint16_t>(cell(i + 1, j + 1) + 1) : std::max(cell(i + 1, j), cell(i, j + 1));
  std::size_t i = 0, j = 0;
  while (i < n || j < m) {
    if (i < n && j < m && a[first + i] == b[first + j]) {
      ++i, ++j;
    } else if (i < n && (j == m || cell(i + 1, j) >= cell(i, j + 1))) {
      say('-', a[first + i++]);
    } else {
      say('+', b[first + j++]);
    }
  }
  return out;
}

Result<TreeDiff> diff_trees(const std::string& from, const std::string& to, const TreeDiffBounds& bounds) {
  TreeDiff diff;
  auto before = read_tree(from, bounds.files_max, diff.whole);
  if (before.has_error()) return before.error();
  auto after = read_tree(to, bounds.files_max, diff.whole);
  if (after.has_error()) return after.error();
  if (!diff.whole) diff.why = "more than " + std::to_string(bounds.files_max) + " files: only some are compared";
  std::size_t shown = 0;
  std::int64_t compared = 0;
  const auto say = [&](FileChange change) {
    if (shown >= bounds.shown_max) return;
    if (change.lines.size() + shown + 1 > bounds.shown_max) change.lines.resize(bounds.shown_max - shown - 1);
    shown += 1 + change.lines.size();
    diff.files.push_back(std::move(change));
  };
  const auto is_same = [&](const std::string& path, const Entry& a, const Entry& b) {
    if (a.is_link != b.is_link || a.mode != b.mode || a.bytes != b.bytes) return false;
    if (a.device == b.device && a.inode == b.inode) return true;
    if (a.is_link) return link_target(from + "/" + path) == link_target(to + "/" + path);
    compared += a.bytes;
    if (compared > bounds.compared_bytes_max) {
      diff.whole = false;
      diff.why = "files of the same size beyond the first GiB were not read and count as changed";
      return false;
    }
    return same_bytes(from + "/" + path, to + "/" + path).value_or(false);
  };
  const auto text_of = [&](const std::string& path, const Entry& a, const Entry& b) {
    std::vector<std::string> none;
    if (!is_configuration(path) || a.is_link || b.is_link) return none;
    const auto left = read_text(from + "/" + path, bounds.text_bytes_max), right = read_text(to + "/" + path, bounds.text_bytes_max);
    return left && right ? diff_lines(*left, *right, path.ends_with(".env")) : none;
  };
  Tree all = before.value();
  all.insert(after.value().begin(), after.value().end());
  for (const auto& [path, entry] : all) {
    const auto a = before.value().find(path), b = after.value().find(path);
    if (b == after.value().end()) {
      ++diff.removed;
      say({FileChange::Kind::removed, path, a->second.bytes, 0});
    } else if (a == before.value().end()) {
      ++diff.added;
      say({FileChange::Kind::added, path, 0, b->second.bytes});
    } else if (is_same(path, a->second, b->second)) {
      ++diff.same;
    } else {
      ++diff.changed;
      say({FileChange::Kind::changed, path, a->second.bytes, b->second.bytes, text_of(path, a->second, b->second)});
    }
  }
  return diff;
}

}  // namespace rollbackd::drivers
