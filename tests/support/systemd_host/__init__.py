"""A real systemd as PID 1 of its own namespaces, for tests. Its root is an overlay over the machine's: nothing there is changed.

    with SystemdHost(units={"shop.service": "[Service]\\nExecStart=/bin/sleep 60\\n"}, bind=[directory]) as host:
        host.systemctl("start", "shop.service")
        daemon_environment["DBUS_SYSTEM_BUS_ADDRESS"] = host.bus

The network is the machine's (loopback ports are shared), process ids inside differ from those outside. Directories named in `bind`
are the same inside and outside, at the same path; everything else that is written inside is gone with it, /tmp is empty there.
Whoever ends, however it ends (a kill -9 of the test too), systemd and all that it started end with it.
"""
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TARGET = "[Unit]\nDescription=What the test needs\nWants=dbus.socket systemd-journald.service\nAfter=basic.target\nRequires=basic.target\n"
# They would rewrite what the overlay shows, or look for hardware; none of it is wanted.
MASKED = ("systemd-tmpfiles-setup.service", "systemd-tmpfiles-setup-dev.service", "systemd-sysctl.service", "systemd-udevd.service",
          "systemd-udev-trigger.service", "systemd-random-seed.service", "systemd-logind.service", "getty.target")
PR_SET_PDEATHSIG = 1
READY_SECONDS, STOP_SECONDS = 120, 60


def cgroup2_root():
    """Where the unified hierarchy is mounted (beside the old ones, on a hybrid machine); None without one."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            before, after = line.split(" - ", 1)
            if after.split(" ")[0] == "cgroup2":
                return before.split(" ")[4]
    return None


def why_not():
    """Why a SystemdHost cannot work here; empty when it can."""
    if os.geteuid() != 0:
        return "only root may make namespaces and mounts"
    if not os.path.exists("/lib/systemd/systemd"):
        return "no /lib/systemd/systemd (Debian package systemd)"
    for program in ("unshare", "nsenter", "dbus-daemon", "systemctl", "journalctl"):
        if not shutil.which(program):
            return "no program " + program
    root = cgroup2_root()
    if root is None:
        return "no cgroup2 hierarchy is mounted"
    probe = os.path.join(root, "rollbackd-probe-%d" % os.getpid())
    try:
        os.mkdir(probe)
        os.rmdir(probe)
    except OSError as error:
        return "no cgroup may be made in %s: %s" % (root, error)
    made = subprocess.run(["unshare", "--pid", "--fork", "--mount", "--uts", "--ipc", "--cgroup", "true"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    return "" if made.returncode == 0 else "no namespaces may be made: " + made.stderr.strip()


def require():
    """Skips the running test where a SystemdHost cannot work."""
    reason = why_not()
    if reason:
        raise unittest.SkipTest("no systemd of our own: " + reason)


class SystemdHost:
    """One booted systemd; ready when constructed. `close()` (or leaving the `with`) ends it and all that runs in it."""

    def __init__(self, units=None, bind=()):
        require()
        self.process, self.pid, self.group = None, 0, None
        self.work = tempfile.mkdtemp(prefix="rollbackd-systemd-")
        self.run_directory, self.unit_directory = os.path.join(self.work, "run"), os.path.join(self.work, "units")
        self.bus = "unix:path=" + os.path.join(self.run_directory, "dbus", "system_bus_socket")  # For DBUS_SYSTEM_BUS_ADDRESS, outside.
        try:
            self.boot(units or {}, bind)
        except BaseException:
            self.close()
            raise

    def boot(self, units, bind):
        for name in ("run", "units", "layers", "root"):
            os.mkdir(os.path.join(self.work, name))
        self.write_units(dict(units, **{"rollbackd-test.target": TARGET}))
        for name in MASKED:
            os.symlink("/dev/null", os.path.join(self.unit_directory, name))
        with open(os.path.join(self.work, "binds"), "w", encoding="utf-8") as out:
            out.writelines(os.path.abspath(directory) + "\n" for directory in bind)
        self.group = os.path.join(cgroup2_root(), "rollbackd-test-%d-%s" % (os.getpid(), os.path.basename(self.work)[-8:]))
        os.mkdir(self.group)

        prctl = ctypes.CDLL(None).prctl

        def in_the_child():
            prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)  # --kill-child hands it on to PID 1.
            with open(os.path.join(self.group, "cgroup.procs"), "w", encoding="utf-8") as procs:
                procs.write("0")
        self.log_path = os.path.join(self.work, "boot.log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(  # pylint: disable=subprocess-popen-preexec-fn
                ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup",
                 os.path.join(HERE, "boot.sh"), self.work],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, preexec_fn=in_the_child)
        until = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError("systemd did not come up in its namespaces:\n" + self.boot_log())
            time.sleep(0.02)  # Nothing outside can be waited for before its bus is there.

    def is_ready(self):
        if not self.pid:
            with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid), encoding="utf-8") as children:
                pids = children.read().split()
            if not pids:
                return False
            self.pid = int(pids[0])
        if not os.path.exists(os.path.join(self.run_directory, "dbus", "system_bus_socket")):
            return False
        return self.run("systemctl", "is-active", "--quiet", "rollbackd-test.target")[0] == 0

    def boot_log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def write_units(self, units, runtime=False):
        """Writes unit files; a running systemd must be told: reload(). `runtime`: into /run, where a unit can be masked."""
        directory = os.path.join(self.run_directory, "systemd", "system") if runtime else self.unit_directory
        for name, text in units.items():
            path = os.path.join(directory, name)  # NAME.d/more.conf too.
            os.makedirs(os.path.dirname(path), exist_ok=True)
            scratch = path + ".new"
            with open(scratch, "w", encoding="utf-8") as out:
                out.write(text)
            os.replace(scratch, path)

    def reload(self):
        code, output = self.systemctl("daemon-reload")
        if code != 0:
            raise AssertionError("daemon-reload: " + output)

    def entering(self, *argv):
        """The command that runs `argv` inside. Ending it does not end what it began: long-lived programs belong into units."""
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "-i", "-u", "-C", "-r", "-w", *argv]

    def run(self, *argv, timeout=180, environment=None):
        """Runs a command inside to its end: (exit code, output)."""
        done = subprocess.run(self.entering(*argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=timeout, check=False, env=dict(os.environ, **(environment or {})))
        return done.returncode, done.stdout

    def systemctl(self, *arguments):
        return self.run("systemctl", "--no-pager", *arguments)

    def show(self, unit, *properties):
        """Properties of a unit as systemctl prints them."""
        output = self.systemctl("show", unit, "--property=" + ",".join(properties))[1]
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    def journal(self, unit=None):
        return self.run("journalctl", "--no-pager", "-o", "short-precise", *(["-u", unit] if unit else []))[1]

    def power_off(self):
        """Begins a host's shutdown, as poweroff does."""
        os.kill(self.pid, signal.SIGRTMIN + 4)

    def close(self):
        """Ends systemd, with a bound, and takes its directories away. May be called twice."""
        if self.process and self.process.poll() is None:
            try:
                if self.pid:
                    self.power_off()
                    self.process.wait(STOP_SECONDS)
            except (subprocess.TimeoutExpired, ProcessLookupError):
                pass
            if self.process.poll() is None:
                self.process.kill()  # PID 1 of the namespace follows, and with it every process there.
        if self.process:
            self.process.wait()
            self.process = None
        if self.group:
            self.remove_group()
        shutil.rmtree(self.work, ignore_errors=True)

    def remove_group(self):
        until = time.monotonic() + 60
        while True:
            try:
                for directory, _, _ in os.walk(self.group, topdown=False):
                    os.rmdir(directory)
                self.group = None
                return
            except FileNotFoundError:
                self.group = None
                return
            except OSError:  # Its last processes are still being reaped.
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
