"""Samples of one run, and what must be reached."""

import os
import statistics
import sys
import time
from dataclasses import dataclass, field

SLOW_S = 60  # a system that took so long in a row is not asked again


@dataclass
class Sample:
    row: str
    system: str
    repeat: int
    seconds: float
    n: int  # operations, or bytes where the row counts bytes
    requests: int | None = None  # of the service
    listings: int | None = None  # those of them that list: pages of delta, folders
    fetched: int | None = None  # bytes of content asked of the service
    fuse: int | None = None  # requests of the kernel
    load: float = 0.0

    @property
    def each(self):
        return self.seconds / self.n if self.n else self.seconds


@dataclass
class Target:
    row: str
    text: str
    limit: float
    at_least: bool
    value: float | None = None
    low: float | None = None  # of the repeats
    high: float | None = None

    @property
    def is_reached(self):
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def score(self):
        """1: just reached; more is better."""
        if self.value is None:
            return None
        if self.at_least:
            return self.value / self.limit
        if self.value <= 0:
            return 1.0
        return self.limit / self.value


@dataclass
class Row:
    id: str
    title: str
    unit: str  # "op": time for each, "byte": bytes for each second, "run": time of all
    targets: list = field(default_factory=list)
    note: str = ""


class Record:
    def __init__(self, only, repeat):
        self.only, self.repeat = only, repeat
        self.rows, self.samples, self.values = {}, [], []
        self.began = time.time()

    def wants(self, *rows):
        return not self.only or any(o in row for row in rows for o in self.only)

    def row(self, row_id, title, unit, note=""):
        return self.rows.setdefault(row_id, Row(row_id, title, unit, note=note))

    def say(self, text):
        print(f"{time.time() - self.began:7.1f} s  {text}", file=sys.stderr, flush=True)

    def of(self, row, system):
        return [s for s in self.samples if s.row == row and s.system == system]

    def is_slow(self, row, system):
        return sum(s.seconds for s in self.of(row, system)) > SLOW_S

    def add(self, row, system, seconds, n, before=None, after=None, fuse=None):
        """before, after: counters of the service."""
        def diff(*keys):
            return sum(after.get(k, 0) - before.get(k, 0) for k in keys) if before else None

        sample = Sample(row, system, len(self.of(row, system)), seconds, n, diff("requests"),
                        diff("delta", "children"), diff("content_bytes"), fuse, os.getloadavg()[0])
        self.samples.append(sample)
        self.say(f"{row:24} {system:18} {seconds:10.4f} s  n {n}  service {sample.requests}  fuse {fuse}")
        return sample

    def measure(self, row, system, fn, service=None):
        """fn() gives (seconds, n). system: with name and fuse_requests()."""
        if self.is_slow(row, system.name):
            return
        before = service.counters() if service else None
        fuse = system.fuse_requests()
        seconds, n = fn()
        if fuse is not None:
            fuse = system.fuse_requests() - fuse
        self.add(row, system.name, seconds, n, before, service.counters() if service else None, fuse)

    # --- what must be reached ---

    def median(self, row, system, key="each"):
        values = [getattr(s, key) for s in self.of(row, system) if getattr(s, key) is not None]
        return statistics.median(values) if values else None

    def spread(self, row, system):
        """(highest - lowest) / median."""
        values = [s.each for s in self.of(row, system)]
        return (max(values) - min(values)) / statistics.median(values) if values else None

    def target(self, row, text, limit, at_least, value, low=None, high=None):
        if row in self.rows and (value is not None or not self.only):
            self.rows[row].targets.append(Target(row, text, limit, at_least, value, low, high))

    def faster(self, row, other, limit, other_row=None, system="graphfs", label=None):
        """The speed of a system over that of another; pairs of the same repeat where both have them."""
        ours, theirs = self.of(row, system), self.of(other_row or row, other)
        ratios = [b.each / a.each for a, b in zip(ours, theirs)]
        a, b = self.median(row, system), self.median(other_row or row, other)
        value = None
        if ratios:
            value = statistics.median(ratios) if len(ours) == len(theirs) else b / a
        self.target(row, label or f"speed of {other}", limit, True, value, min(ratios, default=None),
                    max(ratios, default=None))

    def at_most(self, row, text, limit, key, system="graphfs", scale=1.0):
        values = [getattr(s, key) * scale for s in self.of(row, system) if getattr(s, key) is not None]
        self.target(row, text, limit, False, statistics.median(values) if values else None, min(values, default=None),
                    max(values, default=None))

    def value(self, row, name, value, unit):
        """A single figure that is no time of a repeat."""
        self.values.append((row, name, value, unit))
        self.say(f"{row:24} {name}: {value:.6g} {unit}")

    def find_value(self, row, name):
        found = [v for r, n, v, _ in self.values if r == row and n == name]
        return statistics.median(found) if found else None

    def figure(self, row, name, limit, at_least=False):
        self.target(row, name, limit, at_least, self.find_value(row, name))
