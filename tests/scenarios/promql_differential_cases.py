"""Expressions for promql_differential_test.py, drawn from a seed: each (shape, text). The shape is "sorted" where the order counts.

Left out, because Prometheus 2.42 and 3 mean different things: a name that two series of one operand would lose (3 drops names later),
predict_linear with an @ in a subquery (2.42 moves its window all the same), holt_winters, a dot in a regular expression against a line's
end, quoted names, numbers as durations.
"""
import random
import re

COUNTERS = ("http_requests_total", "errors_total", "latency_seconds_count", "latency_seconds_sum")
GAUGES = ("memory_bytes", "temperature", "in_flight", "angle")
BY_INSTANCE = ("errors_total", "memory_bytes", "temperature", "in_flight", "latency_seconds_count")  # labels: job, instance
COUNTER_FUNCTIONS = ("rate", "irate", "increase", "resets", "changes")
RANGE_FUNCTIONS = ("avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "count_over_time", "last_over_time",
                   "present_over_time", "stddev_over_time", "stdvar_over_time", "delta", "idelta", "deriv", "changes", "resets")
MATHS = ("abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "deg", "rad", "sinh", "cosh", "tanh", "asinh",
         "atan")
WAVES = ("sin", "cos", "tan")  # of what was read alone: of a large computed number they are chance
NARROW = ("asin", "acos", "atanh")  # of [-1, 1]
DATES = ("year", "month", "day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute")
AGGREGATIONS = ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")
ARITHMETIC, COMPARISONS = ("+", "-", "*", "/", "%", "^"), ("==", "!=", "<", "<=", ">", ">=")
WINDOWS = ("31s", "1m", "2m", "5m", "7m30s", "15m")
OFFSETS = ("", "", "", " offset 1m", " offset 7m", " offset -2m", " @ 1700001800.391", " @ 1700003000.391 offset 3m")
MATCHERS = ('job="api"', 'job!="api"', 'job=~"a.+|w.b"', 'job!~"x.*"', 'instance=~"[ab]:.*"', 'instance!="c:80"', 'missing=""', 'job!=""',
            'instance=~".*"')

TOKEN = re.compile(r'"[^"]*"|[\w.]+|[=!<>~]+|[^\s\w]')
SUBQUERY = re.compile(r"\[\w+:\w*\]")


class Cases:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, *of):
        return self.random.choice(of[0] if len(of) == 1 else of)

    def number(self):
        return self.pick("0", "1", "-1", "2.5", "100", "1e9", "0x1F", "NaN", "Inf", "-Inf", "0.5", "3")

    # --- Instant vectors of one metric, so that losing its name leaves every label set apart ---

    def matchers(self):
        return ",".join(self.random.sample(MATCHERS, self.pick(0, 0, 1, 1, 2)))

    def selector(self, metric=None, offset=True):
        metric, inside = metric or self.pick(COUNTERS + GAUGES), self.matchers()
        return metric + ("{%s}" % inside if inside else "") + (self.pick(OFFSETS) if offset else "")

    def window(self, metric, offset=True):
        inside = self.matchers()
        return "%s[%s]%s" % (metric + ("{%s}" % inside if inside else ""), self.pick(WINDOWS), self.pick(OFFSETS) if offset else "")

    def ranged(self, metric=None):
        if self.random.random() < 0.5:
            return "%s(%s)" % (self.pick(COUNTER_FUNCTIONS), self.window(metric or self.pick(COUNTERS)))
        metric = metric or self.pick(GAUGES)
        linear = self.window(metric, offset=False) + self.pick("", " offset 2m")
        return self.pick("%s(%s)" % (self.pick(RANGE_FUNCTIONS), self.window(metric)),
                         "quantile_over_time(%s, %s)" % (self.pick("0", "0.3", "0.9", "1", "-1", "2"), self.window(metric)),
                         "predict_linear(%s, %s)" % (linear, self.pick("60", "3600", "-100")))

    def vector(self, depth=2):
        """Any vector; names are gone or those of one metric."""
        kind = self.random.randrange(10 if depth > 0 else 3)
        if kind == 0:
            return self.selector()
        if kind in (1, 2):
            return self.ranged()
        if kind == 3:
            return self.aggregated(depth - 1)
        if kind == 4:
            return "%s(%s)" % (self.pick(MATHS), self.vector(depth - 1))
        if kind == 5:
            return "(%s %s %s)" % (self.vector(depth - 1), self.pick("+", "-", "*", "/", "^"), self.number())
        if kind == 6:
            return "(%s %s %s%s)" % (self.number(), self.pick(COMPARISONS), self.pick("", "bool "), self.vector(depth - 1))
        if kind == 7:
            return "-" + self.vector(depth - 1)
        if kind == 8:
            return "clamp(%s, %s, %s)" % (self.vector(depth - 1), self.number(), self.number())
        return self.over_subquery(depth - 1)

    def grouping(self):
        labels = ", ".join(self.random.sample(("job", "instance", "code", "method", "nothing"), self.pick(0, 1, 1, 2, 3)))
        return self.pick("", " by (%s)" % labels, " by (%s)" % labels, " without (%s)" % labels)

    def aggregated(self, depth=1):
        inner, grouping = self.vector(depth), self.grouping()
        if self.random.random() < 0.2:
            return "quantile%s (%s, %s)" % (grouping, self.pick("0", "0.5", "0.95", "1", "-0.1", "1.1", "NaN"), inner)
        return "%s%s (%s)" % (self.pick(AGGREGATIONS), grouping, inner)

    def over_subquery(self, depth=1):
        """Of what has neither a subquery (its borders would lie on this one's steps) nor, under an @ of its own, an @ within."""
        function = self.pick(RANGE_FUNCTIONS + ("rate", "increase"))
        # Of what is computed, rounding may look like a reset; and in a window that it begins in near zero, 3 extrapolates less than 2.42.
        inner = self.selector(self.pick(COUNTERS)) if function in ("rate", "increase", "resets", "changes") else self.vector(depth)
        while SUBQUERY.search(inner):
            inner = self.selector()
        offset = self.pick(OFFSETS)
        steps = self.pick("[10m:1m]", "[5m:30s]", "[17m:45s]", "[3m:7s]", "[10m:]")
        return "%s((%s)%s%s)" % (function, inner, steps, "" if "@" in inner and "@" in offset else offset)

    # --- Shapes ---

    def shape_selector(self):
        return self.selector()

    def shape_names(self):
        return "{__name__=~\"%s\"%s}%s" % (self.pick("errors_total|memory_bytes", "lat.*", "in_.*|limit"), self.pick("", ', job="web"'),
                                          self.pick(OFFSETS))

    def shape_ranged(self):
        return self.ranged()

    def shape_aggregation(self):
        return self.aggregated()

    def shape_top(self):
        inner = self.pick("memory_bytes", "rate(latency_seconds_sum[5m])", "angle", "-memory_bytes", "temperature > -1000", "limit")
        return "%s%s (%s, %s)" % (self.pick("topk", "bottomk"), self.pick("", " by (job)", " without (instance)"),
                                  self.pick("0", "1", "2", "3", "9", "1.7"), inner)

    def shape_count_values(self):
        return 'count_values%s ("%s", %s)' % (self.pick("", " by (job)", " without (instance)"), self.pick("value", "job"),
                                              self.pick("in_flight", "version_info", "floor(angle * 2)", "in_flight offset 3m"))

    def shape_scalars(self):
        op = self.pick(ARITHMETIC + tuple(c + " bool" for c in COMPARISONS) + ("atan2",))
        right = self.pick(self.number(), "time()", 'scalar(limit{job="api"})', "pi()", "scalar(errors_total)")
        return "%s %s %s" % (self.number(), op, right)

    def shape_vector_scalar(self):
        op = self.pick(ARITHMETIC + COMPARISONS + tuple(c + " bool" for c in COMPARISONS) + ("atan2",))
        sides = [self.selector() if op == "%" else self.vector(1), self.number()]
        self.random.shuffle(sides)
        return "%s %s %s" % (sides[0], op, sides[1])

    def shape_one_to_one(self):
        left, right = self.random.sample(BY_INSTANCE, 2)
        op = self.pick(ARITHMETIC + COMPARISONS + tuple(c + " bool" for c in COMPARISONS) + ("atan2",))
        match = self.pick("", "", " on (job, instance)", " ignoring (code)", " on (instance, job, nothing)")
        right = self.pick(self.selector(right), "rate(%s[5m])" % right, self.selector(right) + " * 2")
        return "%s %s%s %s" % (self.selector(left), op, match, right)

    def shape_group_left(self):
        op = self.pick(ARITHMETIC + COMPARISONS + tuple(c + " bool" for c in COMPARISONS))
        many = self.pick("http_requests_total", "rate(http_requests_total[5m])", "errors_total", "latency_seconds_bucket",
                         self.selector("errors_total"))
        one, on = self.pick(("version_info", "on (job, instance) group_left (version)"),
                            ("version_info", "on (job, instance) group_left (version, zone)"),
                            ("limit", "on (job) group_left (owner)"), ("limit", "on (job) group_left ()"),
                            ("memory_bytes", "on (job, instance) group_left"),
                            ("errors_total", "ignoring (code, method, le) group_left"),
                            ("sum by (job) (errors_total)", "on (job) group_left"))
        if self.random.random() < 0.3:
            return "%s %s %s %s" % (one, op, on.replace("group_left", "group_right"), many)
        return "%s %s %s %s" % (many, op, on, one)

    def shape_sets(self):
        left, right = self.random.sample(BY_INSTANCE, 2)
        match = self.pick("", "", " on (job)", " on (instance)", " ignoring (instance)", " on ()")
        return "%s %s%s %s" % (self.pick(self.selector(left), self.selector(left) + " > 20"), self.pick("and", "or", "unless"), match,
                               self.pick(self.selector(right), self.selector(right) + " < 1000", "limit", "vector(1)"))

    def shape_subquery(self):
        return self.over_subquery(self.pick(0, 1, 2))

    def shape_subquery_twice(self):
        """Inner windows of an odd half minute: their borders lie between the inner steps."""
        inner, outer = self.pick(RANGE_FUNCTIONS), self.pick(RANGE_FUNCTIONS[:-2])
        what = self.selector(offset=False) if inner in ("resets", "changes") else self.pick(self.selector(offset=False), self.ranged())
        steps, outer_steps = self.pick("[5m30s:1m]", "[2m30s:1m]"), self.pick("[10m:1m]", "[7m:1m]", "[10m:]", "[9m:3m]")
        return "%s((%s((%s)%s))%s)" % (outer, inner, what, steps, outer_steps)

    def shape_quantile(self):
        q = self.pick("0", "0.1", "0.5", "0.9", "0.99", "1", "-1", "2", "NaN")
        inner = self.pick("latency_seconds_bucket", "rate(latency_seconds_bucket[%s])" % self.pick(WINDOWS),
                          "sum by (le) (rate(latency_seconds_bucket[5m]))",
                          "sum by (job, le) (increase(latency_seconds_bucket[15m]%s))" % self.pick(OFFSETS),
                          "sum without (instance) (latency_seconds_bucket)", 'latency_seconds_bucket{le!="+Inf"}', "errors_total",
                          'rate(latency_seconds_bucket{le=~"0.1|[+]Inf"}[5m])')
        return "histogram_quantile(%s, %s)" % (q, inner)

    def shape_labels(self):
        metric = self.pick("errors_total", "memory_bytes", "rate(latency_seconds_sum[5m])", "version_info")
        if self.random.random() < 0.5:
            return 'label_join(%s, "%s", "%s", %s)' % (metric, self.pick("joined", "job"), self.pick("-", "", "/"),
                                                       self.pick('"job", "instance"', '"instance"', '"nothing", "job", "instance"'))
        return 'label_replace(%s, "%s", "%s", "%s", "%s")' % (
            metric, self.pick("host", "instance", "new"), self.pick("$1", "x-$1-y", "${1}", "$2", "fixed", ""),
            self.pick("instance", "nothing", "job"), self.pick("(.*):.*", "(.*)", "([a-z]):(80)", "nomatch", "", "(?:a|b)(.+)"))

    def shape_absent(self):
        inner = self.pick("nothing_at_all", 'nothing{job="api",instance=~"a.*"}', "errors_total", 'errors_total{job="x"}', "sum(nothing)",
                          'nothing{job="a",job="b"}', "memory_bytes offset 2h", 'nothing{a="1",b!="2"} offset 1m')
        return self.pick("absent(%s)" % inner, "absent_over_time(%s[%s])" % (self.pick("nothing", 'errors_total{job="y"}', "errors_total"),
                                                                              self.pick(WINDOWS)))

    def shape_sorted(self):
        return "%s(%s)" % (self.pick("sort", "sort_desc"), self.pick("memory_bytes", "rate(latency_seconds_sum[5m])", "-angle", "limit * 2",
                                                                     "max by (instance) (memory_bytes)"))

    def shape_clamp(self):
        inner = self.vector(1)
        return self.pick("clamp(%s, %s, %s)" % (inner, self.number(), self.number()), "clamp_min(%s, %s)" % (inner, self.number()),
                         "clamp_max(%s, %s)" % (inner, self.number()), "round(%s)" % inner,
                         "round(%s, %s)" % (inner, self.pick("0.1", "5", "0.25", "-2")))

    def shape_maths(self):
        return self.pick("%s(%s)" % (self.pick(MATHS), self.vector(1)), "%s(angle%s)" % (self.pick(NARROW), self.pick(OFFSETS)),
                         "acosh(limit%s)" % self.pick(OFFSETS),
                         "%s(%s)" % (self.pick(WAVES), self.selector()), "%s(temperature)" % self.pick(MATHS))

    def shape_dates(self):
        some = "vector(%d)" % self.random.randrange(-3_000_000_000, 4_000_000_000)
        return "%s(%s)" % (self.pick(DATES), self.pick("", "moment", "moment", some, "timestamp(errors_total)", "moment - 1e8"))

    def shape_time(self):
        return self.pick("time()", "timestamp(%s)" % self.selector(), "timestamp(%s)" % self.vector(1), "vector(time())",
                         "vector(%s)" % self.number(), "scalar(%s)" % self.selector(), "pi()", '"a string"',
                         "timestamp(errors_total offset 5m)", "scalar(sum(errors_total))")

    def shape_nested(self):
        return self.vector(3)

    def draw(self, of_each):
        """`of_each` different ones of each shape, as far as a shape has so many."""
        out = []
        for name in sorted(n for n in dir(self) if n.startswith("shape_")):
            seen = set()
            for _ in range(of_each * 4):
                if len(seen) < of_each:
                    seen.add(getattr(self, name)())
            out += [(name[len("shape_"):], text) for text in sorted(seen)]
        return out


def scraped_cases(seed):
    """Over what Target serves and what Prometheus says of itself, scraped ten times a second."""
    out = Cases(seed)
    for metric in ("live_operations_total", "live_queue", "up", "prometheus_http_request_duration_seconds_count", "scrape_samples_scraped",
                   "process_cpu_seconds_total"):
        for window in ("1s", "2s", "3s"):
            function = out.pick(COUNTER_FUNCTIONS + RANGE_FUNCTIONS)
            yield "scraped", "%s(%s[%s]%s)" % (function, metric, window, out.pick("", " offset 1s"))
            yield "scraped", "%s%s (%s)" % (out.pick(AGGREGATIONS), out.pick("", " by (job)", " by (kind)", " without (instance)"), metric)
        yield "scraped", "max_over_time((rate(%s[1s]))[3s:500ms])" % metric
        yield "scraped", "%s offset 2s" % metric
    for name in ("live_seconds_bucket", 'prometheus_http_request_duration_seconds_bucket{handler="/api/v1/query"}'):
        for q in ("0.5", "0.9", "0.99", "1"):
            yield "scraped", "histogram_quantile(%s, %s)" % (q, name)
            yield "scraped", "histogram_quantile(%s, rate(%s[2s]))" % (q, name)
            yield "scraped", "histogram_quantile(%s, sum by (le) (increase(%s[3s])))" % (q, name)
    for op in ARITHMETIC + COMPARISONS:
        yield "scraped", "live_operations_total %s on (kind) live_queue" % op
        yield "scraped", "rate(live_operations_total[2s]) %s ignoring (kind) group_left up" % op
    yield from (("scraped", text) for text in (
        'label_replace(live_queue, "what", "$1", "kind", "(.)r.*")', "live_queue == live_queue", 'absent(live_queue{kind="none"})',
        "count(live_queue > 5)", "live_operations_total unless on (kind) (live_queue > 10)", "time() - timestamp(up)",
        "topk(1, live_operations_total)", "hour(timestamp(up))"))


def slips(seed, count):
    """Expressions with one token lost, doubled or moved: most of them wrong, some of another meaning."""
    cases = Cases(seed)
    texts = [text for shape, text in cases.draw(of_each=40) if "%" not in text and "top" not in text]
    for _ in range(count):
        tokens = TOKEN.findall(cases.pick(texts))
        at = cases.random.randrange(len(tokens))
        change = cases.pick("lose", "lose", "double", "swap")
        if change == "lose":
            del tokens[at]
        elif change == "double":
            tokens.insert(at, tokens[at])
        elif at:
            tokens[at - 1], tokens[at] = tokens[at], tokens[at - 1]
        yield " ".join(tokens)


# Both must refuse these, most at parsing, some at evaluating.
REFUSED = (
    "", "errors_total{", "errors_total}", "errors_total[5m", "errors_total[5]]", "errors_total[5x]", "errors_total[0s]",
    "errors_total offset", "sum(", "sum()", "sum(errors_total", "sum(1)", "sum by job (errors_total)", "sum by (job (errors_total)",
    "topk(errors_total)", "topk(errors_total, errors_total)", "quantile(errors_total)", "count_values(errors_total)",
    "rate(errors_total)", "rate(errors_total[5m], 1)", "rate()", "rate(1)", "rate(rate(errors_total[5m]))", "abs(errors_total[5m])",
    "abs(1)", "abs()", "unknown_function(errors_total)", "1 == 1", "1 and 2", "1 or errors_total", "errors_total unless 1",
    "errors_total[5m] + 1", "errors_total + errors_total[5m]", '"a" + 1', '"a" == "b"', '-"a"', "errors_total + on (job) memory_bytes",
    "errors_total + on (job) group_left memory_bytes", "errors_total and on (job) group_left limit",
    "errors_total + on (job) group_left (job) limit", "errors_total + group_left limit",
    "errors_total + ignoring (instance) http_requests_total", '{job=~".*"}', "{}", '{job=""}', '{job!="x"}', 'errors_total{job=~"("}',
    'errors_total{job=~"*"}', 'errors_total{job="a"', "errors_total{job=a}", 'errors_total{job,"a"}', 'errors_total{="a"}',
    'errors_total{0job="a"}', 'errors_total{job:x="a"}', 'errors_total{__name__="x"}', "errors_total @", "errors_total @ errors_total",
    "errors_total @ 1 @ 2", "errors_total offset 1m offset 2m", "(errors_total) offset 1m", "rate(errors_total[5m]) offset 1m",
    "sum(errors_total)[5m]", "errors_total[5m][5m]", "errors_total[5m:1m", "errors_total[5m:1m:1m]", "errors_total[:1m]",
    "(errors_total + 1)[5m]", "rate(sum(errors_total)[5m])", "scalar(1)", "vector(errors_total)", "histogram_quantile(errors_total, 1)",
    "histogram_quantile(0.5)", 'label_replace(errors_total, "a", "b", "c")',
    'label_replace(errors_total, "instance", "x", "instance", ".*")', 'label_replace(errors_total, "a", "$1", "b", "(")',
    'label_join(errors_total, "instance", "")', 'label_join(errors_total, "a")', "time(1)", "pi(1)", "hour(1)", "sort(1)",
    "round(errors_total, errors_total)", "clamp(errors_total, 1)", "absent(1)", "absent(errors_total[5m])",
    "absent_over_time(errors_total)", "1 +", "+ +", "* errors_total", "errors_total errors_total", "errors_total by (job)", "1 atan2",
    "errors_total ^^ 2", "errors_total =! 1", "errors_total = 1", "errors_total === 1", "bool 1", "1 > bool", "errors_total + bool 1",
    "on (job) errors_total", "'unclosed", '"unclosed', "`unclosed", "# only a comment", "1..2", "1e", "0x", "1 2", "(1", "1)", "()", ",",
    "sum(errors_total,)x", "sum by (job) without (job) (errors_total)", "sum(errors_total) by", "errors_total{}{}", "5m5", "$1",
    "errors_total!", '\\', "errors_total;", "é", "a.b", "a-b-", "1m errors_total",
)
