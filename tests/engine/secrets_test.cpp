// What people paste into tickets holds no secret, and still says what happened.
#include "engine/secrets.hpp"

#include <gtest/gtest.h>

namespace rollbackd::engine {
namespace {

TEST(Secrets, WhatIsNamedLikeASecretIsMaskedAndTheRestStays) {
  const std::pair<const char*, const char*> cases[] = {
      {"GET http://ops:hunter2@10.0.0.1:8080/health: 500", "GET http://***@10.0.0.1:8080/health: 500"},
      {"https://user@host/x and http://plain/y?a=1", "https://***@host/x and http://plain/y?a=1"},
      {"http://host/mail@example.org", "http://host/mail@example.org"},
      {"Authorization: Bearer abc.def-123", "Authorization: ***"},
      {"X-Api-Key: 99\nHost: h", "X-Api-Key: ***\nHost: h"},
      {"/login?user=me&access_token=s3cr3t&x=1", "/login?user=me&access_token=***&x=1"},
      {"db-password=\"a b c\" next", "db-password=\"***\" next"},
      {R"({"token": "abc", "n": 1})", R"({"token": "***", "n": 1})"},
      {"PASSWORD=hunter2;host=db", "PASSWORD=***;host=db"},
      {"the token was refused", "the token was refused"},
      {"tokenizer=fast broken=1", "tokenizer=fast broken=1"},
      {"panic: 500 at main.go:31", "panic: 500 at main.go:31"},
      {"", ""},
      {"://", "://"},
      {"password=", "password="},
      {"password", "password"},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(masked_text(text), expected) << text;
}

TEST(Secrets, EveryTextOfAJsonValueIsMaskedAndAMemberNamedLikeASecretLosesItsValue) {
  const Json json =
      Json::parse(R"({"a": ["http://u:p@h/"], "client_secret": "xyz", "n": 3, "o": {"cookie": "c", "key": "decision-1"}})").value();

  EXPECT_EQ(masked(json).dump(), R"({"a":["http://***@h/"],"client_secret":"***","n":3,"o":{"cookie":"***","key":"decision-1"}})");
}

}  // namespace
}  // namespace rollbackd::engine
