// Tokens for changes over TCP: who holds which, what each role may do, and the file in which only their hashes stand.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/time.hpp"

namespace rollbackd::api {

/// What a principal may do. Ordered: a later one includes the earlier.
enum class Role : int {
  viewer = 1,     ///< look
  operator_ = 2,  ///< and act on services: roll back, deploy, suspend, mark, push alerts
  admin = 3       ///< and change who may: tokens, and the configuration's reload
};
/// "viewer", "operator", "admin".
const char* to_string(Role role);
std::optional<Role> role_from(std::string_view text);

struct Token {
  std::string name;  ///< `is_name`; unique among the tokens
  Role role = Role::operator_;
  std::string created;  ///< RFC 3339; empty where the line does not say
  bool operator==(const Token&) const = default;
};

/// By the SHA-256 (lower-case hex) of each secret: the daemon never has the secrets.
using Tokens = std::map<std::string, Token>;

/// More are refused: each request's token is compared with all of them.
inline constexpr std::size_t kTokensMax = 256;

/// Reads a token file's text: `NAME:SHA256HEX:ROLE:CREATED` a line, where CREATED may be missing; `NAME:SHA256HEX` alone is an operator.
/// `#` begins a comment.
/// @return `invalid_config` with the line's number, never with its text: it may hold a secret that was written there by mistake
Result<Tokens> parse_tokens(std::string_view text);

/// Equal-time comparison: how long it takes says nothing about where they differ.
bool same_secret(std::string_view a, std::string_view b);

/// The token with this secret, or null. Looks at all of them, so that the time taken does not tell which one it was.
const Token* find_token(const Tokens& tokens, std::string_view secret);

/// A new secret: `rbk_` and 32 random bytes in base64url. @return `io` when the system gives no randomness
Result<std::string> new_secret();

/// Adds one line to the token file, whatever else it holds staying as it is. The file is replaced whole (mode 0600, on disk before its
/// name is) or not at all. Blocking.
/// @return what the file says now; `conflict` when the name is taken, `invalid_config` when the file cannot be read as tokens, `io`
Result<Tokens> add_token(const std::string& file, const Token& token, const std::string& sha256);
/// Takes a token's line out, in the same way. @return `not_found` when there is none of this name
Result<Tokens> remove_token(const std::string& file, const std::string& name);

/// Names, roles and when they were made, by name; no hashes.
Json tokens_json(const Tokens& tokens);

}  // namespace rollbackd::api
