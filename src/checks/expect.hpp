// What an HTTP answer must be like: the check and the verification test of type http ask the same question.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "io/http_client.hpp"

namespace re2 {
class RE2;
}

namespace rollbackd::checks {

class Expectation {
 public:
  /// @param status  "200", "2xx", "200-299"; an answer's must be in one of them
  /// @param body_matches, body_not_matches  RE2, searched in the (cut) body; empty: not looked at
  /// @return `invalid_config` for one that cannot be read
  static Result<Expectation> make(const std::vector<std::string>& status, const std::string& body_matches,
                                  const std::string& body_not_matches);
  bool wants(int status) const;
  /// Why `answer` is not as expected; empty when it is.
  std::string failure(const io::HttpResponse& answer) const;

 private:
  std::vector<std::pair<int, int>> status_;  ///< ranges, both ends included
  std::shared_ptr<const re2::RE2> matches_, not_matches_;
};

/// "HTTP 500 Internal Server Error in 3ms".
std::string status_line(const io::HttpResponse& answer, Duration took);

}  // namespace rollbackd::checks
