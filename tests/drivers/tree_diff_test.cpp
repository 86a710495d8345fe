// What a dry run says of two release trees.
#include "drivers/tree_diff.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "tests/drivers/helpers.hpp"

namespace rollbackd::drivers {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

void put(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path) << text;
}

TEST(TreeDiff, CountsEveryFileAndShowsWhatChanged) {
  const testing::TempDir dir;
  put(dir / "v2/app", "old program");
  put(dir / "v1/app", "new program!");
  put(dir / "v2/lib/same", "same");
  put(dir / "v1/lib/same", "same");
  put(dir / "v2/gone", "x");
  put(dir / "v1/a/new", "12");
  put(dir / "v2/app.json", "{\n \"pool\": 5,\n \"password\": \"one\",\n \"host\": \"db\"\n}\n");
  put(dir / "v1/app.json", "{\n \"pool\": 9,\n \"password\": \"two\",\n \"host\": \"db\"\n}\n");
  fs::create_symlink("a", dir / "v2/link");
  fs::create_symlink("b", dir / "v1/link");

  const auto diff = diff_trees(dir / "v2", dir / "v1");

  ASSERT_TRUE(diff.has_value()) << diff.error().text();
  EXPECT_EQ(diff->added, 1);
  EXPECT_EQ(diff->removed, 1);
  EXPECT_EQ(diff->changed, 3);
  EXPECT_EQ(diff->same, 1);
  std::vector<std::string> said;
  for (const FileChange& file : diff->files) said.push_back(std::string(to_string(file.kind)) + " " + file.path);
  EXPECT_THAT(said, ElementsAre("added a/new", "changed app", "changed app.json", "removed gone", "changed link"));
  EXPECT_THAT(diff->files[2].lines, ElementsAre("- \"pool\": 5,", "- \"password\": ***,", "+ \"pool\": 9,", "+ \"password\": ***,"));
  EXPECT_EQ(diff->files[1].bytes_from, 11);
  EXPECT_EQ(diff->files[1].bytes_to, 12);
}

TEST(TreeDiff, ShowsAtMostSoManyLinesAndStillCountsAll) {
  const testing::TempDir dir;
  fs::create_directories(dir / "v2");
  for (int i = 0; i < 30; ++i) put(dir / ("v1/f" + std::to_string(i)), "x");
  TreeDiffBounds bounds;
  bounds.shown_max = 10;

  const auto diff = diff_trees(dir / "v2", dir / "v1", bounds);

  EXPECT_EQ(diff->files.size(), 10U);
  EXPECT_EQ(diff->added, 30);
  EXPECT_TRUE(diff_trees(dir / "v3", dir / "v1").has_error());
}

TEST(TreeDiff, FilesOfOneSizeBeyondWhatMayBeReadCountAsChanged) {
  const testing::TempDir dir;
  put(dir / "v1/a", "xxxx");
  put(dir / "v2/a", "xxxx");
  TreeDiffBounds bounds;
  bounds.compared_bytes_max = 3;

  const auto diff = diff_trees(dir / "v2", dir / "v1", bounds);

  EXPECT_EQ(diff->changed, 1);
  EXPECT_FALSE(diff->whole);
  EXPECT_THAT(diff->why, HasSubstr("were not read"));
}

TEST(MaskSecrets, LeavesNoValueThatIsCalledOrLooksLikeOne) {
  for (const char* line : {"password: hunter2", "DB_PASSWORD=hunter2", " \"api_key\": \"hunter2\",", "export AUTH_TOKEN='hunter2'",
                           "url: postgres://shop:hunter2@db:5432/shop", "key: hunter2hunter2hunter2hunter2", "<password>hunter2</password>",
                           "{\"name\": \"x\", \"secret\": \"hunter2\"}", "Authorization: Bearer hunter2"})
    EXPECT_THAT(mask_secrets(line), Not(HasSubstr("hunter2"))) << line;
  for (const char* line : {"pool: 5", "path: /srv/shop/releases/2026-11-20-build-17", "host: db.example.org", "url: http://db:5432/x"})
    EXPECT_EQ(mask_secrets(line), line);
  EXPECT_EQ(mask_secrets("PLAIN=value", true), "PLAIN= ***");
}

TEST(DiffLines, OfAKeyFileNothingIsShown) {
  const testing::TempDir dir;
  put(dir / "v1/tls.conf", "-----BEGIN PRIVATE KEY-----\nMIIabc\n");
  put(dir / "v2/tls.conf", "-----BEGIN PRIVATE KEY-----\nMIIdef\n");

  const auto diff = diff_trees(dir / "v2", dir / "v1");

  EXPECT_EQ(diff->changed, 1);
  EXPECT_THAT(diff->files[0].lines, IsEmpty());
}

}  // namespace
}  // namespace rollbackd::drivers
