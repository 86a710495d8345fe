"""The evidence of a real rollback: after a kill -9 and a restart, in every form."""
import json
import os
import signal
import unittest

from harness import Scenario, pull, rollback_of, settled, trigger


class Explain(Scenario):
    def test_a_rollbacks_evidence_is_there_after_a_restart_in_every_form(self):
        fleet, service = self.shop()
        service.release("v2", "crash", when=trigger(service))
        fleet.start()
        settled(fleet, service, "v1")
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        pull(service)
        row = rollback_of(fleet, service, "v2")
        settled(fleet, service, "v1")
        fleet.stop_daemon(signal.SIGKILL)
        fleet.start()
        code, out = fleet.ctl("explain", "shop", "--operation", row["operation"], "--format", "json")
        self.assertEqual(code, 0, out)
        evidence = json.loads(out)
        bundle = evidence["bundle"]
        self.assertTrue(bundle["samples"], out)
        self.assertIn("process_exits_total", json.dumps(bundle["alerts"]))
        self.assertTrue(bundle["configuration"].startswith("sha256:"))
        self.assertTrue(evidence["operation"]["steps"])
        self.assertIn("release_on_disk", json.dumps(bundle["tests"]))
        path = os.path.join(fleet.root, "post-mortem.md")
        code, out = fleet.ctl("explain", "shop", "--incident", row["incident"], "--format", "markdown", "--output", path)
        self.assertEqual(code, 0, out)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for chapter in ("# rollback of shop/demo", "## Timeline", "## Why: the rules", "## Guards", "## Steps", "## Verification", "## Made by"):
            self.assertIn(chapter, text)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        code, out = fleet.ctl("explain", "shop", "--operation", "0190-nothing")
        self.assertEqual(code, 40, out)


if __name__ == "__main__":
    unittest.main()
