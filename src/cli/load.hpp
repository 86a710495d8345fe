// Reads configuration and rule files from disk for the daemon and for the offline commands. Only here does configuration meet the disk.
#pragma once

#include <string>
#include <vector>

#include "base/error.hpp"
#include "config/load.hpp"
#include "rules/groups.hpp"

namespace rollbackd::cli {

/// Everything a start or a reload needs, with every problem of every file.
struct Configuration {
  config::Loaded loaded;
  rules::Groups groups;
  std::vector<config::Problem> problems;  ///< configuration's and rules', errors and warnings
  bool ok() const;
};

/// Reads `path`, the files of services.d beside it (in name order), the rule files they name and, unless switched off, the packs of
/// `rules_directory`. A file that cannot be read is a problem like any other. Files over 8 MiB are refused.
Configuration load_configuration(const std::string& path, const std::string& rules_directory);

/// "sha256:" and a digest over every setting with its value, defaults too, and every rule's name and expression: two daemons with the same
/// one judge and act alike.
std::string digest_of(const Configuration& configuration);

/// The directory of the shipped packs: ROLLBACKD_RULES_DIRECTORY from the environment, else beside the installation, else the source tree's
/// own.
std::string default_rules_directory();

/// The whole text of a file. @return `io`, or `too_large` beyond `bytes_max`
Result<std::string> read_file(const std::string& path, std::size_t bytes_max = 8 << 20);

/// The files a glob pattern names: absolute, sorted, at most 10,000.
std::vector<std::string> expand_glob(const std::string& pattern);

/// Makes `path` absolute against the working directory.
std::string absolute(const std::string& path);

}  // namespace rollbackd::cli
