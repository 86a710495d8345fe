"""Automatic rollback, manual rollback, outside deployment and a stop by a person within 50 ms of each other: a few rounds of the faults' race.
And a bad release that crashes between the switch and its restart."""
import os
import shutil
import signal
import sys
import tempfile
import unittest

from harness import BINARIES, Scenario, pull, rollback_of, settled, trigger, wait_for
from kill_test import counting_starts, process_of, started_of

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "faults"))
import inject  # noqa: E402
from races import Races  # noqa: E402
from sweep import Bench, perform  # noqa: E402
from world import tiny  # noqa: E402

ROUNDS = 20


def text_of(path):
    with open(path, encoding="utf-8", errors="replace") as text:
        return text.read()


class Race(Scenario):
    def test_there_is_one_winner_and_no_outside_deployment_is_lost(self):
        scratch = tempfile.mkdtemp(prefix="rollbackd-races-")
        self.addCleanup(shutil.rmtree, scratch, True)
        sweep = Races(Bench(BINARIES, tiny(scratch), scratch, os.environ.get("ROLLBACKD_SEED", "1"), True))

        tally = perform(sweep, None, ROUNDS, most=ROUNDS, report=lambda text: sys.stderr.write(text + "\n"))

        self.assertEqual([one["why"] for one in tally.violations], [])
        self.assertEqual(tally.points, ROUNDS)

    @unittest.skipUnless(shutil.which("strace"), "no strace")
    def test_a_release_that_its_keeper_started_after_the_switch_is_not_started_once_more(self):
        """Its keeper alone starts what crashes while the daemon stands still: where it writes its record, which holds when the switch was, and
        before that, where it says what the switch ended."""
        for call, path in (("pwrite64", "state/shop.demo.state"), ("write", "rollbackd.log")):
            with self.subTest(call):
                self.started_by_its_keeper(call, path)

    def started_by_its_keeper(self, call, path):
        fleet, service = self.shop()
        body = service.configuration()["components"]
        body[0]["process"]["restart_delay"] = "10ms"
        service.settings["components"] = body
        counting_starts(service, "v1")
        fleet.start()
        settled(fleet, service, "v1")
        service.release("v2", "health-500", when=trigger(service))
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        wait_for("v1 can be gone back to", 20, lambda: fleet.status(service)["protected"])
        starts = started_of(service, "v1")
        bad, _ = process_of(fleet, service)
        daemon = fleet.daemon
        strace = inject.Strace(daemon.pid, *inject.inject("renameat2", "signal=STOP", 1), follow=True)
        self.addCleanup(daemon.send_signal, signal.SIGCONT)
        self.addCleanup(strace.close)
        pull(service)
        wait_for("`current` leads to v1", 40, lambda: service.live() == "v1" and inject.stands_still(daemon.pid))
        strace.close()
        written = os.path.join(fleet.root, "strace")
        strace = inject.Strace(daemon.pid, "-P", os.path.join(fleet.root, path), *inject.inject(call, "signal=STOP", 1), follow=True,
                               output=written)
        self.addCleanup(strace.close)
        daemon.send_signal(signal.SIGCONT)
        wait_for("the daemon stands still after the switch", 20, lambda: call + "(" in text_of(written) and inject.stands_still(daemon.pid))
        os.kill(bad, signal.SIGKILL)
        wait_for("its keeper started v1", 20, lambda: started_of(service, "v1") == starts + 1 and process_of(fleet, service)[0] not in (None, bad))
        strace.close()
        daemon.send_signal(signal.SIGCONT)

        row = rollback_of(fleet, service, "v2", 60)
        self.assertEqual(row["status"], "succeeded", row)
        settled(fleet, service, "v1")
        restart = [step for step in fleet.get("/api/v1/operations/" + row["operation"])[1]["steps"] if step["action"] == "restart"]
        self.assertEqual([step["status"] for step in restart], ["already_done"], restart)
        self.assertEqual(started_of(service, "v1"), starts + 1)


if __name__ == "__main__":
    unittest.main()
