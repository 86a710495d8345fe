"""Automatic rollback, manual rollback, outside deployment and a stop by a person within 50 ms of each other: a few rounds of the faults' race."""
import os
import shutil
import sys
import tempfile
import unittest

from harness import BINARIES, Scenario

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "faults"))
from races import Races  # noqa: E402
from sweep import Bench, perform  # noqa: E402
from world import tiny  # noqa: E402

ROUNDS = 20


class Race(Scenario):
    def test_there_is_one_winner_and_no_outside_deployment_is_lost(self):
        scratch = tempfile.mkdtemp(prefix="rollbackd-races-")
        self.addCleanup(shutil.rmtree, scratch, True)
        sweep = Races(Bench(BINARIES, tiny(scratch), scratch, os.environ.get("ROLLBACKD_SEED", "1"), True))

        tally = perform(sweep, None, ROUNDS, most=ROUNDS, report=lambda text: sys.stderr.write(text + "\n"))

        self.assertEqual([one["why"] for one in tally.violations], [])
        self.assertEqual(tally.points, ROUNDS)


if __name__ == "__main__":
    unittest.main()
