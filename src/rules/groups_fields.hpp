// What reading a rule file's fields needs: typed values out of nodes as Go's YAML reader takes them, and problems with their place.
// For groups*.cpp alone.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/time.hpp"
#include "config/document.hpp"

namespace rollbackd::rules {

class Fields {
 public:
  Fields(const std::string& file, std::vector<config::Problem>& problems) : file_(file), problems_(problems) {}

  void error(config::Position position, std::string what, std::string remedy);
  void warning(config::Position position, std::string what, std::string remedy);

  /// Null is none: nothing is said of it. @param what  what should be an object, for the error
  bool is_object(const config::Node& node, const std::string& what);
  /// The elements of the list at `key`, without those that are null, which Prometheus passes over.
  std::vector<const config::Node*> list(const config::Node& node, const std::string& key);
  /// Says of each key that is not among `fields`.
  void known(const config::Node& node, const std::string& what, const std::vector<std::string>& fields);

  /// The text of member `key`; "" when it is missing or null. Any scalar is a text: `severity: 1` is "1".
  std::string text(const config::Node& node, const std::string& key);
  std::string scalar(const config::Node& value, const std::string& what);
  /// A duration as Prometheus writes it. @return `otherwise` when it is missing, null or wrong
  Duration duration(const config::Node& node, const std::string& key, Duration otherwise);
  /// A whole number in any of YAML's forms; 0 when it is missing, null or wrong, and when it is negative, which is no limit.
  int limit(const config::Node& node, const std::string& key);

 private:
  void add(config::Position position, std::string what, std::string remedy, bool warning);

  const std::string& file_;
  std::vector<config::Problem>& problems_;
};

}  // namespace rollbackd::rules
