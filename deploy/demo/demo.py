#!/usr/bin/python3
"""Shows bad releases of a real service being seen and rolled back, and three cases that must not be. One line a scenario."""
import argparse
import os
import shutil
import signal
import socketserver
import sys
import threading
import time

from fleet import Fleet, NotInTime, free_port, wait_for

QUIET = 6.0  # Seconds in which nothing may happen, for the cases that must not be rolled back.


class Failed(Exception):
    pass


def expect(condition, why):
    if not condition:
        raise Failed(why)


def milliseconds(later, earlier):
    return "%.0f ms" % max(0.0, 1000 * (later - earlier))


class Demo:
    def __init__(self, fleet):
        self.fleet = fleet
        self.passed = self.failed = 0
        verify = [{"type": "checks_healthy", "for": "500ms", "within": "10s"},
                  {"name": "order", "type": "http", "url": "", "within": "2s", "timeout": "500ms"}]
        self.shop = fleet.service("shop", verify=verify)
        verify[1]["url"] = self.shop.url("/order")
        self.feed = fleet.service("feed", checks=None, identity=None, policy={"bake_time": "3s"})
        self.feed.settings["checks"] = [{"name": "app-log", "type": "log", "path": self.feed.log, "patterns": {"critical": "FATAL"}, "interval": "250ms"}]
        self.database_port = free_port()
        self.trio = [fleet.service(name, depends_on=["database/demo"], process_environment={"DEPENDENCY": str(self.database_port)})
                     for name in ("cart", "pay", "ship")]
        for service in fleet.services:
            service.release("v1")
            service.link("v1")
        self.database = None

    def start_database(self):
        """The dependency that cart, pay and ship share: it takes connections, and that is all they ask of it."""
        socketserver.ThreadingTCPServer.allow_reuse_address = True
        self.database = socketserver.ThreadingTCPServer(("127.0.0.1", self.database_port), socketserver.BaseRequestHandler)
        threading.Thread(target=self.database.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop_database(self):
        if self.database:
            self.database.shutdown()
            self.database.server_close()
            self.database = None

    def run(self, letter, title, scenario):
        try:
            line = scenario()
            self.passed += 1
            print("(%s) ok    %-44s %s" % (letter, title, line), flush=True)
        except (Failed, NotInTime, AssertionError, OSError, KeyError) as error:
            self.failed += 1
            print("(%s) WRONG %-44s %s" % (letter, title, error), flush=True)
            print(self.fleet.ctl("explain", "shop")[1], file=sys.stderr)
            print(self.fleet.tail(), file=sys.stderr)

    def healthy(self, service, release):
        def settled():
            row = self.fleet.status(service)
            return row if row["release"] == release and row["started"] and not row["warming"] and row["phase"] == "watching" else None
        return wait_for("%s runs %s and is watched" % (service.name, release), 20, settled)

    def rolled_back(self, release, behaviour, **more):
        """Deploys a bad release of the shop and waits for its rollback. Returns the scenario's line."""
        shop, fleet = self.shop, self.fleet
        before = self.healthy(shop, shop.live())["release"]
        shop.release(release, behaviour, **more)
        fleet.deploy(shop, release)

        def ended():
            rows = [r for r in fleet.operations(shop, kind="rollback") if r["from"] == release]
            return rows[0] if rows and rows[0].get("ended") else None
        row = wait_for("the rollback of %s has ended" % release, 30, ended)
        operation = fleet.get("/api/v1/operations/" + row["operation"])[1]
        decision = operation["decision"]
        expect(row["status"] == "succeeded", "the rollback ended %s: %s" % (row["status"], row.get("detail")))
        expect(row["to"] == before and shop.live() == before, "%s is live, not %s" % (shop.live(), before))
        expect(row["trigger"] == "automatic", "it was not automatic")
        guards = [g for g in decision["guards"] if g["asked"]]
        expect(guards and all(g["yes"] for g in guards), "it acted against a guard")
        self.healthy(shop, before)
        ledger = fleet.get("/api/v1/releases?service=shop")[1]["releases"]
        expect([r["standing"] for r in ledger if r["release"] == release] == ["bad"], "%s is not marked bad" % release)
        rollbacks = [r for r in fleet.operations(shop, kind="rollback") if r["from"] == release]
        expect(len(rollbacks) == 1, "%d rollbacks instead of one" % len(rollbacks))
        timing = decision["timing"]
        seen = decision["evidence"][0].split(" firing")[0].split(":")[0]
        switched, verified = row["switched_unix"], row["ended_unix"]
        return "seen %s; guards %d/%d yes; %s -> %s; seen -> settled %s -> switched %s -> verified %s" % (
            seen, len(guards), len(guards), release, before, milliseconds(timing["settled"], timing["seen"]),
            milliseconds(switched, timing["settled"]), milliseconds(verified, switched))

    def nothing_for(self, services, seconds):
        """Watches that no rollback begins; a short look now and then, since it is the absence of an event that is shown."""
        before = {s.name: len(self.fleet.operations(s, kind="rollback")) for s in services}
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for service in services:
                expect(len(self.fleet.operations(service, kind="rollback")) == before[service.name], service.name + " was rolled back")
            time.sleep(0.2)

    def shared_dependency(self):
        for service in self.trio:
            self.healthy(service, "v1")
            service.release("v2")
            self.fleet.deploy(service, "v2")
        for service in self.trio:
            self.healthy(service, "v2")
        self.stop_database()
        held = {}

        def all_held():
            for service in self.trio:
                for decision in self.fleet.decisions(service):
                    no = [g["guard"] for g in decision["guards"] if g["asked"] and not g["yes"]]
                    if decision["decision"] == "hold" and "not_shared_failure" in no:
                        held[service.name] = no
            return len(held) == len(self.trio)
        wait_for("cart, pay and ship are held", 20, all_held)
        self.nothing_for(self.trio, 2)
        expect(all(s.live() == "v2" for s in self.trio), "a release was changed")
        self.start_database()
        return "3 services failed together; held by not_shared_failure; v2 stays"

    def no_data(self):
        feed = self.feed
        self.healthy(feed, "v1")
        feed.release("v2")
        self.fleet.deploy(feed, "v2")
        self.healthy(feed, "v2")
        wait_for("v2 has logged that it listens", 10, lambda: "release v2 listens" in open(feed.log, encoding="utf-8").read())
        shutil.rmtree(feed.log_directory)
        blind = wait_for("its rules are blind", 60, lambda: self.fleet.status(feed)["blind_rules"])
        self.nothing_for([feed], QUIET)
        row = self.fleet.status(feed)
        expect(row["release"] == "v2" and row["standing"] == "candidate", "v2 is %s" % row["standing"])
        os.makedirs(feed.log_directory)
        return "blind: %s; no decision to act, and v2 does not become good either" % ", ".join(blind)

    def clean_stop(self):
        shop = self.shop
        before = self.healthy(shop, shop.live())["release"]
        shop.release("v9")
        self.fleet.deploy(shop, "v9")
        row = self.healthy(shop, "v9")
        os.kill(row["process"]["pid"], signal.SIGTERM)
        wait_for("the stop was seen", 10, lambda: self.fleet.status(shop)["stopped_cleanly"])
        self.nothing_for([shop], QUIET)
        row = self.fleet.status(shop)
        expect(row["release"] == "v9" and not row["process"]["running"], "it was started or changed")
        return "stopped by a person: %s; v9 stays (before it: %s)" % (row["process"]["last_exit"], before)

    def all(self):
        self.start_database()
        self.fleet.start()
        self.run("a", "crashes after it started", lambda: self.rolled_back("v2", "crash", after=1))
        self.run("b", "/health answers 500", lambda: self.rolled_back("v3", "health-500"))
        self.run("c", "healthy, but FATAL in its log", lambda: self.rolled_back("v4", "fatal-log", after=1))
        self.run("d", "never starts", lambda: self.rolled_back("v5", "never-starts"))
        self.run("e", "hangs: connects, never answers", lambda: self.rolled_back("v6", "hang"))
        self.run("f", "checks green, verification fails", lambda: self.rolled_back("v7", "broken-order"))
        self.run("g", "shared dependency down: no rollback", self.shared_dependency)
        self.run("h", "the checks see no data: no rollback", self.no_data)
        self.run("i", "stopped by a person: no rollback", self.clean_stop)
        print("%d passed, %d failed" % (self.passed, self.failed), flush=True)
        return self.failed == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", required=True, help="directory of rollbackd and rollbackctl")
    parser.add_argument("--keep", action="store_true", help="leave everything running and print where it is")
    options = parser.parse_args()
    fleet = Fleet(options.binaries)
    demo = Demo(fleet)
    good = False
    try:
        good = demo.all()
        if options.keep:
            control = "%s/rollbackctl --url unix:%s" % (options.binaries, fleet.socket)
            print("\nstatus    %s status\nAPI       http://127.0.0.1:%d/api/v1/status\nmetrics   http://127.0.0.1:%d/metrics" % (control, fleet.port, fleet.port))
            print("shop      %s\nfiles     %s\nend       press Ctrl-C" % (demo.shop.url(), fleet.root), flush=True)
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        demo.stop_database()
        fleet.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
