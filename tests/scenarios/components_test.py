"""Two components that move together: the code and its configuration, each behind a link of its own, and a process that reads both."""
import json
import os
import signal
import time
import unittest
import urllib.request

from harness import Scenario, UNENDED, wait_for

APP = r'''#!/usr/bin/python3
import http.server, json, os, sys
here = os.path.dirname(os.path.abspath(os.path.realpath(__file__)))
release = os.path.basename(here)
with open(os.environ["CONFIG"] + "/settings.json") as text:
    settings = json.load(text)
well = not os.path.exists(here + "/bad") and not settings["bad"]
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"release": release, "config": settings["name"]}).encode()
        self.send_response(200 if well or self.path != "/health" else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
'''


class Pair:
    """The service on disk: releases/ID with the program, configs/ID with its settings."""

    def __init__(self, fleet, **settings):
        self.fleet = fleet
        self.service = service = fleet.service("shop", **settings)
        self.configs = os.path.join(service.root, "configs")
        self.config = os.path.join(service.root, "config")
        os.makedirs(self.configs)
        body = service.configuration()["components"]
        body[0]["process"]["environment"]["CONFIG"] = self.config
        body[0]["process"]["restart_delay"] = "100ms"
        body.append({"name": "config", "releases": self.configs, "current": self.config})
        service.settings["components"] = body

    def app(self, release, bad=False):
        directory = os.path.join(self.service.releases, release)
        os.makedirs(directory)
        with open(directory + "/shop", "w", encoding="utf-8") as out:
            out.write(APP)
        os.chmod(directory + "/shop", 0o755)
        if bad:
            open(directory + "/bad", "w", encoding="utf-8").close()

    def conf(self, release, bad=False):
        directory = os.path.join(self.configs, release)
        os.makedirs(directory)
        with open(directory + "/settings.json", "w", encoding="utf-8") as out:
            json.dump({"name": release, "bad": bad, "password": "not-for-your-eyes-" + release}, out, indent=1)

    def link_config(self, release):
        os.symlink(os.path.join("configs", release), self.config + ".new")
        os.replace(self.config + ".new", self.config)

    def links(self):
        return self.service.live(), os.path.basename(os.readlink(self.config))

    def runs(self):
        try:
            with urllib.request.urlopen(self.service.url("/version"), timeout=2) as answer:
                told = json.load(answer)
                return told["release"], told["config"]
        except OSError:
            return None

    def restart(self):
        """As a deploy script does: the keeper starts what it ended again."""
        state = self.fleet.state + ("-actor" if self.fleet.top.get("actor") else "")
        path = os.path.join(state, "services", "shop.demo", "keeper.json")
        with open(path, encoding="utf-8") as text:
            os.kill(json.load(text)["pid"], signal.SIGKILL)

    def settled(self, release, links):
        def look():
            row = self.fleet.status(self.service)
            well = row.get("release") == release and row["started"] and not row["warming"] and row["phase"] == "watching"
            return well and self.links() == links and self.runs() == links
        wait_for("%s runs as %s and is watched" % (release, links), 30, look)

    def ended(self, kind="rollback", number=1):
        def look():
            rows = [row for row in self.fleet.operations(self.service, kind=kind) if row["status"] not in UNENDED]
            return rows if len(rows) >= number else None
        return wait_for("%d %s of it have ended" % (number, kind), 40, look)


class ComponentsTest(Scenario):
    def pair(self, fleet=None, **settings):
        pair = Pair(fleet or self.fleet(), **settings)
        pair.app("v1")
        pair.conf("v1")
        pair.service.link("v1")
        pair.link_config("v1")
        return pair

    def test_a_bad_release_goes_back_with_its_configuration(self):
        pair = self.pair()
        pair.app("v2")
        pair.conf("v2", bad=True)
        pair.fleet.start()
        pair.settled("v1", ("v1", "v1"))

        pair.fleet.deploy(pair.service, "v2")
        rollback = pair.ended()[0]
        pair.settled("v1", ("v1", "v1"))

        self.assertEqual((rollback["status"], rollback["from"], rollback["to"]), ("succeeded", "v2", "v1"), rollback)
        steps = pair.fleet.get("/api/v1/operations/" + rollback["operation"])[1]["steps"]
        self.assertEqual([(s["action"], s["component"]) for s in steps], [("switch", "app"), ("switch", "config"), ("restart", "app")])
        self.assertEqual(len(pair.fleet.operations(pair.service, kind="rollback")), 1)

    def test_killed_between_the_two_switches_both_are_as_they_were_and_it_is_judged_again(self):
        self.killed_between_the_switches(self.fleet())

    def test_the_actor_takes_back_what_an_actor_before_it_began(self):
        self.killed_between_the_switches(self.fleet(actor="fork"))

    def killed_between_the_switches(self, fleet):
        pair = self.pair(fleet)
        pair.app("v2", bad=True)
        pair.conf("v2")
        pair.fleet.start()
        pair.settled("v1", ("v1", "v1"))
        pair.fleet.stop_daemon()
        # The deployment is one from outside, so that the rollback is the first operation to meet the failpoint.
        pair.fleet.start(environment={"ROLLBACKD_FAILPOINT": "record.switch.config.before"})
        pair.settled("v1", ("v1", "v1"))
        pair.service.link("v2")
        pair.link_config("v2")
        wait_for("the deployment is seen", 10, lambda: pair.fleet.status(pair.service)["release"] == "v2")
        pair.restart()
        wait_for("rollbackd dies between the switches", 40, lambda: pair.fleet.daemon.poll() is not None)
        self.assertEqual(pair.links(), ("v1", "v2"), "the first is switched, the second is not")

        pair.fleet.start()
        first, second = reversed(pair.ended(number=2)[:2])
        pair.settled("v1", ("v1", "v1"))

        self.assertEqual((first["status"], second["status"]), ("abandoned", "succeeded"), (first, second))
        undone = pair.fleet.get("/api/v1/operations/" + first["operation"])[1]["steps"]
        self.assertEqual([s["component"] for s in undone if s["action"] == "undo"], ["config", "app"], undone)

    def test_an_outside_deployment_of_two_links_is_one_release(self):
        pair = self.pair()
        pair.app("v2")
        pair.conf("c2")
        pair.fleet.start()
        pair.settled("v1", ("v1", "v1"))

        pair.service.link("v2")
        time.sleep(0.2)  # What a deploy script does between the two.
        pair.link_config("c2")
        wait_for("the deployment is seen", 10, lambda: pair.fleet.status(pair.service)["release"] == "v2+c2")
        pair.restart()
        pair.settled("v2+c2", ("v2", "c2"))

        releases = [row["release"] for row in pair.fleet.get("/api/v1/deployments?service=shop")[1]]
        self.assertEqual(releases, ["v2+c2", "v1"])
        code, text = pair.fleet.ctl("rollback", "shop", "--reason", "a look", "--dry-run")
        self.assertEqual(code, 0, text)
        for line in ("config: %s -> configs/v1 (now configs/c2)" % pair.config, "~ settings.json", '+ "name": "v1",', "restarts app (supervised)",
                     "takes at most 1m"):
            self.assertIn(line, text)
        self.assertNotIn("not-for-your-eyes", text)
        self.assertEqual(pair.links(), ("v2", "c2"))
        code, text = pair.fleet.ctl("rollback", "shop", "--reason", "back by hand")
        self.assertEqual(code, 0, text)
        self.assertEqual(pair.ended()[0]["status"], "succeeded")
        pair.settled("v1", ("v1", "v1"))
        code, text = pair.fleet.ctl("rollback", "shop", "--to", "v2+c2", "--force", "--reason", "and there again")
        self.assertEqual(code, 0, text)
        pair.settled("v2+c2", ("v2", "c2"))

    def test_somebody_who_deploys_one_of_them_in_the_middle_wins(self):
        fleet = self.fleet()
        hook = os.path.join(fleet.root, "meddle")  # Its directory is ours alone, or it would not be run.
        pair = self.pair(fleet, hooks=[{"at": "before_switch", "name": "meddle", "command": [hook]}])
        with open(hook, "w", encoding="utf-8") as out:
            out.write("#!/bin/sh\n[ \"$ROLLBACKD_KIND\" = rollback ] || exit 0\n"
                      "ln -sfn configs/c9 %s.other && mv -T %s.other %s\n" % ((pair.config,) * 3))
        os.chmod(hook, 0o755)
        pair.conf("c9")
        pair.app("v2", bad=True)
        pair.conf("v2")
        pair.fleet.start()
        pair.settled("v1", ("v1", "v1"))

        pair.fleet.deploy(pair.service, "v2")
        rollback = pair.ended()[0]

        self.assertEqual(rollback["status"], "abandoned", rollback)
        self.assertIn("outside deployment won", rollback["detail"])
        wait_for("what they deployed is the release now", 10, lambda: pair.fleet.status(pair.service)["release"] == "v2+c9")
        self.assertEqual(pair.links(), ("v2", "c9"), "the first went back, the second is theirs")


if __name__ == "__main__":
    unittest.main()
