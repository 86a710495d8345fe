#!/usr/bin/python3
"""How many alerts rollbackd takes from outside while a rollback runs, each answered only when it is on disk; beside it, in the same run,
Alertmanager's own API, which keeps them in memory, and the floor, one durable write an alert."""
import argparse
import json
import os
import subprocess
import sys

from common import Bench, CannotMeasure, NotInTime, leave_nothing_behind, report, wait_for

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from servers import Alertmanager  # noqa: E402

CONNECTIONS = 16   # Fewer than the firing alerts that a service's state has room for: each connection has one at a time.
RATE = 1000        # A second, as in the promise.
PEER = "Alertmanager's /api/v2/alerts, in memory"
POLICY = {"bake_time": "1h", "start_grace": "1s", "cooldown": "0s", "deadline": {"standard": "10m", "emergency": "10m", "step": "30s"}}


def load(binaries, *arguments):
    done = subprocess.run([os.path.join(binaries, "bench_load"), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise CannotMeasure("bench_load ended with %d: %s" % (done.returncode, done.stderr))
    out = json.loads(done.stdout)
    if out["failed"] or not out["requests"]:
        raise CannotMeasure("%d of %d requests failed" % (out["failed"], out["requests"]))
    return out


def measure(binaries, seconds):
    window = "%ds" % (3 * seconds + 30)
    settings = {"policy": POLICY, "verify": [{"type": "checks_healthy", "for": window, "within": "5m"}]}
    with Alertmanager({"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}) as manager, \
            Bench(binaries, "api", lambda service: [{"name": "health", "type": "http", "url": service.url()}], **settings) as bench:
        bench.fleet.stop_daemon()
        bench.fleet.top["routes"] = [{"match": ["severity=\"critical\""], "action": "rollback"}]
        bench.fleet.start()
        bench.settled("v0")
        token = os.path.join(bench.fleet.root, "token")
        code, output = bench.fleet.ctl("token", "create", "bench", "--role", "operator", "--output", token)
        if code != 0:
            raise CannotMeasure(output)
        bench.service.release("v1")
        bench.fleet.deploy(bench.service, "v1")
        bench.settled("v1")
        status, answer = bench.fleet.post("/api/v1/rollback", service="api", reason="to measure while it runs")
        if status != 202:
            raise CannotMeasure(str(answer))
        operation = "/api/v1/operations/" + answer["operation"]
        wait_for("the rollback verifies", 30, lambda: bench.fleet.get(operation)[1].get("status") == "verifying")

        most = load(binaries, "webhook", bench.fleet.port, token, CONNECTIONS, seconds, 0)
        paced = load(binaries, "webhook", bench.fleet.port, token, CONNECTIONS, seconds, RATE)
        if bench.fleet.get(operation)[1]["status"] != "verifying":
            raise CannotMeasure("the rollback ended before the measurement")
        fired = len(bench.fleet.operations(bench.service, kind="rollback"))
        if fired != 1:
            raise CannotMeasure("%d rollbacks: alerts that come while one runs must begin none" % fired)
        peer_most = load(binaries, "alertmanager", manager.port, CONNECTIONS, seconds, 0)
        peer_paced = load(binaries, "alertmanager", manager.port, CONNECTIONS, seconds, RATE)
        floor = load(binaries, "floor", bench.fleet.root, min(seconds, 3))

    def per_second(out):
        return out["requests"] / out["seconds"]
    report("api", "durable_alerts_per_second", per_second(most), "alerts/s", ">= 1000/s while a rollback runs",
           per_second(most) >= 1000, PEER, round(per_second(peer_most)), per_second(floor))
    report("api", "durable_alert_p99_at_1000_per_second", paced["p99_us"] / 1000, "ms", "<= 5 ms while a rollback runs",
           paced["p99_us"] <= 5000 and per_second(paced) >= 0.98 * RATE, PEER,
           round(peer_paced["p99_us"] / 1000, 3), floor["p99_us"] / 1000)
    report("api", "durable_alert_median_at_1000_per_second", paced["p50_us"] / 1000, "ms", "none", True, PEER,
           round(peer_paced["p50_us"] / 1000, 3), floor["p50_us"] / 1000)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", required=True, help="directory of rollbackd, rollbackctl, bench_load and bench_service")
    parser.add_argument("--seconds", type=int, default=10, help="how long each load lasts (default 10)")
    options = parser.parse_args()
    leave_nothing_behind()
    try:
        measure(os.path.abspath(options.binaries), options.seconds)
    except (CannotMeasure, NotInTime, AssertionError, OSError, KeyError, subprocess.SubprocessError) as error:
        print("api: could not be measured: %s: %s" % (type(error).__name__, error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
