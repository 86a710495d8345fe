"""Automatic rollback, manual rollback, outside deployment and the kill switch within 50 ms of each other: one winner, losers told why."""
import http.client
import os
import random
import threading
import time

import inject
from sweep import Sweep
from world import UNENDED, Violation, brief, carried_out, expect, wait_for

WITHIN = 0.050


class Races(Sweep):
    name, what = "races", "automatic, manual, outside deployment and stop by a person within 50 ms, in random order: one winner, losers told why"
    share = 1.5
    short_points = 10
    trials_a_world = 25

    def missing(self):
        return ""

    def points(self):
        return ["seed %d" % self.rng.randrange(1 << 30) for _ in range(1000)]

    def run(self, world, point):
        rng = random.Random(point)
        service = world.service_
        bad = world.next_bad()
        outside = "o%d" % world.number
        service.release(outside)
        # The automatic one is always there; who else comes, and when, is drawn.
        others = [who for who in ("manual", "outside", "stop") if rng.random() < 0.7] or ["manual"]
        runners = ["automatic"] + others
        rng.shuffle(runners)
        # Evidence takes a probe (200 ms at most) to be seen: half of the rounds send the others after it, so that they meet in the middle.
        late = rng.random() * 0.35 if rng.random() < 0.7 else 0.0
        starts = {who: rng.random() * WITHIN + (late if who != "automatic" else 0.0) for who in runners}
        stop_by = rng.choice(("suspend", "file")) if world.has_kill_switch() else "suspend"
        said, began = {}, time.monotonic()

        def go(who):
            time.sleep(max(0.0, began + 0.02 + starts[who] - time.monotonic()))
            try:
                if who == "automatic":
                    service.misbehave(bad)
                elif who == "outside":
                    service.link(outside)
                elif who == "manual":
                    said[who] = world.post("/api/v1/rollback", service="tiny", reason="a race")
                elif stop_by == "file":
                    with open(world.kill_switch, "w", encoding="utf-8") as out:
                        out.write("a race\n")
                    said[who] = (200, {})
                else:
                    said[who] = world.post("/api/v1/suspend", service="tiny", reason="a race", duration="1h")
            except (OSError, http.client.HTTPException) as error:
                said[who] = (0, {"error": {"what": str(error)}})
            said[who + " at"] = time.time()
        threads = [threading.Thread(target=go, args=(who,)) for who in runners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        words = "%s ms, told %s" % ({who: round(1000 * starts[who]) for who in sorted(runners, key=starts.get)}, {
            who: (answer[0], self.why(answer[1])) for who, answer in said.items() if isinstance(answer, tuple)})

        def quiet():
            row = world.status(service)
            rows = world.rollbacks(bad) + world.rollbacks(outside)
            resting = row["phase"] in ("watching", "held") and all(one["status"] not in UNENDED for one in rows)
            if "stop" in runners:
                return resting
            return resting and (service.live() != bad)
        if not inject.until(90, quiet, 0.03):  # A verification that finds another release live goes on to its deadline.
            raise Violation("hangs", "%s; %s; %s" % (words, brief(world.rollbacks(bad) + world.rollbacks(outside)), world.told()))
        inject.until(0.3, lambda: not quiet(), 0.03)  # A rollback may be about to begin: its second opinion is being asked.
        if not inject.until(90, quiet, 0.03):  # A verification that finds another release live goes on to its deadline.
            raise Violation("hangs", "%s; %s; %s" % (words, brief(world.rollbacks(bad) + world.rollbacks(outside)), world.told()))
        became = self.judge(world, bad, outside, runners, said, words)

        # The stop is taken back: what was held is judged again, and the bad release does not stay.
        if "stop" in runners:
            if stop_by == "file":
                os.remove(world.kill_switch)
            else:
                world.post("/api/v1/resume", service="tiny", reason="the race is over")
        wait_for("it has left " + bad, 30, lambda: service.live() != bad)
        wait_for("it rests", 30, lambda: world.status(service)["phase"] in ("watching", "held") and quiet())
        self.judge(world, bad, outside, runners, said, words, again=True)
        if service.live() == outside:
            world.watcher.events()
        return became

    @staticmethod
    def why(answer):
        """What a refusal says of its reason; empty when it says nothing."""
        error = answer.get("error", {})
        no = ["%s: %s" % (guard["guard"], guard["evidence"]) for guard in answer.get("guards", []) if guard["asked"] and not guard["yes"]]
        return "; ".join(no) or answer.get("message") or ": ".join(filter(None, (error.get("what"), error.get("why"), error.get("next_step"))))

    def judge(self, world, bad, outside, runners, said, words, again=False):
        service = world.service_
        live = world.judge_link("v1", bad, outside)
        rows, away = world.rollbacks(bad), world.rollbacks(outside)
        expect(len(carried_out(rows)) <= 1, "second actuation", "%s; %s" % (words, brief(rows)))
        expect(len({row["operation"] for row in rows + away}) == len(rows + away), "duplicate row", brief(rows + away))
        expect(all(row["trigger"] == "manual" for row in away), "wrong action", "%s; the outside deployment was rolled back: %s" % (words, brief(away)))
        if "outside" in runners:
            # Only a person who asked while it was live may have taken it away again.
            taken = [row for row in carried_out(away) if row["status"] == "succeeded"]
            expect(live == outside or taken, "lost deployment", "%s; %s is live; %s" % (words, live, brief(rows + away)))
        if "manual" in runners:
            status, answer = said["manual"]
            expect(status in (200, 202) or self.why(answer), "not told why", "%s" % (said["manual"],))
        if "stop" in runners and not again:
            expect(said["stop"][0] in (200, 202), "refused", said["stop"])
            # The stop is in force when it has been answered; a file within a second, or three on a busy machine. A switch is on record with the
            # instant at which its answer came, its directory's fsync included: the link itself knows when it was.
            in_force = said["stop at"] + (3.0 if not said["stop"][1] else 0.0) + 0.010
            after = [row for row in rows + away if row["trigger"] == "automatic" and (row.get("switched_unix") or 0) > in_force]
            if live == "v1" and os.lstat(service.current).st_ctime <= in_force:
                after = []
            expect(not after, "acted though stopped", "%s; %s" % (words, brief(after)))
        if live == "v1":
            expect(carried_out(rows) or carried_out(away), "lost row", "%s; %s" % (words, brief(rows + away)))
            expect(inject.until(60, lambda: service.says() == "v1"), "wrong process", words + "; " + world.told())
        who = ""
        if carried_out(rows):
            who = carried_out(rows)[0]["trigger"] + " rolled back"
        elif live == bad:
            who = "stopped in time"
        return (who or "nobody rolled back") + (", the outside deployment is live" if live == outside else "")
