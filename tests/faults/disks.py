"""Disks that fail, are full, turn read-only, lose power, or hold garbage: loop-mounted ext4 and tmpfs of the tests' own, strace for errors."""
import hashlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time

import inject
from kills import calibrate, ended_on_disk
from sweep import Fresh, Sweep
from world import UNENDED, NotInTime, Violation, World, alive, brief, carried_out, end_all, expect, kill, processes_of, wait_for

MIB = 1 << 20
FILLS_MAX = 20


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError("%s: %s" % (" ".join(command), (done.stderr or done.stdout).strip()))
    return done.stdout.strip()


class Disk:
    """A file system of its own at `place`; gone with `close`, or at the end of all."""

    def __init__(self, bench, place, kind="ext4", mib=24, inodes=512):
        self.place, self.kind, self.image, self.loop = place, kind, place.rstrip("/") + ".img", None
        os.makedirs(place, exist_ok=True)
        self.cleanup = self.close
        bench.cleanups.append(self.cleanup)
        self.bench = bench
        if kind == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", "size=%dm,nr_inodes=%d,mode=700" % (mib, inodes), "tmpfs", place)
        else:
            with open(self.image, "wb") as image:
                image.truncate(mib * MIB)
            run("mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", "-N", str(inodes), "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0",
                self.image)
            self.mount()
        os.chmod(place, 0o700)

    def mount(self):
        self.loop = run("losetup", "--find", "--show", self.image)
        run("mount", "-o", "errors=remount-ro", self.loop, self.place)

    def unmount(self):
        if os.path.ismount(self.place):
            try:
                run("umount", self.place)
            except OSError:
                run("umount", "-l", self.place)  # Somebody's directory is still in it; what was started there has been ended.
        if self.loop:
            subprocess.run(["losetup", "-d", self.loop], capture_output=True, check=False)
            self.loop = None

    def close(self):
        self.unmount()
        if os.path.exists(self.image):
            os.remove(self.image)
        if self.cleanup in self.bench.cleanups:
            self.bench.cleanups.remove(self.cleanup)

    # ---- what goes wrong with disks

    def fill(self, what):
        """Takes every byte, or every inode. What was removed before becomes free with the journal's next commit: taken too, until none is left."""
        directory = os.path.join(self.place, "fill")
        os.makedirs(directory, exist_ok=True)
        for _ in range(FILLS_MAX):
            self.take(what, directory)
            handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            except OSError:
                pass
            finally:
                os.close(handle)
            facts = os.statvfs(self.place)
            if (facts.f_favail if what == "inodes" else facts.f_bavail) == 0:
                return
        raise AssertionError("%s does not become full" % self.place)

    @staticmethod
    def take(what, directory):
        """Takes what is free now."""
        try:
            if what == "inodes":
                for number in range(len(os.listdir(directory)), 1 << 20):
                    with open(os.path.join(directory, str(number)), "wb"):
                        pass
            with open(os.path.join(directory, "bytes"), "ab", buffering=0) as out:
                for size in (MIB, 64 << 10, 4096, 1):
                    try:
                        while True:
                            out.write(b"x" * size)
                    except OSError:
                        os.fsync(out.fileno())
        except OSError:
            pass

    def empty(self):
        shutil.rmtree(os.path.join(self.place, "fill"), ignore_errors=True)

    def turn_read_only(self):
        """As the kernel does it at an error of the disk: at once, whoever has files open."""
        if self.kind == "tmpfs":
            raise OSError("tmpfs has no errors")
        with open("/sys/fs/ext4/%s/trigger_fs_error" % os.path.basename(self.loop), "w", encoding="ascii") as out:
            out.write("a fault test")

    def repair(self):
        """Unmounts, checks and mounts anew. Whatever ran there must have ended."""
        self.unmount()
        subprocess.run(["e2fsck", "-fy", self.image], capture_output=True, check=False)
        self.mount()


class DiskWorld(World):
    """State directory and releases each on a disk of its own; what the tests themselves write is elsewhere."""

    def __init__(self, sweep, kind="ext4", mib=24, inodes=512, **settings):
        root = os.path.join(sweep.bench.scratch, "%s-%s" % (sweep.name, os.urandom(4).hex()))
        self.disks = [Disk(sweep.bench, os.path.join(root, part), kind, mib, inodes) for part in ("state", "tiny")]
        settings.setdefault("process_environment", {})["SIGNALS"] = os.path.join(root, "signals")
        super().__init__(sweep.bench.binaries, sweep.bench.program, root, **settings)
        self.begin()

    def protected(self):
        """Waits until the target is hashed and the link is armed: from here on a rollback needs no space."""
        wait_for("protected", 20, lambda: self.status(self.service_)["protected"])

    def end_all(self):
        """What a power cut does to processes."""
        end_all(self, self.root)

    def close(self, keep_files=False):
        for disk in self.disks:
            disk.empty()
        super().close(keep_files=True)
        for disk in self.disks:
            disk.close()
        if not keep_files:
            shutil.rmtree(self.root, ignore_errors=True)


def judge_trouble(world, bad, good="v1"):
    """In the middle of trouble: nothing is half done, nothing was done twice, and what was not done is told. True when it was done."""
    service = world.service_
    live = world.judge_link(bad, good)
    starts = [name for name, _ in service.starts()[world.marked:]]
    expect(starts in ([], [good]), "second actuation", "starts since the trouble began: %s" % starts)
    if live == bad:
        row = world.status(service)
        expect(row["phase"] != "watching" or not row["protected"], "silent", "nothing was done and nothing is told: %s" % world.told())
        world.expect_page()
    return live == good


def judge_or_held(world, bad, seconds=40):
    """After the trouble is over and the daemon was started anew: rolled back once, or held and told. What it is counted as."""
    service = world.service_

    def look():
        row = world.status(service)
        done = world.service_.live() == "v1" and world.service_.says() == "v1" and row["phase"] == "watching"
        return "rolled back" if done else "held" if row["phase"] == "held" else None
    try:
        became = wait_for("it is rolled back or held", seconds, look)
    except NotInTime as late:
        raise Violation("silent", "%s: %s" % (late, world.told())) from late
    rows = wait_for("rows have ended", 80, lambda: world.rollbacks(bad) if not any(r["status"] in UNENDED for r in world.rollbacks(bad)) else None) \
        if became == "rolled back" else world.rollbacks(bad)
    expect(len({row["operation"] for row in rows}) == len(rows), "duplicate row", brief(rows))
    done = carried_out(rows)
    expect(len(done) <= 1, "second actuation", brief(rows))
    came, gone = world.watcher.events()
    expect(came <= 1 and gone == 0, "second actuation", "`current` was put in place %d times" % came)
    if became == "rolled back":
        expect(came == 1 and len(done) == 1, "lost row", "switched %d times, rows %s" % (came, brief(rows)))
    else:
        decision = world.status(service).get("decision") or {}
        expect(decision.get("reason"), "silent", "held without a reason: %s" % world.told())
        world.expect_page()
    starts = [name for name, _ in service.starts()[world.marked:]]
    expect(starts in ([], ["v1"]), "second actuation", "starts since the trouble began: %s, rows %s" % (starts, brief(rows)))
    return became


class Errors(Sweep):
    name, what = "errors", "EIO and ENOSPC on the n-th write, pwrite, fdatasync and fsync of each thread of a rollback, once and for ever"
    share = 2.0

    def points(self):
        for (thread, call), count in sorted(calibrate(self, "automatic").items()):
            if call not in inject.WRITES or (thread == 0 and call == "write"):
                continue  # The first thread's writes go to eventfds: no disk is behind them.
            for error in ("EIO", "ENOSPC"):
                for number in range(1, count + 1):
                    yield "%s/%d/%s/%d" % (error, thread, call, number)
                    yield "%s/%d/%s/%d+" % (error, thread, call, number)

    def run(self, world, point):
        error, thread, call, when = point.split("/")
        bad = world.next_bad()
        tids = inject.threads(world.daemon.pid)
        if int(thread) >= len(tids):
            return "no such thread"
        strace = inject.Strace(tids[int(thread)], *inject.inject(call, "error=" + error, when))
        service = world.service_
        try:
            service.misbehave(bad)

            def quiet():
                phase = world.status(service)["phase"]
                return phase == "held" or (phase == "watching" and service.live() == "v1" and service.says() == "v1")
            if not inject.until(120, quiet, 0.05):
                raise Violation("silent", world.told())
            done = judge_trouble(world, bad)
        finally:
            strace.close()
        # The disk is well again: what lags behind is written, and a daemon that no longer trusts its file does after a restart.
        world.stop_daemon()
        expect(world.daemon.returncode == 0, "exit code", world.daemon.returncode)
        world.start()
        became = judge_or_held(world, bad)
        text = ("done at once" if done else "held") + ", " + (became if became == "held" or not done else "recorded")
        if became == "held":
            raise Fresh(text)
        return text


class Power(Sweep):
    name, what = "power", "power cut: an ext4 image is copied at a random moment of a rollback, mounted, and a daemon started on it"
    share = 2.0
    short_points = 6
    trials_a_world = 10

    def missing(self):
        return needs_loop()

    def world(self):
        root = os.path.join(self.bench.scratch, "power-%s" % os.urandom(4).hex())
        disk = Disk(self.bench, os.path.join(root, "disk"), mib=32, inodes=1024)
        world = PowerWorld(self, root, disk)
        world.begin()
        return world

    def points(self):
        return ["%d us" % self.rng.randrange(0, 500_000) for _ in range(300)]

    def run(self, world, point):
        bad = world.next_bad()
        wait_for("protected", 20, lambda: world.status(world.service_)["protected"])
        os.sync()  # The deployment is on disk; what follows is the daemon's own care.
        world.service_.misbehave(bad)
        time.sleep(int(point.split()[0]) / 1e6)
        world.cut()
        live = world.judge_link("v1", bad)
        world.watcher.events()
        marked = len(world.service_.starts())
        world.start(prefix=world.another_boot())
        world.settled("v1", 40)
        rows = wait_for("rows", 10, lambda: [r for r in world.rollbacks(bad)] if any(
            r["status"] == "succeeded" for r in world.rollbacks(bad)) and not any(r["status"] in UNENDED for r in world.rollbacks(bad)) else None)
        expect(len(carried_out(rows)) == 1, "second actuation", brief(rows))
        expect(len({r["operation"] for r in rows}) == len(rows), "duplicate row", brief(rows))
        came, _ = world.watcher.events()
        expect(came == (1 if live == bad else 0), "second actuation", "the link was on %s and put in place %d times" % (live, came))
        starts = [name for name, _ in world.service_.starts()[marked:]]
        expect(starts[-1:] == ["v1"] and starts.count("v1") == 1 and starts.count(bad) <= 1, "second actuation", starts)
        stands = {row["release"]: row["standing"] for row in world.get("/api/v1/releases?service=tiny")[1]["releases"]}
        expect(stands.get(bad) == "bad" and stands.get("v1") == "good", "standing", stands)
        return "cut before the switch" if live == bad else "cut after the switch"


class PowerWorld(World):
    """State and releases on one disk, whose power can be cut."""

    def __init__(self, sweep, root, disk):
        self.disk, self.boots = disk, 0
        self.real_root = root
        super().__init__(sweep.bench.binaries, sweep.bench.program, os.path.join(disk.place, "fleet"),
                         process_environment={"SIGNALS": os.path.join(root, "signals")})
        self.log = os.path.join(root, "rollbackd.log")

    def another_boot(self):
        """The daemon sees another boot id and a boot time that began anew, as after a real cut."""
        path = os.path.join(self.real_root, "boot_id")
        with open(path, "w", encoding="ascii") as out:
            out.write("00000000-0000-4000-8000-%012d\n" % self.boots)
        up = int(time.clock_gettime(time.CLOCK_BOOTTIME)) - 5
        return ["unshare", "--time", "--boottime", str(-up), "--monotonic", "0", "--mount", "--propagation", "slave", "sh", "-c",
                'mount --bind %s /proc/sys/kernel/random/boot_id && exec "$0" "$@"' % path]

    def cut(self):
        """Copies what the disk has without a sync, ends everything, and goes on with the copy."""
        self.boots += 1
        stopped = set()
        while True:  # They write nothing while we copy; the kernel's own writing back is seen by reading twice.
            more = set(processes_of(self.real_root)) - stopped
            if not more:
                break
            for pid in more:
                kill(pid, signal.SIGSTOP)
            stopped |= more
        copy = self.disk.image + ".cut"
        for _ in range(50):
            run("cp", "--sparse=always", self.disk.image, copy)
            if digest(copy) == digest(self.disk.image):
                break
        else:
            raise OSError("the disk never rested while it was copied")
        end_all(self, self.real_root)
        self.watcher.close()
        self.disk.unmount()
        os.replace(copy, self.disk.image)
        self.disk.mount()
        self.watcher = type(self.watcher)(self.service_.current)

    def close(self, keep_files=False):
        super().close(keep_files=True)
        self.disk.close()
        if not keep_files:
            shutil.rmtree(self.real_root, ignore_errors=True)


def digest(path):
    with open(path, "rb") as data:
        return hashlib.file_digest(data, "sha1").digest()


def needs_loop():
    """Why file systems of our own cannot be made here; empty when they can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if not all(shutil.which(program) for program in ("mkfs.ext4", "losetup", "e2fsck")) or not os.path.exists("/dev/loop-control"):
        return "mkfs.ext4, losetup, e2fsck or loop devices are missing"
    place = tempfile.mkdtemp(prefix="rollbackd-faults-")
    try:
        run("mount", "-t", "tmpfs", "tmpfs", place)
        run("umount", place)
        return ""
    except OSError as error:
        return "mounting is not allowed here (%s)" % error
    finally:
        os.rmdir(place)


class Full(Sweep):
    name, what = "full", "state and release file systems with 0 bytes or 0 inodes free, ext4 and tmpfs: each rollback succeeds"
    share = 1.0
    short_points = 8
    kinds = ("ext4", "tmpfs")

    def missing(self):
        return needs_loop()

    def points(self):
        return ["%s/%s/%d" % (kind, what, number) for number in range(1, 26) for what in ("bytes", "inodes") for kind in self.kinds]

    def world(self):
        return Worlds(lambda kind: DiskWorld(self, kind, mib=16, inodes=256))

    def run(self, world, point):
        kind, what, _ = point.split("/")
        world = world.of(kind)
        for disk in world.disks:
            disk.empty()
        bad = world.next_bad()
        world.protected()
        for disk in world.disks:
            disk.fill(what)
        service = world.service_
        service.misbehave(bad)
        world.settled("v1")  # While it is full.
        expect(world.watcher.events() == (1, 0), "second actuation", "the link")
        starts = [name for name, _ in service.starts()[world.marked:]]
        expect(starts == ["v1"], "second actuation", starts)
        for disk in world.disks:
            facts = os.statvfs(disk.place)
            expect(0 in (facts.f_favail, facts.f_bavail), "not judged", "%s was not full to the end" % disk.place)
            disk.empty()
        rows = wait_for("the row, once there is space again", 90, lambda: [r for r in world.rollbacks(bad) if r["status"] not in UNENDED])
        expect([row["status"] for row in rows] == ["succeeded"], "lost row", rows)
        return "succeeded on a %s with no %s" % (kind, what)


class Worlds:
    """One world a kind, made when it is asked for."""

    def __init__(self, make):
        self.make, self.worlds, self.last = make, {}, None

    def of(self, kind):
        if kind not in self.worlds:
            self.worlds[kind] = self.make(kind)
        self.last = self.worlds[kind]
        return self.last

    def told(self):
        return self.last.told() if self.last else ""

    def tail(self, lines=40):
        return self.last.tail(lines) if self.last else ""

    @property
    def root(self):
        return self.last.root if self.last else ""

    def close(self, keep_files=False):
        for world in self.worlds.values():
            world.close(keep_files)


class ReadOnly(Sweep):
    name, what = "read-only", "the state's or the releases' file system turns read-only before or in the middle of a rollback"
    share = 1.0
    short_points = 6
    trials_a_world = 1

    def missing(self):
        return needs_loop()

    def world(self):
        return DiskWorld(self)

    def points(self):
        out = []
        for number in range(10):
            for disk in ("state", "releases", "both"):
                out.append("%s/before/0 us" % disk) if number == 0 else None
                out.append("%s/during/%d us" % (disk, self.rng.randrange(0, 450_000)))
        return out

    def run(self, world, point):
        which, when, delay = point.split("/")
        disks = {"state": world.disks[:1], "releases": world.disks[1:], "both": world.disks}[which]
        bad = world.next_bad()
        world.protected()
        os.sync()
        service = world.service_
        if when == "before":
            for disk in disks:
                disk.turn_read_only()
        service.misbehave(bad)
        if when == "during":
            time.sleep(int(delay.split()[0]) / 1e6)
            for disk in disks:
                disk.turn_read_only()

        def quiet():
            phase = world.status(service)["phase"]
            return phase == "held" or (phase == "watching" and service.live() == "v1" and service.says() == "v1")
        if not inject.until(120, quiet, 0.05):
            raise Violation("silent", world.told())
        done = judge_trouble(world, bad)
        if done:
            expect(inject.until(60, lambda: service.says() == "v1"), "wrong process", world.told())
        world.stop_daemon()
        before = world.watcher.events()
        expect(before[0] <= 1, "second actuation", before)
        world.end_all()
        world.watcher.close()
        for disk in disks:
            disk.repair()
        world.watcher = type(world.watcher)(service.current)
        world.judge_link("v1", bad)
        world.start()
        if not done:
            self.goes_on(world, bad)
        rows = wait_for("rows have ended", 20, lambda: world.rollbacks(bad) if not any(
            r["status"] in UNENDED for r in world.rollbacks(bad)) else None)
        expect(len(carried_out(rows)) <= 1, "second actuation", brief(rows))
        expect(len({row["operation"] for row in rows}) == len(rows), "duplicate row", brief(rows))
        return ("done" if done else "held") + " with %s %s" % (which, when)

    @staticmethod
    def goes_on(world, bad):
        """On a well disk: rolled back, or, where the switch itself was tried and failed, held until a person says so; then it works."""
        def look():
            row = world.status(world.service_)
            well = row["phase"] == "watching" and world.service_.live() == "v1" and world.service_.says() == "v1"
            return "rolled back" if well else "held" if row["phase"] == "held" and (row.get("decision") or {}).get("reason") else None
        if wait_for("it is rolled back or held", 40, look) == "held":
            tried = [row for row in world.rollbacks(bad) if row["status"] == "abandoned" and "the switch failed" in row["detail"]]
            expect(len(tried) == 1, "silent", "held, and no switch was tried: %s" % world.told())
            code, text = world.ctl("rollback", "tiny", "--env", "demo", "--to", "v1", "--reason", "the disk is well again")
            expect(code == 0, "refused", text)
        world.settled("v1", 40)
