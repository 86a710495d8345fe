#!/usr/bin/env python3
"""Writes the dashboards' JSON (dashboards/*.json) from the descriptions below. Change this file, run it, commit both; a test holds them
together.

  grafana/build.py           writes the files          grafana/build.py --check     says whether they are up to date (exit code 1: no)

Grafana 10 and later (schema 39). Every query goes to the data source that $datasource names, so that the files fit any Grafana.
"""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
OVERVIEW, SERVICE = "rollbackd-overview", "rollbackd-service"

GREEN, YELLOW, ORANGE, RED, BLUE, GREY, PURPLE = "green", "yellow", "orange", "red", "blue", "#8e8e8e", "purple"

# Words for the numbers that metrics carry: value -> (text, colour).
YES_IS_BAD = {0: ("no", GREEN), 1: ("yes", RED)}
YES_IS_GOOD = {0: ("no", RED), 1: ("yes", GREEN)}
HEALTH = {0: ("failing", RED), 1: ("healthy", GREEN)}
STANDINGS = {1: ("candidate", BLUE), 2: ("good", GREEN), 3: ("bad", RED), 4: ("revoked", PURPLE), 5: ("unknown", GREY)}
REASONS = {
    "": ("ready", GREEN),
    "not_started": ("not started yet", GREY),
    "trouble": ("configuration or platform trouble", RED),
    "link": ("the link cannot be read", RED),
    "state_file": ("the state file cannot be trusted", RED),
    "automation_off": ("automation is off", GREY),
    "observe": ("automation is observe", GREY),
    "suspended": ("suspended by a person", YELLOW),
    "no_target": ("no good release to go back to", ORANGE),
    "not_armed": ("target not checked yet", YELLOW),
    "target_changed": ("the target's files have changed", RED),
    "held": ("held: waits for a person", RED),
    "link_directory": ("the link's directory cannot be written", RED),
    "actor": ("the actor cannot be reached", RED),
    "manager": ("the service manager does not answer", RED),
    "kill_switch": ("the kill switch is on", RED),
    "locked": ("somebody holds the deploy lock", YELLOW),
    "deploy_lock": ("somebody holds the deploy lock", YELLOW),
    "window": ("a freeze or maintenance window", YELLOW),
    "budget": ("the budget of rollbacks is used up", ORANGE),
    "reversible": ("the live release cannot be taken back", ORANGE),
    "changes": ("something else changed since the release", ORANGE),
    "fleet": ("the fleet breaker is open", RED),
}
STATUS_COLOURS = {"succeeded": GREEN, "unverified": ORANGE, "undone": YELLOW, "abandoned": YELLOW, "partial": RED, "failed": RED,
                  "unknown": PURPLE, "cancelled": GREY}
DECISION_COLOURS = {"none": GREY, "notify": BLUE, "hold": ORANGE, "rollback": RED}


def value_mappings(words):
    return [{"type": "value", "options": {str(value): {"text": text, "color": colour, "index": index}
                                          for index, (value, (text, colour)) in enumerate(words.items())}}]


def steps(*pairs):
    """Thresholds: the colour below the first number, then (from, colour) pairs."""
    first, rest = pairs[0], pairs[1:]
    return {"mode": "absolute", "steps": [{"color": first, "value": None}] + [{"color": colour, "value": value} for value, colour in rest]}


def query(expr, legend="", ref="A", instant=False, form="time_series"):
    return {"datasource": DATASOURCE, "editorMode": "code", "expr": expr, "legendFormat": legend or "__auto", "refId": ref,
            "format": form, "instant": instant, "range": not instant}


def queries(*pairs, **more):
    """Queries A, B, ... from (expression, legend) pairs."""
    return [query(expr, legend, chr(ord("A") + i), **more) for i, (expr, legend) in enumerate(pairs)]


def panel(kind, title, description, targets, unit, options, custom=None, thresholds=None, mappings=None, overrides=None, colour=None,
          **more):
    defaults = {"unit": unit, "mappings": mappings or [], "thresholds": thresholds or steps(GREEN), "custom": custom or {},
                "color": {"mode": colour or ("thresholds" if thresholds else "palette-classic")}}
    for name in ("min", "max", "decimals", "noValue", "links"):
        if name in more:
            defaults[name] = more.pop(name)
    return dict({"type": kind, "title": title, "description": description, "datasource": DATASOURCE, "targets": targets, "options": options,
                 "fieldConfig": {"defaults": defaults, "overrides": overrides or []}}, **more)


def stat(title, description, targets, unit="none", text="auto", **more):
    """A number now. text="name" shows the label of the legend instead of the number."""
    return panel("stat", title, description, targets, unit,
                 {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "textMode": text, "colorMode": "background",
                  "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "wideLayout": True}, **more)


def lines(title, description, targets, unit="none", style="line", calcs=("lastNotNull", "max"), stack=False, fill=10,
          threshold_lines=False, **more):
    custom = {"drawStyle": style, "lineWidth": 1, "fillOpacity": 80 if style == "bars" else fill, "showPoints": "auto", "pointSize": 6,
              "spanNulls": False, "lineInterpolation": "stepAfter" if style == "line" else "linear", "axisSoftMin": 0,
              "stacking": {"mode": "normal" if stack else "none", "group": "A"},
              "thresholdsStyle": {"mode": "dashed" if threshold_lines else "off"}}
    return panel("timeseries", title, description, targets, unit,
                 {"legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": list(calcs)},
                  "tooltip": {"mode": "multi", "sort": "desc"}}, custom=custom, colour="palette-classic", **more)


def bars(title, description, targets, unit="none", colours=None, **more):
    """Stacked bars of counts: at least a minute wide, so that one event is one bar."""
    return lines(title, description, targets, unit, style="bars", stack=True, calcs=("sum",), interval="1m",
                 overrides=[coloured(name, colour) for name, colour in (colours or {}).items()], **more)


def heatmap(title, description, expr, unit="s"):
    return panel("heatmap", title, description, [query(expr, "{{le}}", form="heatmap")], unit,
                 {"calculate": False, "cellGap": 1, "cellValues": {"unit": "none"}, "showValue": "never", "rowsFrame": {"layout": "auto"},
                  "color": {"mode": "scheme", "scheme": "Oranges", "scale": "exponential", "exponent": 0.5, "steps": 64, "reverse": False,
                            "fill": "dark-orange"},
                  "exemplars": {"color": "rgba(255,0,255,0.7)"}, "filterValues": {"le": 1e-9}, "legend": {"show": True},
                  "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
                  "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit}},
                 custom={"scaleDistribution": {"type": "linear"}, "hideFrom": {"legend": False, "tooltip": False, "viz": False}},
                 interval="1m")


def bar_gauge(title, description, targets, unit="none", **more):
    return panel("bargauge", title, description, targets, unit,
                 {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "orientation": "horizontal",
                  "displayMode": "basic", "showUnfilled": True, "valueMode": "color", "namePlacement": "left", "sizing": "auto"}, **more)


def timeline(title, description, targets, words, **more):
    """States over time, one row a series."""
    return panel("state-timeline", title, description, targets, "none",
                 {"alignValue": "left", "mergeValues": True, "rowHeight": 0.8, "showValue": "auto",
                  "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
                  "tooltip": {"mode": "single", "sort": "none"}},
                 custom={"fillOpacity": 75, "lineWidth": 0}, thresholds=steps(GREY), mappings=value_mappings(words), **more)


def table(title, description, targets, columns, sort=None, overrides=(), **more):
    """Instant queries merged on their common labels. `columns`: field -> heading, in order; every other field is hidden."""
    order = {field: index for index, field in enumerate(columns)}
    return panel("table", title, description, targets, "none",
                 {"showHeader": True, "cellHeight": "sm",
                  "footer": {"show": False, "reducer": ["sum"], "countRows": False},
                  "sortBy": [{"displayName": sort, "desc": False}] if sort else []},
                 custom={"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True}, overrides=list(overrides),
                 transformations=[{"id": "merge", "options": {}},
                                  {"id": "filterFieldsByName", "options": {"include": {"names": list(columns)}}},
                                  {"id": "organize",
                                   "options": {"excludeByName": {}, "indexByName": order, "renameByName": dict(columns)}}], **more)


def override(field, **properties):
    """What differs for one field, by the name it is shown with."""
    return {"matcher": {"id": "byName", "options": field},
            "properties": [{"id": name, "value": value} for name, value in properties.items()]}


def coloured(field, colour):
    return override(field, color={"mode": "fixed", "fixedColor": colour})


def cell(field, words):
    """A column whose values become coloured words."""
    return override(field, mappings=value_mappings(words), **{"custom.cellOptions": {"type": "color-background", "mode": "basic"}})


def linked(field, title, url):
    return override(field, links=[{"title": title, "url": url, "targetBlank": False}])


def variable(name, label, definition, description, multi):
    one = {"type": "query", "name": name, "label": label, "description": description, "datasource": DATASOURCE, "definition": definition,
           "query": {"query": definition, "refId": "PrometheusVariableQueryEditor-VariableQuery", "qryType": 1}, "refresh": 2, "sort": 1,
           "hide": 0, "multi": multi, "includeAll": multi, "skipUrlSync": False, "regex": "", "options": [], "current": {}}
    if multi:
        one.update(allValue=".*", current={"selected": True, "text": ["All"], "value": ["$__all"]})
    return one


def annotation(name, colour, expr, title, text):
    """Marks where `expr` has a value. It has one for the length of $__rate_interval; the mark's left edge is the moment."""
    return {"name": name, "datasource": DATASOURCE, "enable": True, "hide": False, "iconColor": colour, "expr": expr, "step": "",
            "tagKeys": "", "titleFormat": title, "textFormat": text, "useValueForTime": False,
            "target": {"datasource": DATASOURCE, "expr": expr, "refId": "Anno", "interval": ""}}


def dashboard(uid, title, description, variables, annotations, rows, link_title, link_uid, time_from):
    """Lays the rows out: (heading, [[(width, height, panel), ...], ...]); every line of panels is 24 wide."""
    panels, y, number = [], 0, 0
    for heading, panel_lines in rows:
        number += 1
        panels.append({"type": "row", "id": number, "title": heading, "collapsed": False, "panels": [],
                       "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
        y += 1
        for line in panel_lines:
            assert sum(width for width, _, _ in line) == 24, (title, heading, [one["title"] for _, _, one in line])
            x = 0
            for width, height, one in line:
                number += 1
                panels.append(dict({"id": number, "gridPos": {"h": height, "w": width, "x": x, "y": y}}, **one))
                x += width
            y += max(height for _, height, _ in line)
    built_in = {"builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True, "hide": True,
                "type": "dashboard", "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts"}
    datasource = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "regex": "", "refresh": 1,
                  "description": "The Prometheus that scrapes rollbackd.", "hide": 0, "multi": False, "includeAll": False,
                  "skipUrlSync": False, "options": [], "current": {}}
    return {
        "uid": uid, "id": None, "title": title, "description": description, "tags": ["rollbackd"], "schemaVersion": 39, "version": 1,
        "editable": True, "graphTooltip": 1, "refresh": "30s", "time": {"from": time_from, "to": "now"}, "timezone": "browser",
        "weekStart": "", "fiscalYearStartMonth": 0, "timepicker": {}, "liveNow": False,
        "links": [{"type": "link", "title": link_title, "url": "/d/%s" % link_uid, "icon": "dashboard", "tooltip": link_title, "tags": [],
                   "asDropdown": False, "includeVars": True, "keepTime": True, "targetBlank": False}],
        "templating": {"list": [datasource] + variables}, "annotations": {"list": [built_in] + annotations}, "panels": panels,
    }


ENVIRONMENT = variable("environment", "Environment", "label_values(rollbackd_rollback_ready, environment)",
                       "Environments of the services shown.", True)
DAEMON = variable("instance", "Daemon", "label_values(rollbackd_build_info, instance)", "Scrape targets: one rollbackd each.", True)
# The service dashboard shows one service; its environment first, because names repeat across environments.
ONE_ENVIRONMENT = variable("environment", "Environment", "label_values(rollbackd_rollback_ready, environment)",
                           "Environment of the service.", False)
ONE_SERVICE = variable("service", "Service", 'label_values(rollbackd_rollback_ready{environment="$environment"}, service)',
                       "The service shown.", False)

D = '{instance=~"$instance"}'  # Of the daemons chosen.
E = 'environment=~"$environment",instance=~"$instance"'  # Of the services of the environments chosen.
S = 'service="$service",environment="$environment",instance=~"$instance"'  # Of the one service.


def counted(metric, selector, by):
    """How often it happened in each step. Rounded: increase() extrapolates to the edges of its window."""
    return "round(sum by (%s) (increase(%s{%s}[$__rate_interval])))" % (by, metric, selector)


def quantiles(metric, selector, by=""):
    """p50 and p95 of the whole time range: rollbacks are too rare for anything shorter."""
    inner = "sum by (%s) (increase(%s_bucket{%s}[$__range]))" % ("le, " + by if by else "le", metric, selector)
    return [("histogram_quantile(%s, %s)" % (q, inner), ("{{%s}} " % by if by else "") + name) for q, name in ((0.5, "p50"), (0.95, "p95"))]


def rollback_mark(selector, title):
    """A mark for each rollback: the last one's timestamp is newer than it was, or there was none before."""
    last = 'rollbackd_last_operation_timestamp_seconds{kind="rollback",%s}' % selector
    return annotation("Rollbacks", RED, "%s > (%s offset $__rate_interval or %s * 0)" % (last, last, last), title,
                      "rollbackctl explain {{service}} --env {{environment}}")


OPEN_SERVICE = ("/d/%s?var-datasource=${datasource}&var-service=${__data.fields.Service}&var-environment=${__data.fields.Environment}"
                "&${__url_time_range}" % SERVICE)
OK = {0: ("not ok", RED), 1: ("ok", GREEN)}

# ---- overview: now ----

success_now = stat(
    "Success rate",
    "Share of the rollbacks that ended which ended succeeded, since the history began, of the worst environment. Below 90 % is an alert. "
    "No number: there has been no rollback yet. Failures: rollbackctl history --status failed.",
    [query("min(rollbackd_rollback_success_ratio{%s})" % E, "success", instant=True)],
    "percentunit", thresholds=steps(RED, (0.9, YELLOW), (0.99, GREEN)), noValue="none yet", decimals=1, min=0, max=1)
not_ready_now = stat(
    "Not ready",
    "Services that could not be rolled back at this moment, whatever the reason. The tables below say which and why. Zero is what you "
    "want; a service that is only observed counts too.",
    [query("count(rollbackd_rollback_ready{%s} == 0) or vector(0)" % E, "not ready", instant=True)], thresholds=steps(GREEN, (1, ORANGE)))
incidents_now = stat(
    "Incidents open",
    "Services with bad evidence about their live release that is not dealt with: rollbackd is deciding, acting or waiting.",
    [query("sum(rollbackd_incident_open{%s})" % E, "open", instant=True)], thresholds=steps(GREEN, (1, ORANGE)))
held_now = stat(
    "Held",
    "Services whose incident waits for a person: rollbackd wanted to act and a guard said no. Each one is a page. rollbackctl explain "
    "SERVICE names the guard and the command that would act.",
    [query("sum(rollbackd_held{%s})" % E, "held", instant=True)], thresholds=steps(GREEN, (1, RED)))
suspended_now = stat(
    "Suspended",
    "Services on which a person told rollbackd not to act. They end by themselves; rollbackctl resume SERVICE ends one now.",
    [query("sum(rollbackd_suspended{%s})" % E, "suspended", instant=True)], thresholds=steps(GREEN, (1, YELLOW)))
blind_now = stat(
    "Blind rules",
    "Rules that cannot be judged because their source is silent. A blind rule can neither roll back nor make a release good.",
    [query("sum(rollbackd_blind_rules{%s})" % E, "blind", instant=True)], thresholds=steps(GREEN, (1, ORANGE)))
records_now = stat(
    "Records",
    "Whether the history and the audit chain reach the disk, the worst daemon of each. Not ok: look at the disk of the state directory; "
    "rollbacks go on without them.",
    queries(("min(rollbackd_history_ok%s)" % D, "history"), ("min(rollbackd_audit_ok%s)" % D, "audit"), instant=True),
    text="value_and_name", thresholds=steps(RED, (1, GREEN)), mappings=value_mappings(OK))
daemons_now = stat(
    "Daemons",
    "rollbackd processes that were scraped, by version. Two versions for long: an upgrade was left half done.",
    [query("count by (version) (rollbackd_build_info%s)" % D, "{{version}}", instant=True)],
    text="value_and_name", thresholds=steps(BLUE), noValue="none")
services_now = table(
    "Services now",
    "One line a service: the release that runs and its standing, whether a rollback could act now, and what stands in the way. Click a "
    "name for its own dashboard. On the command line: rollbackctl status.",
    queries(('max by (instance, service, environment, release, standing) (rollbackd_release_info{live="1",%s})' % E, ""),
            ("max by (instance, service, environment, reason) (rollbackd_rollback_ready{%s})" % E, ""),
            ("max by (instance, service, environment) (rollbackd_incident_open{%s})" % E, ""),
            ("max by (instance, service, environment) (rollbackd_held{%s})" % E, ""),
            ("max by (instance, service, environment) (rollbackd_suspended{%s})" % E, ""),
            ("max by (instance, service, environment) (rollbackd_blind_rules{%s})" % E, ""), instant=True, form="table"),
    {"service": "Service", "environment": "Environment", "release": "Live release", "standing": "Standing", "Value #B": "Ready",
     "reason": "Why not", "Value #C": "Incident", "Value #D": "Held", "Value #E": "Suspended", "Value #F": "Blind rules",
     "instance": "Daemon"}, sort="Service",
    overrides=[linked("Service", "Open this service", OPEN_SERVICE),
               cell("Standing", {name: (name, colour) for name, colour in STANDINGS.values()}),
               cell("Ready", YES_IS_GOOD), cell("Why not", REASONS), cell("Incident", YES_IS_BAD), cell("Held", YES_IS_BAD),
               cell("Suspended", YES_IS_BAD),
               override("Blind rules", thresholds=steps(GREEN, (1, ORANGE)), color={"mode": "thresholds"},
                        **{"custom.cellOptions": {"type": "color-text"}})])
not_ready = table(
    "Not ready, and why",
    "The services that could not be rolled back now. Expected: observe, automation off, a service with a single release. Anything else "
    "leaves the service unprotected: rollbackctl ready gives the whole sentence. Empty is good.",
    [query("rollbackd_rollback_ready{%s} == 0" % E, instant=True, form="table")],
    {"service": "Service", "environment": "Environment", "reason": "Why not", "instance": "Daemon"}, sort="Service",
    overrides=[linked("Service", "Open this service", OPEN_SERVICE), cell("Why not", REASONS)])

stops_now = stat(
    "Told to stop",
    "Kill switch: somebody stopped every action of a daemon (`rollbackctl kill --off` ends it). Breaker: too many services were rolled back "
    "at once, so nothing more is done by itself: look for what they share.",
    queries(("max(rollbackd_kill_switch%s)" % D, "kill switch"), ("max(rollbackd_breaker_open%s)" % D, "breaker"), instant=True),
    text="value_and_name", thresholds=steps(GREEN, (1, RED)), mappings=value_mappings({0: ("off", GREEN), 1: ("on", RED)}))
preflight = table(
    "Pre-flight",
    "Checks of the pre-flight that do not say yes. no: a rollback would not begin now; warning: it would, but something around it is not as "
    "it should be. rollbackctl ready SERVICE gives each with its evidence.",
    [query("rollbackd_ready_check{%s}" % E, instant=True, form="table")],
    {"service": "Service", "environment": "Environment", "check": "Check", "Value": "Answer", "instance": "Daemon"}, sort="Service",
    overrides=[linked("Service", "Open this service", OPEN_SERVICE), cell("Answer", {0: ("no", RED), 0.5: ("warning", YELLOW)})])
drilled = table(
    "Last drill",
    "Seconds since a drill of the service went all the way through; never: none has. Above 30 days is an alert. rollbackctl drill SERVICE "
    "proves the chain without breaking anything.",
    [query("(time() - max by (instance, service, environment) (rollbackd_drill_last_success_timestamp_seconds{%s})) or "
           "(max by (instance, service, environment) (rollbackd_rollback_ready{%s}) * 0 - 1)" % (E, E), instant=True, form="table")],
    {"service": "Service", "environment": "Environment", "Value": "Since", "instance": "Daemon"}, sort="Service",
    overrides=[linked("Service", "Open this service", OPEN_SERVICE),
               override("Since", unit="s", mappings=value_mappings({-1: ("never", YELLOW)}), thresholds=steps(GREEN, (2592000, ORANGE)))])

# ---- overview: rollbacks ----

success_over_time = lines(
    "Success rate over time",
    "Rollbacks that succeeded / rollbacks that ended, by environment, since the history began. A step down is a rollback that did not "
    "succeed; the dashed line is the alert's 90 %.",
    [query("min by (environment) (rollbackd_rollback_success_ratio{%s})" % E, "{{environment}}")],
    "percentunit", min=0, max=1, calcs=("lastNotNull", "min"), thresholds=steps(RED, (0.9, GREEN)), threshold_lines=True)
operations_by_status = bars(
    "Operations by status",
    "Operations that ended in each step: rollbacks, deployments and the rest. Green is what you want; unverified: the release was "
    "switched and its verification did not pass; unknown: rollbackd cannot tell, a person must look.",
    [query(counted("rollbackd_operations_total", E, "status"), "{{status}}")], colours=STATUS_COLOURS)
operations_by_trigger = bars(
    "Operations by kind and trigger",
    "Who began them: automatic by rollbackd's own rules, alert by a pushed alert, manual by a person or a pipeline.",
    [query(counted("rollbackd_operations_total", E, "kind, trigger"), "{{kind}}, {{trigger}}")])
duration = heatmap(
    "Duration of rollbacks",
    "How long whole rollbacks took: each column a step of time; the darker a cell, the more rollbacks in that bucket. Dark cells that "
    "climb mean that rollbacks become slower.",
    'sum by (le) (increase(rollbackd_operation_duration_seconds_bucket{phase="total",kind="rollback",instance=~"$instance"}'
    '[$__rate_interval]))')
duration_by_phase = bar_gauge(
    "Duration by phase",
    "p50 and p95 of the rollbacks in the chosen time range, by phase: preflight (checks of the target), switch (intent on disk and "
    "link), restart, verify, and total. The phase that grew is where to look. No bar: no rollback in the range.",
    queries(*quantiles("rollbackd_operation_duration_seconds", 'kind="rollback",instance=~"$instance"', "phase"), instant=True),
    "s", thresholds=steps(GREEN, (10, YELLOW), (30, RED)), min=0)
detection = heatmap(
    "Detection time",
    "From the commit of the failing sample to the beginning of the second opinion: what rollbackd itself adds before it acts. It does "
    "not contain the check's interval, a rule's for, or settle.",
    'sum by (le) (increase(rollbackd_detection_seconds_bucket{instance=~"$instance"}[$__rate_interval]))')
detection_in_range = bar_gauge(
    "Detection time in the range",
    "p50 and p95 of the detection time in the chosen time range. Milliseconds are normal; above 100 ms the daemon is starved of CPU. "
    "No bar: nothing was detected.",
    queries(*quantiles("rollbackd_detection_seconds", 'instance=~"$instance"'), instant=True),
    "s", thresholds=steps(GREEN, (0.1, YELLOW), (1, RED)), min=0)
PASSED_FAILED = {"passed": GREEN, "failed": RED}
verification = bars(
    "Verification tests",
    "Verification tests passed and failed in each step. A failed one after a rollback means that the target does not work either: "
    "rollbackctl history SERVICE.",
    [query(counted("rollbackd_verification_tests_total", E, "result"), "{{result}}")], colours=PASSED_FAILED)

# ---- overview: decisions ----

decisions = bars(
    "Decisions",
    "What rollbackd decided in each step. rollback: it acted; hold: it wanted to and a guard said no; notify: it only told. Why: "
    "rollbackctl explain SERVICE.",
    [query(counted("rollbackd_decisions_total", E, "decision"), "{{decision}}")], colours=DECISION_COLOURS)
refusals = bar_gauge(
    "Refusals by guard",
    "How often each guard said no to acting, since the daemons' start. target_known_good: no good release to go back to; budget, "
    "cooldown: too many rollbacks; not_shared_failure: many services at once, look at the infrastructure; automation_allows: observe.",
    [query("sort_desc(sum by (guard) (rollbackd_guard_refusals_total{%s}))" % E, "{{guard}}", instant=True)],
    thresholds=steps(ORANGE), min=0, noValue="none")
holds = lines(
    "Holds and refusals over time",
    "Decisions to hold, and refusals by guard, as running totals: a step is one more. The guard that steps together with hold is the one "
    "that stood in the way.",
    queries(('sum(rollbackd_decisions_total{decision="hold",%s})' % E, "hold"),
            ("sum by (guard) (rollbackd_guard_refusals_total{%s})" % E, "{{guard}}")), fill=0)

pushed = bars(
    "Alerts received",
    "Alerts pushed from outside, in each step, by what became of them. accepted: a route says what it may cause; duplicate and resolved "
    "are normal; unrouted: no route wants it; unknown_service, refused: somebody's configuration is wrong, and the alert had no effect.",
    [query("round(sum by (result) (increase(rollbackd_alerts_received_total%s[$__rate_interval])))" % D, "{{result}}")],
    colours={"accepted": GREEN, "duplicate": GREY, "resolved": BLUE, "stale": YELLOW, "unrouted": GREY, "unknown_service": RED,
             "refused": RED})

# ---- overview: the daemon itself ----

lag = lines(
    "Reactor lag",
    "How late the reactor's last heartbeat was. Normal is about a millisecond; above 100 ms checks run late and an alert fires: the "
    "host is out of CPU, or a disk blocks.",
    [query("max by (instance) (rollbackd_reactor_lag_seconds%s)" % D, "{{instance}}")],
    "s", thresholds=steps(GREEN, (0.1, RED)), threshold_lines=True)
work = lines(
    "Work",
    "Batches from checks, rule evaluations and samples per second. A fall to zero means that checks no longer run.",
    queries(("sum(rate(rollbackd_batches_total%s[$__rate_interval]))" % D, "batches"),
            ("sum(rate(rollbackd_rule_evaluations_total%s[$__rate_interval]))" % D, "rule evaluations"),
            ("sum(rate(rollbackd_samples_total%s[$__rate_interval]))" % D, "samples")), "cps", fill=0)
LOSSES = {"rule_evaluation_failures": "failed evaluations", "alerts_dropped": "alerts dropped", "series_dropped": "series dropped",
          "samples_out_of_order": "samples out of order", "history_rows_dropped": "history rows dropped",
          "audit_entries_lost": "audit entries lost"}
losses = lines(
    "Losses",
    "What was lost in each step; all of it should be zero. Failed evaluations: a rule does not fit its data. Dropped alerts or series: "
    "over a bound. Rows and entries: the disk of the state directory does not keep up.",
    queries(*(("sum(increase(rollbackd_%s_total%s[$__rate_interval]))" % (name, D), legend) for name, legend in LOSSES.items())),
    fill=0, calcs=("max",), interval="1m", decimals=0)
notifications = bars(
    "Notifications",
    "Pages and messages in each step, by what became of them. given_up and dropped never arrived: somebody was not told.",
    [query("round(sum by (result) (increase(rollbackd_notifications_total%s[$__rate_interval])))" % D, "{{result}}")],
    colours={"sent": GREEN, "queued": BLUE, "retried": YELLOW, "given_up": RED, "dropped": RED})
records = timeline(
    "Records and configuration",
    "Whether history, audit and the last reload of the configuration were in order, the worst daemon of each.",
    queries(("min(rollbackd_history_ok%s)" % D, "history"), ("min(rollbackd_audit_ok%s)" % D, "audit"),
            ("min(rollbackd_config_last_reload_successful%s)" % D, "last reload")), OK)
builds = table(
    "Builds",
    "The version that each scraped daemon runs, and how many series it keeps in memory.",
    queries(("max by (instance, version) (rollbackd_build_info%s)" % D, ""), ("max by (instance) (rollbackd_series%s)" % D, ""),
            instant=True, form="table"),
    {"instance": "Daemon", "version": "Version", "Value #B": "Series"}, sort="Daemon")

overview = dashboard(
    OVERVIEW, "rollbackd / overview", "Every service that rollbackd watches, what it decided and how its rollbacks went.",
    [ENVIRONMENT, DAEMON], [rollback_mark(E, "Rollback of {{service}}/{{environment}}: {{status}}")],
    [("Now", [[(3, 4, success_now), (3, 4, not_ready_now), (3, 4, incidents_now), (3, 4, held_now), (3, 4, suspended_now),
               (3, 4, blind_now), (3, 4, records_now), (3, 4, daemons_now)],
              [(24, 9, services_now)],
              [(24, 6, not_ready)]]),
     ("Protection", [[(4, 8, stops_now), (12, 8, preflight), (8, 8, drilled)]]),
     ("Rollbacks", [[(8, 8, success_over_time), (8, 8, operations_by_status), (8, 8, operations_by_trigger)],
                    [(12, 9, duration), (12, 9, duration_by_phase)],
                    [(10, 8, detection), (6, 8, detection_in_range), (8, 8, verification)]]),
     ("Decisions", [[(6, 8, decisions), (6, 8, pushed), (6, 8, refusals), (6, 8, holds)]]),
     ("The daemon itself", [[(8, 8, lag), (8, 8, work), (8, 8, losses)],
                            [(8, 8, notifications), (8, 8, records), (8, 8, builds)]])],
    "Service", SERVICE, "now-24h")

# ---- service: now ----

live = stat(
    "Live release",
    "The release that runs now. More than one: the daemons chosen see different ones.",
    [query('max by (release) (rollbackd_release_info{live="1",%s})' % S, "{{release}}", instant=True)],
    text="name", thresholds=steps(BLUE), noValue="none")
live_standing = stat(
    "Standing",
    "What rollbackd thinks of the live release. candidate: it still bakes and is blamed for what goes wrong; good: it has baked and can "
    "be gone back to; bad: it was rolled back; unknown: it could not be judged.",
    [query('max by (release, standing) (rollbackd_release_info{live="1",%s})' % S, "{{standing}}", instant=True)],
    text="name", thresholds=steps(BLUE), noValue="none")
service_ready = stat(
    "Ready",
    "Whether a rollback could act now (green), and if not, why (red). The whole sentence: rollbackctl ready.",
    [query('label_replace(max by (reason) (rollbackd_rollback_ready{%s}), "reason", "ready", "reason", "")' % S, "{{reason}}",
           instant=True)], text="name", thresholds=steps(RED, (1, GREEN)))
service_incident = stat(
    "Incident",
    "Whether there is bad evidence about the live release that is not dealt with. rollbackctl explain shows it.",
    [query("max(rollbackd_incident_open{%s})" % S, "open", instant=True)], thresholds=steps(GREEN, (1, ORANGE)),
    mappings=value_mappings(YES_IS_BAD))
service_held = stat(
    "Held",
    "Whether the incident waits for a person. rollbackctl explain names the guard and the command that would act; rollbackctl "
    "acknowledge closes it.",
    [query("max(rollbackd_held{%s})" % S, "held", instant=True)], thresholds=steps(GREEN, (1, RED)), mappings=value_mappings(YES_IS_BAD))
service_suspended = stat(
    "Suspended",
    "Whether a person told rollbackd not to act on this service. rollbackctl resume ends it.",
    [query("max(rollbackd_suspended{%s})" % S, "suspended", instant=True)], thresholds=steps(GREEN, (1, YELLOW)),
    mappings=value_mappings({0: ("no", GREEN), 1: ("yes", YELLOW)}))
service_blind = stat(
    "Blind rules",
    "Rules about this service that cannot be judged because their source is silent: they protect nothing until it speaks.",
    [query("sum(rollbackd_blind_rules{%s})" % S, "blind", instant=True)], thresholds=steps(GREEN, (1, ORANGE)))
live_over_time = timeline(
    "Live release over time",
    "Which release ran when, one row a release. A red mark is a rollback: from there on another row continues.",
    [query('max by (release) (rollbackd_release_info{live="1",%s})' % S, "{{release}}")], {1: ("live", BLUE)})
standing_over_time = timeline(
    "Standing over time",
    "The standing of each release in the ledger. What you want to see: candidate, then good. bad is what rollbackd went away from and "
    "does not go back to.",
    [query(" or ".join('max by (release) (rollbackd_release_info{standing="%s",%s}) * %d' % (name, S, number)
                       for number, (name, _) in STANDINGS.items()), "{{release}}")], STANDINGS)

# ---- service: signals and decisions ----

healthy = timeline(
    "Checks",
    "What each check says of the service's health. A gap: the check has no opinion or its source is silent (blind), which is never taken "
    "for healthy.",
    [query("max by (check, type) (rollbackd_check_healthy{%s})" % S, "{{check}} ({{type}})")], HEALTH)
runs = lines(
    "Runs of checks",
    "Runs per second by result. failed: evidence against the release; unobserved: the check itself could not look; late: a slot was "
    "skipped, the daemon or the host is overloaded. Results that did not happen are left out.",
    [query("sum by (check, result) (rate(rollbackd_checks_total{%s}[$__rate_interval])) > 0" % S, "{{check}} {{result}}")], "cps", fill=0)
blind_over_time = lines(
    "Blind rules over time",
    "Rules that could not be judged. A short peak after a restart or a deployment is normal; a plateau means that a source is gone: "
    "rollbackctl status.",
    [query("max by (instance) (rollbackd_blind_rules{%s})" % S, "{{instance}}")], thresholds=steps(GREEN, (1, RED)), threshold_lines=True)
state_over_time = timeline(
    "State over time",
    "When the service was ready for a rollback, had an incident, was held, or was suspended.",
    queries(("min(rollbackd_rollback_ready{%s})" % S, "ready"), ("2 + max(rollbackd_incident_open{%s})" % S, "incident"),
            ("2 + max(rollbackd_held{%s})" % S, "held"), ("2 + max(rollbackd_suspended{%s})" % S, "suspended")),
    {0: ("not ready", ORANGE), 1: ("ready", GREEN), 2: ("no", GREEN), 3: ("yes", RED)})
service_decisions = bars(
    "Decisions",
    "What rollbackd decided about this service in each step. hold: it wanted to act and a guard said no.",
    [query(counted("rollbackd_decisions_total", S, "decision"), "{{decision}}")], colours=DECISION_COLOURS)
service_refusals = bar_gauge(
    "Refusals by guard",
    "How often each guard said no to acting on this service, since the daemon's start. rollbackctl explain tells what each one saw.",
    [query("sort_desc(sum by (guard) (rollbackd_guard_refusals_total{%s}))" % S, "{{guard}}", instant=True)],
    thresholds=steps(ORANGE), min=0, noValue="none")

# ---- service: operations ----

last_duration = lines(
    "Last duration against the deadline",
    "How long the last operation of each kind took, and the deadlines of the policy (dashed). At the deadline an operation is given up; "
    "above 80 % of it an alert fires.",
    queries(("max by (kind) (rollbackd_last_operation_duration_seconds{%s})" % S, "{{kind}}"),
            ("max by (mode) (rollbackd_operation_deadline_seconds{%s})" % S, "deadline, {{mode}}")), "s", fill=0,
    overrides=[{"matcher": {"id": "byRegexp", "options": "/deadline.*/"},
                "properties": [{"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}},
                               {"id": "color", "value": {"mode": "fixed", "fixedColor": RED}}]}])
deadline_share = stat(
    "Share of the deadline",
    "How much of the standard deadline the last rollback used. Above 80 % the next one may run out of time: raise policy.deadline, or "
    "make the start and the verification quicker. No number: no rollback yet.",
    [query('max(rollbackd_last_operation_duration_seconds{kind="rollback",%s} / on (instance, service, environment) '
           'rollbackd_operation_deadline_seconds{mode="standard",%s})' % (S, S), "used", instant=True)],
    "percentunit", thresholds=steps(GREEN, (0.5, YELLOW), (0.8, RED)), noValue="none yet", decimals=1)
last_operations = table(
    "Last operations",
    "When the last operation of each kind ended, and how. Older ones: rollbackctl history.",
    [query("rollbackd_last_operation_timestamp_seconds{%s} * 1000" % S, instant=True, form="table")],
    {"kind": "Kind", "status": "Status", "Value": "Ended"}, sort="Kind",
    overrides=[override("Ended", unit="dateTimeFromNow"),
               cell("Status", {name: (name, colour) for name, colour in STATUS_COLOURS.items()})])
service_operations = bars(
    "Operations by kind and status",
    "Operations on this service that ended in each step.",
    [query(counted("rollbackd_operations_total", S, "kind, status"), "{{kind}}, {{status}}")])
service_verification = bars(
    "Verification tests",
    "Verification tests passed and failed in each step, after deployments and rollbacks alike.",
    [query(counted("rollbackd_verification_tests_total", S, "result"), "{{result}}")], colours=PASSED_FAILED)

service_hooks = bars(
    "Hooks by place and outcome",
    "Hooks that the service's operations ran in each step. One before the switch that fails stops its operation: "
    "rollbackctl explain SERVICE. No bar: no hook ran.",
    [query(counted("rollbackd_hook_runs_total", S, "at, outcome"), "{{at}}, {{outcome}}")])
service_scrubs = bars(
    "Scrubs",
    "Good releases of the service that were read in full again. A corrupt one is no target any more: deploy it anew.",
    [query(counted("rollbackd_scrubs_total", S, "result"), "{{result}}")], colours={"intact": GREEN, "corrupt": RED})

NEW_RELEASE = ('rollbackd_release_info{live="1",%s} unless on (instance, service, environment, release) '
               'rollbackd_release_info{live="1",%s} offset $__rate_interval' % (S, S))

service = dashboard(
    SERVICE, "rollbackd / service", "One service: its releases, the signals about them, what was decided and how long acting took.",
    [ONE_ENVIRONMENT, ONE_SERVICE, DAEMON],
    [annotation("Releases", BLUE, NEW_RELEASE, "{{release}} is live", "Standing: {{standing}}. Daemon: {{instance}}."),
     rollback_mark(S, "Rollback: {{status}}")],
    [("Now", [[(4, 4, live), (4, 4, live_standing), (4, 4, service_ready), (3, 4, service_incident), (3, 4, service_held),
               (3, 4, service_suspended), (3, 4, service_blind)],
              [(12, 7, live_over_time), (12, 7, standing_over_time)]]),
     ("Signals", [[(12, 8, healthy), (12, 8, runs)],
                  [(12, 6, blind_over_time), (12, 6, state_over_time)]]),
     ("Decisions", [[(12, 7, service_decisions), (12, 7, service_refusals)]]),
     ("Operations", [[(12, 8, last_duration), (6, 8, deadline_share), (6, 8, last_operations)],
                     [(12, 7, service_operations), (12, 7, service_verification)],
                     [(12, 7, service_hooks), (12, 7, service_scrubs)]])],
    "Overview", OVERVIEW, "now-6h")


def text(one):
    return json.dumps(one, indent=2) + "\n"


def main(arguments):
    stale = False
    for name, one in (("overview", overview), ("service", service)):
        path = os.path.join(HERE, "dashboards", name + ".json")
        if arguments == ["--check"]:
            with open(path, encoding="utf-8") as old:
                if old.read() != text(one):
                    print("%s is not what build.py writes: run grafana/build.py" % os.path.relpath(path), file=sys.stderr)
                    stale = True
        else:
            with open(path, "w", encoding="utf-8") as out:
                out.write(text(one))
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
