// A person's yes or no to the decision that waits for it. What follows from it is the incident machine's (decision/approval.cpp).
#include "base/text.hpp"
#include "engine/engine.hpp"
#include "engine/fleet.hpp"
#include "engine/service.hpp"

namespace rollbackd::engine {

Result<Json> Fleet::approve(const ServiceSelector& selector, bool yes, std::string reason, std::string principal) {
  constexpr std::size_t kReasonBytesMax = 256;
  if (trim(reason).empty())
    return Error(Errc::invalid_argument, std::string(yes ? "an approval" : "a rejection") + " needs a reason")
        .try_next("add --reason \"...\"");
  auto found = engine_.find(selector);
  if (!found) return found.error();
  Service& service = **found;
  if (!service.running()) return Error(Errc::unavailable, "the service is not watched").because(service.trouble());
  const std::string name = service.key().text();
  if (!service.incident().awaits_approval(engine_.clock_.now()))
    return Error(Errc::conflict, "nothing of " + name + " waits for approval").try_next("`rollbackctl status` shows what does");
  const PendingApproval asked = *service.incident().state().approval;
  service.deliver(event::Approve{std::move(principal), cut(printable(reason), kReasonBytesMax), yes});
  const std::string what = asked.from + " -> " + asked.to;
  return Json::object()
      .set("message", yes ? name + ": " + what + " is approved; it is rolled back if it still fails and no other guard says no"
                          : name + ": " + what + " is rejected; it is held")
      .set("decision", asked.decision)
      .set("from", asked.from)
      .set("to", asked.to);
}

}  // namespace rollbackd::engine
