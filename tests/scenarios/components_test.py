"""Two components that move together: the code and its configuration, each behind a link of its own, and a process that reads both."""
import http.client
import json
import os
import signal
import time
import unittest
import urllib.request

from harness import Scenario, UNENDED, free_port, impatient, standing, wait_for

APP = r'''#!/usr/bin/python3
import http.server, json, os, sys
here = os.path.dirname(os.path.abspath(os.path.realpath(__file__)))
release = os.path.basename(here)
with open(os.environ["CONFIG"] + "/settings.json") as text:
    settings = json.load(text)
def well():
    return not any(os.path.exists(os.environ["CONFIG"] + ".bad-" + name) for name in ("app-" + release, "config-" + settings["name"]))
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"release": release, "config": settings["name"]}).encode()
        self.send_response(200 if self.path != "/health" or well() else 500)
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

    def spoil(self, component, release):
        """From now on whoever runs with it answers that it is not well."""
        open("%s.bad-%s-%s" % (self.config, component, release), "w", encoding="utf-8").close()

    def app(self, release):
        directory = os.path.join(self.service.releases, release)
        os.makedirs(directory)
        with open(directory + "/shop", "w", encoding="utf-8") as out:
            out.write(APP)
        os.chmod(directory + "/shop", 0o755)

    def conf(self, release):
        directory = os.path.join(self.configs, release)
        os.makedirs(directory)
        with open(directory + "/settings.json", "w", encoding="utf-8") as out:
            json.dump({"name": release, "password": "not-for-your-eyes-" + release}, out, indent=1)

    def link_config(self, release):
        os.symlink(os.path.join("configs", release), self.config + ".new")
        os.replace(self.config + ".new", self.config)

    def links(self):
        return self.service.live(), os.path.basename(os.readlink(self.config))

    def runs(self):
        try:
            with urllib.request.urlopen(self.service.url("/version"), timeout=30) as answer:
                told = json.load(answer)
                return told["release"], told["config"]
        except (OSError, http.client.HTTPException):
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


class Pairs(Scenario):
    def pair(self, fleet=None, **settings):
        pair = Pair(fleet or self.fleet(), **settings)
        pair.app("v1")
        pair.conf("v1")
        pair.service.link("v1")
        pair.link_config("v1")
        return pair


class ComponentsTest(Pairs):
    def test_a_bad_release_goes_back_with_its_configuration(self):
        pair = self.pair()
        pair.app("v2")
        pair.conf("v2")
        pair.fleet.start()
        pair.settled("v1", ("v1", "v1"))

        pair.fleet.deploy(pair.service, "v2")
        pair.settled("v2", ("v2", "v2"))
        pair.spoil("config", "v2")
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
        pair.app("v2")
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
        pair.settled("v2", ("v2", "v2"))
        pair.spoil("app", "v2")
        wait_for("rollbackd dies between the switches", 40, lambda: pair.fleet.daemon.poll() is not None)
        self.assertEqual(pair.links(), ("v1", "v2"), "the first is switched, the second is not")
        impatient(pair.service)

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

        began = time.monotonic()
        pair.service.link("v2")
        time.sleep(0.2)  # What a deploy script does between the two.
        pair.link_config("c2")
        took = time.monotonic() - began
        wait_for("the deployment is seen", 10, lambda: pair.fleet.status(pair.service)["release"] == "v2+c2")
        pair.restart()
        pair.settled("v2+c2", ("v2", "c2"))

        releases = [row["release"] for row in pair.fleet.get("/api/v1/deployments?service=shop")[1]]
        if took < 0.4:  # Else it had all the time to see what lay between: links are quiet after 500 ms.
            self.assertEqual(releases, ["v2+c2", "v1"])
        code, text = pair.fleet.ctl("rollback", "shop", "--reason", "a look", "--dry-run")
        self.assertEqual(code, 0, text)
        for line in ("config: %s -> configs/v1 (now configs/c2)" % pair.config, "~ settings.json", '+ "name": "v1",', "restarts app (supervised)",
                     "takes at most 4m"):
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
        pair.app("v2")
        pair.conf("v2")
        pair.fleet.start()
        pair.settled("v1", ("v1", "v1"))

        pair.fleet.deploy(pair.service, "v2")
        pair.settled("v2", ("v2", "v2"))
        pair.spoil("app", "v2")
        rollback = pair.ended()[0]

        self.assertEqual(rollback["status"], "abandoned", rollback)
        self.assertIn("outside deployment won", rollback["detail"])
        wait_for("what they deployed is the release now", 10, lambda: pair.fleet.status(pair.service)["release"] == "v2+c9")
        self.assertEqual(pair.links(), ("v2", "c9"), "the first went back, the second is theirs")


class RetentionTest(Pairs):
    """What of each component goes when old releases are removed, by an actor of root's where it is one."""

    def test_what_a_release_that_stays_is_made_of_stays_and_the_rest_goes(self):
        pair = self.pair(self.fleet(actor="fork"), policy={"bake_time": "3s", "keep_releases": 1})
        pair.fleet.start()
        pair.settled("v1", ("v1", "v1"))
        for release in ("v2", "v3", "v4"):
            pair.app(release)
            pair.conf(release)
            pair.fleet.deploy(pair.service, release)
            wait_for(release + " is good", 30, lambda: standing(pair.fleet, pair.service, release) == "good")  # noqa: B023
        pair.app("v5")
        pair.service.link("v5")
        pair.link_config("v2")
        wait_for("the deployment is seen", 10, lambda: pair.fleet.status(pair.service)["release"] == "v5+v2")
        pair.restart()
        pair.settled("v5+v2", ("v5", "v2"))

        def on_disk():
            return [sorted(name for name in os.listdir(where) if name[0] != ".") for where in (pair.service.releases, pair.configs)]
        # Live is v5+v2, to go back to v4, kept v3: of v2 the configuration is needed and the code is not.
        wait_for("what nobody needs is gone", 60, lambda: on_disk() == [["v3", "v4", "v5"], ["v2", "v3", "v4"]])

        code, text = pair.fleet.ctl("rollback", "shop", "--reason", "back by hand")
        self.assertEqual(code, 0, text)
        pair.settled("v4", ("v4", "v4"))


WORKER = r'''#!/usr/bin/python3
import http.server, json, os, sys
release = os.path.basename(os.path.dirname(os.path.abspath(os.path.realpath(__file__))))
with open(os.environ["STARTS"], "a") as starts:
    starts.write(release + "\n")
if os.path.exists(os.environ["STARTS"] + ".no-more"):
    sys.exit(3)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"release": release, "pid": os.getpid()}).encode()
        well = not os.path.exists(os.environ["STARTS"] + ".bad-" + release)
        self.send_response(200 if well or self.path != "/health" else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
'''


class Twins:
    """Two processes, each with a link, a service manager and a port of its own: the app and its worker."""

    def __init__(self, fleet, **settings):
        self.fleet = fleet
        self.service = service = fleet.service("shop", **settings)
        self.jobs, self.job, self.port = os.path.join(service.root, "jobs"), os.path.join(service.root, "job"), free_port()
        os.makedirs(self.jobs)
        body = service.configuration()
        app = body["components"][0]
        app["process"].update(restart_delay="200ms", environment={"PORT": str(service.port), "STARTS": self.starts("app")})
        worker = {"name": "worker", "releases": self.jobs, "current": self.job,
                  "process": dict(app["process"], command=[os.path.join(self.job, "shop")],
                                  environment={"PORT": str(self.port), "STARTS": self.starts("worker")})}
        service.settings["components"] = [app, worker]
        health = dict(body["checks"][0], name="worker-health", url="http://127.0.0.1:%d/health" % self.port)
        service.settings["checks"] = [body["checks"][0], health]

    def starts(self, component):
        return os.path.join(self.service.root, component + ".starts")

    def started(self, component, release):
        with open(self.starts(component), encoding="utf-8") as lines:
            return lines.read().split().count(release)

    def spoil(self, release):
        """From now on its worker answers that it is not well."""
        open(self.starts("worker") + ".bad-" + release, "w", encoding="utf-8").close()

    def release(self, release):
        for directory in (os.path.join(self.service.releases, release), os.path.join(self.jobs, release)):
            os.makedirs(directory)
            with open(directory + "/shop", "w", encoding="utf-8") as out:
                out.write(WORKER)
            os.chmod(directory + "/shop", 0o755)

    def link(self, release):
        self.service.link(release)
        os.symlink(os.path.join("jobs", release), self.job + ".new")
        os.replace(self.job + ".new", self.job)

    def links(self):
        return self.service.live(), os.path.basename(os.readlink(self.job))

    def runs(self):
        return self.runs_at(self.service.port), self.runs_at(self.port)

    @staticmethod
    def runs_at(port):
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d/version" % port, timeout=30) as answer:
                return json.load(answer)["release"]
        except (OSError, http.client.HTTPException):
            return None

    def settled(self, release):
        def look():
            row = self.fleet.status(self.service)
            well = row.get("release") == release and row["started"] and not row["warming"] and row["phase"] == "watching"
            return well and self.links() == self.runs() == (release, release)
        wait_for("both processes run %s and are watched" % release, 30, look)

    def ended(self, kind="rollback", number=1):
        def look():
            rows = [row for row in self.fleet.operations(self.service, kind=kind) if row["status"] not in UNENDED]
            return rows if len(rows) >= number else None
        return wait_for("%d %s of it have ended" % (number, kind), 60, look)

    def steps(self, operation):
        return [(s["action"], s["component"]) for s in self.fleet.get("/api/v1/operations/" + operation["operation"])[1]["steps"]]


class TwoProcessesTest(Scenario):
    def twins(self, **settings):
        twins = Twins(self.fleet(), **settings)
        twins.release("v1")
        twins.link("v1")
        return twins

    def test_both_processes_go_back_together_each_started_once(self):
        twins = self.twins()
        twins.release("v2")
        twins.fleet.start()
        twins.settled("v1")

        twins.fleet.deploy(twins.service, "v2")
        twins.settled("v2")
        twins.spoil("v2")
        rollback = twins.ended()[0]
        twins.settled("v1")

        self.assertEqual((rollback["status"], rollback["from"], rollback["to"]), ("succeeded", "v2", "v1"), rollback)
        self.assertEqual(twins.steps(rollback), [("switch", "app"), ("switch", "worker"), ("restart", "app"), ("restart", "worker")])
        for component in ("app", "worker"):
            self.assertEqual((twins.started(component, "v1"), twins.started(component, "v2")), (2, 1), component)
        wait_for("the pre-flight has looked at both processes", 30,
                 lambda: "worker runs as pid" in twins.fleet.ctl("ready", "shop", "--format", "json")[1])

    def test_a_second_process_that_does_not_come_up_is_told_and_comes_up_once_it_can(self):
        twins = self.twins()
        twins.release("v2")
        twins.fleet.start()
        twins.settled("v1")
        hindrance = twins.starts("worker") + ".no-more"
        twins.fleet.deploy(twins.service, "v2")
        twins.settled("v2")
        twins.service.settings["verify"] = [{"type": "checks_healthy", "for": "500ms", "within": "3s"}]  # From here on nothing gets well.
        twins.fleet.write_configuration()
        self.assertEqual(twins.fleet.ctl("reload")[0], 0)
        open(hindrance, "w", encoding="utf-8").close()  # The worker of v2 runs already; whichever is started now ends at once.
        twins.spoil("v2")

        rollback = twins.ended()[0]

        # Both links are switched and the app is back: only forward is safe then. A person is told, and nothing is tried without end.
        self.assertEqual(rollback["status"], "failed", rollback)
        self.assertEqual(twins.links(), ("v1", "v1"))
        wait_for("the app is back alone", 20, lambda: twins.runs() == ("v1", None))
        self.assertEqual(twins.started("app", "v1"), 2)
        wait_for("it is held", 20, lambda: twins.fleet.status(twins.service)["phase"] == "held")
        os.unlink(hindrance)
        wait_for("its keeper starts it", 30, lambda: twins.runs() == ("v1", "v1"))
        self.assertEqual(len(twins.fleet.operations(twins.service, kind="rollback")), 1)

    def test_a_deployment_whose_second_process_cannot_be_started_goes_back_whole(self):
        twins = self.twins()
        twins.release("v2")
        os.chmod(os.path.join(twins.jobs, "v2", "shop"), 0o644)
        twins.fleet.start()
        twins.settled("v1")

        twins.fleet.deploy(twins.service, "v2")
        rollback = twins.ended()[0]
        twins.settled("v1")

        self.assertEqual(rollback["status"], "succeeded", rollback)
        self.assertLessEqual(twins.started("app", "v2"), 1)  # It may be ended before its first line.
        self.assertEqual(twins.started("worker", "v2"), 0)
        self.assertEqual((twins.started("app", "v1"), twins.started("worker", "v1")), (2, 2))

    def test_where_the_second_cannot_be_switched_the_first_is_as_it_was_and_no_process_is_touched(self):
        fleet = self.fleet()
        hook = os.path.join(fleet.root, "remove")  # Its directory is ours alone, or it would not be run.
        twins = Twins(fleet, hooks=[{"at": "before_switch", "name": "remove", "command": [hook]}])
        with open(hook, "w", encoding="utf-8") as out:
            out.write("#!/bin/sh\n[ \"$ROLLBACKD_KIND\" = rollback ] || exit 0\nmv %s/v1 %s/.gone\n" % ((twins.jobs,) * 2))
        os.chmod(hook, 0o755)
        twins.release("v1")
        twins.link("v1")
        twins.release("v2")
        fleet.start()
        twins.settled("v1")

        fleet.deploy(twins.service, "v2")
        twins.settled("v2")
        twins.spoil("v2")
        rollback = twins.ended()[0]

        self.assertEqual(rollback["status"], "undone", rollback)
        self.assertEqual(twins.steps(rollback)[-3:], [("switch", "app"), ("switch", "worker"), ("undo", "app")])
        self.assertEqual(twins.links(), ("v2", "v2"))
        self.assertEqual(twins.runs(), ("v2", "v2"))
        self.assertEqual((twins.started("app", "v2"), twins.started("worker", "v2")), (1, 1), "no process was touched")

    def test_killed_between_the_two_switches_no_process_was_touched_and_then_each_is_started_once(self):
        twins = self.twins()
        twins.release("v2")
        twins.fleet.start()
        twins.settled("v1")
        twins.fleet.deploy(twins.service, "v2")
        twins.settled("v2")
        wait_for("v1 can be gone back to", 20, lambda: twins.fleet.status(twins.service)["protected"])
        twins.fleet.stop_daemon()
        twins.fleet.start(environment={"ROLLBACKD_FAILPOINT": "record.switch.worker.before"})
        twins.settled("v2")

        code, text = twins.fleet.ctl("rollback", "shop", "--reason", "by hand")
        wait_for("rollbackd dies between the switches", 40, lambda: twins.fleet.daemon.poll() is not None)
        self.assertEqual(twins.links(), ("v1", "v2"), "the first is switched, the second is not")
        self.assertEqual(twins.runs(), ("v2", "v2"))

        twins.fleet.start()
        rows = twins.ended()
        twins.settled("v2")

        self.assertEqual([row["status"] for row in rows], ["abandoned"], (rows, code, text))
        self.assertEqual([step for step in twins.steps(rows[0]) if step[0] == "undo"], [("undo", "worker"), ("undo", "app")])
        self.assertEqual((twins.started("app", "v2"), twins.started("worker", "v2")), (1, 1), "no process was touched")
        code, text = twins.fleet.ctl("rollback", "shop", "--reason", "by hand, again")
        self.assertEqual(code, 0, text)
        twins.settled("v1")
        for component in ("app", "worker"):
            self.assertEqual((twins.started(component, "v1"), twins.started(component, "v2")), (2, 1), component)

    def test_killed_after_both_switches_each_process_is_started_once(self):
        twins = self.twins()
        twins.release("v2")
        twins.fleet.start()
        twins.settled("v1")
        twins.fleet.deploy(twins.service, "v2")
        twins.settled("v2")
        wait_for("v1 can be gone back to", 20, lambda: twins.fleet.status(twins.service)["protected"])
        twins.fleet.stop_daemon()
        twins.fleet.start(environment={"ROLLBACKD_FAILPOINT": "record.restart.worker.before"})
        twins.settled("v2")

        twins.fleet.ctl("rollback", "shop", "--reason", "by hand")
        wait_for("rollbackd dies between the restarts", 40, lambda: twins.fleet.daemon.poll() is not None)
        self.assertEqual(twins.links(), ("v1", "v1"))

        twins.fleet.start()
        rows = twins.ended()
        twins.settled("v1")

        self.assertEqual([row["status"] for row in rows], ["succeeded"], rows)
        for component in ("app", "worker"):
            self.assertEqual((twins.started(component, "v1"), twins.started(component, "v2")), (2, 1), component)


if __name__ == "__main__":
    unittest.main()
