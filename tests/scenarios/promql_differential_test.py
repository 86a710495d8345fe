"""Our evaluator beside a real Prometheus (Debian's 2.42): the same samples, the same expressions, the same instants. Ours gets exactly what
Prometheus has stored, asked for through its API: an hour that promtool wrote into its data directory, and what it scraped meanwhile."""
import collections
import http.client
import json
import math
import os
import re
import subprocess
import sys
import time
import unittest
import urllib.parse

from harness import BINARIES, Prometheus, free_port, targets, wait_for
from promql_differential_cases import REFUSED, Cases, scraped_cases, slips
from promql_differential_data import AT_MS, BASE, Hour, Target

SEED = int(os.environ.get("ROLLBACKD_SEED", "4"))
INSTANTS = (BASE + 1900, BASE + 3330)
NEAR = 1e-9


# Where 2.42 answers otherwise than 3: a reason, the expressions, and what may differ.
KNOWN = (
    ("2.42 keeps the name in atan2", re.compile(r"\batan2\b"), "other elements"),
    ("2.42 takes the deviation of one NaN or Inf for 0", re.compile(r"\bstd(dev|var)( by| without)? ?\("), "other values"),
    ("2.42 draws no line through an infinity", re.compile(r"\b(predict_linear|deriv)\(.*temperature"), "other values"),
)
# Where one refuses what the other takes: a reason, who refuses, and its words.
OURS, THEIRS = 0, 1
KNOWN_ERRORS = (
    ("3 takes a duration for a number", THEIRS, "unexpected duration"),
    ("3 drops names last, so that series that differ by it alone may meet", THEIRS, "same labelset"),
    ("3 also counts the matches that a comparison drops", OURS, "many-to-one matching must be explicit"),
)


class Ours:
    """promql_eval, a question at a time."""

    def __init__(self):
        self.process = subprocess.Popen([os.path.join(BINARIES, "promql_eval")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, line):
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def take(self, matrix):
        """Samples as Prometheus gives them for a range selector."""
        for series in matrix:
            self.say({"series": series["metric"], "points": [[round(at * 1000), value] for at, value in series["values"]]})

    def ask(self, expression, at_ms):
        self.say({"query": expression, "at_ms": at_ms})
        answer = json.loads(self.process.stdout.readline())
        return answer.get("error"), answer.get("type"), [(dict(labels), value) for labels, value in answer.get("result", [])]

    def close(self):
        self.process.communicate()
        return self.process.returncode


class Theirs:
    """The same questions over one connection to Prometheus."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, expression, at_ms):
        body = urllib.parse.urlencode({"query": expression, "time": "%.3f" % (at_ms / 1000)})
        self.connection.request("POST", "/api/v1/query", body, {"Content-Type": "application/x-www-form-urlencoded"})
        return json.loads(self.connection.getresponse().read())

    def ask(self, expression, at_ms):
        answer = self.post(expression, at_ms)
        if answer["status"] != "success":
            return answer["error"], None, []
        kind, result = answer["data"]["resultType"], answer["data"]["result"]
        if kind == "vector":
            return None, kind, [(one["metric"], one["value"][1]) for one in result]
        return None, kind, [] if kind == "matrix" else [({}, result[1])]

    def samples(self, selector, at_ms):
        answer = self.post(selector, at_ms)
        if answer["status"] != "success":
            raise AssertionError(answer)
        return answer["data"]["result"]


def near(a, b):
    if a == b:
        return True
    try:
        a, b = float(a), float(b)
    except ValueError:
        return False  # Strings.
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= NEAR * max(abs(a), abs(b), 1e-3)


def rows(result, ordered):
    """Labels and value, in an order of their own unless the order is part of the answer."""
    out = [(sorted(labels.items()), value) for labels, value in result]
    return out if ordered else sorted(out)


def difference(shape, ours, theirs):
    """What differs, or None."""
    if (ours[0] is None) != (theirs[0] is None):
        return "one fails and one does not"
    if ours[0] is not None:
        return None
    if ours[1] != theirs[1]:
        return "another type"
    mine, its = rows(ours[2], shape == "sorted"), rows(theirs[2], shape == "sorted")
    if [labels for labels, _ in mine] != [labels for labels, _ in its]:
        return "other elements"
    return None if all(near(a, b) for (_, a), (_, b) in zip(mine, its)) else "other values"


class Differential(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not os.path.exists(os.path.join(BINARIES, "promql_eval")):
            raise AssertionError("ROLLBACKD_BINARIES must name the directory of promql_eval")
        cls.target = Target()
        cls.addClassCleanup(cls.target.close)
        port = free_port()
        config = {"global": {"scrape_interval": "100ms", "scrape_timeout": "100ms"},
                  "scrape_configs": [{"job_name": "live", "static_configs": targets(cls.target.place, "127.0.0.1:%d" % port)}]}
        cls.prometheus = Prometheus(config, port=port, arguments=["--storage.tsdb.retention.time=100y"])
        cls.addClassCleanup(cls.prometheus.close)
        # A block for the hour, before it starts: nothing has to be waited for.
        text = os.path.join(cls.prometheus.directory, "hour.txt")
        with open(text, "w", encoding="utf-8") as out:
            out.write(Hour(SEED).openmetrics())
        data = os.path.join(cls.prometheus.directory, "data")
        subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", text, data], check=True, timeout=60,
                       stdout=subprocess.DEVNULL)
        cls.prometheus.start()
        cls.theirs = Theirs(cls.prometheus.port)
        cls.addClassCleanup(cls.theirs.connection.close)

    def setUp(self):
        self.ours = Ours()
        self.addCleanup(self.end_ours)
        self.tally, self.differences = collections.Counter(), []

    def end_ours(self):
        self.assertEqual(self.ours.close(), 0, "promql_eval ended badly")

    def compare(self, shape, expression, at_ms):
        ours, theirs = self.ours.ask(expression, at_ms), self.theirs.ask(expression, at_ms)
        what = difference(shape, ours, theirs)
        reason = what and (next((r for r, pattern, may in KNOWN if what == may and pattern.search(expression)), None) or
                           next((r for r, who, words in KNOWN_ERRORS if words in ((ours, theirs)[who][0] or "")), None) or
                           ("a range of samples is no answer for a rule" if theirs[1] == "matrix" and ours[0] else None))
        if reason:
            self.tally["skipped: " + reason] += 1
            return
        self.tally["compared"] += 1
        self.tally["refused by both" if what is None and ours[0] else "empty in both" if what is None and not ours[2] else
                   "equal" if what is None else "different"] += 1
        if what:
            self.differences.append("%s: %s, %s @ %.3f\n    ours:   %s\n    theirs: %s" % (
                what, shape, expression, at_ms / 1000, ours[0] or sorted(map(str, ours[2])), theirs[0] or sorted(map(str, theirs[2]))))

    def conclude(self, name):
        print("%s, seed %d: %s" % (name, SEED, ", ".join("%d %s" % (n, what) for what, n in self.tally.items())), file=sys.stderr)
        self.assertEqual(self.differences, [], "\n" + "\n".join(self.differences))

    def take_hour(self):
        self.ours.take(self.theirs.samples('{__name__=~".+",job!="live"}[2h]', (BASE + 3700) * 1000))

    def test_an_hour_of_samples_gives_the_same_answers(self):
        self.take_hour()
        for shape, expression in Cases(SEED).draw(of_each=40):
            for at in INSTANTS:
                self.compare(shape, expression, at * 1000 + AT_MS)
        self.assertGreater(self.tally["equal"], 600, self.tally)
        self.conclude("an hour")

    def test_what_was_scraped_gives_the_same_answers(self):
        wait_for("enough was scraped", 30, lambda: self.target.scrapes >= 45)
        at_ms = int(time.time() * 1000) - 700  # What is older than that has been stored, and no more is coming.
        selector = '{job="live",__name__=~"live_.*|up|scrape_.*|prometheus_http_request.*|process_cpu.*"}[10m]'
        milliseconds = {round(at * 1000) % 1000 for series in self.theirs.samples(selector, at_ms) for at, _ in series["values"]}
        at_ms = next(at for at in range(at_ms, at_ms - 1000, -1) if at % 1000 not in milliseconds)  # No sample on a window's border.
        self.ours.take(self.theirs.samples(selector, at_ms))
        for shape, expression in scraped_cases(SEED):
            if "[3s:" in expression and {0, 500} & milliseconds:
                self.tally["skipped: a sample lies on a subquery's step"] += 1
            else:
                self.compare(shape, expression, at_ms)
        self.assertGreater(self.tally["equal"], 60, self.tally)
        self.conclude("scraped")

    def test_expressions_with_a_slip_are_taken_or_refused_alike(self):
        self.take_hour()
        for expression in slips(SEED, 400):
            self.compare("slip", expression, INSTANTS[0] * 1000 + AT_MS)
        self.conclude("slips")

    def test_what_prometheus_refuses_we_refuse(self):
        self.take_hour()
        for expression in REFUSED:
            at_ms = INSTANTS[1] * 1000 + AT_MS
            self.compare("refused", expression, at_ms)
            if self.theirs.ask(expression, at_ms)[0] is None:
                self.differences.append("Prometheus does not refuse " + expression)
        self.conclude("refused")


if __name__ == "__main__":
    unittest.main()
