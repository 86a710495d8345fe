// The channels there are, one function each, and the message they all send. Internal to notify/.
#pragma once

#include "notify/outbox.hpp"

namespace rollbackd::notify {

/// What a channel sends: {"key", "service", "environment", "severity", "title", "text", "at", "details"}. `at` is taken out of the details,
/// and is left out when they have none.
Json message_json(const Notification& notification);

/// POSTs the message. 2xx is taken; 408, 429, 5xx, 3xx and no answer are tried again; any other 4xx is a refusal for good.
/// Of the URL only the host is ever shown: the rest is a secret as a rule.
Result<std::unique_ptr<Channel>> make_webhook(const config::ChannelSettings& settings, boost::asio::any_io_executor executor);

/// Runs a command with the message on its standard input. Exit 0 is taken; exit 75 (EX_TEMPFAIL), a signal, a timeout and a command that
/// could not be started are tried again; any other exit is a refusal for good.
Result<std::unique_ptr<Channel>> make_exec(const config::ChannelSettings& settings);

}  // namespace rollbackd::notify
