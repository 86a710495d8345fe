// `rollbackctl explain`: without an id how the service stands and its newest evidence, with one the evidence of that operation or incident.
#include "cli/explain.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/text.hpp"
#include "cli/one_of.hpp"
#include "cli/render.hpp"
#include "io/process.hpp"

namespace rollbackd::cli {
namespace {

struct ExplainOptions {
  std::string service, environment, operation, incident, format, output;
};

/// To the file (0600: evidence is not for everybody) or to standard output. @return the exit code
int write_out(const ExplainOptions& o, const InsightCommands& commands, const std::string& text) {
  if (o.output.empty() || o.output == "-") {
    std::fputs(text.c_str(), stdout);
    return 0;
  }
  const io::Fd file(::open(o.output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return commands.fail(Error::from_errno("cannot write " + o.output, errno));
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(file.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return commands.fail(Error::from_errno("cannot write " + o.output, errno));
    done += static_cast<std::size_t>(n);
  }
  return 0;
}

int explain(const ExplainOptions& o, const InsightCommands& commands) {
  auto client = commands.connect();
  if (!client) return commands.fail(client.error());
  const std::string format = !o.format.empty() ? o.format : commands.json() ? "json" : "table";
  const bool one = !o.operation.empty() || !o.incident.empty();
  std::map<std::string, std::string> query{{"service", o.service}};
  const auto add = [&query](const char* name, const std::string& value) {
    if (!value.empty()) query[name] = value;
  };
  add("environment", o.environment);
  Json stands;
  if (!one && format != "markdown") {
    auto now = client->get("/api/v1/explain", query);
    if (!now) return commands.fail(now.error());
    if (now->status != 200) {
      std::fputs(format == "json" ? (now->body.pretty() + "\n").c_str() : render_error(now->body).c_str(),
                 format == "json" ? stdout : stderr);
      return 1;
    }
    stands = std::move(now->body);
  }
  add("operation", o.operation);
  add("incident", o.incident);
  auto answer = client->get("/api/v1/evidence", query);
  if (!answer) return commands.fail(answer.error());
  if (answer->status != 200) {
    std::fputs(format == "json" ? (answer->body.pretty() + "\n").c_str() : render_error(answer->body).c_str(),
               format == "json" ? stdout : stderr);
    return answer->status == 404 && one ? 40 : 1;
  }
  const Json& evidence = answer->body;
  if (format == "markdown") return write_out(o, commands, as_markdown(chapters_of(evidence)));
  if (format == "json") return write_out(o, commands, (one ? evidence : stands.set("evidence", evidence)).pretty() + "\n");
  std::string text = one ? "" : render_explain(stands);
  if (one || evidence["bundle"].is_object()) text += (text.empty() ? "" : "\n") + as_text(chapters_of(evidence));
  return write_out(o, commands, text);
}

}  // namespace

void add_explain_command(CLI::App& app, const InsightCommands& commands, int& result) {
  const auto o = std::make_shared<ExplainOptions>();
  auto* explained =
      app.add_subcommand("explain",
                         "Why a service was rolled back, or why not: how it stands now and the newest evidence; or the evidence\n"
                         "of one operation or incident, also after a restart. Markdown is for the post-mortem");
  explained->add_option("service", o->service, "Name of the service")->required();
  explained->add_option("--env,-e", o->environment, "Environment, when the service runs in several");
  auto* operation = explained->add_option("--operation", o->operation, "Evidence of this operation (`rollbackctl history` has the ids)");
  explained->add_option("--incident", o->incident, "Evidence of this incident: of its newest decision")->excludes(operation);
  explained->add_option("--format", o->format, "table, json or markdown")->check(one_of({"table", "json", "markdown"}));
  explained->add_option("--output", o->output, "File to write (readable by its owner alone), or - for standard output");
  explained->callback([o, commands, &result] { result = explain(*o, commands); });
}

}  // namespace rollbackd::cli
