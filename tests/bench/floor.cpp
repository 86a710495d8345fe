// The floor of the latency bench: only the physical work of noticing something, without a rule, a record or a decision.
// Flow: latency.py starts it beside rollbackd for every round. It prints "ready", waits for its event, prints the CLOCK_BOOTTIME
// nanoseconds at which it noticed, and ends. (Boot time, because that is rollbackd's engine time and no clock step moves it.)
//   bench_floor pidfd PID                  the process ends
//   bench_floor line FILE                  a line with FATAL is appended
//   bench_floor http PORT PATH INTERVAL_MS PHASE_MS   an answer other than 200, asked on a grid over one connection
//   bench_floor switch DIRECTORY           prints how many nanoseconds an intent and a switch there took, and the switch of them
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>

namespace {

constexpr int kLongestWaitMs = 60'000;

std::int64_t now_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_BOOTTIME, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

int checked(long result, const char* what) {
  if (result < 0) fail(what);
  return static_cast<int>(result);
}

void ready() {
  std::puts("ready");
  std::fflush(stdout);
}

void noticed(std::int64_t at_ns) { std::printf("%lld\n", static_cast<long long>(at_ns)); }

void wait_readable(int fd) {
  pollfd one{fd, POLLIN, 0};
  if (checked(::poll(&one, 1, kLongestWaitMs), "poll") == 0) std::exit(1);
}

void wait_for_end(int pid) {
  const int fd = checked(::syscall(SYS_pidfd_open, pid, 0), "pidfd_open");
  ready();
  wait_readable(fd);
  noticed(now_ns());
}

void wait_for_line(const char* path) {
  const int events = checked(::inotify_init1(IN_CLOEXEC), "inotify_init1");
  checked(::inotify_add_watch(events, path, IN_MODIFY), path);
  const int file = checked(::open(path, O_RDONLY | O_CLOEXEC), path);
  checked(::lseek(file, 0, SEEK_END), path);
  ready();
  std::array<char, 65536> buffer;
  while (true) {
    wait_readable(events);
    if (::read(events, buffer.data(), buffer.size()) < 0) fail("read");
    const int n = checked(::read(file, buffer.data(), buffer.size()), path);
    if (std::string_view(buffer.data(), static_cast<std::size_t>(n)).find("FATAL") != std::string_view::npos) break;
  }
  noticed(now_ns());
}

void wait_for_failure(int port, const std::string& path, std::int64_t interval_ns, std::int64_t phase_ns) {
  const int fd = checked(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  checked(::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), "connect");
  const int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  const std::string request = "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
  std::array<char, 4096> buffer;
  ready();
  const std::int64_t end = now_ns() + std::int64_t{kLongestWaitMs} * 1'000'000;
  for (std::int64_t slot = now_ns() + phase_ns; slot < end; slot += interval_ns) {
    const timespec until{slot / 1'000'000'000, slot % 1'000'000'000};
    ::clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &until, nullptr);
    if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) < 0) fail("send");
    const int n = checked(::recv(fd, buffer.data(), buffer.size(), 0), "recv");  // bench_service answers in one piece.
    if (std::string_view(buffer.data(), static_cast<std::size_t>(n)).starts_with("HTTP/1.1 200")) continue;
    noticed(now_ns());
    return;
  }
  std::exit(1);
}

/// An intent of one block into a file that has been filled before, then the exchange; each is on disk before the next begins.
void time_a_switch(const std::string& directory) {
  const int at = checked(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), directory.c_str());
  for (const char* name : {"floor.a", "floor.b"}) {
    ::unlinkat(at, name, 0);
    checked(::symlinkat(name, at, name), name);
  }
  const int record = checked(::openat(at, "floor.record", O_RDWR | O_CREAT | O_CLOEXEC, 0600), "floor.record");
  const std::array<char, 4096> block{};
  checked(::pwrite(record, block.data(), block.size(), 0), "floor.record");
  checked(::fsync(record), "floor.record");
  checked(::fsync(at), directory.c_str());

  const std::int64_t begun = now_ns();
  checked(::pwrite(record, block.data(), block.size(), 0), "floor.record");
  checked(::fdatasync(record), "floor.record");
  const std::int64_t written = now_ns();
  checked(::renameat2(at, "floor.a", at, "floor.b", RENAME_EXCHANGE), "renameat2");
  checked(::fsync(at), directory.c_str());
  const std::int64_t switched = now_ns();
  std::printf("%lld %lld\n", static_cast<long long>(switched - begun), static_cast<long long>(switched - written));
  for (const char* name : {"floor.a", "floor.b", "floor.record"}) ::unlinkat(at, name, 0);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "pidfd" && argc == 3) {
    wait_for_end(std::atoi(argv[2]));
  } else if (what == "line" && argc == 3) {
    wait_for_line(argv[2]);
  } else if (what == "http" && argc == 6) {
    wait_for_failure(std::atoi(argv[2]), argv[3], std::atoll(argv[4]) * 1'000'000, std::atoll(argv[5]) * 1'000'000);
  } else if (what == "switch" && argc == 3) {
    time_a_switch(argv[2]);
  } else {
    std::fputs("usage: bench_floor pidfd PID | line FILE | http PORT PATH INTERVAL_MS PHASE_MS | switch DIRECTORY\n", stderr);
    return 2;
  }
  return 0;
}
