// Paths as text: this room looks at no disk.
#pragma once

#include <string>
#include <string_view>

namespace rollbackd::config {

/// The directory part: "/etc/x.json" → "/etc", "/x" → "/", "x" → ".". A trailing slash does not count.
std::string directory_of(std::string_view path);

/// `path`, taken from `directory` when it is relative, without "./", "//" and a trailing slash ("current/" would follow the link).
/// ".." stays: what it means depends on links, and only the disk knows them.
std::string resolve(std::string_view directory, std::string_view path);

/// Whether `path` holds one of * ? [.
bool has_wildcard(std::string_view path);

}  // namespace rollbackd::config
