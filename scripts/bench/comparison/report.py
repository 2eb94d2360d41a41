"""CSV files, a markdown page and its plots."""

import csv
import math
import os
import platform
import statistics
import subprocess
import time
from html import escape

COLUMNS = ("local", "pass-through", "curl", "curl × 8", "graphfs", "rclone, default", "rclone, best")
NOISY = 0.25
INK, SOFT, LINE, GREEN, RED, BLUE = "#24292f", "#6e7781", "#d0d7de", "#1a7f37", "#cf222e", "#0969da"
COLOURS = {"local": "#6e7781", "pass-through": "#8250df", "curl": "#bf8700", "curl × 8": "#953800", "graphfs": GREEN,
           "rclone, default": "#cf222e", "rclone, best": "#fd8c73"}
SANS = "font-family=\"'Segoe UI',Helvetica,Arial,'DejaVu Sans',sans-serif\""


# --- words ---

def number(x):
    if x is None:
        return "–"
    if x == int(x) and abs(x) < 1e6:
        return f"{int(x):,}"
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"


def time_text(seconds):
    for unit, factor in (("s", 1), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
        if seconds >= factor:
            return f"{number(seconds / factor)} {unit}"
    return f"{seconds * 1e9:.2g} ns"


def amount(row, each):
    if each is None:
        return "–"
    return f"{number(1 / each / 1e6)} MB/s" if row.unit == "byte" else time_text(each)


def table(head, lines):
    out = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return out + ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def counts(samples, key):
    values = [getattr(s, key) for s in samples if getattr(s, key) is not None]
    return statistics.median(values) if values else None


# --- tables ---

def targets_of(record):
    return [t for row in record.rows.values() for t in row.targets]


def verdict(target):
    return {None: "not measured", True: "yes", False: "**no**"}[target.is_reached]


def target_lines(record):
    for row in record.rows.values():
        load = max((s.load for s in record.samples if s.row == row.id), default=None)
        for t in row.targets:
            span = f" [{number(t.low)} – {number(t.high)}]" if t.low is not None and t.low != t.high else ""
            yield (f"`{row.id}`", row.title, t.text, f"{'≥' if t.at_least else '≤'} {number(t.limit)}{' ×' if 'speed' in t.text else ''}",
                   number(t.value) + span, verdict(t), number(load))


def time_lines(record):
    for row in record.rows.values():
        cells = []
        for system in COLUMNS:
            samples = record.of(row.id, system)
            if not samples:
                cells.append("–")
                continue
            spread = record.spread(row.id, system)
            cells.append(amount(row, record.median(row.id, system)) +
                         (f" ± {spread * 50:.0f} %" if len(samples) > 1 else ""))
        if any(c != "–" for c in cells):
            yield (f"`{row.id}`", *cells)


def count_lines(record):
    for row in record.rows.values():
        for system in sorted({s.system for s in record.samples if s.row == row.id and s.requests is not None}):
            samples = record.of(row.id, system)
            fetched = counts(samples, "fetched")
            yield (f"`{row.id}`", system, number(counts(samples, "requests")), number(counts(samples, "listings")),
                   "–" if not fetched else f"{fetched / 1e6:,.1f} MB", number(counts(samples, "fuse")))


def value_lines(record):
    for row, name, value, unit in record.values:
        yield (f"`{row}`", name, f"{number(value)} {unit}")


# --- machine, method, noise ---

def output_of(*argv):
    try:
        return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              check=False).stdout.splitlines()[0]
    except (OSError, IndexError):
        return "not there"


def machine():
    with open("/proc/meminfo", encoding="ascii") as f:
        memory = int(f.readline().split()[1]) / (1 << 20)
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "unknown")
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    return f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GiB of memory, Linux {kernel}"


def versions(graphfs):
    return ", ".join((output_of(graphfs, "--version"), output_of("rclone", "version"),
                      " ".join(output_of("curl", "--version").split()[:2]), output_of("find", "--version"),
                      "libfuse " + output_of("pkg-config", "--modversion", "fuse3")))


def noise(record):
    spreads = {row.id: record.spread(row.id, "local") for row in record.rows.values()
               if len(record.of(row.id, "local")) > 1}
    if not spreads:
        return "The local file system was measured no more than once."
    noisy = [f"`{row}`" for row, s in spreads.items() if s > NOISY]
    text = (f"Spread of the local file system, (highest − lowest) / median: {min(spreads.values()) * 100:.0f} to "
            f"{max(spreads.values()) * 100:.0f} %, median {statistics.median(spreads.values()) * 100:.0f} %.")
    return text + (" More than 25 %, so indicative only: " + ", ".join(noisy) + "." if noisy else "")


METHOD = """All systems are measured in one run, one after the other within each repeat (A B C, A B C, ...). A figure is the
median; ± is half of (highest − lowest) / median. A ratio is the median of the ratios of the repeats, with the lowest and
the highest in brackets. Primitives are loops in one small program (`scripts/bench/probe.c`), commands are the real ones
with their start and end. Warm means that the same was done once before. The service is `graphsim` on the same machine,
over TLS, with its latency before each reply and its rate for each connection; its own work takes part of the same
processors. The pass-through (`scripts/bench/passthrough.c`) shows a local folder with graphfs' cache settings and threads.
A system that took more than 60 s in a row is not asked again. Requests of the service and of the kernel (FUSE) are
those of one repeat, median."""


def page(record, graphfs, plots, short):
    reached = targets_of(record)
    good = sum(1 for t in reached if t.is_reached)
    loads = [s.load for s in record.samples]
    out = ["# graphfs side by side", ""]
    if short:
        out += ["**The short form: sizes are tiny, the figures mean nothing.**", ""]
    out += [f"{good} of {len(reached)} targets reached. Made by `scripts/bench/compare`; `samples.csv` has every "
            "measurement, `targets.csv` every target.", "",
            f"- Date: {time.strftime('%Y-%m-%d', time.gmtime(record.began))}, "
            f"{(time.time() - record.began) / 60:.0f} minutes",
            f"- Machine: {machine()}",
            f"- Load average while measuring: {min(loads, default=0):.1f} to {max(loads, default=0):.1f}",
            f"- Versions: {versions(graphfs)}", f"- rclone's best flags: `{' '.join(best_flags())}`",
            f"- Noise: {noise(record)}", "", METHOD, "", "## What must be reached", ""]
    out += [f"![Each target and what was reached]({plots[0]})", ""] if plots else []
    out += table(("row", "workload", "measured against", "target", "reached value", "reached", "load"), target_lines(record))
    out += ["", "## Times", ""]
    out += [f"![Speed of each system relative to graphfs]({plots[1]})", ""] if plots else []
    out += table(("row", *COLUMNS), time_lines(record))
    out += ["", "## Requests", ""]
    out += table(("row", "system", "to the service", "of them listings", "content", "of the kernel (FUSE)"),
                 count_lines(record))
    if record.values:
        out += ["", "## Other figures", ""]
        out += table(("row", "figure", "value"), value_lines(record))
    return "\n".join(out) + "\n"


def best_flags():
    from .systems import BEST_FLAGS
    return BEST_FLAGS


# --- plots ---

def words(x, y, text, size=11.5, fill=INK, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" {SANS}>{escape(text)}</text>'


class Axis:
    """Logarithmic, from low to high, at x to x + width."""

    def __init__(self, values, x, width):
        logs = [math.log10(v) for v in values if v > 0] or [0]
        self.low, self.high = math.floor(min(logs + [0])), math.ceil(max(logs + [0.3]))
        self.x, self.width = x, width

    def at(self, value):
        return self.x + (math.log10(value) - self.low) / (self.high - self.low) * self.width

    def grid(self, top, bottom):
        for p in range(self.low, self.high + 1):
            x = self.at(10.0 ** p)
            yield f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="{INK if p == 0 else LINE}"/>'
            yield words(x, bottom + 14, f"{10.0 ** p:g} ×", 11, SOFT, "middle")


def drawing(height, title, body):
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 {height}" width="960" height="{height}" role="img" '
            f'aria-label="{escape(title)}">\n<rect x="0.5" y="0.5" width="959" height="{height - 1}" rx="12" '
            f'fill="#ffffff" stroke="{LINE}"/>')
    return "\n".join([head, words(20, 28, title, 14), *body, "</svg>", ""])


def plot_targets(record):
    shown = [(row, t) for row in record.rows.values() for t in row.targets if t.score is not None]
    scores = [min(max(t.score, 0.01), 100) for _, t in shown]
    axis, top, step = Axis(scores, 520, 410), 48, 19
    bottom = top + step * len(shown)
    body = list(axis.grid(top, bottom))
    for i, ((row, t), score) in enumerate(zip(shown, scores)):
        y = top + step * i
        one, x = axis.at(1), axis.at(score)
        body.append(f'<rect x="{min(one, x):.1f}" y="{y + 3}" width="{max(abs(x - one), 1.5):.1f}" height="{step - 6}" '
                    f'fill="{GREEN if t.is_reached else RED}"/>')
        body.append(words(510, y + 13, f"{row.id}: {t.text}", 10.5, INK, "end"))
    return drawing(bottom + 28, "What was reached, relative to the target (right of 1 ×: reached)", body)


def plot_speeds(record):
    rows = [(row, record.median(row.id, "graphfs")) for row in record.rows.values()]
    rows = [(row, own, {s: own / record.median(row.id, s) for s in COLUMNS if record.of(row.id, s)})
            for row, own in rows if own and len({s.system for s in record.samples if s.row == row.id}) > 1]
    axis, top, step = Axis([v for _, _, speeds in rows for v in speeds.values()], 470, 460), 72, 22
    bottom = top + step * len(rows)
    body = list(axis.grid(top, bottom))
    for i, system in enumerate(COLUMNS):
        body.append(f'<circle cx="{28 + i * 130}" cy="50" r="5" fill="{COLOURS[system]}"/>')
        body.append(words(38 + i * 130, 54, system, 11.5))
    for i, (row, own, speeds) in enumerate(rows):
        y = top + step * i + step / 2
        body.append(words(460, y + 4, f"{row.id}: {amount(row, own)}", 10.5, INK, "end"))
        for system, speed in speeds.items():
            body.append(f'<circle cx="{axis.at(speed):.1f}" cy="{y:.1f}" r="5" fill="{COLOURS[system]}" fill-opacity="0.85"/>')
    return drawing(bottom + 28, "Speed relative to graphfs (right: faster)", body)


# --- files ---

def write_csv(path, head, lines):
    with open(path, "w", encoding="utf-8", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(head)
        out.writerows(lines)


def write(record, folder, graphfs, short):
    os.makedirs(folder, exist_ok=True)
    write_csv(os.path.join(folder, "samples.csv"),
              ("row", "system", "repeat", "seconds", "n", "service_requests", "listings", "content_bytes",
               "fuse_requests", "load"),
              ((s.row, s.system, s.repeat, f"{s.seconds:.9f}", s.n, s.requests, s.listings, s.fetched, s.fuse,
                f"{s.load:.2f}") for s in record.samples))
    write_csv(os.path.join(folder, "targets.csv"),
              ("row", "against", "limit", "at_least", "value", "low", "high", "reached"),
              ((t.row, t.text, t.limit, int(t.at_least), t.value, t.low, t.high,
                {None: "", True: "yes", False: "no"}[t.is_reached]) for t in targets_of(record)))
    plots = {"targets.svg": plot_targets(record), "speeds.svg": plot_speeds(record)}
    for name, text in plots.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(text)
    with open(os.path.join(folder, "README.md"), "w", encoding="utf-8") as f:
        f.write(page(record, graphfs, list(plots), short))


def missed(record):
    return [f"{record.rows[t.row].title}: {t.text} {number(t.value)}, "
            f"{'at least' if t.at_least else 'at most'} {number(t.limit)}"
            for t in targets_of(record) if t.is_reached is False]
