// The service that the benches watch: a small HTTP server that starts in a millisecond or two and puts itself into the background, so
// that it is nobody's child of rollbackd. One binary a release: its release is the name of the directory that it stands in.
//   bench_service ROOT PORT     ends the one named by ROOT/run/pid, starts anew, writes that file once it listens, and returns
//   GET /version   {"release": ID}     GET /metrics   bench_failing 0, or 1 as long as ROOT/run/failing is there
//   anything else  200, or 500 as long as ROOT/run/failing is there
// For the bench it leaves behind, times in CLOCK_BOOTTIME nanoseconds: ROOT/run/starts (RELEASE, begun, listening) and
// ROOT/run/failures (path, when it was answered 500 or bench_failing 1).
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

namespace {

constexpr std::size_t kConnectionsMax = 64;  // More are closed at once.
constexpr std::size_t kRequestBytesMax = 8192;

std::int64_t now_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_BOOTTIME, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

int checked(long result, const char* what) {
  if (result >= 0) return static_cast<int>(result);
  std::perror(what);
  std::exit(1);
}

std::string link_of(const std::string& path) {
  std::array<char, PATH_MAX> buffer;
  const ssize_t n = ::readlink(path.c_str(), buffer.data(), buffer.size());
  return n > 0 ? std::string(buffer.data(), static_cast<std::size_t>(n)) : std::string();
}

void append(const std::string& path, const std::string& line) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return;
  if (::write(fd, line.data(), line.size()) < 0) std::perror(path.c_str());
  ::close(fd);
}

/// Ends the process that the pid file names, if it is one of ours: its number may belong to somebody else by now.
void end_the_one_before(const std::string& root) {
  int pid = 0;
  std::ifstream(root + "/run/pid") >> pid;
  if (pid <= 0 || !link_of("/proc/" + std::to_string(pid) + "/exe").starts_with(root + "/")) return;
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return;
  ::kill(pid, SIGTERM);
  pollfd end{fd, POLLIN, 0};
  if (::poll(&end, 1, 2000) == 0) ::kill(pid, SIGKILL);
  ::close(fd);
}

int listen_on(int port) {
  const int fd = checked(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  const int one = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<std::uint16_t>(port));
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  checked(::bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at), "bind");
  checked(::listen(fd, 128), "listen");
  return fd;
}

struct Connection {
  int fd = -1;
  std::string request;
};

/// @return false when the connection is to be closed
bool serve(Connection& connection, const std::string& root, const std::string& release) {
  std::array<char, 4096> buffer;
  const ssize_t n = ::recv(connection.fd, buffer.data(), buffer.size(), 0);
  if (n <= 0) return false;
  connection.request.append(buffer.data(), static_cast<std::size_t>(n));
  if (connection.request.size() > kRequestBytesMax) return false;
  if (connection.request.find("\r\n\r\n") == std::string::npos) return true;
  const std::size_t from = connection.request.find(' ') + 1;
  const std::string path = connection.request.substr(from, connection.request.find(' ', from) - from);
  const bool close = connection.request.find("onnection: close") != std::string::npos;
  connection.request.clear();

  const bool failing = path != "/version" && ::access((root + "/run/failing").c_str(), F_OK) == 0;
  const bool metrics = path == "/metrics";
  std::string body = failing ? "failing\n" : "well\n";
  if (metrics) body = std::string("# TYPE bench_failing gauge\nbench_failing ") + (failing ? "1\n" : "0\n");
  if (path == "/version") body = "{\"release\": \"" + release + "\"}";
  const std::string answer = std::string("HTTP/1.1 ") + (failing && !metrics ? "500 Internal Server Error" : "200 OK") +
                             "\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
                             (close ? "\r\nConnection: close" : "") + "\r\n\r\n" + body;
  const std::int64_t at = now_ns();
  if (::send(connection.fd, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) return false;
  if (failing) append(root + "/run/failures", path + " " + std::to_string(at) + "\n");
  return !close;
}

[[noreturn]] void run(int listener, const std::string& root, const std::string& release) {
  std::vector<Connection> connections;
  while (true) {
    std::vector<pollfd> waiting{{listener, POLLIN, 0}};
    for (const Connection& connection : connections) waiting.push_back({connection.fd, POLLIN, 0});
    if (::poll(waiting.data(), waiting.size(), -1) < 0) continue;
    for (std::size_t i = waiting.size(); i-- > 1;) {
      if (waiting[i].revents == 0 || serve(connections[i - 1], root, release)) continue;
      ::close(connections[i - 1].fd);
      connections.erase(connections.begin() + static_cast<std::ptrdiff_t>(i - 1));
    }
    if ((waiting[0].revents & POLLIN) == 0) continue;
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    if (connections.size() >= kConnectionsMax) {
      ::close(fd);
      continue;
    }
    const int one = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connections.push_back({fd, {}});
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t begun = now_ns();
  if (argc != 3) {
    std::fputs("usage: bench_service ROOT PORT\n", stderr);
    return 2;
  }
  const std::string root = argv[1];
  const std::string executable = link_of("/proc/self/exe");
  const std::string directory = executable.substr(0, executable.rfind('/'));
  const std::string release = directory.substr(directory.rfind('/') + 1);
  end_the_one_before(root);
  const int listener = listen_on(std::atoi(argv[2]));
  const pid_t pid = checked(::fork(), "fork");
  if (pid == 0) {
    ::setsid();
    const int nowhere = ::open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) ::dup2(nowhere, fd);
    if (nowhere > 2) ::close(nowhere);
    run(listener, root, release);
  }
  const std::string scratch = root + "/run/pid.new";
  std::ofstream(scratch) << pid << "\n";
  checked(std::rename(scratch.c_str(), (root + "/run/pid").c_str()), "the pid file");
  append(root + "/run/starts", release + " " + std::to_string(begun) + " " + std::to_string(now_ns()) + "\n");
  return 0;
}
