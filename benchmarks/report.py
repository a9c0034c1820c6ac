"""Turns measured windows into Markdown tables, ratios with their limits, and a plot."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

Row = dict[str, Any]
LOAD_BOUND = 0.95  # a load generator busier than this may be the limit of messages/s


def machine() -> str:
    """Describe the machine and the date in one line."""
    models = {
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    }
    node = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()  # noqa: S607
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {' / '.join(models)}, {os.cpu_count()} cores, "
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}, Node {node}"
    )


def value(row: Row, key: str) -> float:
    """Return the median of a figure over the windows of a row."""
    values: list[float] = [window[key] for window in row["windows"] if window[key] is not None]
    return median(values) if values else float("nan")


def markdown(results: list[Row], where: str) -> str:
    parts = [f"Measured on {where}.\n"]
    foreign = [window["foreign_cpu"] for row in results for window in row["windows"]]
    if foreign and max(foreign) > 0.1:
        parts.append(
            f"**Disturbed**: other programs took up to {max(foreign):.0%} of the servers' core "
            f"(median {median(foreign):.0%}). Use rough ratios only; latencies are meaningless.\n"
        )
    for case in dict.fromkeys(row["case"] for row in results):
        rows = [row for row in results if row["case"] == case]
        parts += [f"### {_title(case)}\n", _table(rows), ""]
    if results:
        parts += ["### Ratios\n", _ratios(results)]
    return "\n".join(parts)


def _title(case: str) -> str:
    kind, sockets, *crossing = case.split("-")
    share = "every relay crosses" if crossing else "half of the relays cross"
    return {
        "relay": f"One process, {int(sockets):,} sockets, all relaying",
        "two": f"Two processes and Redis, {int(sockets):,} sockets, {share}",
        "idle": f"One process, {int(sockets):,} sockets, one room in ten relays",
    }[kind]


COLUMNS: dict[str, Callable[[Row], str]] = {
    "server": lambda row: row["label"],
    "messages/s": lambda row: _messages(row),
    "CPU µs/message (range)": lambda row: _spread(row),
    "Redis µs": lambda row: f"{value(row, 'redis_us'):.1f}",
    "p50 ms": lambda row: f"{value(row, 'p50_ms'):.1f}",
    "p99 ms": lambda row: f"{value(row, 'p99_ms'):.1f}",
    "CPU ms/join": lambda row: f"{row['join_ms']:.2f}",
    "KB/socket": lambda row: f"{row['kb_per_socket']:.0f}",
    "load CPU": lambda row: f"{value(row, 'load_cpu'):.0%}",
    "lost": lambda row: f"{sum(window['lost'] for window in row['windows'])}",
    "problems": lambda row: (
        "; ".join(f"{n} x {what}" for what, n in row["problems"].items()) or "none"
    ),
}


def _messages(row: Row) -> str:
    is_bound = value(row, "load_cpu") > LOAD_BOUND and value(row, "server_cpu") < LOAD_BOUND
    return f"{'≥ ' if is_bound else ''}{value(row, 'messages_per_second'):,.0f}"


def _spread(row: Row) -> str:
    values = [window["server_us"] for window in row["windows"]]
    spread = f" ({min(values):.1f}–{max(values):.1f})" if len(values) > 1 else ""  # noqa: RUF001
    return f"{value(row, 'server_us'):.1f}{spread}"


def _table(rows: list[Row]) -> str:
    has_redis = rows[0]["case"].startswith("two")
    columns = {name: cell for name, cell in COLUMNS.items() if has_redis or name != "Redis µs"}
    lines = [_line(columns), _line(["---"] + ["---:"] * (len(columns) - 1))]
    lines += [_line(cell(row) for cell in columns.values()) for row in rows]
    return "\n".join(lines)


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _ratios(results: list[Row]) -> str:
    """Compare ratios with their limits. Ratios of cases that were not measured are left out."""
    rows = {(row["case"], row["peer"]): row for row in results if row["windows"]}

    def us(case: str, peer: str) -> float:
        return value(rows[case, peer], "server_us")

    def ratio(case: str, peer: str, other: str) -> float:
        """Compare round by round, so that a disturbance of the machine affects both."""
        pairs = zip(rows[case, peer]["windows"], rows[case, other]["windows"], strict=True)
        return float(median(our["server_us"] / their["server_us"] for our, their in pairs))

    def growth(peer: str) -> float:
        return us("relay-3000", peer) / us("relay-200", peer)

    def kb(peer: str) -> float:
        return float(rows["relay-3000", peer]["kb_per_socket"])

    def join(case: str) -> float:
        return float(rows[case, "uvicorn"]["join_ms"])

    def lost(peer: str) -> float:
        row = rows["idle-10000", peer]
        frames: int = sum(window["lost"] for window in row["windows"])
        sockets: int = sum(row["problems"].values())
        return frames + sockets

    one, two = "relay-200", "two-200"
    ratios: list[tuple[str, Callable[[], float], float, float | None]] = [
        ("uvicorn / NestJS", lambda: ratio(one, "uvicorn", "nest"), 0.8, None),
        ("uvicorn / socket.io", lambda: ratio(one, "uvicorn", "socketio"), 1.1, None),
        ("uvicorn / ws", lambda: ratio(one, "uvicorn", "ws"), float("inf"), 1.2),
        ("Daphne / NestJS", lambda: ratio(one, "daphne", "nest"), 1.8, 1.3),
        ("Daphne / stock Channels", lambda: ratio(one, "daphne", "stock"), 0.2, None),
        ("growth 200 → 3,000, uvicorn / ws", lambda: growth("uvicorn") / growth("ws"), 1.2, 1.0),
        (
            "two processes, uvicorn / socket.io + Redis",
            lambda: ratio(two, "uvicorn", "socketio"),
            0.6,
            0.45,
        ),
        (
            "the same, every relay crosses",
            lambda: ratio(f"{two}-all-cross", "uvicorn", "socketio"),
            0.6,
            0.45,
        ),
        ("KB per idle socket, uvicorn / NestJS", lambda: kb("uvicorn") / kb("nest"), 1.0, None),
        ("KB per idle socket, uvicorn", lambda: kb("uvicorn"), float("inf"), 30),
        ("CPU ms per join at 200, uvicorn", lambda: join("relay-200"), 5, 3),
        ("CPU ms per join at 3,000, uvicorn", lambda: join("relay-3000"), 5, 3),
        ("10,000 sockets: lost frames and sockets", lambda: lost("uvicorn"), 0, None),
    ]
    lines = [
        _line(["figure", "value", "limit", "stretch", ""]),
        _line(["---", *["---:"] * 3, "---"]),
    ]
    for name, figure, limit, stretch in ratios:
        try:
            found = figure()
        except KeyError:
            continue
        verdict = "met" if found <= limit else "NOT MET"
        if stretch is not None and found <= stretch:
            verdict = "stretch met"
        elif limit == float("inf"):
            verdict = "stretch not met"
        at_most = "" if limit == float("inf") else f"≤ {limit:g}"
        lines.append(
            _line([name, f"{found:.2f}", at_most, f"≤ {stretch:g}" if stretch else "", verdict])
        )
    return "\n".join(lines)


def plot(results: list[Row], where: str, path: Path) -> None:
    """Draw the CPU time per message: one panel for one process, one for two."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = [
        kind for kind in ("relay", "two") if any(row["case"].startswith(kind) for row in results)
    ]
    if not kinds:
        return
    panels = [[row for row in results if row["case"].startswith(kind)] for kind in kinds]
    heights = [1 + len({row["label"] for row in rows}) * 0.4 for rows in panels]
    figure, axes = plt.subplots(
        len(panels),
        figsize=(9, 0.8 + sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for axis, rows in zip(axes[:, 0], panels, strict=True):
        _panel(axis, rows)
    figure.supxlabel(
        f"server CPU, µs per relayed message; log scale, lower is better\n{where}", size=8
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _panel(axis: Any, rows: list[Row]) -> None:
    cases = list(dict.fromkeys(row["case"] for row in rows))
    labels = list(dict.fromkeys(row["label"] for row in rows))
    height = 0.8 / len(cases)
    for row in rows:
        shift, is_ours = cases.index(row["case"]), row["label"].startswith("**")
        bar = axis.barh(
            labels.index(row["label"]) + shift * height,
            value(row, "server_us"),
            height * 0.92,
            color="#0c7a4b" if is_ours else "#8a94a6",
            alpha=1 - 0.45 * shift / max(1, len(cases) - 1),
        )
        axis.bar_label(bar, fmt="{:.0f}", padding=3, size=8)
    centre = height * (len(cases) - 1) / 2
    axis.set_yticks([place + centre for place in range(len(labels))])
    axis.set_yticklabels([label.replace("**", "") for label in labels], size=9)
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.margins(x=0.1)
    right = axis.get_xlim()[1]
    ticks = [tick for tick in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if tick < right]
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks], size=8)
    axis.minorticks_off()
    axis.set_xlim(10, right)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title("\nlighter: ".join(_title(case) for case in cases), size=10, loc="left")
