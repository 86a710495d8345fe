"""Files full of garbage: the history, which is no truth, and the state file, which is the truth for acting."""
import contextlib
import os
import random
import sqlite3

import inject
from disks import judge_or_held
from sweep import Fresh, Sweep
from world import UNENDED, Violation, brief, carried_out, expect, wait_for

SLOT, BLOCK = 5 * 4096, 4096  # src/record/README.md: slots A and B of five blocks, then a ring of six records of one.


def mutate(data, rng):
    """One random corruption of `data`, and its name."""
    kind = rng.choice(("flip", "flips", "zeros", "garbage", "page", "cut", "longer", "head", "swap"))
    at = rng.randrange(max(1, len(data)))
    if kind == "flip":
        data[at] ^= 1 << rng.randrange(8)
    elif kind == "flips":
        for _ in range(rng.randrange(2, 200)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == "zeros":
        length = rng.randrange(1, 20000)
        data[at:at + length] = bytes(min(length, len(data) - at))
    elif kind == "garbage":
        length = min(rng.randrange(1, 20000), len(data) - at)
        data[at:at + length] = rng.randbytes(length)
    elif kind == "page":
        page = at // BLOCK * BLOCK
        data[page:page + BLOCK] = rng.randbytes(min(BLOCK, len(data) - page))
    elif kind == "cut":
        del data[at:]
    elif kind == "longer":
        data += rng.randbytes(rng.randrange(1, 9000))
    elif kind == "head":
        data[:100] = rng.randbytes(min(100, len(data)))
    else:
        one, two = at // BLOCK * BLOCK, rng.randrange(max(1, len(data))) // BLOCK * BLOCK
        data[one:one + BLOCK], data[two:two + BLOCK] = data[two:two + BLOCK], data[one:one + BLOCK]
    return kind


def corrupt(path, how):
    with open(path, "rb") as out:
        data = bytearray(out.read())
    before = bytes(data)
    what = how(data)
    with open(path, "r+b") as out:
        out.write(data)
        out.truncate(len(data))
    return what, bytes(data) != before


class History(Sweep):
    name, what = "history", "random corruptions of the SQLite history: set aside and made anew where it is damaged, and a rollback works"
    share = 1.0

    def missing(self):
        return ""

    def points(self):
        return ["seed %d" % self.rng.randrange(1 << 30) for _ in range(500)]

    def run(self, world, point):
        rng = random.Random(point)
        bad = world.next_bad()
        world.stop_daemon()
        path = os.path.join(world.state, "history.sqlite")
        what, _ = corrupt(path, lambda data: mutate(data, rng))
        sane = self.sane(path)
        aside = len([name for name in os.listdir(world.state) if ".corrupt-" in name and not name.endswith(("-wal", "-shm"))])
        world.start()
        world.settled(bad)
        world.service_.misbehave(bad)
        world.settled("v1")
        rows = wait_for("the row of the history", 20, lambda: [row for row in world.rollbacks(bad) if row["status"] not in UNENDED])
        expect([row["status"] for row in rows] == ["succeeded"], "lost row", brief(rows))
        came, gone = world.watcher.events()
        expect((came, gone) == (1, 0), "second actuation", "`current` was put in place %d times" % came)
        starts = [name for name, _ in world.service_.starts()[world.marked:]]
        expect(starts == ["v1"], "second actuation", starts)
        now = len([name for name in os.listdir(world.state) if ".corrupt-" in name and not name.endswith(("-wal", "-shm"))])
        expect(world.get("/api/v1/status")[1]["history"] == "", "history", world.get("/api/v1/status")[1]["history"])
        for name in os.listdir(world.state):
            if ".corrupt-" in name:
                os.remove(os.path.join(world.state, name))
        if now > aside:
            return "set aside"
        if sane:
            return "harmless"
        expect(self.sane(path), "not noticed", "%s, and the history is still damaged: %s" % (what, path))
        return "mended"

    @staticmethod
    def sane(path):
        try:
            with contextlib.closing(sqlite3.connect("file:%s?mode=ro&immutable=1" % path, uri=True)) as database:
                return database.execute("PRAGMA integrity_check").fetchone()[0] == "ok" and \
                    database.execute("SELECT count(*) FROM operations").fetchone() is not None
        except (sqlite3.Error, OSError, UnicodeDecodeError):
            return False


class StateFile(Sweep):
    name, what = "state", "random corruptions of the state file: the other slot, or hold and page; never a wrong action"
    share = 1.0
    trials_a_world = 8

    def missing(self):
        return ""

    def points(self):
        kinds = ("any", "newer slot", "older slot", "both slots", "one record", "records", "any twice")
        return ["%s, seed %d" % (kinds[number % len(kinds)], self.rng.randrange(1 << 30)) for number in range(504)]

    def run(self, world, point):
        rng = random.Random(point)
        where = point.split(",")[0]
        bad = world.next_bad()
        known_bad = {"v%d" % n for n in range(2, world.number + 1)}
        world.stop_daemon()
        path = os.path.join(world.state, "tiny.demo.state")

        def at(data, start, length):
            part = bytearray(data[start:start + length])
            for _ in range(rng.randrange(1, 4)):
                place = rng.randrange(4000 if length == SLOT else 400)  # In what is used of it, most likely.
                part[place] ^= 1 << rng.randrange(8)
            data[start:start + length] = part

        def how(data):
            newer = max((0, 1), key=lambda slot: int.from_bytes(data[slot * SLOT + 16:slot * SLOT + 24], "little"))
            if where == "any":
                mutate(data, rng)
            elif where == "any twice":
                mutate(data, rng)
                if data:
                    mutate(data, rng)
            elif where == "newer slot":
                at(data, newer * SLOT, SLOT)
            elif where == "older slot":
                at(data, (1 - newer) * SLOT, SLOT)
            elif where == "both slots":
                at(data, 0, SLOT)
                at(data, SLOT, SLOT)
            else:
                for record in rng.sample(range(6), 1 if where == "one record" else rng.randrange(2, 7)):
                    at(data, 2 * SLOT + record * BLOCK, BLOCK)
            return where
        corrupt(path, how)
        service = world.service_
        service.misbehave(bad)
        world.start()

        def look():
            row = world.status(service)
            if service.live() == "v1" and service.says() == "v1" and row["phase"] == "watching":
                return "rolled back"
            if row["phase"] == "not watched":  # The file is not a state file at all any more; it says so, and leaves everything alone.
                return "not watched" if row.get("trouble") else None
            # Held though it is protected is the moment before it is asked again: the disk was slow, say.
            return "held" if not row["protected"] and row["phase"] in ("held", "watching") and row.get("protected_why") else None
        if not inject.until(120, look, 0.05):
            raise Violation("silent", world.told())
        inject.until(0.6, lambda: look() == "rolled back", 0.05)  # "not protected" may be the moment before it is armed.
        became = look() or "operating"
        if became == "operating":
            wait_for("it has ended", 20, look)
            became = look()
        live = world.judge_link("v1", bad)
        expect(live not in known_bad, "wrong target", live)
        came, gone = world.watcher.events()
        expect(came <= 1 and gone == 0 and (came == 1) == (live == "v1"), "second actuation", "`current` was put in place %d times, on %s" % (came, live))
        starts = [name for name, _ in service.starts()[world.marked:]]
        expect(starts == (["v1"] if live == "v1" else []), "second actuation", starts)
        if live == "v1":
            rows = world.rollbacks(bad)
            expect(len(carried_out(rows)) == 1, "second actuation", brief(rows))
            return "%s: rolled back" % where
        row = world.status(service)
        expect(became == "not watched" or not row["protected"] and row["protected_why"], "silent", world.told())
        world.expect_page()
        raise Fresh("%s: %s" % (where, became))
