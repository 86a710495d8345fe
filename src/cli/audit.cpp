// `rollbackctl audit`: the chain of who changed what, checked without a daemon, and its entries.
#include "record/audit.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "base/text.hpp"
#include "cli/insight.hpp"
#include "cli/render.hpp"

namespace rollbackd::cli {
namespace {

struct VerifyOptions {
  std::vector<std::string> files;
  std::string state = "/var/lib/rollbackd", head;
};

int verify(const VerifyOptions& o, const InsightCommands& commands) {
  const bool whole = o.files.empty();
  if (!o.head.empty() && (o.head.size() != 64 || o.head.find_first_not_of("0123456789abcdef") != o.head.npos))
    return commands.fail(Error(Errc::invalid_argument, "a head is 64 hex digits").try_next("it is `hash` in the log line \"audit head\""));
  auto files = whole ? record::audit_files(o.state) : Result<std::vector<std::string>>(o.files);
  if (!files) return commands.fail(files.error());
  const auto verdict = record::verify_audit_files(*files, whole, o.head);
  if (!verdict) return commands.fail(verdict.error());
  if (commands.json()) {
    std::printf("%s\n", verdict->to_json().pretty().c_str());
  } else {
    std::fputs(render_audit_verdict(verdict->to_json()).c_str(), verdict->ok ? stdout : stderr);
  }
  return verdict->ok ? 0 : 1;
}

}  // namespace

void add_audit_commands(CLI::App& app, const InsightCommands& commands, int& result) {
  auto* audit = app.add_subcommand("audit", "Who changed what, when and why");
  audit->require_subcommand(1);

  const auto v = std::make_shared<VerifyOptions>();
  auto* verify_ = audit->add_subcommand(
      "verify",
      "Check the audit log's chain of hashes; reads files only. Exit code 0: in order, 1: not, with the first line that is wrong.\n"
      "A log whose end was cut off, or that was written anew as a whole, is in order in itself: only a head that was noted elsewhere\n"
      "tells. The daemon writes \"audit head\" with seq and hash to the system log at its start, every 100 entries and every day;\n"
      "--head compares with one of these");
  verify_->add_option("files", v->files, "Files, oldest first; default: all of --state, which must begin with entry 1");
  verify_->add_option("--state", v->state, "State directory")->capture_default_str();
  verify_->add_option("--head", v->head, "A hash noted elsewhere, which must be in the log");
  verify_->callback([v, commands, &result] { result = verify(*v, commands); });

  struct ShowOptions {
    std::map<std::string, std::string> query;
    int limit = 50;
  };
  const auto s = std::make_shared<ShowOptions>();
  auto* show = audit->add_subcommand("show", "Entries, newest first");
  show->add_option("service", s->query["service"], "Only about this service");
  show->add_option("--env,-e", s->query["environment"], "Only about this environment");
  show->add_option("--principal", s->query["principal"], "Only by this one: uid:0, token:ci, rollbackd, anonymous");
  show->add_option("--action", s->query["action"],
                   "Only this: rollback, deploy, suspend, resume, acknowledge, mark, prune, reload, token.create, ...");
  show->add_option("--since", s->query["since"], "From then on: 24h, 7d, 2026-11-20, 2026-11-20T13:04:05Z");
  show->add_option("--until", s->query["until"], "Up to then");
  show->add_option("--limit", s->limit, "How many")->check(CLI::Range(1, 1000))->capture_default_str();
  show->callback([s, commands, &result] {
    auto query = s->query;
    query["limit"] = std::to_string(s->limit);
    result = show_rows(commands, "/api/v1/audit", query, render_audit);
  });
}

}  // namespace rollbackd::cli
