"""What every scene of the demo does: deploys a release to a service, waits for what follows, and says it in one line."""
import subprocess
import time

from fleet import NotInTime, wait_for

QUIET = 6.0  # Seconds in which nothing may happen, for the cases that must not be rolled back.
WRONG = (AssertionError, NotInTime, OSError, KeyError, subprocess.SubprocessError)  # What a scene that did not go as it should ends with.


class Failed(AssertionError):
    pass


def expect(condition, why):
    if not condition:
        raise Failed(why)


def milliseconds(later, earlier):
    return "%.0f ms" % max(0.0, 1000 * (later - earlier))


def healthy(service, release):
    def settled():
        row = service.fleet.status(service)
        return row if row["release"] == release and row["started"] and not row["warming"] and row["phase"] == "watching" else None
    return wait_for("%s runs %s and is watched" % (service.name, release), 30, settled)


def rolled_back(service, release, behaviour, because=None, trigger="automatic", meanwhile=lambda: None, within=30, **more):
    """Deploys a bad release and waits for its rollback. Returns the scene's line.

    because    name of the alert that must be the first evidence
    meanwhile  done once the release is deployed
    """
    fleet = service.fleet
    before = healthy(service, service.live())["release"]
    service.release(release, behaviour, **more)
    fleet.deploy(service, release)
    meanwhile()

    def ended():
        rows = [r for r in fleet.operations(service, kind="rollback") if r["from"] == release]
        return rows[0] if rows and rows[0].get("ended") else None
    row = wait_for("the rollback of %s's %s has ended" % (service.name, release), within, ended)
    operation = fleet.get("/api/v1/operations/" + row["operation"])[1]
    decision = operation["decision"]
    seen = decision["evidence"][0].split(" firing")[0].split(":")[0].rstrip(",")
    expect(row["status"] == "succeeded", "the rollback ended %s: %s" % (row["status"], row.get("detail")))
    expect(row["to"] == before and service.live() == before, "%s is live, not %s" % (service.live(), before))
    expect(row["trigger"] == trigger, "its trigger was %s, not %s" % (row["trigger"], trigger))
    expect(because is None or seen.split(" ")[0] == because, "it was seen by %s, not %s" % (seen, because))
    guards = [g for g in decision["guards"] if g["asked"]]
    expect(guards and all(g["yes"] for g in guards), "it acted against a guard")
    healthy(service, before)
    ledger = fleet.get("/api/v1/releases?service=" + service.name)[1]["releases"]
    expect([r["standing"] for r in ledger if r["release"] == release] == ["bad"], "%s is not marked bad" % release)
    rollbacks = [r for r in fleet.operations(service, kind="rollback") if r["from"] == release]
    expect(len(rollbacks) == 1, "%d rollbacks instead of one" % len(rollbacks))
    timing = decision["timing"]
    switched, verified = row["switched_unix"], row["ended_unix"]
    seen_at = timing.get("seen", timing["settled"])
    return "seen %s; guards %d/%d yes; %s -> %s; seen -> settled %s -> switched %s -> verified %s" % (
        seen, len(guards), len(guards), release, before, milliseconds(timing["settled"], seen_at),
        milliseconds(switched, timing["settled"]), milliseconds(verified, switched))


def nothing_for(services, seconds):
    """Watches that no rollback begins; a short look now and then, since it is the absence of an event that is shown."""
    def rollbacks(service):
        return len(service.fleet.operations(service, kind="rollback"))
    before = {service.name: rollbacks(service) for service in services}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for service in services:
            expect(rollbacks(service) == before[service.name], service.name + " was rolled back")
        time.sleep(0.2)
