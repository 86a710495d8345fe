// Load for the bench `api`: many keep-alive connections, one request at a time on each, every request another alert.
//   bench_load webhook PORT TOKEN_FILE CONNECTIONS SECONDS RATE   to rollbackd's webhook: a new alert, then its end, then the next one
//   bench_load alertmanager PORT CONNECTIONS SECONDS RATE         to Alertmanager's /api/v2/alerts: a new alert each
//   bench_load floor DIRECTORY SECONDS                            one durable write of 8 KiB after another, what an alert costs at least
// RATE is requests a second over all connections, 0: as many as are answered. With a rate a latency begins at the planned instant, so that
// a stall counts for all that waited behind it. Prints {"requests","failed","seconds","p50_us","p99_us","max_us"}.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

struct Result {
  std::vector<double> latencies_us;
  std::size_t failed = 0;
};

/// One keep-alive connection to a port on loopback.
class Connection {
 public:
  explicit Connection(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int yes = 1;
    const timeval patience{10, 0};
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const void* pointer = &address;
    if (::connect(fd_, static_cast<const sockaddr*>(pointer), sizeof address) != 0) fail("connect");
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { ::close(fd_); }

  /// @return the status; 0 when the connection broke
  int ask(const std::string& request) {
    for (std::size_t sent = 0; sent < request.size();) {
      const ssize_t n = ::send(fd_, request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return 0;
      sent += static_cast<std::size_t>(n);
    }
    std::string answer;
    std::array<char, 16384> block{};
    std::size_t whole = std::string::npos;
    while (answer.size() < whole) {
      const ssize_t n = ::recv(fd_, block.data(), block.size(), 0);
      if (n <= 0) return 0;
      answer.append(block.data(), static_cast<std::size_t>(n));
      const std::size_t end = answer.find("\r\n\r\n");
      if (end == std::string::npos || whole != std::string::npos) continue;
      std::string head = answer.substr(0, end);
      std::transform(head.begin(), head.end(), head.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      const std::size_t length = head.find("content-length:");
      whole = end + 4 + (length == std::string::npos ? 0 : std::strtoul(head.c_str() + length + 15, nullptr, 10));
    }
    return std::atoi(answer.c_str() + std::strlen("HTTP/1.1 "));
  }

 private:
  int fd_;
};

std::string rfc3339_now() {
  timespec t{};
  ::clock_gettime(CLOCK_REALTIME, &t);
  tm parts{};
  ::gmtime_r(&t.tv_sec, &parts);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                parts.tm_hour, parts.tm_min, parts.tm_sec, t.tv_nsec);
  return text.data();
}

std::string post(const std::string& path, const std::string& authorization, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" + authorization +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

/// Carries out one connection's share. `request(n)` makes its n-th request.
template <class Request>
Result work(int port, double seconds, double rate, Request request) {
  Result out;
  Connection connection(port);
  const auto begun = Clock::now();
  for (std::size_t n = 0;; ++n) {
    auto planned = Clock::now();
    if (rate > 0) {
      planned = begun + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(static_cast<double>(n) / rate));
      std::this_thread::sleep_until(planned);
    }
    // After an end only: what fires on would take up room in the next run.
    if (n % 2 == 0 && planned - begun > std::chrono::duration<double>(seconds)) return out;
    const int status = connection.ask(request(n));
    if (status != 200) ++out.failed;
    if (status == 0) return out;
    out.latencies_us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - planned).count());
  }
}

void print(std::vector<double> all, std::size_t failed, double seconds) {
  std::sort(all.begin(), all.end());
  const auto quantile = [&](double q) {
    return all.empty() ? 0 : all[std::min(all.size() - 1, static_cast<std::size_t>(q * static_cast<double>(all.size())))];
  };
  std::printf("{\"requests\": %zu, \"failed\": %zu, \"seconds\": %.3f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n", all.size(),
              failed, seconds, quantile(0.5), quantile(0.99), all.empty() ? 0 : all.back());
}

int floor_of(const std::string& directory, double seconds) {
  const std::string path = directory + "/bench_load.floor";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) fail("open");
  const std::string block(8192, 'x');
  std::vector<double> all;
  const auto begun = Clock::now();
  while (Clock::now() - begun < std::chrono::duration<double>(seconds)) {
    const auto before = Clock::now();
    if (::pwrite(fd, block.data(), block.size(), 0) < 0 || ::fdatasync(fd) != 0) fail("write");
    all.push_back(std::chrono::duration<double, std::micro>(Clock::now() - before).count());
  }
  ::close(fd);
  ::unlink(path.c_str());
  print(all, 0, seconds);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "floor" && argc == 4) return floor_of(argv[2], std::atof(argv[3]));
  const bool webhook = mode == "webhook" && argc == 7;
  if (!webhook && (mode != "alertmanager" || argc != 6)) {
    std::fputs("usage: bench_load webhook|alertmanager|floor ...\n", stderr);
    return 2;
  }
  const int port = std::atoi(argv[2]);
  const int after = webhook ? 4 : 3;
  const int connections = std::max(1, std::atoi(argv[after]));
  const double seconds = std::atof(argv[after + 1]), rate = std::atof(argv[after + 2]);
  std::string authorization;
  if (webhook) {
    std::ifstream file(argv[3]);
    std::string secret;
    std::getline(file, secret);
    authorization = "Authorization: Bearer " + secret + "\r\n";
  }
  const std::string run = rfc3339_now();
  std::vector<Result> results(static_cast<std::size_t>(connections));
  std::vector<std::thread> threads;
  const auto begun = Clock::now();
  for (int c = 0; c < connections; ++c) {
    threads.emplace_back([&, c] {
      std::string starts_at;
      const auto of_webhook = [&](std::size_t n) {
        const bool firing = n % 2 == 0;
        if (firing) starts_at = rfc3339_now();
        const std::string name = std::to_string(c) + "-" + std::to_string(n / 2);
        return post(
            "/api/v1/alertmanager", authorization,
            R"({"version":"4","groupKey":"{}:{alertname=\"Bench\"}","truncatedAlerts":0,"status":")" +
                std::string(firing ? "firing" : "resolved") + R"(","receiver":"rollbackd","alerts":[{"status":")" +
                (firing ? "firing" : "resolved") + R"(","labels":{"alertname":"Bench","severity":"critical","service":"api","number":")" +
                name + R"("},"annotations":{"summary":"one of many"},"startsAt":")" + starts_at +
                R"(","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://127.0.0.1/graph","fingerprint":")" + run + name + R"("}]})");
      };
      const auto of_alertmanager = [&](std::size_t n) {
        return post("/api/v2/alerts", "",
                    R"([{"labels":{"alertname":"Bench","severity":"critical","number":")" + run + std::to_string(c) + "-" +
                        std::to_string(n) + R"("},"annotations":{"summary":"one of many"}}])");
      };
      Result& out = results[static_cast<std::size_t>(c)];
      out = webhook ? work(port, seconds, rate / connections, of_webhook) : work(port, seconds, rate / connections, of_alertmanager);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double took = std::chrono::duration<double>(Clock::now() - begun).count();
  std::vector<double> all;
  std::size_t failed = 0;
  for (const Result& one : results) {
    all.insert(all.end(), one.latencies_us.begin(), one.latencies_us.end());
    failed += one.failed;
  }
  print(std::move(all), failed, took);
  return 0;
}
