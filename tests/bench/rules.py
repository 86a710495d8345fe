#!/usr/bin/python3
"""What rules cost, once a second over series that change with every sample: our judge by itself (bench_rules), a real Prometheus over the
same series and rules, the physical floor, and the whole daemon."""
import argparse
import http.server
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from common import HERE, Bench, CannotMeasure, NotInTime, leave_nothing_behind, report, wait_for
from idle import kib, processor_seconds

sys.path.insert(0, os.path.join(HERE, "..", "support"))
from servers import Prometheus, targets  # noqa: E402

KINDS = ("threshold", "named", "window", "ratio")
SERVICES = (10, 100, 1000)
PROCESSES = 3  # of bench_rules for each figure; the median counts
SEGMENTS = 5
RULES_A_GROUP = 1000
NO_RULES = '{"groups": []}'
PEER = "Prometheus 2.42, same series and rules, same run"


def expression(kind, i):
    """As in rules.cpp."""
    of = '{series="s%d"}' % i
    if kind == "ratio":
        part = "sum by (service, environment) (rate(bench_%s_total" + of + "[1m]))"
        return "%s / %s > 0.5" % (part % "errors", part % "requests")
    return {"threshold": "bench_value%s > 100" % of, "named": "bench_value_%d > 100" % i,
            "window": "rate(bench_total%s[1m]) > 50" % of}[kind]


def rule_file(kind, count):
    def rule(i):
        return {"alert": "A%d" % i, "expr": expression(kind, i), "labels": {"severity": "critical"},
                "annotations": {"summary": "it is {{ $value }}"}}

    def group(first):
        return {"name": "g%d" % first, "interval": "1s", "rules": [rule(i) for i in range(first, min(count, first + RULES_A_GROUP))]}
    return json.dumps({"groups": [group(first) for first in range(0, count, RULES_A_GROUP)]})


class Target:
    """Serves the series of rules.cpp; time moves by a second with every second, whoever asks."""

    def __init__(self, kind, count):
        self.kind, self.count, self.begun, target = kind, count, time.monotonic(), self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = target.exposition(int(time.monotonic() - target.begun) + 1).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = "127.0.0.1:%d" % self.server.server_port

    def exposition(self, tick):
        gauges = ((i * 7 + tick * 13) % 90 + (200 if i % 100 == 0 else 0) for i in range(self.count))
        counters = (6 * tick + (i + tick) % 2 + (100 * tick if i % 100 == 0 else 0) for i in range(self.count))
        if self.kind == "named":
            rows = ('bench_value_%d{series="s%d"} %d' % (i, i, v) for i, v in enumerate(gauges))
        elif self.kind == "threshold":
            rows = ('bench_value{series="s%d"} %d' % row for row in enumerate(gauges))
        elif self.kind == "window":
            rows = ('bench_total{series="s%d"} %d' % row for row in enumerate(counters))
        else:
            pair = 'bench_errors_total{series="s%d"} %d\nbench_requests_total{series="s%d"} %d'
            rows = (pair % (i, v, i, 120 * tick) for i, v in enumerate(counters))
        return "\n".join(rows) + "\n"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def program(binaries, *words):
    """The figures of one run of bench_rules."""
    done = subprocess.run([os.path.join(binaries, "bench_rules"), *map(str, words)], capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise CannotMeasure("bench_rules %s: %s" % (" ".join(map(str, words)), done.stderr.strip()))
    return json.loads(done.stdout)


def medians(binaries, *words):
    runs = [program(binaries, *words) for _ in range(PROCESSES)]
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def counter(prometheus, name):
    _, text = prometheus.request("GET", "/metrics")
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def look(bare, ruled):
    """CPU seconds of both, evaluations so far."""
    return [processor_seconds(bare.process.pid), processor_seconds(ruled.process.pid), counter(ruled, "prometheus_rule_evaluations_total")]


def peer(kind, count, seconds):
    """(CPU µs an evaluation, resident bytes a rule) of a Prometheus with the rules beside one without them."""
    def one(target, rules):
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "900ms", "evaluation_interval": "1s"}, "scrape_configs": [
            {"job_name": "bench", "static_configs": targets(target.place, service="svc0", environment="prod", check="metrics")}]}
        return Prometheus(config, rules=rules)
    with Target(kind, count) as target, one(target, {}) as bare, one(target, {"bench.yml": rule_file(kind, count)}) as ruled:
        bare.wait_scraped("bench")
        ruled.wait_scraped("bench")
        time.sleep(66 if kind in ("window", "ratio") else 20)  # Until the windows are full and nothing is new any more.
        fires = ruled.value('count(ALERTS{alertstate="firing"})')
        if fires != (count + 99) // 100:
            raise CannotMeasure("%s alerts fire in Prometheus" % fires)
        costs, memory = [], []
        for _ in range(SEGMENTS):
            before = look(bare, ruled)
            time.sleep(seconds / SEGMENTS)
            without, with_rules, evaluations = (b - a for a, b in zip(before, look(bare, ruled)))
            if evaluations < RULES_A_GROUP / 2:  # It may fall behind; what it carried out is what counts.
                raise CannotMeasure("Prometheus evaluated %d rules in %g s" % (evaluations, seconds / SEGMENTS))
            costs.append((with_rules - without) * 1e6 / evaluations)
            memory.append((kib(ruled.process.pid, "status", "VmRSS") - kib(bare.process.pid, "status", "VmRSS")) * 1024 / count)
        if counter(ruled, "prometheus_rule_group_iterations_missed_total") > 0:
            print("rules: Prometheus missed iterations; what it carried out is what counts", file=sys.stderr)
    return statistics.median(costs), statistics.median(memory)


def judge(binaries, kind, count, rounds, seconds):
    ours = medians(binaries, "judge", kind, count, rounds, "with")
    bare = medians(binaries, "judge", kind, count, rounds, "without")
    floor = medians(binaries, "floor", kind, count, rounds)["tick_us"] / count
    theirs, their_memory = peer(kind, count, seconds) if seconds else (None, None)
    cost = (ours["tick_us"] - bare["tick_us"]) / count
    # What a rule's own window makes the store keep is its samples, 16 bytes each, and not the rule.
    samples = 16 * (ours["points"] - bare["points"])
    memory = (ours["heap_bytes"] - bare["heap_bytes"] - samples) / count / 1024
    name = PEER if seconds else ""
    report("rules", kind + "_cpu_per_evaluation", cost, "µs", "<= 5 µs; then <= 0.3 µs", cost <= 5, name, theirs and round(theirs, 2), floor)
    report("rules", kind + "_cpu_per_evaluation_and_commit", ours["tick_us"] / count, "µs", "none of its own: with its samples' commit", True)
    if ours["tick_instructions"]:
        instructions = (ours["tick_instructions"] - bare["tick_instructions"]) / count
        report("rules", kind + "_instructions_per_evaluation", instructions, "", "none of its own", True)
    if theirs:
        report("rules", kind + "_cpu_beside_prometheus", theirs / max(cost, 0.001), "times less", "none of its own", True, PEER)
    report("rules", kind + "_memory_per_rule", memory, "KiB", "<= 1 KiB beside its samples", memory <= 1, name,
           their_memory and round(their_memory / 1024, 2))
    resident = ours["resident_bytes"] / 2**20
    report("rules", kind + "_resident_memory", resident, "MiB", "none of its own: with %d rules and all samples" % count, True)


def services(binaries, kind, rounds):
    """A batch of one service with ten rules, while so many services deliver theirs."""
    runs = {n: medians(binaries, "services", kind, n, rounds) for n in SERVICES}
    for n, run in runs.items():
        promise, ok = "none of its own", True
        if n == SERVICES[-1]:
            limit = 2 * runs[SERVICES[0]]["again_us"]
            promise, ok = "does not grow with other services: <= 2 times that with %d" % SERVICES[0], run["again_us"] <= limit
        report("rules", "%s_batch_of_10_rules_with_%d_services" % (kind, n), run["again_us"], "µs", promise, ok)
        report("rules", "%s_batch_of_10_rules_with_%d_services_in_turn" % (kind, n), run["batch_us"], "µs",
               "none of its own: with what the others' data drive out of the processor's cache", True)


def daemon(binaries, kind, count, seconds):
    """The whole daemon: it scrapes the target each second, and what its rules cost is the difference."""
    def look(directory, rules):
        """(CPU µs a second, resident bytes)"""
        path = os.path.join(directory, "rules.json")
        with open(path, "w", encoding="utf-8") as out:
            out.write(rules)
        with Target(kind, count) as target:
            def checks(service):
                return [{"name": "health", "type": "http", "url": service.url()},
                        {"name": "metrics", "type": "scrape", "url": "http://%s/metrics" % target.place, "interval": "1s",
                         "timeout": "900ms", "job": "bench", "sample_limit": 3 * count}]
            with Bench(binaries, "svc0", checks, top={"rule_files": [path]}) as bench:
                pid, costs = bench.fleet.daemon.pid, []
                time.sleep(10)  # What follows a start is not what rules cost.
                for _ in range(SEGMENTS):
                    before, begun = processor_seconds(pid), time.monotonic()
                    time.sleep(seconds / SEGMENTS)
                    costs.append((processor_seconds(pid) - before) * 1e6 / (time.monotonic() - begun))
                firing = len(bench.fleet.get("/api/v1/alerts")[1]["data"]["alerts"])
                if rules != NO_RULES and firing != (count + 99) // 100:
                    raise CannotMeasure("%d alerts fire in rollbackd" % firing)
                return statistics.median(costs), kib(pid, "status", "VmRSS") * 1024
    with tempfile.TemporaryDirectory() as directory:
        bare, bare_memory = look(directory, NO_RULES)
        ruled, memory = look(directory, rule_file(kind, count))
    report("rules", "daemon_%s_cpu_per_evaluation" % kind, (ruled - bare) / count, "µs", "none of its own: with the daemon around it", True)
    report("rules", "daemon_%s_scrape_and_commit" % kind, bare / count, "µs a sample", "none of its own: the daemon without the rules", True)
    report("rules", "daemon_%s_resident_memory_per_rule" % kind, (memory - bare_memory) / count / 1024, "KiB", "none of its own", True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", required=True, help="directory of bench_rules, rollbackd and bench_service")
    parser.add_argument("--rules", type=int, default=10_000, help="rules, each over a series of its own (default 10,000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of ten seconds of virtual time (default 5)")
    parser.add_argument("--seconds", type=float, default=20, help="how long each Prometheus and the daemon is looked at; 0: not at all (default 20)")
    parser.add_argument("--only", choices=KINDS, action="append", help="this kind of rule alone; may be given again")
    options = parser.parse_args()
    leave_nothing_behind()
    good, binaries = True, os.path.abspath(options.binaries)
    for kind in options.only or KINDS:
        try:
            judge(binaries, kind, options.rules, options.rounds, options.seconds)
            if kind in ("threshold", "window"):
                services(binaries, kind, options.rounds)
                if options.seconds:
                    daemon(binaries, kind, options.rules, options.seconds)
        except (CannotMeasure, NotInTime, AssertionError, OSError, KeyError, subprocess.SubprocessError) as error:
            good = False
            print("rules: %s could not be measured: %s: %s" % (kind, type(error).__name__, error), file=sys.stderr, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
