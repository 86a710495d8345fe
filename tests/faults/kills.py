"""SIGKILL and SIGTERM before every system call of a rollback, SIGKILL again during the recovery, and writes that fail."""
import os
import signal
import threading

import inject
from sweep import Fresh, Sweep
from world import Violation, alive, brief, carried_out, expect

TRIGGERS = ("automatic", "manual", "crash", "emergency")
AT_REST = 0.15  # Seconds without a death after the row of the history has ended: what follows it (telling, arming anew) is swept too.


def pull(world, bad, trigger):
    """Begins the rollback of `bad` without waiting for it."""
    if trigger in ("automatic", "crash"):
        world.service_.misbehave(bad, "crash" if trigger == "crash" else "500")
        return

    def ask():
        try:
            world.post("/api/v1/rollback", service="tiny", reason="a sweep", **({"emergency": True} if trigger == "emergency" else {}))
        except (OSError, ValueError):
            pass  # It may die before it has answered.
        except Exception:  # pylint: disable=broad-except  (http.client's own)
            pass
    threading.Thread(target=ask, daemon=True).start()


def ended_on_disk(world, bad):
    """Whether the history has the rollback's end, seen without asking the daemon: a question is system calls."""
    try:
        rows = [row for row in world.stored() if row["kind"] == "rollback" and row["from"] == bad]
    except Exception:  # pylint: disable=broad-except  (locked, or being made)
        return False
    return bool(rows) and all(row["terminal"] for row in rows)


def dies_or_completes(world, bad, seconds=120):
    """"killed" or "completed"."""
    def over():
        return world.daemon.poll() is not None or ended_on_disk(world, bad)
    if not inject.until(seconds, over, 0.02):
        raise Violation("hangs", "neither dead nor done in %d s: %s" % (seconds, world.told()))
    if world.daemon.poll() is None and not inject.died(world.daemon, AT_REST):
        return "completed"
    return "killed"


def keeper_of(world):
    """Pid of the service's keeper."""
    with open("/proc/%d/stat" % world.service_.starts()[-1][1], encoding="utf-8") as text:
        return int(text.read().rsplit(")", 1)[1].split()[1])


def after_a_manual(world, bad, trigger):
    """A rollback asked for by a person whose daemon died before it began is not begun by itself: the person asks again."""
    if trigger in ("manual", "emergency") and world.service_.live() == bad:
        world.settled(bad)
        status, answer = world.post("/api/v1/rollback", service="tiny", reason="a sweep, again")
        expect(status in (200, 202, 409), "refused", answer)


def calibrate(sweep, trigger, of="daemon"):
    """How often each thread (by its place among them) makes each call in one whole rollback, strace attached right before it."""
    world = sweep.world()
    try:
        bad = world.next_bad()
        pid = world.daemon.pid if of == "daemon" else keeper_of(world)
        tids = inject.threads(pid)
        out = os.path.join(world.root, "strace")
        calls = inject.known_calls()
        strace = inject.Strace(pid, "-e", "trace=" + ",".join(calls), follow=True, output=out)
        pull(world, bad, trigger)
        dies_or_completes(world, bad)
        strace.close()
        found = inject.counts(out, set(tids))
        return {(tids.index(tid), call): count for (tid, call), count in found.items()}
    finally:
        world.close()


class Kill(Sweep):
    name, what = "kill", "SIGKILL before each system call of a rollback, counted per thread; then a new daemon"
    share = 4.0
    signal = "KILL"
    of = "daemon"
    triggers = TRIGGERS

    def points(self):
        self.last = {}
        for trigger in self.triggers:
            for (thread, call), count in sorted(calibrate(self, trigger, self.of).items()):
                self.last[trigger, thread, call] = count
                for number in range(1, count + 1):
                    yield "%s/%d/%s/%d" % (trigger, thread, call, number)

    def after(self, point, outcome):
        """Counted up until the rollback completes: calibration is one run, and the next may make a call more."""
        trigger, thread, call, number = point.split("/")
        key = (trigger, int(thread), call)
        if outcome.startswith("completed") or not hasattr(self, "last") or int(number) < self.last.get(key, 1 << 30):
            return []
        self.last[key] = int(number) + 1
        return ["%s/%s/%s/%d" % (trigger, thread, call, self.last[key])]

    def run(self, world, point):
        trigger, thread, call, number = point.split("/")
        bad = world.next_bad()
        pid = world.daemon.pid
        tids = inject.threads(pid)
        if int(thread) >= len(tids):
            return "no such thread"
        strace = inject.Strace(tids[int(thread)], *inject.inject(call, "signal=" + self.signal, number))
        try:
            pull(world, bad, trigger)
            became = dies_or_completes(world, bad)
        finally:
            strace.close()
        try:
            if became == "completed":
                world.judge(bad, crashes=trigger == "crash")
                return became
        except (Violation, OSError) as error:
            # By a call after the rollback's end, before the tracer let go: nobody else ends it like this.
            if getattr(error, "kind", "daemon ended") != "daemon ended" or not inject.died(world.daemon, 30):
                raise
        expect(world.daemon.returncode == self.code(), "exit code", "rollbackd ended with %s\n%s" % (world.daemon.returncode, world.tail()))
        became = "killed before the switch" if world.judge_link("v1", bad) == bad else "killed after the switch"
        world.start()
        after_a_manual(world, bad, trigger)
        world.judge(bad, crashes=trigger == "crash")
        return became

    def code(self):
        """The exit code of a daemon that was ended by the sweep."""
        return -signal.SIGKILL if self.signal == "KILL" else 0


class Term(Kill):
    name, what = "term", "SIGTERM at each of the same points: a clean stop at a boundary, exit code 0; then a new daemon"
    share = 2.0
    signal = "TERM"


class Keeper(Kill):
    name, what = "keeper", "SIGKILL before each system call of the service's keeper during a rollback"
    share = 1.0
    of = "keeper"

    def run(self, world, point):
        trigger, _, call, number = point.split("/")
        bad = world.next_bad()
        keeper = keeper_of(world)
        strace = inject.Strace(keeper, *inject.inject(call, "signal=KILL", number))
        try:
            pull(world, bad, trigger)
            became = dies_or_completes(world, bad)
        finally:
            strace.close()
        died = not alive(keeper)
        world.judge_link("v1", bad)
        # What the keeper answered is lost with it; the daemon may end as unknown, and says so.
        if not died:
            world.judge(bad)
            return "completed"
        rows = world.rollbacks(bad)
        came, _ = world.watcher.events()
        expect(came <= 1, "second actuation", "`current` was put in place %d times" % came)
        expect(len(carried_out(rows)) <= 1, "second actuation", brief(rows))
        if not inject.until(60, lambda: world.service_.says() == world.service_.live()):
            raise Violation("wrong process", world.told())
        starts = [name for name, _ in world.service_.starts()[world.marked:]]
        # What crashed may come back once, by the keeper that takes the dead one's place, as long as `current` leads there.
        back = 1 if trigger == "crash" and starts[:1] == [bad] else 0
        expect(all(name == "v1" for name in starts[back:]), "wrong process", starts)
        raise Fresh("killed, " + (rows[0]["status"] if rows else "nothing begun"))


class Recovery(Kill):
    name, what = "recovery", "SIGKILL at a random point, and SIGKILL again before each system call of the recovery; then a third daemon"
    share = 2.0

    def points(self):
        first = [point for point in Kill.points(self)]
        self.last = {}
        second = self.calls_of_a_recovery(first)
        for number in range(5 * len(second)):
            yield "%s+%s" % (self.rng.choice(first), second[number % len(second)])

    def after(self, point, outcome):
        return []

    def calls_of_a_recovery(self, first):
        """(call, n) of a daemon that starts in the middle of a rollback, from where it first touches its state directory."""
        world = self.world()
        try:
            bad = world.next_bad()
            world.stop_daemon()
            world.start(environment={"ROLLBACKD_FAILPOINT": "record.switched.after"})
            world.settled(bad)
            world.service_.misbehave(bad)
            if not inject.died(world.daemon, 60):  # Programs without failpoints: the recovery of an idle state must do.
                world.stop_daemon(signal.SIGKILL)
            out = os.path.join(world.root, "strace")
            world.start(prefix=["strace", "-D", "-I2", "-f", "-o", out, "-e", "trace=" + ",".join(inject.known_calls())])
            world.settled("v1")
            world.stop_daemon()
            counted, here = {}, False
            skip = {}
            with open(out, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    match = inject.CALLED.match(line)
                    here = here or world.state + "/" in line
                    if not match:
                        continue
                    key = (int(match.group(1)), match.group(2))
                    counted[key] = counted.get(key, 0) + 1
                    if not here:
                        skip[match.group(2)] = max(skip.get(match.group(2), 0), counted[key])
            most = {}
            for (_, call), count in counted.items():
                most[call] = max(most.get(call, 0), count)
            return ["%s/%d" % (call, n) for call, count in sorted(most.items()) for n in range(skip.get(call, 0) + 1, count + 1)]
        finally:
            world.close()

    def run(self, world, point):
        first, second = point.split("+")
        trigger, thread, call, number = first.split("/")
        bad = world.next_bad()
        tids = inject.threads(world.daemon.pid)
        strace = inject.Strace(tids[min(int(thread), len(tids) - 1)], *inject.inject(call, "signal=KILL", number))
        try:
            pull(world, bad, trigger)
            became = dies_or_completes(world, bad)
        finally:
            strace.close()
        if became == "completed":
            world.stop_daemon(signal.SIGKILL)
        world.judge_link("v1", bad)
        call, number = second.split("/")
        world.start(prefix=["strace", "-D", "-I2", "-f", "-o", "/dev/null", *inject.inject(call, "signal=KILL", number)], wait=False)

        def recovered():
            try:
                return world.daemon.poll() is not None or inject.is_dead(world.daemon.pid) or (world.status(world.service_)["phase"] in ("watching", "held"))
            except Exception:  # pylint: disable=broad-except  (not there yet, or just died)
                return False
        inject.until(120, recovered, 0.05)
        if not inject.died(world.daemon, AT_REST):
            inject.let_go(world.daemon.pid)
        if not inject.died(world.daemon, AT_REST):
            became += ", recovered"
        else:
            expect(world.daemon.returncode == -signal.SIGKILL, "exit code", "%s\n%s" % (world.daemon.returncode, world.tail()))
            became += ", killed again"
        world.judge_link("v1", bad)
        if world.daemon.poll() is not None:
            world.start()
        after_a_manual(world, bad, trigger)
        world.judge(bad, crashes=trigger == "crash")
        return became
