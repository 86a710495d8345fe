// The token file: what its lines say, and how it is changed.
#include "api/tokens.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/digest.hpp"
#include "tests/support/run_for.hpp"

namespace rollbackd::api {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

const std::string kA(64, 'a'), kB(64, 'b'), kC(64, 'c');

TEST(Tokens, AreALineEachWithCommentsAndBlankLines) {
  const auto tokens =
      parse_tokens("# people\n\n  ci:" + kA + "  \nmarta:" + kB + ":admin:2026-11-20T03:00:00.000Z\r\nwall:" + kC + ":viewer\n");

  ASSERT_TRUE(tokens) << tokens.error().text();
  EXPECT_EQ(*tokens, (Tokens{{kA, {"ci", Role::operator_, ""}},
                             {kB, {"marta", Role::admin, "2026-11-20T03:00:00.000Z"}},
                             {kC, {"wall", Role::viewer, ""}}}));
}

TEST(Tokens, AnythingElseIsAnErrorThatNamesItsLineAndNotItsText) {
  const std::vector<std::string> wrong{"ci",
                                       "ci:hunter2",
                                       ":" + kA,
                                       "c i:" + kA,
                                       "ci:" + kA + "a",
                                       "ci:" + std::string(64, 'g'),
                                       "ci:" + std::string(64, 'A'),
                                       "ci: " + kA,
                                       "ci:" + kA + ":root",
                                       "ci:" + kA + ":admin:hunter2",
                                       "one:" + kA,
                                       "ci:" + kB};
  for (const std::string& line : wrong) {
    const auto tokens = parse_tokens("one:" + kB + "\n" + line + "\n");

    ASSERT_FALSE(tokens) << line;
    EXPECT_EQ(tokens.error().code, Errc::invalid_config);
    EXPECT_THAT(tokens.error().why, HasSubstr("line 2"));
    EXPECT_THAT(tokens.error().text(), Not(HasSubstr("hunter2"))) << "a secret written there by mistake must not reach the log";
    EXPECT_THAT(tokens.error().next_step, HasSubstr("sha256sum"));
  }
}

TEST(Tokens, TheirNumberIsBounded) {
  std::string text;
  for (std::size_t i = 0; i <= kTokensMax; ++i) text += "t" + std::to_string(i) + ":" + sha256_hex(std::to_string(i)) + "\n";

  EXPECT_FALSE(parse_tokens(text));
  EXPECT_TRUE(parse_tokens(text.substr(0, text.rfind('t'))));
}

TEST(Tokens, AreFoundByTheirSecretAlone) {
  const Tokens tokens{{sha256_hex("one"), {"a", Role::viewer, ""}}, {sha256_hex("two"), {"b", Role::admin, ""}}};

  ASSERT_NE(find_token(tokens, "two"), nullptr);
  EXPECT_EQ(find_token(tokens, "two")->name, "b");
  EXPECT_EQ(find_token(tokens, "three"), nullptr);
  EXPECT_EQ(find_token(tokens, sha256_hex("two")), nullptr);
}

TEST(Tokens, SecretsAreNeverTheSame) {
  std::set<std::string> secrets;
  for (int i = 0; i < 100; ++i) secrets.insert(new_secret().value());

  EXPECT_EQ(secrets.size(), 100U);
  for (const std::string& secret : secrets)
    EXPECT_EQ(secret.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), secret.npos);
}

TEST(Tokens, AFileThatCannotBeWrittenStaysAsItWas) {
  const test::TempDir directory;
  const std::string file = directory / "tokens";
  std::ofstream(file) << "one:" << kA << "\n";
  fs::create_directories(file + ".new/in the way");

  const auto added = add_token(file, Token{"two", Role::viewer, ""}, kB);

  ASSERT_FALSE(added);
  std::ifstream in(file);
  EXPECT_EQ(std::string((std::istreambuf_iterator<char>(in)), {}), "one:" + kA + "\n");
}

TEST(Tokens, ALineWithoutAnEndIsEndedBeforeTheNextOneIsAdded) {
  const test::TempDir directory;
  const std::string file = directory / "tokens";
  std::ofstream(file) << "one:" << kA;

  const auto added = add_token(file, Token{"two", Role::viewer, ""}, kB);

  ASSERT_TRUE(added) << added.error().text();
  EXPECT_EQ(added->size(), 2U);
}

}  // namespace
}  // namespace rollbackd::api
