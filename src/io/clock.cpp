#include "io/clock.hpp"

#include <sys/random.h>

#include <array>
#include <cstdint>
#include <ctime>
#include <fstream>

#include "base/ids.hpp"
#include "base/text.hpp"

namespace rollbackd::io {
namespace {

std::int64_t read_ns(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);  // Cannot fail for these two clocks on any Linux since 2.6.39.
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

/// The kernel's name of this boot; empty where /proc is not mounted (then every stored stamp counts as another boot's).
std::string read_boot_id() {
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string line;
  std::getline(in, line);
  return std::string(trim(line));
}

}  // namespace

Clock::Clock() : wall_at_start_ns_(read_ns(CLOCK_REALTIME)), boot_at_start_ns_(read_ns(CLOCK_BOOTTIME)), boot_id_(read_boot_id()) {}

Instant Clock::now() const { return from_boot_ns(read_ns(CLOCK_BOOTTIME)); }

ClockReading Clock::read() const {
  const std::int64_t boot_ns = read_ns(CLOCK_BOOTTIME);
  return {from_boot_ns(boot_ns), Stamp{boot_id_, boot_ns, read_ns(CLOCK_REALTIME) + set_by_ns_}};
}

Instant Clock::from_boot_ns(std::int64_t boot_ns) const { return Instant(wall_at_start_ns_ + (boot_ns - boot_at_start_ns_)); }

std::int64_t Clock::to_boot_ns(Instant t) const { return t.ns() - wall_at_start_ns_ + boot_at_start_ns_; }

Instant Clock::wall_now() { return Instant(read_ns(CLOCK_REALTIME)); }

std::string new_id() {
  std::array<std::uint8_t, 10> random{};
  // Up to 256 bytes come whole and without a signal's interruption (getrandom(2)); before the pool is ready it waits.
  while (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
  }
  return make_uuid_v7(Clock::wall_now(), random);
}

}  // namespace rollbackd::io
