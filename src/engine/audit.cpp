// What the engine notes in the audit log: each operation when it begins and when it has ended, whoever started it.
#include "engine/engine.hpp"
#include "engine/fleet.hpp"
#include "engine/insight.hpp"
#include "engine/service.hpp"

namespace rollbackd::engine {

namespace {

/// Both entries of an operation say who wanted it and why; for one of ours that is the evidence.
record::AuditEntry entry_of(const OperationRequest& request) {
  record::AuditEntry entry;
  entry.principal = request.principal.empty() ? "rollbackd" : request.principal;
  entry.action = to_string(request.kind);
  entry.service = request.service;
  entry.target = request.to;
  entry.reason = request.reason;
  entry.operation = request.operation;
  return entry;
}

}  // namespace

void Engine::audit(record::AuditEntry entry) {
  if (audit_) audit_->add(std::move(entry));
}

void Service::operation_begins(const OperationRequest& request, bool recovered) {
  record::AuditEntry entry = entry_of(request);
  entry.outcome = recovered ? "goes on after a restart" : "begun";
  engine_.audit(std::move(entry));
  if (!recovered) engine_.insight_->on_operation_begins(*this, request);
}

void Service::operation_ended(const record::OperationRow& row) {
  record::AuditEntry entry = entry_of(row.request);
  entry.outcome = to_string(row.status);
  if (!row.detail.empty()) entry.outcome += ": " + row.detail;
  engine_.audit(std::move(entry));
  engine_.insight_->on_operation_ended(*this, row);
  if (engine_.hooks_.operation_ended) engine_.hooks_.operation_ended(row);
  engine_.fleet().operation_ended(row);
}

}  // namespace rollbackd::engine
