// What every client of ours needs to open a connection: names to addresses, and whose fault a failure is. Internal to io/.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

namespace rollbackd::io {

using Endpoint = boost::asio::generic::stream_protocol::endpoint;

inline constexpr std::size_t kAddressesMax = 8;  ///< of one name; more are not tried

/// Name resolution that may outlive the request that began it: getaddrinfo cannot be interrupted. A client never has more than one.
struct Lookup {
  explicit Lookup(const boost::asio::any_io_executor& executor)
      : resolver(executor), done(executor, boost::asio::steady_timer::time_point::max()) {}
  static std::shared_ptr<Lookup> begin(const boost::asio::any_io_executor& executor, const std::string& host, const std::string& port) {
    using Resolver = boost::asio::ip::tcp::resolver;
    auto lookup = std::make_shared<Lookup>(executor);
    lookup->resolver.async_resolve(host, port, Resolver::numeric_service,
                                   [lookup](boost::system::error_code e, const Resolver::results_type& found) {
                                     lookup->finished = true;
                                     lookup->error = e;
                                     for (const auto& entry : found)
                                       if (lookup->endpoints.size() < kAddressesMax) lookup->endpoints.emplace_back(entry.endpoint());
                                     lookup->done.cancel();
                                   });
    return lookup;
  }

  boost::asio::ip::tcp::resolver resolver;
  boost::asio::steady_timer done;  ///< cancelled when the answer is in, or when nobody may wait any longer
  bool finished = false;
  boost::system::error_code error;
  std::vector<Endpoint> endpoints;
};

/// Whether a failed connection says something of us rather than of the other side.
inline bool is_our_own_trouble(int errno_value) {
  switch (errno_value) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case ENETUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
    case EADDRINUSE:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case EACCES:
    case EPERM: return true;
    default: return false;
  }
}

}  // namespace rollbackd::io
