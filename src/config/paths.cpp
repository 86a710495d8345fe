#include "config/paths.hpp"

#include "base/text.hpp"

namespace rollbackd::config {

std::string directory_of(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const std::size_t slash = path.rfind('/');
  if (slash == path.npos) return ".";
  return std::string(path.substr(0, slash == 0 ? 1 : slash));
}

std::string resolve(std::string_view directory, std::string_view path) {
  const std::string joined = path.starts_with('/') ? std::string(path) : std::string(directory) + "/" + std::string(path);
  std::string out;
  for (const std::string& part : split(joined, '/')) {
    if (part.empty() || part == ".") continue;
    if (!out.empty() || joined.starts_with('/')) out += '/';
    out += part;
  }
  if (out.empty()) return joined.starts_with('/') ? "/" : ".";
  return out;
}

bool has_wildcard(std::string_view path) { return path.find_first_of("*?[") != path.npos; }

}  // namespace rollbackd::config
