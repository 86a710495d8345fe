"""strace as the hand that kills: it is attached to one thread of a running daemon and counts that thread's calls from there on."""
import collections
import os
import re
import signal
import subprocess
import time

# What touches disk, process or network. What only waits or asks the time (epoll_wait, futex, clock_gettime) cannot leave anything half done.
DISK = ("open", "openat", "creat", "write", "writev", "pwrite64", "pwritev", "fdatasync", "fsync", "sync_file_range", "ftruncate", "fallocate",
        "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "symlink", "symlinkat", "chmod",
        "fchmod", "fchmodat", "fchown", "utimensat", "flock", "fcntl", "close", "read", "pread64", "readlink", "readlinkat", "stat", "lstat",
        "newfstatat", "statx", "fstat", "getdents64", "lseek", "mmap", "munmap", "statfs", "fstatfs", "access", "faccessat2")
PROCESS = ("clone", "clone3", "fork", "vfork", "execve", "execveat", "kill", "tgkill", "pidfd_open", "pidfd_send_signal", "waitid", "wait4", "prctl",
           "setsid", "setpgid", "pipe2")
NETWORK = ("socket", "connect", "bind", "listen", "accept4", "sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "shutdown", "setsockopt",
           "getsockopt", "getpeername", "getsockname")
CALLS = DISK + PROCESS + NETWORK
WRITES = ("write", "pwrite64", "fdatasync", "fsync")
CALLED = re.compile(r"^(?:\[pid +)?(\d+)\]? +(?:\d+\.\d+ +)?(\w+)\(")


def stands_still(pid):
    """Whether every thread was stopped: while strace watches it, a single one may stop for a moment at any call."""
    def state_of(thread):
        with open("/proc/%d/stat" % thread, encoding="utf-8") as text:
            return text.read().rsplit(")", 1)[1].split()[0]
    return all(state_of(thread) in "Tt" for thread in threads(pid))


class Refused(Exception):
    """strace could not be attached: the thread is gone, or ptrace is not allowed here."""


def threads(pid):
    """Ids of a process's threads, in the order in which they began."""
    return sorted(int(name) for name in os.listdir("/proc/%d/task" % pid))


class Strace:
    """strace over a thread (or with `follow` over a whole process and its children) until `close`."""

    def __init__(self, tid, *options, follow=False, output="/dev/null"):
        self.process = subprocess.Popen(["strace", *(["-f"] if follow else []), "-o", output, "-p", str(tid), *options], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        if "attached" not in line:
            rest = line + self.process.stderr.read()
            self.process.wait()
            raise Refused(rest)

    def close(self):
        """Lets the traced process go on without us."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def let_go(pid):
    """Ends whatever traces `pid`; a strace -D is no child of ours to wait for."""
    def tracer():
        try:
            with open("/proc/%d/status" % pid, encoding="utf-8") as lines:
                return next(int(line.split()[1]) for line in lines if line.startswith("TracerPid:"))
        except (OSError, StopIteration):
            return 0
    found = tracer()
    if found:
        os.kill(found, signal.SIGINT)
        if not until(20, lambda: tracer() != found):  # It waits for a thread that is gone, and nobody else can reap the traced process.
            os.kill(found, signal.SIGKILL)
            until(20, lambda: tracer() != found)


def is_dead(pid):
    """Whether it has ended, also where its tracer has not noticed."""
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def inject(call, what, when):
    return ["-e", "trace=" + call, "-e", "inject=%s:%s:when=%s" % (call, what, when)]


def counts(path, of=None):
    """From strace's output: how often each thread made each call."""
    found = collections.Counter()
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            match = CALLED.match(line)
            if match and (of is None or int(match.group(1)) in of):
                found[int(match.group(1)), match.group(2)] += 1
    return found


def known_calls(calls=CALLS):
    """Those that strace knows on this machine: open and fork, say, are missing on some."""
    good = []
    for call in calls:
        if subprocess.run(["strace", "-e", "trace=" + call, "true"], capture_output=True, check=False).returncode == 0:
            good.append(call)
    return good


def died(process, seconds):
    """Whether `process` ends within `seconds`."""
    try:
        process.wait(seconds)
        return True
    except subprocess.TimeoutExpired:
        return False


def until(seconds, condition, every=0.01):
    """Whether `condition` comes true within `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(every)
    return bool(condition())
