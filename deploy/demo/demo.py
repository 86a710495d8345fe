#!/usr/bin/python3
"""Shows bad releases of real services being seen and rolled back, and cases that must not be. One line a scene."""
import argparse
import os
import shutil
import signal
import socketserver
import sys
import threading

from fleet import Fleet, free_port, wait_for
from more import More
from scenes import QUIET, WRONG, expect, healthy, nothing_for, rolled_back


class Demo:
    def __init__(self, fleet, second):
        self.fleet, self.more = fleet, More(second)
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

    def run(self, letter, title, scene, fleet=None):
        try:
            line = scene()
            self.passed += 1
            print("(%s) ok    %-46s %s" % (letter, title, line), flush=True)
        except WRONG as error:
            self.failed += 1
            print("(%s) WRONG %-46s %s" % (letter, title, error), flush=True)
            print((fleet or self.fleet).tail(), file=sys.stderr)

    def begin(self, letter, title, scene, fleet):
        """Starts a scene beside the others. Returns what waits for its end and prints its line."""
        outcome = {}

        def play():
            try:
                outcome["line"] = scene()
            except Exception as error:  # Handed to the thread that prints; run() knows which of them are the scene's.
                outcome["error"] = error

        def told():
            thread.join()
            if "error" in outcome:
                raise outcome["error"]
            return outcome["line"]
        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        return lambda: self.run(letter, title, told, fleet)

    def shop_rolled_back(self, release, behaviour, **more):
        return rolled_back(self.shop, release, behaviour, **more)

    def shared_dependency(self):
        for service in self.trio:
            healthy(service, "v1")
            service.release("v2")
            self.fleet.deploy(service, "v2")
        for service in self.trio:
            healthy(service, "v2")
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
        nothing_for(self.trio, 2)
        expect(all(s.live() == "v2" for s in self.trio), "a release was changed")
        self.start_database()
        return "3 services failed together; held by not_shared_failure; v2 stays"

    def no_data(self):
        feed = self.feed
        healthy(feed, "v1")
        feed.release("v2")
        self.fleet.deploy(feed, "v2")
        healthy(feed, "v2")
        wait_for("v2 has logged that it listens", 10, lambda: "release v2 listens" in open(feed.log, encoding="utf-8").read())
        shutil.rmtree(feed.log_directory)
        blind = wait_for("its rules are blind", 60, lambda: self.fleet.status(feed)["blind_rules"])
        nothing_for([feed], QUIET)
        row = self.fleet.status(feed)
        expect(row["release"] == "v2" and row["standing"] == "candidate", "v2 is %s" % row["standing"])
        os.makedirs(feed.log_directory)
        return "blind: %s; no decision to act, and v2 does not become good either" % ", ".join(blind)

    def clean_stop(self):
        shop = self.shop
        before = healthy(shop, shop.live())["release"]
        shop.release("v9")
        self.fleet.deploy(shop, "v9")
        row = healthy(shop, "v9")
        os.kill(row["process"]["pid"], signal.SIGTERM)
        wait_for("the stop was seen", 10, lambda: self.fleet.status(shop)["stopped_cleanly"])
        nothing_for([shop], QUIET)
        row = self.fleet.status(shop)
        expect(row["release"] == "v9" and not row["process"]["running"], "it was started or changed")
        return "stopped by a person: %s; v9 stays (before it: %s)" % (row["process"]["last_exit"], before)

    def all(self):
        self.start_database()
        self.fleet.start()
        self.more.start()
        beside = [self.begin(*scene, self.more.fleet) for scene in self.more.scenes()]
        self.run("a", "crashes after it started", lambda: self.shop_rolled_back("v2", "crash", after=1))
        self.run("b", "/health answers 500", lambda: self.shop_rolled_back("v3", "health-500"))
        self.run("c", "healthy, but FATAL in its log", lambda: self.shop_rolled_back("v4", "fatal-log", after=1))
        self.run("d", "never starts", lambda: self.shop_rolled_back("v5", "never-starts"))
        self.run("e", "hangs: connects, never answers", lambda: self.shop_rolled_back("v6", "hang"))
        self.run("f", "checks green, verification fails", lambda: self.shop_rolled_back("v7", "broken-order"))
        self.run("g", "shared dependency down: no rollback", self.shared_dependency)
        self.run("h", "the checks see no data: no rollback", self.no_data)
        self.run("i", "stopped by a person: no rollback", self.clean_stop)
        for wait_and_tell in beside:
            wait_and_tell()
        print("%d passed, %d failed" % (self.passed, self.failed), flush=True)
        return self.failed == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", required=True, help="directory of rollbackd and rollbackctl")
    parser.add_argument("--keep", action="store_true", help="leave everything running and print where it is")
    options = parser.parse_args()
    fleet, second = Fleet(options.binaries), Fleet(options.binaries)
    for one in (fleet, second):
        one.top["actor"] = "fork"  # Steps by a process of their own, as an installation has it.
        # Half of the services going back within ten minutes is the breaker's idea of trouble, and this program's purpose.
        one.top["breaker"] = {"share_percent": 100}
    demo = Demo(fleet, second)
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
        demo.more.end()
        demo.stop_database()
        second.close()
        fleet.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
