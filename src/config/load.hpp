// Documents to settings: every error at once, with file, line, column and remedy. Pure: the files' texts are handed in.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"
#include "config/document.hpp"
#include "config/settings.hpp"

namespace rollbackd::config {

/// One file's text. Relative paths in it start at its directory.
struct SourceFile {
  std::string path;  ///< absolute
  std::string text;
};

/// What the pure loader needs to know of the disk: which files a glob pattern names (absolute, sorted). Handed in by whoever may look.
using Glob = std::function<std::vector<std::string>(const std::string& pattern)>;

struct Loaded {
  Settings settings;
  std::vector<Problem> problems;  ///< errors and warnings, in file order
  std::vector<Shown> shown;       ///< every setting, defaults too, with its origin
  bool ok() const;                ///< no error among the problems
};

/// Reads the main file and the files of services.d (each holds either {"services": [...]} or one service's object).
/// An unknown key is an error with the nearest known key. A short form service (`unit`, `current`, `url`) is expanded.
/// `environments.NAME` gives policy defaults to the services of that environment.
/// Never throws; on errors `settings` is what could be read and must not be used.
Loaded load(const SourceFile& main, const std::vector<SourceFile>& services, const Glob& glob);

/// JSON Schema (draft 4) of the main file, generated from the same tables that `load` reads with.
Json schema();

}  // namespace rollbackd::config
