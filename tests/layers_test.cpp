// Reads every #include of src/ and holds it against the layers of the design: own folder or a lower layer, never a sibling.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {
namespace fs = std::filesystem;

const std::map<std::string, int> kLayer{{"base", 0},   {"model", 1},  {"io", 1},       {"series", 2},   {"config", 2}, {"promql", 3},
                                        {"rules", 4},  {"ledger", 4}, {"decision", 5}, {"rollback", 5}, {"checks", 6}, {"drivers", 6},
                                        {"record", 6}, {"notify", 6}, {"engine", 7},   {"metrics", 7},  {"api", 8},    {"cli", 8}};
/// "base to rollback, io excepted": these wait for nothing and do no I/O.
const std::set<std::string> kPure{"base", "model", "series", "config", "promql", "rules", "ledger", "decision", "rollback"};

struct Include {
  std::string file;  ///< relative to src/
  std::string path;  ///< as written between the quotes or brackets
};

std::vector<Include> all_includes() {
  const fs::path root = fs::path(ROLLBACKD_SOURCE_DIR) / "src";
  const std::regex line_form(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"])");
  std::vector<Include> out;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.path().extension() != ".hpp" && entry.path().extension() != ".cpp") continue;
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) {
      std::smatch m;
      if (std::regex_search(line, m, line_form)) out.push_back({fs::relative(entry.path(), root).string(), m[1]});
    }
  }
  return out;
}

std::string folder_of(const std::string& path) {
  const auto slash = path.find('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

TEST(Layers, AFileIncludesOnlyItsOwnFolderAndLowerLayers) {
  const auto includes = all_includes();
  ASSERT_GT(includes.size(), 50U) << "the source tree was not found";
  for (const Include& include : includes) {
    const std::string from = folder_of(include.file), to = folder_of(include.path);
    if (from.empty() || !kLayer.contains(to)) continue;
    ASSERT_TRUE(kLayer.contains(from)) << include.file << ": src/" << from << " is not a room of the design";
    EXPECT_TRUE(from == to || kLayer.at(to) < kLayer.at(from)) << include.file << " includes " << include.path << ", which is not below it";
  }
}

TEST(Layers, ThePureCoreIncludesNoAsioAndNoFilesOrSockets) {
  const std::set<std::string> world{"fstream", "filesystem", "thread", "unistd.h", "fcntl.h", "sys/socket.h", "sys/stat.h"};
  for (const Include& include : all_includes()) {
    if (!kPure.contains(folder_of(include.file))) continue;
    EXPECT_FALSE(include.path.starts_with("boost/asio") || include.path.starts_with("boost/beast"))
        << include.file << " includes " << include.path;
    EXPECT_FALSE(world.contains(include.path)) << include.file << " includes <" << include.path << ">";
  }
}

TEST(Layers, ThePureCoreReadsNoClock) {
  const fs::path root = fs::path(ROLLBACKD_SOURCE_DIR) / "src";
  const std::regex clock(R"(_clock::now\(\)|clock_gettime|gettimeofday|std::time\()");
  for (const std::string& room : kPure) {
    if (!fs::exists(root / room)) continue;
    for (const auto& entry : fs::directory_iterator(root / room)) {
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) EXPECT_FALSE(std::regex_search(line, clock)) << entry.path() << ": " << line;
    }
  }
}

TEST(Layers, OnlyTheHttpAndTlsFilesOfIoIncludeBeastAndTheyAreFew) {
  std::set<std::string> files;
  for (const Include& include : all_includes())
    if (include.path.starts_with("boost/beast")) files.insert(include.file);
  for (const std::string& file : files) EXPECT_TRUE(file.starts_with("io/http_") || file.starts_with("io/tls")) << file;
  EXPECT_LE(files.size(), 3U) << "each such file costs 20 seconds to compile";
}

TEST(Layers, EveryFolderHasAReadme) {
  const fs::path root(ROLLBACKD_SOURCE_DIR);
  for (const char* top : {"src", "rules", "tests", "deploy", "grafana"}) {
    EXPECT_TRUE(fs::exists(root / top / "README.md")) << top;
  }
  for (const auto& entry : fs::directory_iterator(root / "src")) {
    if (entry.is_directory()) {
      EXPECT_TRUE(fs::exists(entry.path() / "README.md")) << entry.path();
    }
  }
}

}  // namespace
