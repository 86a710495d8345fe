// The API as `rollbackctl` uses it: one blocking request at a time.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/time.hpp"

namespace rollbackd::cli {

/// What the daemon answered.
struct Answer {
  int status = 0;
  Json body;
};

class Client {
 public:
  /// @param url  "http://127.0.0.1:9474" or "unix:/path/to/socket"
  /// @param token  sent as a bearer token; may be empty
  static Result<Client> open(const std::string& url, std::string token);
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();
  /// @return `unavailable` when no daemon answers; any HTTP status is an answer
  Result<Answer> get(const std::string& path, const std::map<std::string, std::string>& query = {});
  Result<Answer> post(const std::string& path, const Json& body);
  /// The same as get(), for parameters that are too long for an address.
  Result<Answer> post_form(const std::string& path, const std::map<std::string, std::string>& form);
  /// A text of at most `bytes_max` bytes. @return the daemon's own error where it answers with one
  Result<std::string> get_text(const std::string& path, std::size_t bytes_max);

 private:
  struct Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rollbackd::cli
