"""Two processes: a daemon without rights and an actor with root's. Bad releases are rolled back end to end; either one is killed in the middle
of a step, and there is one actuation and the right end all the same."""
import os
import shutil
import signal
import stat
import subprocess
import unittest

from harness import BINARIES, Fleet, Scenario, impatient, pull, reported_release, rollback_of, settled, standing, trigger, wait_for
from kill_test import counting_starts, started_of

NOBODY = 65534


class Apart(Fleet):
    """A fleet whose daemon is the user nobody, and whose actor is a process of root's behind a socket."""

    def __init__(self, binaries):
        super().__init__(binaries)
        self.actor, self.actor_socket, self.actor_log = None, os.path.join(self.root, "actor.sock"), os.path.join(self.root, "actor.log")
        self.top["actor"] = self.actor_socket
        # Where nobody can read them, wherever the build tree lies.
        os.chmod(self.root, 0o755)
        self.programs = os.path.join(self.root, "programs")
        shutil.copytree(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "rules"), os.path.join(self.programs, "rules"))
        self.daemon_program = shutil.copy(os.path.join(binaries, "rollbackd"), self.programs)
        os.mkdir(self.state, 0o750)
        os.chown(self.state, NOBODY, NOBODY)

    def environment(self):
        return dict(super().environment(), ROLLBACKD_RULES_DIRECTORY=os.path.join(self.programs, "rules"))

    def start_actor(self, **environment):
        with open(self.actor_log, "ab") as log:
            self.actor = subprocess.Popen([self.daemon_program, "--actor", "--socket", self.actor_socket, "--daemon-user", "nobody",
                                           "--config", self.config], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                          env=dict(self.environment(), **environment))
        wait_for("the actor listens", 10, lambda: self.actor.poll() is not None or os.path.exists(self.actor_socket))

    def end_actor(self, with_signal=signal.SIGTERM):
        if self.actor and self.actor.poll() is None:
            self.actor.send_signal(with_signal)
            self.actor.wait(60)

    def start(self, environment=None, wait=True):
        self.write_configuration()
        if not self.actor or self.actor.poll() is not None:
            self.start_actor()
        with open(self.log, "ab") as log:
            self.daemon = subprocess.Popen(["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--no-new-privs",
                                            self.daemon_program, "--config", self.config], stdout=log, stderr=log,
                                           stdin=subprocess.DEVNULL, env=dict(self.environment(), **(environment or {})))
        if wait:
            self.wait_ready()

    def actor_said(self, text):
        with open(self.actor_log, encoding="utf-8", errors="replace") as lines:
            return sum(text in line for line in lines)

    def tail(self, lines=40):
        words = super().tail(lines)
        if os.path.exists(self.actor_log):
            with open(self.actor_log, encoding="utf-8", errors="replace") as log:
                words += "---- actor ----\n" + "".join(log.readlines()[-lines:])
        return words

    def close(self, keep_files=False):
        self.stop_daemon()
        self.end_actor()
        super().close(keep_files)


@unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "only root can be two users (setpriv: Debian package util-linux)")
class Actor(Scenario):
    def apart(self):
        fleet = Apart(BINARIES)
        self.addCleanup(self.end, fleet)
        service = fleet.service("shop")
        service.release("v1")
        service.link("v1")
        counting_starts(service, "v1")
        fleet.start()
        settled(fleet, service, "v1")
        return fleet, service

    def bad_release(self, fleet, service):
        service.release("v2", "health-500", when=trigger(service))
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        wait_for("v1 can be gone back to", 20, lambda: fleet.status(service)["protected"])

    def rolled_back_once(self, fleet, service, starts, ended=("succeeded",)):
        row = rollback_of(fleet, service, "v2", 60)
        self.assertIn(row["status"], ended, row)
        self.assertEqual(service.live(), "v1")
        wait_for("v1 answers", 20, lambda: reported_release(service) == "v1")
        self.assertEqual(started_of(service, "v1"), starts + 1)
        self.assertEqual(len([r for r in fleet.operations(service, kind="rollback") if r["from"] == "v2"]), 1)
        self.assertEqual(standing(fleet, service, "v2"), "bad")
        self.assertTrue(os.path.exists(os.path.join(service.releases, ".v2.BAD_RELEASE")))

    def test_a_daemon_without_rights_rolls_a_bad_release_back(self):
        fleet, service = self.apart()
        self.assertEqual(os.stat("/proc/%d" % fleet.daemon.pid).st_uid, NOBODY)
        self.bad_release(fleet, service)
        starts = started_of(service, "v1")
        pull(service)
        self.rolled_back_once(fleet, service, starts)

        # Nothing of root's was needed, and nothing of the daemon's is trusted: its directory has no keeper, the actor's is root's alone.
        own = os.stat(fleet.state + "-actor")
        self.assertEqual((own.st_uid, stat.S_IMODE(own.st_mode)), (0, 0o700))
        self.assertFalse(os.path.exists(os.path.join(fleet.state, "services", "shop.demo", "keeper.sock")))
        self.assertTrue(os.path.exists(os.path.join(fleet.state + "-actor", "services", "shop.demo", "keeper.sock")))
        with self.subTest("the service survives both of them"):
            row = fleet.status(service)
            fleet.stop_daemon()
            fleet.end_actor(signal.SIGKILL)
            self.assertEqual(reported_release(service), "v1")
            fleet.start()
            settled(fleet, service, "v1")
            self.assertEqual(started_of(service, "v1"), starts + 1, row)

    def test_a_person_acts_where_the_daemon_may_only_observe(self):
        fleet = Apart(BINARIES)
        self.addCleanup(self.end, fleet)
        service = fleet.service("shop", automation="observe")
        for release in ("v1", "v2"):
            service.release(release)
        service.link("v1")
        fleet.start()
        settled(fleet, service, "v1")
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        for _ in range(4):  # More than the actor allows of what nobody asked for.
            for release in ("v1", "v2"):
                code, said = fleet.ctl("rollback", "shop", "--to", release, "--reason", "by hand", "--force", "--wait")
                self.assertEqual(code, 0, said)
        self.assertEqual(service.live(), "v2")
        self.assertEqual(fleet.actor_said("to=unannounced"), 0)

    def test_without_the_daemon_root_goes_through_the_actor_and_leaves_nothing_that_the_daemon_cannot_open(self):
        fleet, service = self.apart()
        self.bad_release(fleet, service)
        starts = started_of(service, "v1")
        fleet.stop_daemon()
        os.unlink(os.path.join(fleet.state, "lock"))
        secret = os.path.join(fleet.root, "of-roots")
        with open(secret, "w", encoding="utf-8"):
            pass
        os.link(secret, os.path.join(fleet.state, "another-name"))  # Whoever owns the directory may try.
        os.symlink(secret, os.path.join(fleet.state, "link"))

        code, said = fleet.rollbackd("rollback", "shop", "--reason", "no daemon tonight", "--offline")

        self.assertEqual(code, 0, said)
        self.assertEqual((service.live(), reported_release(service), started_of(service, "v1")), ("v1", "v1", starts + 1))
        self.assertGreater(fleet.actor_said('step="supervised restart" to=v1'), 0)
        found = subprocess.run(["find", fleet.state, "-type", "f", "-uid", "0"], capture_output=True, text=True, check=True).stdout.split()
        self.assertEqual(found, [os.path.join(fleet.state, "another-name")])
        self.assertEqual(os.stat(secret).st_uid, 0)
        os.unlink(found[0])
        fleet.start()
        settled(fleet, service, "v1")
        self.assertEqual([row["status"] for row in fleet.operations(service, kind="rollback")], ["succeeded"])
        self.assertEqual((standing(fleet, service, "v2"), started_of(service, "v1")), ("bad", starts + 1))

    def test_what_a_service_prints_lies_where_only_root_writes_and_is_read_where_the_configuration_lets_the_daemon(self):
        fleet = Apart(BINARIES)
        self.addCleanup(self.end, fleet)
        service = fleet.service("shop", process_environment={"LOG": "/dev/stdout"})
        service.release("v1")
        service.link("v1")
        fleet.start()
        settled(fleet, service, "v1")
        output = os.path.join(fleet.state + "-actor", "services", "shop.demo", "output.log")
        wait_for("the service's words are in the actor's directory", 10, lambda: os.path.exists(output) and os.path.getsize(output))
        self.assertEqual(os.listdir(os.path.join(fleet.state, "services", "shop.demo")), [])  # The daemon's: a link there could lead anywhere.
        fleet.stop_daemon()
        fleet.end_actor()

        printed = os.path.join(fleet.root, "printed")
        os.mkdir(printed)
        os.chown(printed, 0, NOBODY)
        os.chmod(printed, 0o2750)  # What is made in it belongs to its group, which is the daemon's.
        service.process["output"] = os.path.join(printed, "output.log")
        service.settings["checks"] = [{"name": "printed", "type": "log", "path": os.path.join(printed, "output.log"),
                                       "patterns": {"critical": "FATAL|panic"}}]
        fleet.start()
        service.release("v2", "fatal-log", when=trigger(service))
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        wait_for("v1 can be gone back to", 20, lambda: fleet.status(service)["protected"])
        pull(service)
        row = rollback_of(fleet, service, "v2", 60)
        self.assertEqual((row["status"], row["cause"], service.live()), ("succeeded", "log", "v1"), row)
        facts = os.stat(service.process["output"])
        self.assertEqual((facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)), (0, NOBODY, 0o640))

    def test_the_actor_is_killed_in_the_middle_of_a_step(self):
        for point in ("actor.step.before", "switch.before_exchange", "switch.after_exchange", "actor.step.after", "actor.step.remembered"):
            with self.subTest(point):
                fleet, service = self.apart()
                self.bad_release(fleet, service)
                starts = started_of(service, "v1")
                fleet.end_actor(signal.SIGKILL)
                os.unlink(fleet.actor_socket)
                fleet.start_actor(ROLLBACKD_FAILPOINT=point)
                settled(fleet, service, "v2")
                wait_for("v1 can be gone back to", 20, lambda f=fleet, s=service: f.status(s)["protected"])
                pull(service)
                fleet.actor.wait(60)
                self.assertEqual(fleet.actor.returncode, -signal.SIGKILL)
                os.unlink(fleet.actor_socket)
                fleet.start_actor()
                self.rolled_back_once(fleet, service, starts)
                self.end(fleet)

    @unittest.skipUnless(shutil.which("strace"), "no strace")
    def test_the_daemon_is_killed_while_the_actor_is_in_the_middle_of_its_step(self):
        fleet, service = self.apart()
        self.bad_release(fleet, service)
        starts = started_of(service, "v1")
        before = fleet.actor_said('step="symlink switch"')
        # Its switch lasts until the tracer lets go.
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", os.path.join(fleet.root, "strace"), "-e", "trace=renameat2", "-e",
                                   "inject=renameat2:delay_enter=600000000", "-p", str(fleet.actor.pid)], stdin=subprocess.DEVNULL)

        def let_go():
            tracer.kill()
            tracer.wait(60)
        self.addCleanup(let_go)

        def traced():
            tasks = "/proc/%d/task" % fleet.actor.pid
            for task in os.listdir(tasks):
                with open(os.path.join(tasks, task, "status"), encoding="utf-8") as text:
                    if "TracerPid:\t%d\n" % tracer.pid not in text.read():
                        return False
            return True
        wait_for("every thread of the actor is traced", 10, traced)
        pull(service)
        wait_for("the actor has the step", 30, lambda: fleet.actor_said('step="symlink switch"') > before, 0.005)
        fleet.stop_daemon(signal.SIGKILL)
        self.assertEqual(service.live(), "v2")  # It is in the actor's hands, and not done yet.
        impatient(service)
        fleet.start(wait=False)
        let_go()
        fleet.wait_ready()
        self.rolled_back_once(fleet, service, starts, ("succeeded", "abandoned"))

    def test_the_actor_goes_with_a_daemon_that_began_it(self):
        fleet, service = self.shop(self.fleet(actor="fork"))
        fleet.start()
        settled(fleet, service, "v1")
        def actors():
            found = subprocess.run(["pgrep", "-P", str(fleet.daemon.pid), "-f", "--", "--actor"], capture_output=True, text=True, check=False)
            return [int(pid) for pid in found.stdout.split()]
        actor = actors()[0]
        os.kill(actor, signal.SIGKILL)
        service.release("v2")
        fleet.deploy(service, "v2")  # By another actor, begun at once.
        settled(fleet, service, "v2")
        another = actors()[-1]
        self.assertNotEqual(another, actor)
        fleet.stop_daemon()
        wait_for("the actor has ended", 10, lambda: not os.path.exists("/proc/%d" % another))
        self.assertEqual(reported_release(service), "v2")


if __name__ == "__main__":
    unittest.main()
