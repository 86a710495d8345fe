"""Metrics from outside: a real Prometheus as scrape target (OpenMetrics, packed) and as the server that answers queries, up and gone."""
import json
import os

from harness import Prometheus, Scenario, settled, wait_for

RULES = [
    # What a release could be rolled back for, by a scraped metric and by a query's answer: well while Prometheus runs.
    {"alert": "ScrapedIsBad", "expr": 'prometheus_build_info{job="monitored"} != 1 or rate(process_cpu_seconds_total[20s]) > 1000',
     "labels": {"rollbackd_action": "rollback", "severity": "critical"}},
    {"alert": "QueriedIsBad", "expr": "prom:targets:up != 1", "labels": {"rollbackd_action": "rollback", "severity": "critical"}},
    # Its outage is a fact of its own, for those who ask.
    {"alert": "TargetDown", "expr": "up == 0"},
    # What the service's other checks say is none of Prometheus's business.
    {"alert": "ProbeFails", "expr": "probe_success != 1", "labels": {"rollbackd_action": "rollback", "severity": "critical"}},
    {"alert": "Quantile", "expr": "histogram_quantile(0.5, sum by (service, environment, le) "
                                  "(rate(prometheus_http_request_duration_seconds_bucket[20s]))) >= 0"},
]


class Metrics(Scenario):
    def test_what_a_prometheus_says_is_judged_and_its_outage_is_blind_and_never_bad(self):
        prometheus = self.server(Prometheus({
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "self", "static_configs": [{"targets": ["127.0.0.1:1"]}]}]}))
        prometheus.write_config({"global": {"scrape_interval": "1s"}, "scrape_configs": [
            {"job_name": "self", "static_configs": [{"targets": ["127.0.0.1:%d" % prometheus.port]}]}]})
        prometheus.reload()
        prometheus.wait_scraped("self")

        fleet, service = self.shop()
        rules = os.path.join(fleet.root, "rules.json")
        with open(rules, "w", encoding="utf-8") as out:
            json.dump({"groups": [{"name": "outside", "rules": RULES}]}, out)
        body = service.configuration()
        service.settings["checks"] = body["checks"] + [
            {"name": "metrics", "type": "scrape", "url": prometheus.url + "/metrics", "interval": "500ms", "timeout": "400ms",
             "job": "monitored", "drop": ["go_gc_.*"]},
            {"name": "prom", "type": "promql", "url": prometheus.url, "interval": "500ms", "timeout": "400ms",
             "queries": {"prom:targets:up": "min by (job) (up)"}}]
        service.settings["rule_files"] = [rules]
        fleet.start()
        settled(fleet, service, "v1")

        def verdicts():
            explained = fleet.get("/api/v1/services?service=shop")[1]
            return {rule["rule"]: rule["verdict"] for rule in explained["rules"] if rule["group"] == "outside"}

        def become(what, seconds=20, **wanted):
            wait_for("%s: %s" % (what, wanted), seconds, lambda: all(verdicts().get(rule) == v for rule, v in wanted.items()), every=0.1)

        def firing():
            return {alert["labels"]["alertname"] for alert in fleet.get("/api/v1/alerts")[1]["data"]["alerts"]}

        well = {"ScrapedIsBad": "ok", "QueriedIsBad": "ok", "TargetDown": "ok", "ProbeFails": "ok", "Quantile": "breached"}
        become("all that Prometheus says is live", **well)

        prometheus.stop()

        become("what it said is blind, and nothing else", ScrapedIsBad="blind", QueriedIsBad="blind", Quantile="blind",
               TargetDown="breached", ProbeFails="ok")
        self.assertIn("TargetDown", firing())
        self.assertFalse(firing() & {"ScrapedIsBad", "QueriedIsBad", "ProbeFails"})

        prometheus.start()

        become("it is believed again", **dict(well, Quantile="breached"))
        self.assertEqual(fleet.operations(service, kind="rollback"), [])
        self.assertEqual(service.live(), "v1")
