"""The workloads, in stages that share a service and what is mounted. A stage is skipped when none of its rows is asked for."""

import os
import re
import resource
import shutil
import subprocess
import tempfile
import threading
import time

from .systems import (BEST_FLAGS, Graphfs, Local, Passthrough, Rclone, Service, built, clean_environment, has_rclone,
                      probe, wait_until)

MIB = 1 << 20
MTIME_S = 1_700_000_000


class Sizes:
    """Everything that --short makes smaller."""

    trees = {"200x50": (200, 50), "100k": (1000, 100)}
    walked_n = 200_000  # entries of one sample of a walk, in as many passes as that takes
    stat_n = 100_000
    small_dirs, small_files = 100, 100
    big_bytes = 1 << 30
    random_n = 200_000
    cold_random_n = 200
    latency_ms, bytes_per_s = 50, 20_000_000
    grep_dirs, grep_files = 20, 100
    million_dirs, million_files = 10_000, 100
    read_files = 10
    readers_n = 4
    churn_n, churn_each_s = 1000, 1000
    idle_s = 60
    settle_s = 2.0

    @classmethod
    def shorten(cls):
        cls.trees = {"200x50": (6, 4), "100k": (4, 10)}
        cls.walked_n, cls.stat_n = 100, 100
        cls.small_dirs = cls.small_files = 4
        cls.big_bytes = 3 * MIB
        cls.random_n, cls.cold_random_n = 100, 5
        cls.latency_ms, cls.bytes_per_s = 5, 8_000_000
        cls.grep_dirs, cls.grep_files = 2, 5
        cls.million_dirs, cls.million_files = 10, 20
        cls.read_files, cls.churn_n, cls.churn_each_s = 2, 20, 200
        cls.idle_s, cls.settle_s = 0.5, 0.1


def timed(*argv, may_fail=False):
    """A real command; gives (seconds, 0)."""
    began = time.monotonic()
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, env=clean_environment(), check=False)
    seconds = time.monotonic() - began
    if done.returncode != 0 and not (may_fail and done.returncode == 1):
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}")
    return seconds, 0


def primitive(*command, passes=1, by_bytes=False):
    result = probe(*command, passes=passes)
    return result["ns"] / 1e9, result["bytes" if by_bytes else "n"]


class Stage:
    """A folder for work, a service and systems; all is ended and removed at the end."""

    def __init__(self, record, *service_options):
        self.record = record
        self.work = tempfile.mkdtemp(dir=os.environ["BENCH_WORK"])
        self.service = Service(self.work, *service_options)
        self.systems = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for system in self.systems:
            system.stop()
        self.service.stop()
        shutil.rmtree(self.work)

    def add(self, system):
        self.systems.append(system)
        system.start()
        return system

    def graphfs(self, **options):
        return self.add(Graphfs(self.work, self.service, **options))

    def rclones(self):
        """Default and best flags; none when it is not installed."""
        if not has_rclone():
            return []
        return [self.add(self.rclone(False)), self.add(self.rclone(True))]

    def rclone(self, is_best):
        return Rclone(self.work, self.service, "rclone, best" if is_best else "rclone, default",
                      BEST_FLAGS if is_best else [])

    def local(self, graphfs, with_content):
        """A copy of what graphfs shows."""
        folder = os.path.join(self.work, "local")
        if with_content:
            shutil.copytree(graphfs.mnt, folder)
            return Local(folder)
        for path, dirs, files in os.walk(graphfs.mnt):
            to = os.path.normpath(os.path.join(folder, os.path.relpath(path, graphfs.mnt)))
            os.makedirs(to, exist_ok=True)
            dirs.sort()
            for name in files:
                fd = os.open(os.path.join(to, name), os.O_WRONLY | os.O_CREAT, 0o644)
                os.ftruncate(fd, os.stat(os.path.join(path, name)).st_size)
                os.close(fd)
        return Local(folder)


# --- warm metadata ---

WARM = (("find", "find: names only (primitive)"), ("find-cmd", "`find` (command)"),
        ("stat", "find with statx of each (primitive)"), ("find-size-cmd", "`find -size` (command)"),
        ("ls-cmd", "`ls -lR` (command)"), ("statx", "statx, random paths"), ("absent", "statx of absent names"))


def warm_jobs(shape, entries):
    passes = max(1, Sizes.walked_n // entries)
    return {
        "find": lambda s: primitive("walk", s.mnt, passes=passes),
        "find-cmd": lambda s: timed("find", s.mnt),
        "stat": lambda s: primitive("walkstat", s.mnt, passes=passes),
        "find-size-cmd": lambda s: timed("find", s.mnt, "-size", "+1M"),
        "ls-cmd": lambda s: timed("ls", "-lR", s.mnt),
        "statx": lambda s: primitive("stat", s.mnt, Sizes.stat_n),
        "absent": lambda s: primitive("absent", s.mnt, min(Sizes.stat_n, 20_000), passes=2),
    }


def warm_row(shape, kind):
    return f"warm-{kind}-{shape}"


def warm_tree(record, shape):
    dirs, files = Sizes.trees[shape]
    if not record.wants(*(warm_row(shape, kind) for kind, _ in WARM)):
        return
    with Stage(record, "--seed-tree", f"{dirs},{files},8192") as stage:
        graphfs = stage.graphfs()
        graphfs.wait_known()
        local = stage.local(graphfs, False)
        systems = [local, graphfs, stage.add(Passthrough(stage.work, local.mnt)), *stage.rclones()]
        jobs = warm_jobs(shape, dirs * (files + 1))
        for kind, title in WARM:
            row = record.row(warm_row(shape, kind), f"warm, {shape} files: {title}",
                             "run" if kind.endswith("cmd") else "op").id
            if not record.wants(row):
                continue
            # rclone's default flags forget within a second: each further row would show the same for minutes.
            asked = [s for s in systems if s.name != "rclone, default" or kind in ("find", "find-cmd", "stat")]
            asked = [s for s in asked if s.name != "pass-through" or kind in ("find", "find-cmd")]
            for system in asked:
                jobs[kind](system)
            for _ in range(record.repeat):
                for system in asked:
                    record.measure(row, system, lambda s=system, k=kind: jobs[k](s), stage.service)
    check_same_n(record, warm_row(shape, "find"))
    warm_targets(record, shape, dirs)


def check_same_n(record, row):
    """All systems must have shown the same tree."""
    counts = {s.n for s in record.samples if s.row == row}
    if len(counts) > 1:
        raise RuntimeError(f"{row}: the systems showed trees of different sizes: {sorted(counts)}")


def warm_targets(record, shape, dirs):
    for kind in ("find", "find-cmd"):
        row = warm_row(shape, kind)
        record.faster(row, "local", 2.5)
        record.faster(row, "rclone, default", 20)
        record.at_most(row, "FUSE requests", 0, "fuse")
        # How near the limit it is: a command spends time of its own, whatever it walks.
        record.faster(row, "pass-through", 0.9)
    for kind in ("stat", "find-size-cmd", "ls-cmd"):
        row = warm_row(shape, kind)
        record.faster(row, "local", 0.9)
        record.faster(row, "rclone, best", 3)
        record.at_most(row, "FUSE requests (one for each folder)", dirs + dirs // 100 + 1, "fuse")
    for kind in ("statx", "absent"):
        row = warm_row(shape, kind)
        record.faster(row, "local", 0.85)
        record.at_most(row, "FUSE requests", 0, "fuse")


# --- cached contents ---

CACHED = {
    "page-seq": "sequential re-read of {big}, page cache",
    "page-random": "random 4 KiB from the page cache",
    "cached-seq": "first sequential read of {big}, in the cache on disk",
    "cached-small": "open + read + close of {small} cached 4 KiB files",
}


def size_text(n):
    for unit, factor in (("GiB", 1 << 30), ("MiB", MIB), ("KiB", 1024)):
        if n >= factor:
            return f"{n / factor:g} {unit}"
    return f"{n} B"


def cached(record):
    if not record.wants(*CACHED):
        return
    small_n = Sizes.small_dirs * Sizes.small_files
    with Stage(record, "--seed-tree", f"{Sizes.small_dirs},{Sizes.small_files},4096") as stage:
        stage.service.post("create", path="big.bin", size=Sizes.big_bytes, kind="random")
        stage.service.ask("tree?hash=1")
        graphfs = stage.graphfs()
        graphfs.wait_known()
        local = stage.local(graphfs, True)
        through = stage.add(Passthrough(stage.work, local.mnt))
        best = [r for r in stage.rclones() if "best" in r.name]
        systems = [local, through, graphfs, *best]
        for system in systems:
            record.say(f"filling {system.name}")
            primitive("orc", system.mnt, small_n)
            primitive("seq", system.path("big.bin"), MIB)
        jobs = cached_jobs(small_n)
        for row, title in CACHED.items():
            record.row(row, title.format(big=size_text(Sizes.big_bytes), small=f"{small_n:,}"),
                       "byte" if row.endswith("seq") else "op")
            if not record.wants(row):
                continue
            for system in systems:
                jobs[row](system)
            for _ in range(record.repeat):
                for system in systems:
                    if row == "cached-seq":
                        probe("drop", system.path("big.bin"))
                        if system is not local:
                            primitive("seq", local.path("big.bin"), MIB)
                    record.measure(row, system, lambda s=system, r=row: jobs[r](s), stage.service)
    record.faster("page-seq", "local", 0.7)
    record.faster("page-random", "local", 0.8)
    record.faster("cached-seq", "pass-through", 0.9)
    record.faster("cached-small", "pass-through", 0.9)
    record.faster("cached-small", "rclone, best", 10)


def cached_jobs(small_n):
    return {
        "page-seq": lambda s: primitive("seq", s.path("big.bin"), MIB, by_bytes=True),
        "page-random": lambda s: primitive("rand", s.path("big.bin"), Sizes.random_n, 1),
        "cached-seq": lambda s: primitive("seq", s.path("big.bin"), MIB, by_bytes=True),
        "cached-small": lambda s: primitive("orc", s.mnt, small_n),
    }


# --- cold contents ---

COLD = {
    "cold-seq-shaped": "cold sequential read of {big}, {latency} ms, {rate} MB/s for each connection",
    "cold-seq-unshaped": "cold sequential read of {big}, unshaped",
    "cold-first-unknown": "first byte of a cold file, {latency} ms, listing known",
    "cold-first-known": "first byte of another part of it: content URL known",
    "cold-random": "{n} random 4 KiB reads in a cold file of {big}, {latency} ms",
}


def curl(url, folder, parts, size):
    """Fetches a file in so many ranges at once, each into a file; gives (seconds, bytes)."""
    step = -(-size // parts)
    began = time.monotonic()
    running = []
    for i in range(parts):
        part = ["-r", f"{i * step}-{min((i + 1) * step, size) - 1}"] if parts > 1 else []
        running.append(subprocess.Popen(["curl", "-sfk", *part, "-o", os.path.join(folder, f"part-{i}"), url],
                                        env=clean_environment()))
    if any(process.wait() != 0 for process in running):
        raise RuntimeError("curl failed")
    seconds = time.monotonic() - began
    for i in range(parts):
        os.unlink(os.path.join(folder, f"part-{i}"))
    return seconds, size


class Curl:
    def __init__(self, parts):
        self.name = "curl" if parts == 1 else f"curl × {parts}"

    @staticmethod
    def fuse_requests():
        return None


def cold_systems(stage):
    graphfs = stage.graphfs()
    graphfs.wait_known()
    systems = [graphfs, *stage.rclones()]
    for system in systems:  # the listing is known, however the system learns it
        primitive("walk", system.mnt)
    return systems


def cold_seq(record, stage, systems, row, parts, repeat):
    for i in range(repeat):
        name = f"{row}/{i}.bin"
        url = stage.service.content_url(name)
        for n in parts:
            record.measure(row, Curl(n), lambda u=url, n=n: curl(u, stage.work, n, Sizes.big_bytes), stage.service)
        for system in systems:
            record.measure(row, system, lambda s=system, p=name: primitive("seq", s.path(p), MIB, by_bytes=True),
                           stage.service)


def cold_first(record, stage, systems, repeat):
    for i in range(repeat):
        for system in systems:
            path = system.path("first", f"{i}.bin")
            record.measure("cold-first-unknown", system, lambda p=path: primitive("first", p, 0), stage.service)
            # What the first read started beyond its answer is not the next one's.
            time.sleep(Sizes.latency_ms * 6 / 1000)
            far = Sizes.big_bytes * 3 // 4 + i
            record.measure("cold-first-known", system, lambda p=path, o=far: primitive("first", p, o), stage.service)


def cold_reads(record):
    if not record.wants(*COLD):
        return
    repeat = max(1, (record.repeat + 1) // 2)
    texts = {"big": size_text(Sizes.big_bytes), "latency": Sizes.latency_ms, "rate": Sizes.bytes_per_s // 1_000_000,
             "n": Sizes.cold_random_n}
    for row, title in COLD.items():
        if record.wants(row):
            record.row(row, title.format(**texts), "byte" if "seq" in row else "op")
    with Stage(record) as stage:
        for row in ("cold-seq-shaped", "cold-seq-unshaped", "cold-random", "first"):
            for i in range(repeat):
                if record.wants(*(r for r in COLD if row in r)):
                    stage.service.post("create", path=f"{row}/{i}.bin", size=Sizes.big_bytes, kind="random")
        stage.service.ask("tree?hash=1")
        systems = cold_systems(stage)
        if record.wants("cold-seq-unshaped"):
            cold_seq(record, stage, systems, "cold-seq-unshaped", (1, 2, 4, 8), repeat)
        stage.service.shape(Sizes.latency_ms)
        if record.wants("cold-first-unknown", "cold-first-known"):
            cold_first(record, stage, systems, repeat)
        for i in range(repeat if record.wants("cold-random") else 0):
            for system in systems:
                path = system.path("cold-random", f"{i}.bin")
                record.measure("cold-random", system,
                               lambda p=path, i=i: primitive("rand", p, Sizes.cold_random_n, i + 1), stage.service)
        stage.service.shape(Sizes.latency_ms, Sizes.bytes_per_s)
        if record.wants("cold-seq-shaped"):
            cold_seq(record, stage, systems, "cold-seq-shaped", (1, 8), repeat)
    cold_targets(record)


def cold_targets(record):
    record.faster("cold-seq-shaped", "rclone, default", 3)
    record.faster("cold-seq-shaped", "curl × 8", 0.9)
    row = "cold-seq-unshaped"
    parallel = min((n for n in (2, 4, 8) if record.of(row, f"curl × {n}")),
                   key=lambda n: record.median(row, f"curl × {n}"), default=None)
    limits = [name for name in ("curl", f"curl × {parallel}") if record.of(row, name)]
    if limits:
        # The slower of one curl and the best of several.
        limit = max(limits, key=lambda name: record.median(row, name))
        record.faster(row, limit, 0.8, label=f"speed of {limit}")
    trips = 1000 / Sizes.latency_ms
    record.at_most("cold-first-unknown", "round trips", 2.2, "each", scale=trips)
    record.at_most("cold-first-known", "round trips", 1.2, "each", scale=trips)
    record.at_most("cold-random", "round trips for each read", 1.15, "each", scale=trips)
    record.at_most("cold-random", "bytes fetched for each byte read", 64, "fetched",
                   scale=1 / (Sizes.cold_random_n * 4096))


# --- cold trees ---

def cold_find(record):
    dirs, files = Sizes.trees["200x50"]
    if not record.wants("cold-find"):
        return
    repeat = max(1, (record.repeat + 1) // 2)
    title = f"cold `find` of {dirs} folders × {files} files, {Sizes.latency_ms} ms"
    record.row("cold-find", title + ", from the mount's first answer", "run")
    record.row("cold-find-start", title + ", from the start of the program", "run")
    with Stage(record, "--seed-tree", f"{dirs},{files},8192", "--latency", str(Sizes.latency_ms)) as stage:
        items = stage.service.counters()["items"]
        for _ in range(repeat):
            systems = [Graphfs(stage.work, stage.service)]
            if has_rclone():
                systems += [stage.rclone(False), stage.rclone(True)]
            for system in systems:
                if record.is_slow("cold-find", system.name):
                    continue
                before = stage.service.counters()
                start_s = system.start()
                stage.systems.append(system)
                seconds, _ = timed("find", system.mnt)
                after, fuse = stage.service.counters(), system.fuse_requests()
                record.add("cold-find", system.name, seconds, 0, before, after, fuse)
                record.add("cold-find-start", system.name, start_s + seconds, 0, before, after, fuse)
                system.stop()
                system.forget()
    record.faster("cold-find", "rclone, default", 5)
    record.faster("cold-find", "rclone, best", 5)
    folders = dirs + 1 + (-(-dirs // 100) if dirs > 100 else 0)
    # Besides: two looks at what is new, before the crawl and when the channel is up, and the first folder,
    # which does not wait for the crawl.
    record.at_most("cold-find", "listing requests (pages of the crawl and 3, or folders)",
                   min(-(-items // 1000) + 3, folders), "listings")


def cold_grep(record):
    if not record.wants("cold-grep"):
        return
    repeat = max(1, (record.repeat + 1) // 2)
    record.row("cold-grep", f"cold `grep -r` over {Sizes.grep_dirs * Sizes.grep_files:,} files of 8 KiB, "
               f"{Sizes.latency_ms} ms, listing known", "run")
    with Stage(record, "--seed-tree", f"{Sizes.grep_dirs},{Sizes.grep_files},8192") as stage:
        for _ in range(repeat):
            systems = [Graphfs(stage.work, stage.service)]
            if has_rclone():
                systems.append(stage.rclone(True))
            for system in systems:
                if record.is_slow("cold-grep", system.name):
                    continue
                stage.service.shape(0)
                stage.systems.append(system)
                system.start()
                if isinstance(system, Graphfs):
                    system.wait_known()
                primitive("walkstat", system.mnt)
                stage.service.shape(Sizes.latency_ms)
                record.measure("cold-grep", system,
                               lambda s=system: timed("grep", "-r", "no such words", s.mnt, may_fail=True),
                               stage.service)
                system.stop()
                system.forget()
    record.faster("cold-grep", "rclone, best", 8)


# --- a million items ---

MILLION = ("million-crawl", "million-remount", "million-find", "million-rss")


def million(record):
    if not record.wants(*MILLION):
        return
    dirs, files = Sizes.million_dirs, Sizes.million_files
    n = dirs * files
    repeat = max(1, min(3, record.repeat))
    record.row("million-crawl", f"crawl of {n:,} files, until all is known", "op")
    record.row("million-remount", f"remount of {n:,} known files, service unreachable: until the first `ls` is answered",
               "run")
    record.row("million-find", f"restart, then a full walk over {n:,} known files, service unreachable", "run")
    record.row("million-rss", f"memory after a walk over {n:,} files and reading "
               f"{size_text(Sizes.read_files * Sizes.big_bytes)}", "run")
    with Stage(record, "--seed-tree", f"{dirs},{files},100") as stage:
        for i in range(Sizes.read_files):
            stage.service.post("create", path=f"big/{i}.bin", size=Sizes.big_bytes, kind="random")
        graphfs = million_crawl(record, stage)
        graphfs.stop()
        for _ in range(repeat):
            million_restart(record, stage, graphfs)
        if record.wants("million-rss"):
            million_memory(record, stage, graphfs)
    record.figure("million-crawl", "memory at most (MiB)", 100 * 1000 * 1000 / MIB)
    record.figure("million-crawl", "rows inserted in a second, without the service", 50_000, at_least=True)
    record.at_most("million-remount", "ms", 100, "each", scale=1000)
    record.at_most("million-remount", "requests to the service", 0, "requests")
    record.at_most("million-find", "s", 10, "each")
    record.figure("million-rss", "memory after the walk (MiB)", 100 * 1000 * 1000 / MIB)
    record.figure("million-rss", "memory at most (MiB)", 100 * 1000 * 1000 / MIB)


def million_crawl(record, stage):
    before = stage.service.counters()
    began = time.monotonic()
    graphfs = stage.graphfs(cache="4G")
    graphfs.wait_known(timeout_s=1800)
    seconds = time.monotonic() - began
    record.add("million-crawl", "graphfs", seconds, graphfs.status()["items"], before, stage.service.counters(),
               graphfs.fuse_requests())
    record.value("million-crawl", "memory at most (MiB)", graphfs.memory_kib() / 1024, "MiB")
    record.value("million-crawl", "CPU of graphfs", graphfs.cpu_s(), "s")
    if record.wants("million-crawl"):
        n = max(1000, Sizes.million_dirs * Sizes.million_files)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        text = subprocess.run([built("tests/unit/store/bench_tree"), str(n), "crawl"], stdout=subprocess.PIPE, text=True,
                              check=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall_us = re.search(r"^crawl +([0-9.]+) us each", text, re.M)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        record.value("million-crawl", "rows inserted in a second, without the service", 1e6 / float(wall_us.group(1)), "rows/s")
        record.value("million-crawl", "rows inserted in a second of CPU, without the service", n / cpu_s, "rows/s")
    return graphfs


def million_restart(record, stage, graphfs):
    stage.service.post("outage", mode="refuse")
    before = stage.service.counters()
    seconds = graphfs.start()
    began = time.monotonic()
    os.listdir(graphfs.mnt)
    seconds += time.monotonic() - began
    record.add("million-remount", "graphfs", seconds, 0, before, stage.service.counters(), graphfs.fuse_requests())
    if record.wants("million-find"):
        walked, n = primitive("walk", graphfs.mnt)
        if n < Sizes.million_dirs * Sizes.million_files:
            raise RuntimeError(f"only {n} entries were found")
        record.add("million-find", "graphfs", seconds + walked, 0, before, stage.service.counters(),
                   graphfs.fuse_requests())
    graphfs.stop()
    stage.service.post("outage", mode="none")


def million_memory(record, stage, graphfs):
    before = stage.service.counters()
    graphfs.start()
    graphfs.wait_known()
    began = time.monotonic()
    primitive("walk", graphfs.mnt)
    record.value("million-rss", "memory after the walk (MiB)", graphfs.memory_kib("VmRSS") / 1024, "MiB")
    for i in range(Sizes.read_files):
        path = graphfs.path("big", f"{i}.bin")
        primitive("seq", path, MIB)
        probe("drop", path)
    record.add("million-rss", "graphfs", time.monotonic() - began, 0, before, stage.service.counters(),
               graphfs.fuse_requests())
    record.value("million-rss", "memory at the end (MiB)", graphfs.memory_kib("VmRSS") / 1024, "MiB")
    record.value("million-rss", "memory at most (MiB)", graphfs.memory_kib() / 1024, "MiB")


# --- under way at the same time ---

class Readers:
    """Four that read cold files, until stopped."""

    def __init__(self, paths):
        self.running = [subprocess.Popen([built("scripts/bench/bench_probe"), "seq", p, str(MIB)],
                                         stdout=subprocess.DEVNULL) for p in paths]

    def stop(self):
        for process in self.running:
            process.kill()
            process.wait()


class Churn:
    """Changes so many known files in each second, until stopped."""

    def __init__(self, service, n, each_s):
        self.service, self.n, self.each_s = service, n, each_s
        self.is_over, self.made = False, 0
        self.began = time.monotonic()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        batch = max(1, self.each_s // 20)
        while not self.is_over:
            ops = [{"op": "touch", "path": f"churn/{(self.made + i) % self.n:04}.txt",
                    "mtime": MTIME_S + self.made // self.n} for i in range(batch)]
            self.service.post("batch", ops=ops)
            self.made += batch
            time.sleep(max(0.0, self.made / self.each_s - (time.monotonic() - self.began)))

    def stop(self):
        self.is_over = True
        self.thread.join()
        return self.made / (time.monotonic() - self.began)


def interference(record):
    rows = ("busy-none", "busy-readers", "busy-changes")
    if not record.wants(*rows):
        return
    record.row("busy-none", "warm statx, random paths: idle", "op")
    record.row("busy-readers", f"the same while {Sizes.readers_n} readers fetch cold data", "op")
    record.row("busy-changes", f"the same while {Sizes.churn_each_s:,} invalidations a second run", "op")
    dirs, files = Sizes.trees["200x50"]
    repeat = max(1, (record.repeat + 1) // 2)
    with Stage(record, "--seed-tree", f"{dirs},{files},8192") as stage:
        stage.service.post("batch", ops=[{"op": "create", "path": f"churn/{i:04}.txt", "text": str(i)}
                                         for i in range(Sizes.churn_n)])
        for i in range(repeat * Sizes.readers_n):
            stage.service.post("create", path=f"cold/{i}.bin", size=Sizes.big_bytes, kind="random")
        stage.service.ask("tree?hash=1")
        stage.service.shape(Sizes.latency_ms, Sizes.bytes_per_s)
        graphfs = stage.graphfs()
        graphfs.wait_known()
        local = stage.local(graphfs, False)
        for i in range(repeat):
            paths = [graphfs.path("cold", f"{i * Sizes.readers_n + k}.bin") for k in range(Sizes.readers_n)]
            disturb(record, stage, (local, graphfs), paths)
    record.faster("busy-readers", "graphfs", 0.7, other_row="busy-none", label="speed when idle")
    record.faster("busy-changes", "graphfs", 0.7, other_row="busy-none", label="speed when idle")
    # What the load takes from everybody: the processors are shared with the service and the readers.
    for row in rows[1:]:
        bound = record.median("busy-none", "local") / record.median(row, "local")
        record.value(row, "speed of the local file system under the same load, relative to idle", bound, "×")


def disturb(record, stage, systems, paths):
    def look(row):
        for system in systems:
            folder = system.path()
            record.measure(row, system, lambda f=folder: primitive("stat", f, Sizes.stat_n, passes=3), stage.service)

    for system in systems:
        primitive("walkstat", system.mnt)
    look("busy-none")
    readers = Readers(paths)
    time.sleep(Sizes.settle_s)
    look("busy-readers")
    readers.stop()
    time.sleep(Sizes.settle_s)
    churn = Churn(stage.service, Sizes.churn_n, Sizes.churn_each_s)
    time.sleep(Sizes.settle_s)
    look("busy-changes")
    record.value("busy-changes", "changes a second made", churn.stop(), "1/s")


def idle(record):
    if not record.wants("idle"):
        return
    record.row("idle", f"idle for {Sizes.idle_s:g} s with a live channel", "run",
               note="counts scaled to ten minutes")
    dirs, files = Sizes.trees["200x50"]
    with Stage(record, "--seed-tree", f"{dirs},{files},8192") as stage:
        graphfs = stage.graphfs()
        graphfs.wait_known()
        primitive("walkstat", graphfs.mnt)
        wait_until(lambda: graphfs.status()["state"] == "live", "the channel is up")
        time.sleep(Sizes.settle_s * 2)
        cpu, wakeups, before = graphfs.cpu_s(), graphfs.wakeups(), stage.service.counters()
        fuse = graphfs.fuse_requests()
        time.sleep(Sizes.idle_s)
        scale = 600 / Sizes.idle_s
        record.value("idle", "CPU in ten minutes", (graphfs.cpu_s() - cpu) * scale, "s")
        record.value("idle", "wake-ups in ten minutes", (graphfs.wakeups() - wakeups) * scale, "")
        record.add("idle", "graphfs", Sizes.idle_s, 0, before, stage.service.counters(),
                   graphfs.fuse_requests() - fuse)
    record.figure("idle", "CPU in ten minutes", 0.2)
    # A heartbeat every 25 s: the frame comes, the answer goes, and the watchdog is set again.
    record.figure("idle", "wake-ups in ten minutes", 24 * 4)


def stages():
    warm = [lambda record, s=shape: warm_tree(record, s) for shape in Sizes.trees]
    return [*warm, cached, cold_reads, cold_find, cold_grep, million, interference, idle]
