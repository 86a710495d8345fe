// The token file: read at start and reload, changed through the API by an admin alone.
#include "api/tokens.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include "base/digest.hpp"
#include "base/ids.hpp"
#include "base/text.hpp"

namespace rollbackd::api {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;

/// A file descriptor that closes itself.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }

 private:
  int fd_;
};

/// The name on a line of the file; empty for comments and blank lines.
std::string_view name_on(std::string_view raw) {
  const std::string_view line = trim(raw);
  return line.empty() || line[0] == '#' ? std::string_view{} : line.substr(0, line.find(':'));
}

/// The file's text; empty when there is no file yet.
Result<std::string> read_text(const std::string& file) {
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open() && errno == ENOENT) return std::string();
  if (!fd.is_open()) return Error::from_errno("cannot read the token file " + file, errno);
  std::string text;
  std::array<char, 16 << 10> block{};
  while (true) {
    const ssize_t n = ::read(fd.get(), block.data(), block.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno("cannot read the token file " + file, errno);
    if (n == 0) return text;
    text.append(block.data(), static_cast<std::size_t>(n));
    if (text.size() > kFileBytesMax) return Error(Errc::too_large, "the token file " + file + " has more than 1 MiB");
  }
}

/// @return 0, or the errno
int write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return 0;
}

/// Under another name, on disk, then renamed: a reader or a crash finds the old file or the new one.
Result<> replace_file(const std::string& file, const std::string& text) {
  const std::size_t slash = file.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : file.substr(0, std::max<std::size_t>(slash, 1));
  const std::string unfinished = file + ".new";
  const auto failed = [&](int error) {
    ::unlink(unfinished.c_str());
    return Error::from_errno("cannot write the token file " + file, error)
        .try_next("the tokens stay as they were; mend the cause and ask again");
  };
  if (::unlink(unfinished.c_str()) != 0 && errno != ENOENT) return failed(errno);
  const Fd out(::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!out.is_open()) return failed(errno);
  if (::fchmod(out.get(), 0600) != 0) return failed(errno);
  if (const int error = write_all(out.get(), text)) return failed(error);
  if (::fsync(out.get()) != 0) return failed(errno);
  if (::rename(unfinished.c_str(), file.c_str()) != 0) return failed(errno);
  const Fd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.is_open() || ::fsync(directory.get()) != 0)
    return Error::from_errno("the token file " + file + " may not survive a power cut", errno).try_next("ask again once the disk is well");
  return {};
}

Result<Tokens> replace_tokens(const std::string& file, const std::string& text) {
  auto tokens = parse_tokens(text);
  if (!tokens) return tokens;
  if (auto written = replace_file(file, text); !written) return written.error();
  return tokens;
}

}  // namespace

const char* to_string(Role role) {
  switch (role) {
    case Role::viewer: return "viewer";
    case Role::operator_: return "operator";
    case Role::admin: return "admin";
  }
  return "viewer";
}

std::optional<Role> role_from(std::string_view text) {
  for (const Role role : {Role::viewer, Role::operator_, Role::admin})
    if (text == to_string(role)) return role;
  return std::nullopt;
}

Result<Tokens> parse_tokens(std::string_view text) {
  Tokens tokens;
  std::map<std::string, int> lines;
  int line_number = 0;
  const auto wrong = [&](const std::string& why) {
    return Error(Errc::invalid_config, "cannot read the token file")
        .because("line " + std::to_string(line_number) + " " + why)
        .try_next("make one with: rollbackctl token create NAME --role operator; by hand, SHA256HEX is: printf %s SECRET | sha256sum");
  };
  for (const std::string& raw : split(text, '\n')) {
    ++line_number;
    const std::string_view line = trim(raw);
    if (line.empty() || line[0] == '#') continue;
    // CREATED holds colons of its own, so it is all that is left.
    std::array<std::string, 4> parts;
    std::string_view rest = line;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::size_t colon = i + 1 < parts.size() ? rest.find(':') : std::string_view::npos;
      parts[i] = rest.substr(0, colon);
      rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
    }
    const auto& [name, hash, role_text, created] = parts;
    const bool hex = hash.size() == 64 && hash.find_first_not_of("0123456789abcdef") == std::string::npos;
    const auto role = role_text.empty() ? std::optional(Role::operator_) : role_from(role_text);
    const bool dated = created.size() <= 40 && created.find_first_not_of("0123456789-:.TZ+") == std::string::npos;
    if (!is_name(name) || !hex || !role || !dated)
      return wrong("is not NAME:SHA256HEX:ROLE:CREATED, with a ROLE of viewer, operator or admin");
    if (const auto [known, is_new] = lines.emplace(name, line_number); !is_new)
      return wrong("has the name of line " + std::to_string(known->second));
    if (tokens.contains(hash)) return wrong("has the secret of another one");
    if (tokens.size() >= kTokensMax) return wrong("is one too many: there may be " + std::to_string(kTokensMax));
    tokens[hash] = Token{name, *role, created};
  }
  return tokens;
}

bool same_secret(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char differs = 0;
  for (std::size_t i = 0; i < a.size(); ++i) differs = static_cast<unsigned char>(differs | (a[i] ^ b[i]));
  return differs == 0;
}

const Token* find_token(const Tokens& tokens, std::string_view secret) {
  const std::string hash = sha256_hex(secret);
  const Token* found = nullptr;
  for (const auto& [known, token] : tokens)
    if (same_secret(known, hash)) found = &token;
  return found;
}

Result<std::string> new_secret() {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::array<std::uint8_t, 33> bytes{};  // The last one is not drawn: 32 bytes end within a group of three.
  if (::getrandom(bytes.data(), 32, 0) != 32) return Error::from_errno("the system gives no randomness", errno);
  std::string out = "rbk_";
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const unsigned group = static_cast<unsigned>(bytes[i] << 16 | bytes[i + 1] << 8 | bytes[i + 2]);
    for (const int shift : {18, 12, 6, 0}) out += kAlphabet[group >> shift & 63U];
  }
  out.pop_back();  // Of the byte that is not there.
  return out;
}

Result<Tokens> add_token(const std::string& file, const Token& token, const std::string& sha256) {
  auto text = read_text(file);
  if (!text) return text.error();
  auto tokens = parse_tokens(*text);
  if (!tokens) return tokens;
  for (const auto& [hash, known] : *tokens)
    if (known.name == token.name)
      return Error(Errc::conflict, "there is a token " + token.name + " already")
          .try_next("take another name, or revoke it first: rollbackctl token revoke " + token.name);
  if (tokens->size() >= kTokensMax)
    return Error(Errc::too_large, "there are " + std::to_string(kTokensMax) + " tokens already")
        .try_next("revoke one: rollbackctl token list");
  if (!text->empty() && text->back() != '\n') *text += '\n';
  *text += token.name + ":" + sha256 + ":" + to_string(token.role) + ":" + token.created + "\n";
  return replace_tokens(file, *text);
}

Result<Tokens> remove_token(const std::string& file, const std::string& name) {
  auto text = read_text(file);
  if (!text) return text.error();
  if (auto readable = parse_tokens(*text); !readable) return readable;
  std::vector<std::string> lines = split(*text, '\n');
  const auto removed = std::erase_if(lines, [&](const std::string& line) { return name_on(line) == name; });
  if (name.empty() || removed == 0)
    return Error(Errc::not_found, "there is no token " + printable(cut(name, 64))).try_next("rollbackctl token list shows them");
  return replace_tokens(file, join(lines, "\n"));
}

Json tokens_json(const Tokens& tokens) {
  std::map<std::string_view, const Token*> by_name;
  for (const auto& [hash, token] : tokens) by_name[token.name] = &token;
  Json rows = Json::array();
  for (const auto& [name, token] : by_name)
    rows.push(Json::object().set("name", name).set("role", to_string(token->role)).set("created", token->created));
  return rows;
}

}  // namespace rollbackd::api
