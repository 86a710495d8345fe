// Documents: the places of values, what a syntax error says, and the bounds that hostile text meets.
#include "config/document.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rollbackd::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Read {
  Result<Node> node;
  std::vector<std::string> problems;
};

Read read(std::string_view text, Dialect dialect) {
  std::vector<Problem> problems;
  Result<Node> node = parse_document(text, "f", dialect, problems);
  std::vector<std::string> texts;
  for (const Problem& p : problems) texts.push_back(p.text());
  return {std::move(node), std::move(texts)};
}

std::string place(const Position& p) { return std::to_string(p.line) + ":" + std::to_string(p.column); }

TEST(Document, EveryJsonValueAndKeyKnowsItsPlace) {
  const Read r = read("{\n  \"a\": [1, \"x\"],\n  \"b\": { \"c\" : true }\n}", Dialect::strict_json);

  ASSERT_THAT(r.problems, IsEmpty());
  EXPECT_EQ(place(r.node->position), "1:1");
  EXPECT_EQ(place(r.node->members[0].position), "2:3");
  EXPECT_EQ(place(r.node->find("a")->position), "2:8");
  EXPECT_EQ(place(r.node->find("a")->elements[1].position), "2:12");
  EXPECT_EQ(place(r.node->find("b")->members[0].position), "3:10");
  EXPECT_EQ(place(r.node->find("b")->find("c")->position), "3:16");
}

TEST(Document, BytesThatAreNoCharactersAreRefusedInEveryDialect) {
  for (const Dialect dialect : {Dialect::config_json, Dialect::strict_json, Dialect::yaml}) {
    const Read r = read("{\"\xc3\xa9\":\n \"\xe9t\xe9\"}", dialect);

    EXPECT_TRUE(r.node.has_error());
    EXPECT_THAT(r.problems, ElementsAre("f:2:3: expected UTF-8 (save the file as UTF-8)"));
  }
  EXPECT_TRUE(read("a: \xe2\x82", Dialect::yaml).node.has_error()) << "a character cut off at the end";
  EXPECT_TRUE(read("a: \xe2\x82\xac", Dialect::yaml).node.has_value());
}

TEST(Document, CommentsAndTrailingCommasAreAllowedInConfigurationAndDoNotMovePlaces) {
  const Read r = read("// who, /* what\n{ /* one, \"two\" */ \"a\" /*:*/ : 1, // end\n \"b\": [2,], }\n", Dialect::config_json);

  ASSERT_THAT(r.problems, IsEmpty());
  EXPECT_EQ(place(r.node->position), "2:1");
  EXPECT_EQ(place(r.node->members[0].position), "2:20");
  EXPECT_EQ(place(r.node->find("a")->position), "2:32");
  EXPECT_EQ(place(r.node->find("b")->elements[0].position), "3:8");
}

TEST(Document, RuleFilesMayHoldNeither) {
  EXPECT_THAT(read("{\"a\": 1, // x\n}", Dialect::strict_json).problems,
              ElementsAre("f:1:10: expected no comment (rule files may hold none, because promtool reads them too)"));
  EXPECT_THAT(read("{\"a\": [1,]}", Dialect::strict_json).problems,
              ElementsAre("f:1:10: expected another entry after the comma (remove the trailing comma: promtool reads rule files too)"));
}

TEST(Document, ColumnsCountCharactersNotBytes) {
  EXPECT_EQ(place(read("{\"é\": \"ü\", \"b\": 1}", Dialect::strict_json).node->find("b")->position), "1:17");
  EXPECT_EQ(place(read("{\"é\": \"ü\", \"b\": 1}", Dialect::yaml).node->find("b")->position), "1:17");
}

TEST(Document, ASyntaxErrorSaysWhereAndWhatWasExpected) {
  EXPECT_THAT(read("{\n  \"a\": 1\n  \"b\": 2\n}", Dialect::config_json).problems,
              ElementsAre("f:3:3: expected ',' or '}' (a comma may be missing before this)"));
  EXPECT_THAT(read("{\"a\" 1}", Dialect::config_json).problems, ElementsAre(HasSubstr("f:1:6: expected ':' after the key")));
  EXPECT_THAT(read("", Dialect::config_json).problems, ElementsAre(HasSubstr("f:1:1: expected a value, found the end of the file")));
  EXPECT_THAT(read("{a: 1}", Dialect::config_json).problems, ElementsAre(HasSubstr("expected a key in double quotes")));
  EXPECT_THAT(read("a: [1, 2", Dialect::yaml).problems, ElementsAre(HasSubstr("not valid YAML")));
  EXPECT_THAT(read("a: 1\n b: 2\n", Dialect::yaml).problems, ElementsAre(HasSubstr("f:2:3: not valid YAML")));
}

TEST(Document, AKeyTwiceIsAProblemAtTheSecondAndTheDocumentIsStillRead) {
  for (const Dialect dialect : {Dialect::config_json, Dialect::yaml}) {
    const Read r = read("{\"a\": 1,\n \"b\": 2, \"a\": 3}", dialect);

    EXPECT_THAT(r.problems,
                ElementsAre("f:2:10: the key \"a\" stands here for the second time (keep one; the first is at line 1, column 2)"));
    ASSERT_TRUE(r.node.has_value());
    EXPECT_EQ(r.node->find("a")->text, "1");
  }
}

TEST(Document, NumbersKeepTheirTextAndQuotedOnesAreStrings) {
  for (const Dialect dialect : {Dialect::strict_json, Dialect::yaml}) {
    const Read r = read("[10, \"10\", 1.50, 12345678901234567890123]", dialect);

    ASSERT_TRUE(r.node.has_value());
    EXPECT_EQ(r.node->elements[0].kind, Node::Kind::number);
    EXPECT_EQ(r.node->elements[1].kind, Node::Kind::string);
    EXPECT_TRUE(r.node->elements[1].quoted);
    EXPECT_EQ(r.node->elements[2].text, "1.50");
    EXPECT_EQ(r.node->elements[3].text, "12345678901234567890123");
    EXPECT_EQ(to_json(r.node->elements[0]), Json(10));
    EXPECT_EQ(to_json(r.node->elements[2]), Json(1.5));
  }
}

TEST(Document, YamlScalarsHaveTheKindsPrometheusGivesThem) {
  const Read r = read("a: yes\nb: True\nc: 5m\nd: ~\ne:\nf: |\n  1 > 2\ng: -1.5e3\nh: .inf\ni: '5'\n", Dialect::yaml);

  ASSERT_TRUE(r.node.has_value());
  std::vector<std::string> kinds;
  for (const Node::Member& m : r.node->members) kinds.emplace_back(to_string(m.value.kind));
  EXPECT_THAT(kinds, ElementsAre("string", "boolean", "string", "null", "null", "string", "number", "number", "string"));
  EXPECT_EQ(r.node->find("f")->text, "1 > 2\n");
  EXPECT_EQ(place(r.node->find("g")->position), "8:4");
}

TEST(Document, YamlAliasesAndMergeKeysAreExpanded) {
  const Read r = read("base: &b {x: 1, y: [2, 3]}\nother:\n  <<: *b\n  x: 7\nlist: [*b, *b]\n", Dialect::yaml);

  ASSERT_THAT(r.problems, IsEmpty());
  EXPECT_EQ(to_json(*r.node).dump(),
            R"({"base":{"x":1,"y":[2,3]},"other":{"x":7,"y":[2,3]},"list":[{"x":1,"y":[2,3]},{"x":1,"y":[2,3]}]})");
}

TEST(Document, AnAliasBombIsRefusedBeforeItGrows) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string before = "*a" + std::to_string(i - 1), name = "a" + std::to_string(i);
    bomb += name + ": &" + name + " [" + before;
    for (int k = 0; k < 9; ++k) bomb += ", " + before;
    bomb += "]\n";
  }

  const Read r = read(bomb, Dialect::yaml);

  EXPECT_FALSE(r.node.has_value());
  EXPECT_THAT(r.problems, ElementsAre(HasSubstr("more than 1000000 values")));
}

TEST(Document, DeepNestingIsRefusedWhereItGoesTooDeep) {
  for (const Dialect dialect : {Dialect::config_json, Dialect::strict_json}) {
    const Read r = read(std::string(100'000, '['), dialect);

    EXPECT_FALSE(r.node.has_value());
    EXPECT_THAT(r.problems, ElementsAre(HasSubstr("f:1:65: nested deeper than 64 levels")));
  }
  std::string blocks;
  for (int i = 0; i < 100'000; ++i) blocks += "- ";
  EXPECT_THAT(read(blocks, Dialect::yaml).problems, ElementsAre(HasSubstr("f:1:129: nested deeper than 64 levels")));
  EXPECT_FALSE(read(std::string(100'000, '['), Dialect::yaml).node.has_value());
  EXPECT_TRUE(read(std::string(64, '[') + std::string(64, ']'), Dialect::config_json).node.has_value());
}

TEST(Document, AnAliasInsideItsOwnValueIsRefused) {
  EXPECT_THAT(read("a: &a [1, *a]\n", Dialect::yaml).problems, ElementsAre(HasSubstr("f:1:11: an alias inside the value it stands for")));
}

TEST(Document, ASecondYamlDocumentIsRefused) {
  EXPECT_THAT(read("a: 1\n---\nb: 2\n", Dialect::yaml).problems, ElementsAre(HasSubstr("found a second")));
}

TEST(Document, OfARuleFilesDocumentsTheFirstCountsAsInPrometheus) {
  const Read r = read("a: 1\n---\nb: [\n", Dialect::rules);

  EXPECT_THAT(r.problems, ElementsAre(HasSubstr("f:2:1: a second document begins here")));
  ASSERT_TRUE(r.node.has_value());
  EXPECT_EQ(to_json(*r.node).dump(), R"({"a":1})");
  EXPECT_EQ(to_json(*read("---\n---\na: 1\n", Dialect::rules).node).dump(), "null");
}

TEST(Document, OnlyWhatPrometheusMergesIsMerged) {
  EXPECT_EQ(to_json(*read("a: {<<: [{x: 1, y: 2}, {x: 3, z: 4}], y: 5}\n", Dialect::yaml).node).dump(), R"({"a":{"y":5,"x":1,"z":4}})");
  EXPECT_EQ(to_json(*read("a: {'<<': {x: 1}}\n", Dialect::yaml).node).dump(), R"({"a":{"<<":{"x":1}}})");
  EXPECT_THAT(read("a: {<<: 1}\n", Dialect::yaml).problems, ElementsAre(HasSubstr("f:1:9: \"<<\" merges objects, and this is a number")));
  EXPECT_THAT(read("a:\n  <<: {x: 1}\n  <<: {y: 1}\n", Dialect::yaml).problems, ElementsAre(HasSubstr("f:3:7: the key \"<<\"")));
}

TEST(Document, YamlIsReadAsPrometheusReadsIt) {
  EXPECT_TRUE(read("a: \"x\ny\"\nb:\t5\n", Dialect::yaml).node.has_value());
  EXPECT_THAT(read("a:\n\tb: 1\n", Dialect::yaml).problems, ElementsAre(HasSubstr("cannot start any token")));
  EXPECT_THAT(read("a: {{ x }}\n", Dialect::yaml).problems, ElementsAre(HasSubstr("expected a plain key")));
  EXPECT_THAT(read("a: \"\\\\/ é \\/\"\n", Dialect::yaml).problems, ElementsAre(HasSubstr("f:1:4: not valid YAML: found unknown escape")));
  EXPECT_TRUE(read("é: \"é\"\na: \"\\\\/ /\"\n", Dialect::yaml).node.has_value());
  EXPECT_FALSE(read("a: {b: is it?}\n", Dialect::yaml).node.has_value());
  EXPECT_TRUE(read("a: {b: 'is it?', ? c : d}\nb: is it?\n", Dialect::yaml).node.has_value());
  EXPECT_FALSE(read("a: !mine 5\n", Dialect::yaml).node.has_value());
  EXPECT_EQ(read("a: !mine 5\n", Dialect::rules).node->find("a")->kind, Node::Kind::string);
  EXPECT_FALSE(read("a: !!int x\n", Dialect::rules).node.has_value());
  EXPECT_THAT(read("a: *b\n", Dialect::yaml).problems, ElementsAre(HasSubstr("f:1:4: the alias *b has no anchor")));
  EXPECT_THAT(read("a: \x01\n", Dialect::yaml).problems, ElementsAre(HasSubstr("f:1:4: not valid YAML: control characters")));
}

TEST(Document, ZeroBytesAndOversizedTextsAreRefused) {
  EXPECT_THAT(read(std::string_view("{\n\0}", 4), Dialect::config_json).problems, ElementsAre(HasSubstr("f:2:1: expected text")));
  EXPECT_THAT(read(std::string((8 << 20) + 1, ' '), Dialect::yaml).problems, ElementsAre(HasSubstr("larger than 8 MiB")));
}

TEST(Document, AnEmptyYamlFileIsNullAndAByteOrderMarkIsNoContent) {
  EXPECT_EQ(read("", Dialect::yaml).node->kind, Node::Kind::null);
  EXPECT_EQ(read("# nothing\n", Dialect::yaml).node->kind, Node::Kind::null);
  EXPECT_TRUE(read("\xef\xbb\xbf{\"a\": 1}", Dialect::strict_json).node.has_value());
}

TEST(Document, TheDialectFollowsTheFilesEnding) {
  EXPECT_EQ(dialect_of("/a/b.yaml", true), Dialect::yaml);
  EXPECT_EQ(dialect_of("/a/b.yml", false), Dialect::yaml);
  EXPECT_EQ(dialect_of("/a/b.json", true), Dialect::strict_json);
  EXPECT_EQ(dialect_of("/a/b.conf", false), Dialect::config_json);
}

}  // namespace
}  // namespace rollbackd::config
