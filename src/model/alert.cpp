#include "model/alert.hpp"

namespace rollbackd {

const char* to_string(AlertAction action) {
  switch (action) {
    case AlertAction::notify: return "notify";
    case AlertAction::hold: return "hold";
    case AlertAction::rollback: return "rollback";
    case AlertAction::emergency: return "emergency";
  }
  return "notify";
}

const char* to_string(AlertPhase phase) {
  switch (phase) {
    case AlertPhase::inactive: return "inactive";
    case AlertPhase::pending: return "pending";
    case AlertPhase::firing: return "firing";
  }
  return "inactive";
}

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok: return "ok";
    case Verdict::breached: return "breached";
    case Verdict::blind: return "blind";
  }
  return "blind";
}

}  // namespace rollbackd
