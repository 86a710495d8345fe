"""The tests' own systemd: boots beside the machine's root, runs units, and leaves nothing behind."""
import os
import tempfile
import unittest

from harness import wait_for
from systemd_host import SystemdHost


class Host(unittest.TestCase):
    def test_a_unit_starts_fails_and_its_words_are_in_the_journal(self):
        unit = "[Service]\nExecStart=/bin/sh -c 'echo said before the end; exit 3'\n"
        with SystemdHost(units={"ends.service": unit, "stays.service": "[Service]\nExecStart=/bin/sleep 600\n"}) as host:
            self.assertEqual(host.systemctl("start", "stays.service"), (0, ""))
            host.systemctl("start", "ends.service")

            wait_for("the unit has failed", 10, lambda: host.show("ends.service", "ActiveState")["ActiveState"] == "failed")
            self.assertEqual(host.show("ends.service", "Result", "ExecMainStatus"), {"Result": "exit-code", "ExecMainStatus": "3"})
            self.assertEqual(host.show("stays.service", "SubState")["SubState"], "running")
            wait_for("the journal has it", 10, lambda: "said before the end" in host.journal("ends.service"))

    def test_directories_are_shared_where_asked_and_the_machine_s_root_is_left_alone(self):
        with tempfile.TemporaryDirectory(prefix="rollbackd-") as shared, SystemdHost(bind=[shared]) as host:
            host.run("sh", "-c", "echo inside > %s/file; echo inside > /tmp/rollbackd-host-test; rm -f /etc/hostname" % shared)

            with open(os.path.join(shared, "file"), encoding="utf-8") as written:
                self.assertEqual(written.read(), "inside\n")
            self.assertFalse(os.path.exists("/tmp/rollbackd-host-test"))
            self.assertTrue(os.path.exists("/etc/hostname"))

    def test_nothing_is_left_of_it(self):
        with SystemdHost(units={"stubborn.service": "[Service]\nExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 60; done'\n"
                                                    "TimeoutStopSec=1s\n"}) as host:
            host.systemctl("start", "stubborn.service")
            pid, group, work = host.pid, host.group, host.work

        for path in ("/proc/%d" % pid, group, work):
            self.assertFalse(os.path.exists(path), path)

    def test_a_failing_test_takes_it_along(self):
        with self.assertRaises(ZeroDivisionError):
            with SystemdHost() as host:
                pid = host.pid
                raise ZeroDivisionError

        self.assertFalse(os.path.exists("/proc/%d" % pid))
