"""Series for promql_differential_test.py: an hour of samples from a seed, as OpenMetrics text that promtool makes a block of, and a target
that is really scraped.

Samples lie at a series' own milliseconds within the second, and instants are asked for at AT_MS within it. Ranges, offsets and steps are
whole seconds, so that no sample ever lies on the border of a window: there Prometheus 2 and 3 differ (3 leaves the left border out).
"""
import http.server
import math
import random
import threading

BASE = 1_700_000_000  # seconds; the hour lies within one block of promtool's
SPAN = 3600
STEP = 15
AT_MS = 391
JITTER_MS = range(100, 900, 50)  # neither 0, where subqueries look, nor AT_MS

JOBS, INSTANCES = ("api", "web"), ("a:80", "b:80", "c:80")
BUCKETS = ("0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf")


def shown(value):
    if math.isnan(value):
        return "NaN"
    return "%sInf" % ("+" if value > 0 else "-") if math.isinf(value) else repr(value)


class Hour:
    """Families of series. Each series is (labels, [(milliseconds, value), ...])."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.families = {}  # name -> (type, [(suffix, labels, points)])
        self.make()

    def instants(self, holes=()):
        """Every 15 s with the series' jitter, without the holes: pairs of shares of the hour."""
        jitter = self.random.choice(JITTER_MS)
        inside = lambda second: any(a * SPAN <= second < b * SPAN for a, b in holes)  # noqa: E731
        return [(BASE + second) * 1000 + jitter for second in range(0, SPAN, STEP) if not inside(second)]

    def counter(self, holes=(), speed=5, resets=0.01, start=None):
        value, points = self.random.uniform(50, 5000) if start is None else start, []
        for at in self.instants(holes):
            value = self.random.uniform(0, 9) if self.random.random() < resets else value + self.random.choice((0, 1, 1, 2)) * speed
            points.append((at, round(value, 3)))
        return points

    def gauge(self, low, high, odd=(), holes=()):
        points = [(at, round(self.random.uniform(low, high), 6)) for at in self.instants(holes)]
        for value in odd:
            at = self.random.randrange(len(points))
            points[at] = (points[at][0], value)
        return points

    def add(self, name, kind, labels, points, suffix=""):
        self.families.setdefault(name, (kind, []))[1].append((suffix, labels, points))

    def make(self):
        holes = {3: [(0.3, 0.45)], 7: [(0, 0.5)], 11: [(0.6, 1)], 15: [(0.2, 0.22), (0.5, 0.53)]}
        number = 0
        for job in JOBS:
            for instance in INSTANCES:
                where = {"job": job, "instance": instance}
                for code in ("200", "500"):
                    for method in ("get", "post"):
                        labels = dict(where, code=code, method=method)
                        self.add("http_requests", "counter", labels, self.counter(holes.get(number, ())), "_total")
                        number += 1
                self.add("errors", "counter", where, self.counter(speed=1, resets=0.03), "_total")
                self.add("memory_bytes", "gauge", where, self.gauge(1e8, 4e9))
                self.add("temperature", "gauge", where, self.gauge(-20, 40, odd=(math.nan, math.inf, -math.inf)))
                self.add("in_flight", "gauge", where, [(at, float(round(v))) for at, v in self.gauge(0, 6)])
                self.add("version_info", "gauge", dict(where, version="1.%d" % self.random.randrange(5), zone=instance[0]),
                         [(at, 1.0) for at in self.instants()])
                self.histogram(where)
            self.add("limit", "gauge", {"job": job, "owner": "team-" + job}, self.gauge(900, 1000))
            self.add("angle", "gauge", {"job": job}, self.gauge(-0.99, 0.99))
        self.add("moment", "gauge", {"kind": "past"}, self.gauge(1e8, 2e9))
        self.add("moment", "gauge", {"kind": "leap"}, [(at, 1_709_164_800.0 + at % 100_000) for at in self.instants()])

    def histogram(self, where):
        times, counts, total, out = self.instants(), [100.0 * (i + 1) for i in range(len(BUCKETS))], 300.0, [[] for _ in BUCKETS]
        sums = []
        for at in times:
            for _ in range(self.random.randrange(9)):
                took = self.random.lognormvariate(-1.5, 1)
                total += took
                for i, bound in enumerate(BUCKETS):
                    counts[i] += took <= float(bound)
            for i, points in enumerate(out):
                points.append((at, counts[i]))
            sums.append((at, round(total, 6)))
        for bound, points in zip(BUCKETS, out):
            self.add("latency_seconds", "histogram", dict(where, le=bound), points, "_bucket")
        self.add("latency_seconds", "histogram", where, sums, "_sum")
        self.add("latency_seconds", "histogram", where, out[-1], "_count")

    def openmetrics(self):
        lines = []
        for name, (kind, series) in self.families.items():
            lines.append("# TYPE %s %s" % (name, kind))
            for suffix, labels, points in series:
                inside = ",".join('%s="%s"' % pair for pair in labels.items())
                lines += ["%s%s{%s} %s %.3f" % (name, suffix, inside, shown(value), at / 1000) for at, value in points]
        return "\n".join(lines + ["# EOF", ""])


class Target:
    """Serves a few series that move with each scrape: counters with a reset, a gauge with NaN, a histogram."""

    def __init__(self):
        self.scrapes = 0
        target = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = target.exposition().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = "127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def exposition(self):
        n = self.scrapes = self.scrapes + 1
        rows = []
        for kind, speed in (("read", 3), ("write", 5)):
            rows.append('live_operations_total{kind="%s"} %d' % (kind, n * speed + 1000 if n < 17 else (n - 17) * speed))
            rows.append('live_queue{kind="%s"} %s' % (kind, "NaN" if n % 9 == speed else n * 7 % 23))
            for bound, share in (("0.1", 1), ("1", 2), ("+Inf", 4)):
                rows.append('live_seconds_bucket{kind="%s",le="%s"} %d' % (kind, bound, (n + 100) * share * speed))
        return "\n".join(rows) + "\n"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
