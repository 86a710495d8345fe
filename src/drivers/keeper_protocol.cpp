#include "drivers/keeper_protocol.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/digest.hpp"
#include "io/process.hpp"

namespace rollbackd::drivers::keeper {

using io::Fd;

Json Settings::to_json() const {
  Json arguments = Json::array(), variables = Json::object();
  for (const std::string& a : argv) arguments.push(a);
  for (const auto& [name, value] : environment) variables.set(name, value);
  Json out = Json::object();
  out.set("argv", std::move(arguments))
      .set("working_directory", working_directory)
      .set("environment", std::move(variables))
      .set("user", user);
  out.set("stop_timeout_ns", stop_timeout.count()).set("restart_delay_ns", restart_delay.count());
  out.set("output", output).set("output_bytes_max", output_bytes_max);
  return out;
}

Result<Settings> Settings::from_json(const Json& json) {
  Settings out;
  for (const Json& a : json["argv"].elements()) out.argv.push_back(a.string_or(""));
  if (out.argv.empty() || out.argv[0].empty()) return Error(Errc::invalid_config, "the keeper's settings name no command");
  out.working_directory = json["working_directory"].string_or("");
  for (const auto& [name, value] : json["environment"].members()) out.environment[name] = value.string_or("");
  out.user = json["user"].string_or("");
  out.stop_timeout = Duration(json["stop_timeout_ns"].int_or(out.stop_timeout.count()));
  out.restart_delay = Duration(json["restart_delay_ns"].int_or(out.restart_delay.count()));
  out.output = json["output"].string_or("");
  out.output_bytes_max = json["output_bytes_max"].int_or(out.output_bytes_max);
  return out;
}

std::string Settings::fingerprint() const { return sha256_hex(to_json().dump()).substr(0, 16); }

std::string short_socket_path(int directory_fd) { return "/proc/self/fd/" + std::to_string(directory_fd) + "/" + kSocketName; }

Result<> replace_file(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".new";
  const Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return Error::from_errno("cannot write " + temporary, errno);
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(file.get(), text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int why = n < 0 ? errno : ENOSPC;
      ::unlink(temporary.c_str());
      return Error::from_errno("cannot write " + temporary, why);
    }
    at += static_cast<std::size_t>(n);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return Error::from_errno("cannot write " + path, errno);
  return {};
}

Result<std::string> read_file(const std::string& path, std::size_t bytes_max) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file && errno == ENOENT) return Error(Errc::not_found, "no " + path);
  if (!file) return Error::from_errno("cannot open " + path, errno);
  struct stat facts {};
  if (::fstat(file.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) return Error(Errc::io, path + " is no file");
  std::string text;  // As long as what is there, not as the bound.
  std::size_t at = 0;
  while (at <= bytes_max) {
    const std::size_t wanted = std::max({std::size_t{4096}, static_cast<std::size_t>(facts.st_size) + 1, 2 * at});
    if (at == text.size()) text.resize(std::min(bytes_max + 1, wanted));
    const ssize_t n = ::read(file.get(), text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno("cannot read " + path, errno);
    if (n == 0) break;
    at += static_cast<std::size_t>(n);
  }
  if (at > bytes_max) return Error(Errc::too_large, path + " is too large").because("at most " + std::to_string(bytes_max) + " bytes");
  text.resize(at);
  return text;
}

}  // namespace rollbackd::drivers::keeper
