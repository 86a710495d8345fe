"""The daemon is killed at every step of a rollback and of a deployment, and started again: one whole release is live, nothing is done twice."""
import concurrent.futures
import contextlib
import http.client
import json
import os
import signal
import time
import unittest

from harness import BINARIES, Scenario, UNENDED, Fleet, pull, reported_release, rollback_of, settled, standing, trigger, wait_for

PARALLEL = 4
SWITCH = ["switch.before_exchange", "switch.after_exchange", "switch.before_fsync"]


def records(*phases):
    return ["record.%s.%s" % (phase, when) for phase in phases for when in ("before", "after")]


# The symlink driver takes no traffic away, so record.traffic_away is never written; a deployment's verification is not the operation's.
IN_A_ROLLBACK = ["operate.decided"] + records("intent", "switching") + SWITCH + records("switched", "restarted", "verifying", "outcome")
IN_A_DEPLOYMENT = ["operate.decided"] + records("intent", "switching") + SWITCH + records("switched", "restarted", "outcome")


class Wrong(AssertionError):
    pass


def expect(condition, why):
    if not condition:
        raise Wrong(why)


def process_of(fleet, service):
    """Pid and start of the service's process as its keeper wrote them down."""
    path = os.path.join(fleet.state, "services", "%s.%s" % (service.name, service.environment), "keeper.json")
    with open(path, encoding="utf-8") as text:
        state = json.load(text)
    return state.get("pid"), state.get("started_boot_ns")


def runs_since_the_link(fleet, service, release):
    """Whether `release` answers from a process that surely began after the link was turned. One that was forked before and came to its program
    after is ended: it runs the release, but nobody who compares times can know it, and its keeper starts another."""
    if reported_release(service) != release:
        return False
    pid, started = process_of(fleet, service)
    turned = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - (time.time_ns() - os.lstat(service.current).st_ctime_ns)
    if started is None or started > turned + 50_000_000:
        return started is not None
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return False


def started_of(service, release):
    """How often a process of `release` was started: each start of the shop leaves its pid in a file, before it does anything else."""
    try:
        with open(service.current + ".starts", encoding="utf-8") as lines:
            return sum(line.split()[0] == release for line in lines)
    except FileNotFoundError:
        return 0


def counting_starts(service, release):
    """Makes the release's program write a line to a file when it starts; the shop itself takes long enough to begin that a second start
    may come before the first one has said anything."""
    program = os.path.join(service.releases, release, "shop")
    os.rename(program, program + ".py")
    with open(program, "w", encoding="utf-8") as out:
        out.write("#!/bin/sh\necho %s >> %s\nexec %s\n" % (release, service.current + ".starts", program + ".py"))
    os.chmod(program, 0o755)


def cut_power(fleet, service):
    """Ends keeper and service as a power cut does, at once and without a word; the daemon is dead already."""
    pid, _ = process_of(fleet, service)
    with open("/proc/%d/stat" % pid, encoding="utf-8") as stat:
        keeper = int(stat.read().rsplit(")", 1)[1].split()[1])
    for one in (keeper, pid):
        os.kill(one, signal.SIGKILL)
    wait_for("keeper and service are gone", 10, lambda: not os.path.exists("/proc/%d" % keeper) and not os.path.exists("/proc/%d" % pid))


def dies(fleet, failpoint):
    wait_for("rollbackd dies at " + failpoint, 30, lambda: fleet.daemon.poll() is not None)
    expect(fleet.daemon.returncode == -signal.SIGKILL, "rollbackd ended with %s\n%s" % (fleet.daemon.returncode, fleet.tail()))


def start_again(fleet, service):
    """Starts the daemon without a failpoint. Returns the process that already ran `current`'s release, which must not be restarted."""
    live = service.live()
    running = process_of(fleet, service) if reported_release(service) == live else None
    expect(os.path.exists(os.path.join(service.current, "release.json")), "`current` does not lead to a whole release")
    fleet.start()
    return live, running


def a_rollback_killed_at(fleet, failpoint):
    service = fleet.service("shop")
    service.release("v1")
    service.link("v1")
    fleet.start()
    settled(fleet, service, "v1")
    service.release("v2", "crash", when=trigger(service))
    fleet.deploy(service, "v2")
    settled(fleet, service, "v2")
    fleet.stop_daemon()

    fleet.start(environment={"ROLLBACKD_FAILPOINT": failpoint})
    settled(fleet, service, "v2")
    pull(service)
    dies(fleet, failpoint)
    live, running = start_again(fleet, service)

    settled(fleet, service, "v1", 40)
    row = wait_for("a rollback that succeeded", 10, lambda: next((r for r in fleet.operations(service, kind="rollback") if r["status"] == "succeeded"), None))
    expect((row["from"], row["to"]) == ("v2", "v1"), "it went from %s to %s" % (row["from"], row["to"]))
    rows = fleet.operations(service, kind="rollback")
    expect(all(r["status"] not in UNENDED for r in rows), "the history has one that never ends: %s" % rows)
    expect(sum(r["status"] != "abandoned" for r in rows) == 1, "more than one rollback was carried out: %s" % rows)
    expect(len({r["operation"] for r in rows}) == len(rows), "an operation is in the history twice")
    expect(standing(fleet, service, "v2") == "bad", "v2 is " + str(standing(fleet, service, "v2")))
    if live == "v1" and running:
        expect(process_of(fleet, service) == running, "the service was restarted a second time")


def a_deployment_killed_at(fleet, failpoint):
    service = fleet.service("shop")
    service.release("v1")
    service.link("v1")
    service.release("v2")
    fleet.start(environment={"ROLLBACKD_FAILPOINT": failpoint})
    settled(fleet, service, "v1")
    try:
        fleet.post("/api/v1/deploy", service=service.name, release="v2")
    except (OSError, http.client.HTTPException):
        pass  # It may die before it has answered.
    dies(fleet, failpoint)
    live, running = start_again(fleet, service)

    # Before the commit point it is abandoned and v1 stays; after it v2 is carried through.
    settled(fleet, service, live, 30)
    rows = fleet.operations(service, kind="deploy")
    expect(all(r["status"] not in UNENDED for r in rows), "the history has one that never ends: %s" % rows)
    began = failpoint not in ("operate.decided", "record.intent.before")
    expect(len(rows) == 1 or (not began and not rows), "the history has %d rows: %s" % (len(rows), rows))
    if rows:
        expect(rows[0]["status"] == ("succeeded" if live == "v2" else "abandoned"), "%s is live, and it ended %s" % (live, rows[0]["status"]))
    expect(not fleet.operations(service, kind="rollback"), "something was rolled back")
    if running:
        expect(process_of(fleet, service) == running, "a service that ran its release was restarted")


class Kill(Scenario):
    def at_each(self, failpoints, scenario):
        """Runs the scenario for each failpoint, some at a time, each with a fleet of its own."""
        def one(failpoint):
            fleet = Fleet(BINARIES)
            try:
                scenario(fleet, failpoint)
                fleet.stop_daemon()
                expect(fleet.daemon.returncode == 0, "rollbackd ended with %s" % fleet.daemon.returncode)
                return None
            except Exception as error:  # pylint: disable=broad-except  (shown by the subtest, in order)
                return "%s: %s\n%s" % (type(error).__name__, error, fleet.tail(40))
            finally:
                fleet.close()
        only = os.environ.get("ONLY_FAILPOINT")
        failpoints = [name for name in failpoints if not only or name == only]
        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            for failpoint, wrong in zip(failpoints, pool.map(one, failpoints)):
                with self.subTest(failpoint):
                    self.assertIsNone(wrong, wrong)

    def test_a_rollback_killed_at_any_step_ends_once_and_whole(self):
        self.at_each(IN_A_ROLLBACK, a_rollback_killed_at)

    def test_a_deployment_killed_at_any_step_leaves_one_whole_release(self):
        self.at_each(IN_A_DEPLOYMENT, a_deployment_killed_at)

    def test_what_was_deployed_while_the_daemon_was_dead_wins(self):
        for failpoint in ("record.intent.after", "record.switching.after", "record.switched.after"):
            with self.subTest(failpoint):
                fleet, service = self.shop()
                service.release("v3")
                fleet.start()
                settled(fleet, service, "v1")
                service.release("v2", "crash", when=trigger(service))
                fleet.deploy(service, "v2")
                settled(fleet, service, "v2")
                fleet.stop_daemon()
                fleet.start(environment={"ROLLBACKD_FAILPOINT": failpoint})
                settled(fleet, service, "v2")
                pull(service)
                dies(fleet, failpoint)

                service.link("v3")
                # v2 crashes by itself until its keeper starts what the link leads to now.
                wait_for("the keeper has started v3", 20, lambda: runs_since_the_link(fleet, service, "v3"))
                fleet.start()

                settled(fleet, service, "v3")
                rows = fleet.operations(service, kind="rollback")
                self.assertEqual([row["status"] in UNENDED for row in rows], [False], rows)
                self.assertNotEqual(rows[0]["status"], "succeeded")
                fleet.close()

    def test_after_a_power_cut_behind_the_switch_the_service_is_started_once(self):
        for failpoint in ("switch.after_exchange", "record.switched.after"):
            with self.subTest(failpoint):
                fleet, service = self.shop()
                counting_starts(service, "v1")
                fleet.start()
                settled(fleet, service, "v1")
                service.release("v2", "health-500", when=trigger(service))
                fleet.deploy(service, "v2")
                settled(fleet, service, "v2")
                fleet.stop_daemon()
                fleet.start(environment={"ROLLBACKD_FAILPOINT": failpoint})
                settled(fleet, service, "v2")
                pull(service)
                dies(fleet, failpoint)
                cut_power(fleet, service)
                starts = started_of(service, "v1")

                fleet.start()

                settled(fleet, service, "v1")
                self.assertEqual(rollback_of(fleet, service, "v2")["status"], "succeeded")
                self.assertEqual(started_of(service, "v1"), starts + 1, "the keeper's start is the restart: no second one")
                fleet.close()

    def test_a_daemon_stopped_in_the_middle_goes_on_where_it_was(self):
        fleet = self.fleet()
        service = fleet.service("shop")
        hindrance = os.path.join(service.root, "hindrance")  # While it is there v1 is not well, and its verification goes on.
        service.release("v1", "health-500", when=hindrance)
        service.link("v1")
        fleet.start()
        settled(fleet, service, "v1")
        service.release("v2", "crash", when=trigger(service))
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        with open(hindrance, "w", encoding="utf-8"):
            pass
        pull(service)
        wait_for("it verifies", 20, lambda: fleet.operations(service, kind="rollback", status="verifying"))
        wait_for("v1 answers", 20, lambda: reported_release(service) == "v1")
        fleet.stop_daemon()
        self.assertEqual(fleet.daemon.returncode, 0)

        _, running = start_again(fleet, service)
        os.remove(hindrance)

        settled(fleet, service, "v1")
        rows = fleet.operations(service, kind="rollback")
        self.assertEqual([(row["status"], row["attempt"]) for row in rows], [("succeeded", 2)])
        self.assertEqual(standing(fleet, service, "v2"), "bad")
        self.assertEqual(process_of(fleet, service), running)

    def test_a_daemon_that_dies_in_every_attempt_holds_and_pages_at_three(self):
        fleet, service = self.shop()
        fleet.start()
        settled(fleet, service, "v1")
        service.release("v2", "crash", when=trigger(service))
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        fleet.stop_daemon()
        failpoint = {"ROLLBACKD_FAILPOINT": "record.verifying.after"}
        fleet.start(environment=failpoint)
        settled(fleet, service, "v2")
        pull(service)
        dies(fleet, "record.verifying.after")
        for _ in range(2):
            fleet.start(environment=failpoint, wait=False)
            dies(fleet, "record.verifying.after")

        fleet.start(environment=failpoint)

        row = fleet.status(service)
        self.assertEqual((row["phase"], row["decision"]["kind"]), ("held", "hold"))
        self.assertIn("did not end in 3 attempts", row["decision"]["reason"])
        self.assertEqual((service.live(), reported_release(service)), ("v1", "v1"))
        self.assertEqual([r["status"] for r in fleet.operations(service, kind="rollback")], ["unknown"])

        # A person who has looked can go on.
        fleet.stop_daemon()
        fleet.start()
        self.assertEqual(fleet.status(service)["phase"], "held")
        self.assertEqual(fleet.ctl("acknowledge", "shop")[0], 0)
        service.release("v3")
        fleet.deploy(service, "v3")
        settled(fleet, service, "v3")


if __name__ == "__main__":
    unittest.main()
