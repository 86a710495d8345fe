// Preloaded before libfaketime (0.9.10), which takes every timer's absolute expiry for wall time, whatever clock the timer was made on.
// Boost.Asio arms a timer that is due already at the first nanosecond of the monotonic clock: with the wall clock a day back that became a
// day after the boot, or years, and no timer of the process went off any more. Here timers are the kernel's alone.
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

int timerfd_settime(int fd, int flags, const struct itimerspec* now, struct itimerspec* before) {
  return (int)syscall(SYS_timerfd_settime, fd, flags, now, before);
}

int timerfd_gettime(int fd, struct itimerspec* now) { return (int)syscall(SYS_timerfd_gettime, fd, now); }
