// Tokens are made and taken back by the daemon, which alone writes its token file; the secret passes through here once.
#include "cli/token.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/text.hpp"
#include "cli/one_of.hpp"
#include "cli/render.hpp"

namespace rollbackd::cli {
namespace {

struct Options {
  TokenCommands commands;
  std::string name, role, output, reason;
};

/// Asks the daemon. An answer other than 200 is shown as it is. @return nothing when that was so
std::optional<Json> ask(const Options& o, int& result, const std::function<Result<Answer>(Client&)>& question) {
  auto client = o.commands.connect();
  if (!client) {
    result = o.commands.fail(client.error());
    return std::nullopt;
  }
  auto answer = question(*client);
  if (!answer) {
    result = o.commands.fail(answer.error());
    return std::nullopt;
  }
  result = answer->status == 200 ? 0 : 1;
  if (result == 0) return std::move(answer->body);
  if (o.commands.json()) {
    std::printf("%s\n", answer->body.pretty().c_str());
  } else {
    std::fputs(render_error(answer->body).c_str(), stderr);
  }
  return std::nullopt;
}

/// A new file for the secret, readable by its owner alone; made before the token is, so that no secret is lost.
class SecretFile {
 public:
  explicit SecretFile(std::string path)
      : path_(std::move(path)), fd_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) {
    if (fd_ < 0) why_ = Error::from_errno("cannot make " + path_, errno).try_next("name a file that is not there yet");
  }
  SecretFile(const SecretFile&) = delete;
  SecretFile& operator=(const SecretFile&) = delete;
  ~SecretFile() {
    if (fd_ >= 0) ::close(fd_);
    if (fd_ >= 0 && !kept_) ::unlink(path_.c_str());
  }
  bool ready() const { return fd_ >= 0; }
  const Error& why() const { return why_; }
  bool write(const std::string& secret) {
    const std::string line = secret + "\n";
    kept_ = ::write(fd_, line.data(), line.size()) == static_cast<ssize_t>(line.size()) && ::fsync(fd_) == 0;
    if (!kept_) why_ = Error::from_errno("cannot write " + path_, errno);
    return kept_;
  }

 private:
  std::string path_;
  int fd_;
  bool kept_ = false;
  Error why_;
};

int create(const Options& o) {
  std::optional<SecretFile> file;
  if (!o.output.empty()) {
    file.emplace(o.output);
    if (!file->ready()) return o.commands.fail(file->why());
  }
  int result = 0;
  Json body = Json::object().set("name", o.name).set("role", o.role);
  if (!o.reason.empty()) body.set("reason", o.reason);
  auto created = ask(o, result, [&](Client& client) { return client.post("/api/v1/tokens", body); });
  if (!created) return result;
  const std::string secret = (*created)["token"].string_or("");
  if (file) {
    if (!file->write(secret)) {  // Nobody has the secret now, so the token is taken back.
      const Error why = file->why();
      ask(o, result, [&](Client& client) { return client.post("/api/v1/tokens/revoke", Json::object().set("name", o.name)); });
      return o.commands.fail(why);
    }
    created->set("token", "").set("file", o.output);
  }
  if (o.commands.json()) {
    std::printf("%s\n", created->pretty().c_str());
  } else if (file) {
    std::printf("token %s (%s) is in %s\n", o.name.c_str(), o.role.c_str(), o.output.c_str());
  } else {
    std::printf("%s\n", printable(secret).c_str());
    std::fputs("This secret is shown once; only its hash is kept.\n", stderr);
  }
  return 0;
}

int list(const Options& o) {
  int result = 0;
  auto answer = ask(o, result, [](Client& client) { return client.get("/api/v1/tokens"); });
  if (!answer) return result;
  if (o.commands.json()) {
    std::printf("%s\n", answer->pretty().c_str());
    return 0;
  }
  Table table({"NAME", "ROLE", "CREATED"});
  for (const Json& row : (*answer)["tokens"].elements())
    table.row({row["name"].string_or(""), row["role"].string_or(""), row["created"].string_or("")});
  std::fputs(table.text().c_str(), stdout);
  return 0;
}

int revoke(const Options& o) {
  int result = 0;
  Json body = Json::object().set("name", o.name);
  if (!o.reason.empty()) body.set("reason", o.reason);
  auto answer = ask(o, result, [&](Client& client) { return client.post("/api/v1/tokens/revoke", body); });
  if (!answer) return result;
  std::printf("%s\n", o.commands.json() ? answer->pretty().c_str() : printable((*answer)["message"].string_or("")).c_str());
  return 0;
}

}  // namespace

void add_token_commands(CLI::App& app, TokenCommands commands, int& result) {
  const auto o = std::make_shared<Options>();
  o->commands = std::move(commands);
  auto* token = app.add_subcommand("token", "Who may change things over TCP");
  token->require_subcommand(1);

  auto* create_ = token->add_subcommand("create", "Make a token; its secret is shown once");
  create_->add_option("name", o->name, "What the record will call its holder")->required();
  create_->add_option("--role", o->role, "viewer, operator or admin")->required()->check(one_of({"viewer", "operator", "admin"}));
  create_->add_option("--output", o->output, "Write the secret to this new file, readable by its owner alone, instead of showing it");
  create_->add_option("--reason", o->reason, "Why; recorded");
  create_->callback([o, &result] { result = create(*o); });

  auto* list_ = token->add_subcommand("list", "Names, roles and when each was made");
  list_->callback([o, &result] { result = list(*o); });

  auto* revoke_ = token->add_subcommand("revoke", "Take a token back; it ends at once");
  revoke_->add_option("name", o->name, "Its name")->required();
  revoke_->add_option("--reason", o->reason, "Why; recorded");
  revoke_->callback([o, &result] { result = revoke(*o); });
}

}  // namespace rollbackd::cli
