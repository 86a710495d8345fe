"""Hooks of the real daemon: whatever one does, the operation ends in time, as promised, and nothing of the hook stays behind. And the lock
that keeps a second daemon away, whatever is done to its file."""
import os
import shutil
import signal
import stat
import subprocess

from harness import BINARIES, Scenario, has, pull, reported_release, rollback_of, settled, trigger, wait_for

FORKS_AWAY = """setsid sh -c 'trap "" TERM HUP; echo $$ > %(left)s.1; exec sleep 1000' &
(setsid sleep 1001 > /dev/null & echo $! > %(left)s.2)
while [ ! -s %(left)s.1 ] || [ ! -s %(left)s.2 ]; do sleep 0.01; done"""

PRINTED = 5 << 30  # More than 32 bits count.

# name: (point, what it does in a rollback, more settings, how the rollback ends, what is live then, how the hook's step ends)
CASES = {
    "hangs-before": ("before_switch", "echo $$ > %(left)s.1; exec sleep 1000", {"timeout": "300ms"}, "undone", "v2", "timed_out"),
    "hangs-after": ("after_switch", "echo $$ > %(left)s.1; exec sleep 1000", {"timeout": "300ms"}, "failed", "v1", "timed_out"),
    "fails-before": ("before_switch", "exit 3", {}, "undone", "v2", "failed"),
    "fails-after": ("after_switch", "exit 3", {}, "failed", "v1", "failed"),
    "may-fail": ("after_restart", "exit 3", {"required": False}, "succeeded", "v1", "failed"),
    "forks-away": ("after_switch", FORKS_AWAY, {}, "succeeded", "v1", "done"),
    "prints-gigabytes": ("after_restart", "exec head -c %d /dev/zero" % PRINTED, {"timeout": "100s"}, "succeeded", "v1", "done"),
    "does-nothing": ("before_switch", ":", {}, "succeeded", "v1", "done"),
    "not-roots": ("before_switch", ":", {}, "undone", "v2", "refused"),
}


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8") as text:
            return text.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def hook(fleet, name, script, at, **more):
    """A hook that runs `script` in a rollback and nothing in a deployment."""
    path = os.path.join(fleet.root, "hook-" + name)
    with open(path, "w", encoding="utf-8") as out:
        out.write('#!/bin/sh\n[ "$ROLLBACKD_KIND" = rollback ] || exit 0\n' + script + "\n")
    os.chmod(path, 0o755)
    return dict({"at": at, "command": [path]}, **more)


def left(fleet, name):
    """Processes that a hook wrote down."""
    out = []
    for number in (1, 2):
        path = os.path.join(fleet.root, "left-%s.%d" % (name, number))
        if os.path.exists(path):
            with open(path, encoding="utf-8") as text:
                out += [int(line) for line in text if line.endswith("\n")]  # Its hook may have been ended before it wrote.
    return out


def bytes_below(directory):
    total = 0
    for where, _, names in os.walk(directory):
        for name in names:
            try:
                facts = os.lstat(os.path.join(where, name))
            except FileNotFoundError:
                continue  # Files are replaced whole.
            total += facts.st_size if stat.S_ISREG(facts.st_mode) else 0
    return total


def hook_steps(fleet, operation):
    return [step for step in fleet.get("/api/v1/operations/" + operation)[1]["steps"] if step["action"] == "hook"]


class Hooks(Scenario):
    def test_each_ends_as_it_is_promised(self):
        fleet = self.fleet()
        services = {}
        for name, (at, script, more, *_) in CASES.items():
            hooks = [hook(fleet, name, script % {"left": os.path.join(fleet.root, "left-" + name)} if "%(" in script else script, at, **more)]
            hooks.append(hook(fleet, name + "-end", "env > %s/told-%s" % (fleet.root, name), "on_failure"))
            service = services[name] = fleet.service(name, hooks=hooks)
            service.release("v1")
            service.link("v1")
        os.chmod(os.path.join(fleet.root, "hook-not-roots"), 0o775)
        fleet.start()
        for service in services.values():
            settled(fleet, service, "v1", seconds=60)
            service.release("v2")
        os.chmod(os.path.join(fleet.root, "hook-not-roots"), 0o755)  # Deployed it may be.
        for service in services.values():
            fleet.deploy(service, "v2", seconds=60)
            settled(fleet, service, "v2", seconds=60)
        os.chmod(os.path.join(fleet.root, "hook-not-roots"), 0o775)
        for service in services.values():
            code, output = fleet.ctl("rollback", service.name, "--reason", "the hooks are tried", "--force")
            self.assertIn(code, (0, 2, 43), output)

        for name, (_, _, _, status, live, step) in CASES.items():
            with self.subTest(name):
                operation = rollback_of(fleet, services[name], "v2", seconds=60)
                self.assertEqual(operation["status"], status, operation)
                self.assertEqual(services[name].live(), live)
                wait_for("the process runs " + live, 20, lambda: reported_release(services[name]) == live)
                steps = hook_steps(fleet, operation["operation"])
                self.assertEqual(steps[0]["status"], step, steps)
                wait_for("nothing of it is left", 20, lambda: not any(alive(pid) for pid in left(fleet, name)))  # noqa: B023
                told = os.path.join(fleet.root, "told-" + name)
                self.assertEqual(os.path.exists(told), status not in ("succeeded",), "on_failure is called where it failed")
                if os.path.exists(told):
                    with open(told, encoding="utf-8") as text:
                        variables = dict(line.rstrip("\n").split("=", 1) for line in text if "=" in line)
                    self.assertEqual([variables["ROLLBACKD_" + key] for key in ("SERVICE", "FROM", "TO", "OPERATION")],
                                     [name, "v2", "v1", operation["operation"]])
                    self.assertEqual([key for key in variables if not key.startswith("ROLLBACKD_") and key not in ("PATH", "PWD")], [])
                if name == "prints-gigabytes":
                    self.assertEqual(steps[0]["facts"]["output_bytes"], PRINTED)
                if name == "forks-away":
                    self.assertEqual(len(left(fleet, name)), 2)
        self.assertLess(bytes_below(fleet.state), 32 << 20)

    def test_a_killed_daemon_calls_no_hook_twice_and_learns_how_it_ended(self):
        fleet = self.fleet()
        script = "echo called >> %(root)s/calls; echo $PPID > %(root)s/pid; mv %(root)s/pid %(root)s/guard; while [ ! -e %(root)s/go ]; do sleep 0.02; done" % {
            "root": fleet.root}
        fleet, service = self.shop(fleet, hooks=[hook(fleet, "slow", script, "after_switch", timeout="100s")])
        fleet.start()
        settled(fleet, service, "v1")
        service.release("v2", "health-500", when=trigger(service))
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        pull(service)
        wait_for("the hook runs", 30, lambda: os.path.exists(os.path.join(fleet.root, "guard")))
        with open(os.path.join(fleet.root, "guard"), encoding="utf-8") as text:
            guard = int(text.read())
        held = [os.readlink("/proc/%d/fd/%s" % (guard, fd)) for fd in os.listdir("/proc/%d/fd" % guard)]
        self.assertEqual([path for path in held if path.endswith("/lock") or path == fleet.state], [])

        fleet.stop_daemon(signal.SIGKILL)
        fleet.daemon = None
        self.assertTrue(alive(guard), "the hook's guard outlives the daemon")
        fleet.start(wait=False)
        with open(os.path.join(fleet.root, "go"), "w", encoding="utf-8"):
            pass
        fleet.wait_ready()

        operation = rollback_of(fleet, service, "v2")
        self.assertEqual(operation["status"], "succeeded", operation)
        with open(os.path.join(fleet.root, "calls"), encoding="utf-8") as text:
            self.assertEqual(text.read(), "called\n")
        self.assertEqual(service.live(), "v1")


class OneDaemon(Scenario):
    def second(self, fleet):
        """Another daemon over the same state: its exit code and words."""
        return fleet.rollbackd()

    def test_a_second_one_does_not_start_whatever_was_done_to_the_lock_file(self):
        fleet, service = self.shop()
        fleet.start()
        settled(fleet, service, "v1")
        code, output = self.second(fleet)
        self.assertEqual(code, 1, output)
        self.assertIn("pid %d holds" % fleet.daemon.pid, output)

        os.remove(os.path.join(fleet.state, "lock"))
        for arguments in ((), ("rollback", "shop", "--reason", "offline beside a daemon", "--offline")):
            code, output = fleet.rollbackd(*arguments)
            self.assertNotEqual(code, 0, output)
            self.assertIn("is in use", output)
        link = os.path.join(fleet.root, "another-way")
        os.symlink(fleet.state, link)
        state, fleet.state = fleet.state, link
        fleet.write_configuration()
        code, output = self.second(fleet)
        fleet.state = state
        fleet.write_configuration()
        self.assertEqual(code, 1, output)
        self.assertIn("is in use", output)

        keeper = os.stat(os.path.join(fleet.state, "services", "shop.demo", "keeper.lock"))
        holders = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != fleet.daemon.pid and self.holds(pid, fleet.state)]
        self.assertEqual(holders, [], "keepers hold nothing of the daemon's")
        self.assertTrue(keeper)
        self.assertEqual(fleet.status(service)["release"], "v1", "and the first one goes on")

    @staticmethod
    def holds(pid, state):
        try:
            return any(os.readlink("/proc/%s/fd/%s" % (pid, fd)) in (state, os.path.join(state, "lock"))
                       for fd in os.listdir("/proc/%s/fd" % pid))
        except OSError:
            return False

    def test_a_file_system_that_cannot_lock_is_no_place_for_the_state(self):
        if not has("strace"):
            self.skipTest("no strace")
        fleet, _ = self.shop()
        fleet.write_configuration()
        done = subprocess.run([shutil.which("strace"), "-f", "-qq", "-o", os.devnull, "-e", "inject=flock:error=ENOLCK",
                               os.path.join(BINARIES, "rollbackd"), "--config", fleet.config], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60, env=fleet.environment(), check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("put the state directory on a local file system", done.stdout + done.stderr)


class Hanging(Scenario):
    """What hangs for ever holds an operation up no longer than its deadlines; it ends as not known, and nothing is done that was not
    announced."""

    def hanging(self, fleet, path, calls):
        """Every such system call of the daemon on `path` takes as long as the test. Ends with the test."""
        tracer = subprocess.Popen([shutil.which("strace"), "-f", "-qq", "-o", os.devnull, "-p", str(fleet.daemon.pid), "-P", path, "-e",
                                   "trace=" + calls, "-e", "inject=%s:delay_enter=600000000" % calls], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def detach():
            tracer.kill()
            tracer.wait(60)
        self.addCleanup(detach)
        tasks = "/proc/%d/task" % fleet.daemon.pid

        def traced():
            for task in os.listdir(tasks):
                with open(os.path.join(tasks, task, "status"), encoding="utf-8") as status:
                    if "TracerPid:\t%d\n" % tracer.pid not in status.read():
                        return False
            return True
        wait_for("every thread of the daemon is traced", 10, traced)

    def start(self, hang):
        if not has("strace"):
            self.skipTest("no strace")
        fleet, service = self.shop()
        fleet.start()
        settled(fleet, service, "v1")
        service.release("v2", "health-500", when=trigger(service))
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        wait_for("a rollback is ready", 20, lambda: fleet.status(service)["protected"])
        service.settings["policy"] = {"deadline": {"standard": "4s", "emergency": "4s", "step": "2s"}}
        fleet.write_configuration()
        self.assertEqual(fleet.ctl("reload")[0], 0)
        hang(fleet, service)
        pull(service)
        return fleet, service

    def test_a_state_disk_that_hangs_is_told_and_nothing_is_switched(self):
        fleet, service = self.start(lambda fleet, service: self.hanging(
            fleet, os.path.join(fleet.state, "shop.demo.state"), "pwrite64"))

        row = wait_for("it says that it does not act", 40, lambda: (lambda row: row if not row["protected"] and "state file" in row[
            "protected_why"] else None)(fleet.status(service)))
        self.assertEqual(service.live(), "v2", row)
        self.assertEqual(fleet.get("/-/healthy", raw=True)[0], 200, "the reactor goes on")

    def test_a_release_disk_that_hangs_ends_the_operation_as_not_known(self):
        fleet, service = self.start(lambda fleet, service: self.hanging(fleet, os.path.dirname(service.current), "renameat2"))

        operation = rollback_of(fleet, service, "v2", seconds=60)
        self.assertIn(operation["status"], ("unknown", "failed"), operation)
        self.assertEqual(service.live(), "v2")
        self.assertEqual(fleet.get("/-/healthy", raw=True)[0], 200, "the reactor goes on")
