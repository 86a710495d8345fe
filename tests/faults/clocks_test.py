"""What the clock sweep stands on: a process whose wall clock jumps, while its timers and monotonic clocks stay the kernel's."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from clocks import JUMPS, Faketime

# Arms a timer as Boost.Asio arms one that is due already: an absolute instant of the monotonic clock that has been. Then it is ready at once.
PROBE = """
import ctypes, select, struct, time
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.timerfd_create(time.CLOCK_MONOTONIC, 0)
time.time()
done = libc.timerfd_settime(fd, 1, ctypes.c_char_p(struct.pack("qqqq", 0, 0, 0, 1)), None)
ready = bool(select.select([fd], [], [], 5)[0])
print(done, ready, time.time(), time.monotonic())
"""


@unittest.skipUnless(Faketime.library(), "no libfaketime")
class Clocks(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="rollbackd-clocks-")
        self.addCleanup(shutil.rmtree, self.scratch, True)
        self.clock = Faketime(self.scratch)

    def probe(self, jump):
        self.clock.jump(jump)
        ran = subprocess.run([sys.executable, "-c", PROBE], env=dict(os.environ, **self.clock.environment()), capture_output=True, text=True, check=True)
        done, ready, wall, monotonic = ran.stdout.split()
        return int(done), ready == "True", float(wall), float(monotonic)

    def test_the_wall_clock_jumps_and_nothing_else_does(self):
        _, _, before, monotonic = self.probe("+0")
        for name, jump in JUMPS.items():
            with self.subTest(jump=name):
                done, ready, wall, later = self.probe(jump)
                self.assertGreater(abs(wall - before), 3000)
                self.assertLess(later - monotonic, 60)
                self.assertEqual((done, ready), (0, True), "a timer that is due is not ready")


if __name__ == "__main__":
    unittest.main()
