#include "base/json.hpp"

#include <gtest/gtest.h>

#include <ctime>
#include <limits>

#include "base/json_request.hpp"

namespace rollbackd {
namespace {

TEST(Json, KeepsTheOrderOfMembersAndReadsBack) {
  const std::string text = R"({"z":1,"a":[true,null,"x\u0000y",-2.5],"m":{"k":9223372036854775807}})";

  const auto read = Json::parse(text);

  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->dump(), text);
  EXPECT_EQ(Json::parse(read->pretty()).value(), *read);
}

TEST(Json, AMissingMemberOrAnotherTypeIsTheFallback) {
  const Json json = Json::parse(R"({"a":"text","n":2})").value();
  EXPECT_EQ(json["a"].int_or(7), 7);
  EXPECT_EQ(json["n"].number_or(0), 2.0);
  EXPECT_EQ(json["missing"]["deeper"].string_or("fallback"), "fallback");
  EXPECT_TRUE(json["a"].elements().empty());
  EXPECT_FALSE(json.has("missing"));
}

TEST(Json, SetReplacesAndPushTurnsNullIntoAnArray) {
  Json json;
  json.set("a", 1).set("b", 2).set("a", 3);
  Json list;
  list.push(1).push("x");
  EXPECT_EQ(json.dump(), R"({"a":3,"b":2})");
  EXPECT_EQ(list.dump(), R"([1,"x"])");
}

TEST(Json, WhatHasNoJsonFormBecomesNull) {
  EXPECT_EQ(Json(std::numeric_limits<double>::quiet_NaN()).dump(), "null");
  EXPECT_EQ(Json(std::numeric_limits<double>::infinity()).dump(), "null");
}

TEST(Json, RefusesWhatIsNotStrictJsonWithTheOffset) {
  for (const char* text : {"", "{", "[1,]", "{\"a\":1,}", "// c\n1", "1 2", "nul", "\"\xff\"", "'a'"}) {
    const auto read = Json::parse(text);
    ASSERT_TRUE(read.has_error()) << text;
    EXPECT_EQ(read.error().code, Errc::corrupt);
    EXPECT_NE(read.error().why.find("byte"), std::string::npos);
  }
}

TEST(Json, ACharacterCutOffAtTheEndIsAnErrorAndNothingBehindTheTextIsRead) {
  for (const std::string cut : {"\"a\xc3", "\"a\xe2\x82", "\"a\xf0\x9f\x98", "{\"\xec"}) {
    const std::string behind = cut + "\x82\x82\x82\"";
    EXPECT_TRUE(Json::parse(std::string_view(behind).substr(0, cut.size())).has_error()) << cut;
  }
}

TEST(Json, AZeroByteDoesNotEndTheText) {
  const auto read = Json::parse(std::string_view("{}\0garbage", 10));

  ASSERT_TRUE(read.has_error());
  EXPECT_EQ(read.error().why, "a zero byte at byte 2");
}

TEST(Json, OfAKeyThatStandsTwiceTheLastValueCountsInTheFirstPlace) {
  const auto read = Json::parse(R"({"a":1,"b":2,"a":3,"c":{"d":1,"d":null}})");

  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->dump(), R"({"a":3,"b":2,"c":{"d":null}})");
}

TEST(Json, AKeyThatStandsTwiceIsRefusedWhereItIsAskedFor) {
  const auto refused = [](const char* text) { return parse_request_json(text, 16); };
  const Error error = refused(R"([{"a":1,"b\n":{"x":1}},{"b\n":2,"a":3,"b\n":2}])").error();

  EXPECT_EQ(error.code, Errc::corrupt);
  EXPECT_EQ(error.text(), "the JSON has the key \"b\\x0a\" twice: in the object that ends at byte 45 (next: keep one of them)");
  EXPECT_TRUE(refused(R"({"a":{"a":1},"b":[{"a":1},{"a":2}],"A":0})").has_value());
  EXPECT_TRUE(refused(R"({"\u0061":1,"a":2})").has_error());
}

TEST(Json, AnObjectOfManyMembersIsReadInTheTimeOfItsLength) {
  std::string text = "{";
  for (int i = 0; i < 60'000; ++i) text += "\"k" + std::to_string(i) + "\":1,";
  text += "\"end\":2}";

  const std::clock_t begin = std::clock();
  const auto read = Json::parse(text);
  const double cpu_seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;

  ASSERT_TRUE(read);
  EXPECT_EQ(read->members().size(), 60'001U);
  EXPECT_LT(cpu_seconds, 8);  // Member by member against all before it: many times that, in this build.
}

TEST(Json, NestingBeyondTheLimitIsAnErrorAndNotACrash) {
  EXPECT_TRUE(Json::parse("[[[1]]]", 3));
  EXPECT_TRUE(Json::parse("[[[[1]]]]", 3).has_error());
  EXPECT_TRUE(Json::parse(std::string(1'000'000, '[')).has_error());
}

TEST(Json, ReadsAnyWayToWriteANumber) {
  for (const auto& [text, value] : std::vector<std::pair<std::string, double>>{{"0e300", 0},
                                                                               {"0.000e300", 0},
                                                                               {"-0.0", -0.0},
                                                                               {"0.0000000000000000000000000000000e-30", 0},
                                                                               {"1e-400", 0},
                                                                               {"5e-324", 5e-324},
                                                                               {"1.7976931348623157e308", 1.7976931348623157e308},
                                                                               {"0.1", 0.1},
                                                                               {"1E+2", 100},
                                                                               {"-9223372036854775808", -9223372036854775808.0},
                                                                               {"9007199254740993.0", 9007199254740992.0}})
    EXPECT_EQ(Json::parse(text).value().number_or(7), value) << text;
  for (const char* text : {"1e309", "-1.8e308", "1e99999"})
    EXPECT_NE(Json::parse(text).error().why.find("Number too big"), std::string::npos) << text;
}

TEST(Json, AnIntegerBeyond64BitsReadsAsADouble) {
  EXPECT_DOUBLE_EQ(Json::parse("18446744073709551615").value().number_or(0), 18446744073709551615.0);
}

}  // namespace
}  // namespace rollbackd
