// JSON answers as tables for people. Colour only on a terminal.
#pragma once

#include <string>
#include <vector>

#include "base/json.hpp"

namespace rollbackd::cli {

/// A table with a header; columns as wide as their widest cell (UTF-8 counted by code point), cells made printable, nothing wrapped.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void row(std::vector<std::string> cells);
  std::string text() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

std::string render_status(const Json& status);
std::string render_releases(const Json& releases);
std::string render_operations(const Json& operations);
std::string render_decisions(const Json& decisions);
std::string render_deployments(const Json& deployments);
/// Says what counts, and "no operation yet" rather than a rate of nothing.
std::string render_stats(const Json& stats);
std::string render_audit(const Json& entries);
/// Of `audit verify`: in order or not, the head, and what is worth knowing.
std::string render_audit_verdict(const Json& verdict);
std::string render_ready(const Json& ready);
/// One service's row of it: every check with its answer and evidence.
std::string render_preflight(const Json& row);
std::string render_explain(const Json& explained);
/// Of a rollback, a deployment or a dry run: the message, the steps and each guard's answer.
std::string render_command(const Json& answer);
/// {"error": {...}} on one to three lines.
std::string render_error(const Json& answer);

}  // namespace rollbackd::cli
