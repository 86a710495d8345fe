#!/usr/bin/python3
"""How long rollbackd takes from an event to its reaction, to the switch and to the verified end; beside it, in the same rounds, the floor."""
import argparse
import datetime
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

from common import Bench, CannotMeasure, NotInTime, boot_now, leave_nothing_behind, quantile, reap, report

SPACING = 1.0      # Seconds that rollbackd leaves between two second opinions on one service; a round keeps off that.
WINDOW = 0.1       # Seconds of health that the verification asks for.
SLOT = 1.0         # Seconds between two probes, as in the promise.
HTTP_RULES = {"groups": [{"name": "bench", "rules": [
    {"alert": "ProbeFailed", "expr": "probe_success == 0", "labels": {"severity": "critical", "rollbackd_action": "rollback"}}]}]}
SCRAPE_RULES = {"groups": [{"name": "bench", "rules": [
    {"alert": "MetricFailed", "expr": "bench_failing == 1", "labels": {"severity": "critical", "rollbackd_action": "rollback"}}]}]}
POLICY = {"bake_time": "1h", "start_grace": "1s", "settle": "1s", "cooldown": "0s", "budget": {"rollbacks": 100, "per": "1m"}}
VERIFY = [{"type": "checks_healthy", "for": "100ms", "within": "10s"}]


class Floor:
    """bench_floor, waiting for the same event."""

    def __init__(self, binaries, *arguments):
        self.process = subprocess.Popen([os.path.join(binaries, "bench_floor"), *map(str, arguments)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True)
        if arguments[0] != "switch" and self.process.stdout.readline() != "ready\n":
            self.process.wait(10)
            raise CannotMeasure("bench_floor %s did not start" % arguments[0])

    def answer(self):
        """What it printed, in seconds: the CLOCK_BOOTTIME at which it noticed, or the lengths of its switch."""
        try:
            text = self.process.communicate(timeout=15)[0]
        except subprocess.TimeoutExpired as error:
            raise CannotMeasure("bench_floor noticed nothing") from error
        if self.process.returncode != 0:
            raise CannotMeasure("bench_floor ended with %d" % self.process.returncode)
        numbers = [int(word) / 1e9 for word in text.split()]
        return numbers[0] if len(numbers) == 1 else numbers

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class Round:
    """What one rollback took, in milliseconds."""

    def __init__(self, bench, event, operation, floor):
        timing = operation["decision"]["timing"]
        self.operation = operation
        self.reacted = timing["reaction"]
        self.reaction = 1000 * (self.reacted - bench.engine(event))
        self.floor = 1000 * (floor - event)
        self.switched = 1000 * (operation["switched_unix"] - timing["settled"])
        begun, listening = next((int(b) / 1e9, int(e) / 1e9) for r, b, e in reversed(bench.service.rows("starts")) if r == operation["to"])
        self.verified = 1000 * (operation["ended_unix"] - timing["settled"] - (listening - begun) - WINDOW)
        self.switch = 1e6 * next(step["took_seconds"] for step in operation["steps"] if step["action"] == "switch")
        switch = Floor(bench.fleet.binaries, "switch", bench.service.root)
        try:
            with_intent, alone = switch.answer()
        finally:
            switch.end()
        self.floor_switched, self.floor_switch = 1000 * with_intent, 1e6 * alone
        if self.reaction < 0:
            raise CannotMeasure("a reaction %.3f ms before its event" % -self.reaction)


def rounds_of(bench, count, name, one_round):
    out = []
    next_event = 0.0
    for number in range(1, count + 1):
        release = "v%d" % number
        bench.service.release(release)
        bench.fleet.deploy(bench.service, release)
        bench.settled(release)
        time.sleep(max(0.0, next_event - boot_now()))
        out.append(one_round(bench, release))
        next_event = out[-1].reacted - bench.offset + SPACING + 0.05
        bench.settled("v0")
        reap()
        if sys.stderr.isatty():
            print("\r%s %d/%d " % (name, number, count), end="", file=sys.stderr, flush=True)
    bench.check_clock()
    return out


def killed(bench, release):
    pid = bench.service.pid()
    floor = Floor(bench.fleet.binaries, "pidfd", pid)
    try:
        event = boot_now()
        os.kill(pid, signal.SIGKILL)
        noticed = floor.answer()
        return Round(bench, event, bench.rolled_back(release), noticed)
    finally:
        floor.end()


def fatal_line(bench, release):
    floor = Floor(bench.fleet.binaries, "line", bench.service.log)
    try:
        log = os.open(bench.service.log, os.O_WRONLY | os.O_APPEND)
        event = boot_now()
        os.write(log, b"FATAL cannot write orders: the ledger is read-only\n")
        os.close(log)
        noticed = floor.answer()
        return Round(bench, event, bench.rolled_back(release), noticed)
    finally:
        floor.end()


def answers_500(bench, release):
    service, twin = bench.service, bench.twin
    before = {s: len(s.rows("failures")) for s in (service, twin)}
    floor = Floor(bench.fleet.binaries, "http", twin.port, "/health", int(1000 * SLOT), random.randrange(int(1000 * SLOT)))
    try:
        time.sleep(random.uniform(0, SLOT))  # Not a wait for anything: a random phase against both grids.
        event = boot_now()
        service.failing(True)
        twin.failing(True)
        wait_for_switch(bench)
        service.failing(False)  # What fails is the release that was left.
        noticed = floor.answer()
        round_ = Round(bench, event, bench.rolled_back(release), noticed)
    finally:
        floor.end()
        service.failing(False)
        twin.failing(False)
    answered, answered_floor = (int(s.rows("failures")[before[s]][1]) / 1e9 for s in (service, twin))
    round_.waited = 1000 * (answered - event)  # For our next slot: the phase, which nobody can help.
    round_.after_answer = round_.reaction - round_.waited
    round_.floor_after_answer = 1000 * (noticed - answered_floor)
    return round_


class Sender:
    """Pushes alerts as Alertmanager does: one webhook a request, over one connection, with a token."""

    def __init__(self, bench):
        code, answer = bench.fleet.ctl("--format", "json", "token", "create", "bench", "--role", "operator", "--reason", "bench")
        if code != 0:
            raise CannotMeasure("no token: " + answer)
        self.headers = {"Content-Type": "application/json", "Authorization": "Bearer " + json.loads(answer)["token"]}
        self.connection = http.client.HTTPConnection("127.0.0.1", bench.fleet.port, timeout=10)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.service, self.sent = bench.service, 0

    def body(self):
        self.sent += 1
        now = datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
        labels = {"alertname": "Bench", "service": self.service.name, "environment": self.service.environment, "severity": "critical"}
        return json.dumps({"version": "4", "groupKey": "{}:{n=\"%d\"}" % self.sent, "truncatedAlerts": 0, "status": "firing", "receiver": "r",
                           "alerts": [{"status": "firing", "labels": labels, "annotations": {}, "startsAt": now,
                                       "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "%016x" % self.sent}]}).encode()

    def ask(self, method, path, body=None):
        """When the request was begun and when its answer was in."""
        begun = boot_now()
        self.connection.request(method, path, body=body, headers=self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status // 100 != 2:
            raise CannotMeasure("%s %s: %d %s" % (method, path, answer.status, text[:200]))
        return begun, boot_now()


def pushes_alert(sender):
    def one_round(bench, release):
        begun, answered = sender.ask("GET", "/-/healthy")  # The floor: the same connection, and nothing to do or to write.
        floor = answered - begun
        event, accepted = sender.ask("POST", "/api/v1/alertmanager", sender.body())
        round_ = Round(bench, event, bench.rolled_back(release), event + floor)
        round_.accepted = 1000 * (accepted - event)
        round_.to_switched = round_.reaction + 1000 * (round_.operation["switched_unix"] - round_.reacted)
        return round_
    return one_round


def wait_for_switch(bench):
    until = time.monotonic() + 10
    while bench.service.live() != "v0":
        if time.monotonic() > until:
            raise CannotMeasure("no switch within 10 s of the failing answer: " + str(bench.fleet.status(bench.service)))
        time.sleep(0.001)


def both(metric, rounds, of, median_promise, p95_promise, peer, peer_value, floor=None, unit="ms"):
    """Two lines: the median and the 95th percentile, each against what is promised of it (None: nothing)."""
    for name, q, promised in (("median", 0.5, median_promise), ("p95", 0.95, p95_promise)):
        value = quantile([of(r) for r in rounds], q)
        beside = None if floor is None else quantile([floor(r) for r in rounds], q)
        report("latency", "%s_%s" % (metric, name), value, unit, "none of its own" if promised is None else "<= %g %s" % (promised, unit),
               promised is None or value <= promised, peer, peer_value, beside)


def operations(scenario, rounds):
    peer = "ln + mv, no intent; measured once"
    both(scenario + "_decision_to_switched", rounds, lambda r: r.switched, 10, None, peer, 3, lambda r: r.floor_switched)
    both(scenario + "_decision_to_verified_beside_start_and_window", rounds, lambda r: r.verified, 250, None, "", None)
    both(scenario + "_switch_alone", rounds, lambda r: r.switch, 300, None, peer, 3000, lambda r: r.floor_switch, "us")


def kill(binaries, count):
    verify = [{"type": "service_status", "within": "10s"}, *VERIFY]
    with Bench(binaries, "kill", None, identity=None, policy=POLICY, verify=verify) as bench:
        rounds = rounds_of(bench, count, "kill", killed)
    both("kill_to_reaction", rounds, lambda r: r.reaction, 3, 10, "runit, own children only; systemd 13, Monit 1942; measured once", 2.5,
         lambda r: r.floor)
    operations("kill", rounds)


def log(binaries, count):
    def checks(service):
        return [{"name": "app-log", "type": "log", "path": service.log, "patterns": {"critical": "FATAL|panic"}}]
    with Bench(binaries, "log", checks, identity=None, policy=POLICY, verify=VERIFY) as bench:
        rounds = rounds_of(bench, count, "log", fatal_line)
    both("log_line_to_reaction", rounds, lambda r: r.reaction, 5, 10, "swatchdog; fail2ban 291, mtail + Prometheus 1459; measured once", 2.3,
         lambda r: r.floor)
    operations("log", rounds)


def http_(binaries, count):
    def checks(service):
        return [{"name": "health", "type": "http", "url": service.url(), "interval": "%gs" % SLOT, "timeout": "500ms"}]
    with Bench(binaries, "http", checks, rules=HTTP_RULES, identity=None, policy=POLICY, verify=VERIFY) as bench:
        bench.start_twin()
        rounds = rounds_of(bench, count, "http", answers_500)
    peer = "Prometheus + blackbox; HAProxy 753, Prometheus metric rule 1473; measured once"
    answered = quantile([r.after_answer for r in rounds], 0.5)
    answered_floor = quantile([r.floor_after_answer for r in rounds], 0.5)
    # The two grids have phases of their own, so that the medians of the whole time differ by chance: what the floor would have taken
    # on our slots is our wait for the slot and its own work.
    value = quantile([r.reaction for r in rounds], 0.5)
    same_slots = quantile([r.waited for r in rounds], 0.5) + answered_floor
    report("latency", "http_500_to_reaction_median", value, "ms", "<= floor + 5 ms, the floor polling on the same slots", value <= same_slots + 5,
           peer, 454, same_slots)
    report("latency", "http_500_to_reaction_median_beside_own_floor", value, "ms", "none of its own: the floor has its own phase", True, peer, 454,
           quantile([r.floor for r in rounds], 0.5))
    report("latency", "http_failing_answer_to_reaction_median", answered, "ms", "<= floor + 5 ms", answered <= answered_floor + 5, peer, None,
           answered_floor)
    value = quantile([r.after_answer for r in rounds], 0.95)
    report("latency", "http_failing_answer_to_reaction_p95", value, "ms", "none of its own", True, peer, None,
           quantile([r.floor_after_answer for r in rounds], 0.95))
    operations("http", rounds)


def scrape(binaries, count):
    def checks(service):
        return [{"name": "metrics", "type": "scrape", "url": service.url("/metrics"), "interval": "%gs" % SLOT, "timeout": "500ms"}]
    with Bench(binaries, "scrape", checks, rules=SCRAPE_RULES, identity=None, policy=POLICY, verify=VERIFY) as bench:
        bench.start_twin()
        rounds = rounds_of(bench, count, "scrape", answers_500)
    peer = "Prometheus metric rule; Prometheus + blackbox 454, HAProxy 753; measured once"
    same_slots = quantile([r.waited for r in rounds], 0.5) + quantile([r.floor_after_answer for r in rounds], 0.5)
    value = quantile([r.reaction for r in rounds], 0.5)
    report("latency", "scraped_metric_to_reaction_median", value, "ms", "<= floor + 5 ms, the floor polling on the same slots",
           value <= same_slots + 5, peer, 1473, same_slots)
    after, floor = (quantile([of(r) for r in rounds], 0.5) for of in (lambda r: r.after_answer, lambda r: r.floor_after_answer))
    report("latency", "scraped_answer_to_reaction_median", after, "ms", "<= floor + 5 ms", after <= floor + 5, peer, None, floor)
    report("latency", "scraped_answer_to_reaction_p95", quantile([r.after_answer for r in rounds], 0.95), "ms", "none of its own", True, peer,
           None, quantile([r.floor_after_answer for r in rounds], 0.95))
    operations("scrape", rounds)


def pushed(binaries, count):
    with Bench(binaries, "pushed", None, identity=None, policy=POLICY, verify=[{"type": "service_status", "within": "10s"}, *VERIFY],
               top={"routes": [{"match": ['severity="critical"'], "action": "rollback"}]}) as bench:
        sender = Sender(bench)
        rounds = rounds_of(bench, count, "pushed", pushes_alert(sender))
    peer = "no peer: Alertmanager tells, it does not act"
    both("pushed_alert_to_reaction", rounds, lambda r: r.reaction, None, None, peer, None, lambda r: r.floor)
    both("pushed_alert_to_accepted", rounds, lambda r: r.accepted, None, None, peer, None, lambda r: r.floor)
    both("pushed_alert_to_switched", rounds, lambda r: r.to_switched, None, None, peer, None, lambda r: r.floor + r.floor_switched)
    operations("pushed", rounds)


SCENARIOS = {"kill": kill, "log": log, "http": http_, "scrape": scrape, "pushed": pushed}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", required=True, help="directory of rollbackd, bench_floor and bench_service")
    parser.add_argument("--rounds", type=int, default=100, help="rollbacks of each kind (default 100)")
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="measure this alone; may be given again")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    leave_nothing_behind()
    good = True
    for name in options.only or SCENARIOS:
        try:
            SCENARIOS[name](os.path.abspath(options.binaries), options.rounds)
        except (CannotMeasure, NotInTime, AssertionError, OSError, KeyError, StopIteration, subprocess.SubprocessError) as error:
            good = False
            print("latency: %s could not be measured: %s: %s" % (name, type(error).__name__, error), file=sys.stderr, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
