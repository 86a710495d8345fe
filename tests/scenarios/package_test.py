"""The Debian package on a machine of its own: a real systemd in its namespaces, over an overlay of this one's root.

ROLLBACKD_DEB names a package; without it one is made by CPack from the build tree of ROLLBACKD_BINARIES, as it stands there.
"""
import contextlib
import ctypes
import fcntl
import glob
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

from harness import BINARIES, HERE, wait_for

sys.path.insert(0, os.path.join(HERE, "..", "support"))

from systemd_host import SystemdHost, require  # noqa: E402

CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x8914, 1
PROGRAMS_BYTES_MAX = 400 << 20
SHOP = os.path.join(HERE, "..", "..", "deploy", "demo", "shop")
# What other programs write about the package, or may make anew whenever they like.
NOT_OURS = ("/var/lib/dpkg/", "/var/lib/systemd/", "/var/cache/", "/etc/group-", "/etc/gshadow-", "/etc/passwd-", "/etc/shadow-", "/etc/.pwd.lock")


def own_network(case):
    """A network of this process's own, with a loopback, for one test class: the package's daemon listens where its default says."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        os.close(before)
        raise unittest.SkipTest("no network namespace may be made: " + os.strerror(ctypes.get_errno()))

    def back():
        libc.setns(before, CLONE_NEWNET)
        os.close(before)
    case.addClassCleanup(back)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))


def run(*argv, **more):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          timeout=300, check=False, **more)
    if done.returncode != 0:
        raise AssertionError("%s ended with %d:\n%s" % (" ".join(argv), done.returncode, done.stdout))
    return done.stdout


def make_package(directory):
    """The package under test, made if need be."""
    given = os.environ.get("ROLLBACKD_DEB")
    if given:
        return shutil.copy(given, directory)  # Where the inside sees it too.
    tree = os.path.dirname(os.path.abspath(BINARIES))
    manual = os.path.join(tree, "generated", "man", "rollbackctl.1")
    for needed, present in (("CPackConfig.cmake beside the binaries", os.path.exists(os.path.join(tree, "CPackConfig.cmake"))),
                            ("generated manual (build everything first)", os.path.exists(manual)),
                            ("cpack", shutil.which("cpack")), ("dpkg-shlibdeps (Debian package dpkg-dev)", shutil.which("dpkg-shlibdeps"))):
        if not present:
            raise unittest.SkipTest("no package: ROLLBACKD_DEB names none, and there is no " + needed)
    programs = sum(os.path.getsize(os.path.join(BINARIES, name)) for name in ("rollbackd", "rollbackctl"))
    if programs > PROGRAMS_BYTES_MAX:
        raise unittest.SkipTest("a sanitizer's programs are too large for a package: name one of another build in ROLLBACKD_DEB")
    run("cpack", "-G", "DEB", "--config", os.path.join(tree, "CPackConfig.cmake"), "-B", directory, cwd=tree)
    return glob.glob(os.path.join(directory, "rollbackd_*.deb"))[0]


def next_version(package, directory):
    """The same package as the release after it."""
    tree = os.path.join(directory, "next")
    run("dpkg-deb", "-R", package, tree)
    control = os.path.join(tree, "DEBIAN", "control")
    with open(control, encoding="utf-8") as text:
        lines = text.read()
    version = next(line.split(": ")[1] for line in lines.splitlines() if line.startswith("Version:"))
    with open(control, "w", encoding="utf-8") as out:
        out.write(lines.replace("Version: " + version, "Version: " + version + "+next"))
    made = os.path.join(directory, "next.deb")
    run("dpkg-deb", "-Zgzip", "-z1", "-b", tree, made)
    shutil.rmtree(tree)
    return made


class Package(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="rollbackd-package-")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.package = make_package(cls.directory)

    @unittest.skipUnless(shutil.which("lintian"), "no lintian")
    def test_lintian_finds_no_error(self):
        run("lintian", "--fail-on", "error", "--tag-display-limit", "0", "--allow-root", self.package)

    def test_the_package_holds_what_it_promises(self):
        names = {line.split()[-1].lstrip(".") for line in run("dpkg-deb", "-c", self.package).splitlines()}
        for name in ("/usr/sbin/rollbackd", "/usr/bin/rollbackctl", "/usr/lib/systemd/system/rollbackd.service",
                     "/usr/lib/systemd/system/rollbackd-actor.service", "/usr/lib/systemd/system/rollbackd-actor.socket",
                     "/etc/rollbackd/rollbackd.json", "/usr/lib/sysusers.d/rollbackd.conf", "/usr/lib/tmpfiles.d/rollbackd.conf",
                     "/usr/share/man/man8/rollbackd.8.gz",
                     "/usr/share/man/man1/rollbackctl.1.gz", "/usr/share/man/man5/rollbackd.json.5.gz",
                     "/usr/share/rollbackd/rules/crash.json",
                     "/usr/share/bash-completion/completions/rollbackctl", "/usr/share/zsh/vendor-completions/_rollbackctl",
                     "/usr/share/rollbackd/schema/rollbackd.schema.json", "/usr/share/rollbackd/grafana/dashboards/overview.json",
                     "/usr/share/doc/rollbackd/copyright", "/usr/share/doc/rollbackd/changelog.Debian.gz",
                     "/usr/share/doc/rollbackd/examples/ci/github-rollback.yml"):
            self.assertIn(name, names)
        self.assertIn("/etc/rollbackd/rollbackd.json", run("dpkg-deb", "-I", self.package, "conffiles").split())
        self.assertIn("libc6", run("dpkg-deb", "-f", self.package, "Depends"))


class Life(unittest.TestCase):
    """Installation, a first day, an upgrade and the end of it."""

    @classmethod
    def setUpClass(cls):
        require()
        cls.directory = tempfile.mkdtemp(prefix="rollbackd-package-")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.package = make_package(cls.directory)
        own_network(cls)
        cls.upgrade = next_version(cls.package, cls.directory)

    def setUp(self):
        self.host = SystemdHost(bind=[self.directory])
        self.addCleanup(self.host.close)
        # This machine may be told to start nothing on installation; and a sanitizer's leak check wants a system call that the unit forbids.
        self.inside("rm", "-f", "/usr/sbin/policy-rc.d")
        self.host.run("mkdir", "/etc/systemd/system/rollbackd.service.d")
        self.write("/etc/systemd/system/rollbackd.service.d/test.conf", "[Service]\nEnvironment=ASAN_OPTIONS=detect_leaks=0\n"
                   "CapabilityBoundingSet=CAP_NET_RAW\nAmbientCapabilities=CAP_NET_RAW\nSystemCallFilter=capset @setuid\n")  # For ping.
        self.host.run("mkdir", "/etc/systemd/system/rollbackd-actor.service.d")
        self.write("/etc/systemd/system/rollbackd-actor.service.d/test.conf", "[Service]\nEnvironment=ASAN_OPTIONS=detect_leaks=0\n")

    @contextlib.contextmanager
    def step(self, what):
        """One of the things that happen one after the other; the first that fails ends the test."""
        try:
            yield
        except BaseException:
            sys.stderr.write("failed at: %s\n---- journal ----\n%s" % (what, self.host.journal()[-8000:]))
            raise

    def inside(self, *argv, code=0):
        ended, output = self.host.run(*argv, timeout=300)
        self.assertEqual(ended, code, "%s:\n%s" % (" ".join(argv), output))
        return output

    def write(self, path, text, mode=0o644):
        """A file inside, by way of the directory that both sides see."""
        shared = os.path.join(self.directory, "handed-over")
        with open(shared, "w", encoding="utf-8") as out:
            out.write(text)
        self.inside("install", "-D", "-m", "%o" % mode, shared, path)

    def files(self):
        found = self.inside("find", "/etc", "/usr", "/var", "/srv", "/opt", "/root", "/home", "-xdev", "-printf", "%p\\n")
        return {path for path in found.splitlines() if not path.startswith(NOT_OURS)}

    def state(self, unit="rollbackd.service"):
        return self.host.show(unit, "ActiveState", "MainPID", "NRestarts")

    def up(self):
        wait_for("rollbackd is active", 30, lambda: self.state()["ActiveState"] == "active")
        return self.state()["MainPID"]

    def status(self, service):
        rows = json.loads(self.inside("rollbackctl", "--format", "json", "status"))["services"]
        return next((row for row in rows if row["service"] == service), {})

    def running(self):
        """The processes of each service, as seen inside: by systemd's own unit, by a keeper, by a transient unit."""
        return {name: set(self.host.run("pgrep", "-f", "/srv/%s/current/shop" % name)[1].split()) for name in ("web", "job", "task")}

    def pings(self, service):
        """Good runs of the service's exec check."""
        for line in self.inside("curl", "-s", "http://127.0.0.1:9474/metrics").splitlines():
            if line.startswith("rollbackd_checks_total{") and all(label in line for label in (
                    'service="%s"' % service, 'type="exec"', 'result="ok"')):
                return float(line.rsplit(" ", 1)[1])
        return 0

    def shop(self):
        """The demo's service, where both sides see it: the source tree may lie under a directory that is empty inside."""
        path = os.path.join(self.directory, "shop")
        if not os.path.exists(path):
            shutil.copy2(SHOP, path)
        return path

    def make_service(self, name, *releases):
        for release in releases:
            self.inside("install", "-D", self.shop(), "/srv/%s/releases/%s/shop" % (name, release))
            self.write("/srv/%s/releases/%s/release.json" % (name, release), json.dumps({"id": release, "behaviour": "good"}))
        self.inside("ln", "-s", "releases/" + releases[0], "/srv/%s/current" % name)

    def released(self, port):
        code, output = self.host.run("curl", "-s", "-m", "30", "http://127.0.0.1:%d/version" % port)
        return json.loads(output)["release"] if code == 0 and output.startswith("{") else None

    def test_from_installation_to_purge(self):
        before = self.files()

        with self.step("it installs, starts with nothing to watch, and says so"):
            self.inside("dpkg", "--force-unsafe-io", "-i", self.package)
            self.up()
            self.assertIn("no service is configured", self.host.journal("rollbackd.service"))
            self.inside("rollbackctl", "status")
            self.inside("systemctl", "is-enabled", "rollbackd.service")
            self.assertEqual(self.inside("stat", "-c", "%a %U %G", "/var/lib/rollbackd").strip(), "750 rollbackd rollbackd")
            self.assertEqual(self.inside("stat", "-c", "%a %U %G", "/var/lib/rollbackd-actor").strip(), "700 root root")
            self.assertEqual(self.inside("ps", "-o", "user=", "-p", self.up()).strip(), "rollbackd")

        with self.step("members of its group may read, nobody else of the machine reaches the socket, and changes are root's"):
            as_member = ("setpriv", "--reuid=65534", "--regid=rollbackd", "--clear-groups")
            as_stranger = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
            self.inside(*as_member, "rollbackctl", "status")
            self.inside(*as_stranger, "rollbackctl", "status", code=3)
            self.assertNotEqual(self.host.run(*as_member, "rollbackctl", "suspend", "--all", "--reason", "mischief")[0], 0)

        self.make_service("web", "v1", "v2")
        self.write("/etc/systemd/system/web.service", "[Service]\nExecStart=/srv/web/current/shop\nEnvironment=PORT=8081\n")
        self.make_service("job", "v1", "v2")
        self.make_service("task", "v1", "v2")
        self.inside("systemctl", "daemon-reload")
        self.inside("systemctl", "start", "web.service")
        wait_for("web answers", 20, lambda: self.released(8081) == "v1")

        with self.step("init finds a unit's link, port and health page"):
            said = self.inside("rollbackctl", "init", "web")
            self.assertIn("/srv/web/current -> v1", said)
            written = self.inside("cat", "/etc/rollbackd/services.d/web.json")
            self.assertIn('"url": "http://127.0.0.1:8081/health"', written)
            self.assertIn('"observe"', written)
            again = self.inside("rollbackctl", "init", "web.service", code=1)
            self.assertIn("--force", again)
            self.assertIn("there is no unit", self.inside("rollbackctl", "init", "nothing.service", code=1))
            self.assertIn("no release link", self.inside("rollbackctl", "init", "dbus.service", code=1))

        with self.step("a reload takes a good configuration and refuses a bad one"):
            for name, port, parent in (("job", "8082", {"parent": "keeper"}), ("task", "8083", {})):
                process = dict({"manager": "supervised", "command": ["/srv/%s/current/shop" % name], "environment": {"PORT": port},
                                "user": "nobody"}, **parent)
                self.write("/etc/rollbackd/services.d/%s.json" % name, json.dumps(
                    {"name": name, "environment": "prod", "automation": "observe", "components": [
                        {"driver": "symlink", "current": "/srv/%s/current" % name, "releases": "/srv/%s/releases" % name,
                         "process": process}],
                     "checks": [{"name": "ping", "type": "exec", "command": ["ping", "-c1", "127.0.0.1"], "interval": "1s"}]}))
            self.inside("systemctl", "reload", "rollbackd.service")
            for name, port in (("job", 8082), ("task", 8083)):
                wait_for(name + " runs", 30, lambda n=name, p=port: self.status(n).get("started") and self.released(p) == "v1")
            self.write("/etc/rollbackd/services.d/wrong.json", '{"name": "wrong"}')
            self.assertNotEqual(self.host.systemctl("reload", "rollbackd.service")[0], 0)
            self.inside("rm", "/etc/rollbackd/services.d/wrong.json")
            self.assertEqual(self.status("web")["release"], "v1")

        with self.step("inside its sandbox it switches links, and restarts units"):
            self.inside("rollbackctl", "deploy", "web", "v2", "--reason", "a new one")
            wait_for("v2 runs", 30, lambda: self.released(8081) == "v2")
            self.inside("rollbackctl", "rollback", "web", "--to", "v1", "--reason", "a test", "--force", "--wait")
            self.assertEqual(self.released(8081), "v1")
            self.assertEqual(self.inside("readlink", "/srv/web/current").strip(), "releases/v1")

        with self.step("inside its sandbox it restarts processes of other users, and its checks run"):
            for name, port in (("job", 8082), ("task", 8083)):
                self.inside("rollbackctl", "deploy", name, "v2", "--reason", "a new one")
                wait_for(name + " is v2", 30, lambda p=port: self.released(p) == "v2")
                owners = self.inside("ps", "-o", "user=", "-p", ",".join(self.running()[name])).split()
                self.assertEqual(set(owners), {"nobody"})
                wait_for(name + " is pinged", 30, lambda n=name: self.pings(n) > 0)

        with self.step("an upgrade exchanges the daemon under its running services and keeps what it knows"):
            self.inside("rollbackctl", "mark", "good", "job", "v2", "--reason", "known well")
            daemon, running = self.up(), self.running()
            self.assertTrue(all(running.values()), running)
            # As a version without an actor leaves it: everything is root's, and the keepers' directories are there too.
            self.inside("rm", "-r", "/var/lib/rollbackd/services")
            self.inside("mv", "-T", "/var/lib/rollbackd-actor/services", "/var/lib/rollbackd/services")
            self.inside("chown", "-R", "root:root", "/var/lib/rollbackd/services")
            self.inside("find", "/var/lib/rollbackd", "-maxdepth", "1", "-type", "f", "-exec", "chown", "root:root", "{}", "+")
            self.inside("dpkg", "--force-unsafe-io", "-i", self.upgrade)
            wait_for("another daemon is active", 30, lambda: self.up() != daemon)
            wait_for("job and task are watched again", 30, lambda: self.status("job").get("started") and self.status("task").get("started"))
            self.assertEqual(self.running(), running)
            ledger = json.loads(self.inside("rollbackctl", "--format", "json", "releases", "job"))["releases"]
            self.assertIn(("v2", "good"), [(r["release"], r["standing"]) for r in ledger])
            self.assertIn("rollback", self.inside("rollbackctl", "history", "web"))
            self.inside("test", "-e", "/etc/rollbackd/services.d/web.json")
            self.assertEqual(self.inside("find", "/var/lib/rollbackd", "-type", "f", "-user", "root"), "")
            self.inside("test", "-S", "/var/lib/rollbackd-actor/services/job.prod/keeper.sock")

        with self.step("after the upgrade the actor reaches the keepers of before"):
            for name, port in (("job", 8082), ("task", 8083)):
                self.inside("rollbackctl", "rollback", name, "--to", "v1", "--reason", "a test", "--force", "--wait")
                self.assertEqual(self.released(port), "v1")
                self.assertEqual(len(self.running()[name]), 1)
            running = self.running()

        with self.step("on the day on which the daemon does not start root goes back by the actor"):
            self.inside("systemctl", "stop", "rollbackd.service")
            self.inside("rollbackd", "rollback", "web", "--to", "v2", "--reason", "no daemon", "--offline", "--force")
            self.inside("rollbackd", "rollback", "job", "--to", "v2", "--reason", "no daemon", "--offline", "--force")
            self.assertEqual((self.released(8081), self.released(8082)), ("v2", "v2"))
            self.assertEqual(self.inside("find", "/var/lib/rollbackd", "-type", "f", "-user", "root"), "")
            self.inside("systemctl", "start", "rollbackd.service")
            wait_for("job is watched again", 30, lambda: self.status("job").get("started") and self.status("job")["release"] == "v2")
            self.assertEqual(len(self.running()["job"]), 1)
            running = self.running()

        with self.step("a daemon that was killed comes back by itself, and its services never noticed"):
            daemon = self.up()
            self.inside("kill", "-9", daemon)
            wait_for("another daemon is active", 30, lambda: self.up() not in ("0", daemon))
            self.assertEqual(self.running(), running)

        with self.step("removed it stops, and leaves services, configuration and state"):
            self.inside("dpkg", "--force-unsafe-io", "-r", "rollbackd")
            self.assertNotEqual(self.host.systemctl("is-active", "rollbackd.service")[0], 0)
            self.assertEqual(self.running(), running)
            for kept in ("/etc/rollbackd/rollbackd.json", "/etc/rollbackd/services.d/web.json", "/var/lib/rollbackd"):
                self.inside("test", "-e", kept)

        with self.step("purged it leaves no file"):
            self.inside("dpkg", "--force-unsafe-io", "-P", "rollbackd")
            after = self.files() - before
            others = ("/srv/web", "/srv/job", "/srv/task", "/etc/systemd/system/")
            self.assertEqual({path for path in after if not path.startswith(others)}, set())
            self.assertEqual([path for path in after if "rollbackd" in path and not path.endswith((".service.d", "test.conf"))], [])
            self.assertEqual(self.host.systemctl("cat", "rollbackd.service")[0], 1)


if __name__ == "__main__":
    unittest.main()
