"""
docs/performance.md, made from the JSON of `benchmarks/bench.py`: the goals with what was measured, and why what is
missed is missed; how cost grows, with plots; where the time goes.

    python benchmarks/report.py RESULTS [FOLDER]        FOLDER is docs, unless it is given

The reasons stand in `REASONS`, by the name of a row or of a question of growth, and were found by a profile. A row
that is missed and has none is told, and the page says that it is not known.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

#: Why a goal is missed, in a sentence or two; what is met needs none.
REASONS: Mapping[str, str] = {
    "get-25": "the place near the page is one more question, and 50 versions are passed over behind it: 10 µs. The "
    "rest is as for what is remembered, and 35 µs to read and 10 to write the page.",
    "get-25-remembered": "what the floor does not do takes 19 µs in a process alone on the machine, and more than "
    "twice that beside the generator, with which it shares the caches: the log's line 5 of the 19, the counters "
    "3, whether anything was committed since who asks was looked up 2, and Python between them.",
    "get-304": "as for what is remembered; nothing but the body is spared, which the floor does not send either.",
    "get-contract": "SQLite and its driver take 20 µs for 36 rows of two tables, values and XML of them "
    "10; the rest is as for what is remembered.",
    "get-subaccounts": "50 subaccounts are 100 values made of rows and written as XML one by one, in "
    "Python: 55 µs, and SQLite 25; the rest is as for what is remembered.",
    "get-1000": "the floor reads and writes the page as the service does, and nothing else: no TLS, which encrypts "
    "300 KB, no thread to hand the page to and back, and nobody to give Python's lock to at each row.",
    "get-304-postgresql": "one question of the server, about 90 µs of the service's processor by psycopg, in "
    "a thread: to hand it over and back costs as much again. The floor asks nobody.",
    "get-25-postgresql": "three questions of the server, each of which costs the service's processor more than the "
    "server's: who asks, the page, and whether the state is still the same; and 25 rows made values and XML, in a "
    "thread. The floor asks the same and makes nothing of the rows.",
    "post-25": "a bare transaction is three statements. Ours checks who asks twice, validates XML "
    "in a thread of its own (an eighth), reads what stands, hashes the audit's row, and "
    "hands over to a thread and back.",
    "post-25-together": "one commit serves up to 32 updates, but the Python of each takes its turn on one "
    "lock, which is what bounds a process on a disk as fast as this one.",
    "post-12000": "the floor is a third of our processor's time; making values of rows, the rules "
    "of each period and the XML of the answer are another third: see the shares.",
    "post-25-postgresql": "the service's own processor: see post-25. The database's is that of pgbench.",
    "post-12000-postgresql": "the database's insertion of 24,000 rows: see the shares.",
    "load-sqlite": "the rules of a million lines in Python: making each contract's mapping and its "
    "places, and the audit's hash.",
    "load-postgresql": "as on SQLite; COPY itself is quicker, so the rest weighs more.",
}

Points = Sequence[tuple[float, float]]

_COLORS = ("#0b62a4", "#c8501e", "#2e7d32", "#7b3fa0", "#8d6e00", "#b3005e")
_WIDTH, _HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 280, 30, 50


def svg(title: str, x_name: str, y_name: str, lines: Mapping[str, Points]) -> str:
    """A plot of *lines* by name, both axes logarithmic by powers of ten."""
    points = [point for line in lines.values() for point in line]
    (x_from, x_to), (y_from, y_to) = (_decades([point[axis] for point in points]) for axis in (0, 1))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = (math.log10(point[0]) - x_from) / (x_to - x_from)
        y = (math.log10(point[1]) - y_from) / (y_to - y_from)
        return _LEFT + x * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - y * (_HEIGHT - _TOP - _BOTTOM)

    drawn = [_text(_LEFT, 18, title, "start", 14)]
    for power in range(x_from, x_to + 1):
        x, y = place((10.0**power, 10.0**y_from))
        drawn += [_rule(x, y, x, _TOP), _text(x, y + 18, _number(10.0**power))]
    for power in range(y_from, y_to + 1):
        x, y = place((10.0**x_from, 10.0**power))
        drawn += [_rule(x, y, _WIDTH - _RIGHT, y), _text(x - 6, y + 4, _number(10.0**power), "end")]
    drawn += [
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, x_name),
        f'<g transform="rotate(-90 16 {_HEIGHT / 2:.0f})">{_text(16, _HEIGHT / 2, y_name)}</g>',
    ]
    for number, (name, line) in enumerate(lines.items()):
        color = _COLORS[number % len(_COLORS)]
        places = [place(point) for point in line]
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        drawn.append(f'<polyline points="{way}" fill="none" stroke="{color}" stroke-width="2"/>')
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"/>' for x, y in places]
        y = _TOP + 20 + 20 * number
        drawn.append(f'<rect x="{_WIDTH - _RIGHT + 16}" y="{y - 9}" width="10" height="10" fill="{color}"/>')
        drawn.append(_text(_WIDTH - _RIGHT + 32, y, name, "start"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'role="img" aria-label="{title}">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(drawn)
        + "\n</svg>\n"
    )


def _decades(values: Sequence[float]) -> tuple[int, int]:
    least, most = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return least, max(most, least + 1)


def _rule(*ends: float) -> str:
    x1, y1, x2, y2 = (f"{end:.1f}" for end in ends)
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#ddd"/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#333">{text}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def page(found: Mapping[str, Any], folder: Path) -> str:
    """The page; its plots are written to *folder*."""
    parts = [_introduction(found), _goals(found["rows"])]
    if "growth" in found:
        parts.append(_growth(found["growth"], folder))
    if "shares" in found:
        parts.append(_shares(found["shares"]))
    return "\n\n".join(parts) + "\n"


def _introduction(found: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    command = "make bench-full" if found["full"] else "make bench"
    before = ", ".join(f"{load:.1f}" for load in found["load_before"])
    return f"""# Performance

<!-- Made by benchmarks/report.py from the results of a run: do not edit. -->

How fast each operation is, how far from what the machine can do at all, and how cost grows with the data.
`{command}` measured it; [benchmarks/README.md](../benchmarks/README.md) tells how to read it.

| | |
|---|---|
| When, and which commit | {found["time"]}, `{found["commit"]}` |
| Machine | {found["processor"]}, {found["cores"]} cores, {found["memory_gigabytes"]} GB, {found["machine"]} |
| Python | {found["python"]} |
| Versions | {versions} |
| Load of the machine before (1, 5, 15 minutes) | {before} |
| Rounds | {found["rounds"]}, candidate and floor in turn |

The load generator and the servers share these cores.
The generator kept one of them {_busiest(found["rows"]):.0%} busy at most: it was not what anything waited for."""


def _busiest(rows: Sequence[Mapping[str, Any]]) -> float:
    return max(
        (side["busy"].get("generator", 0.0) for row in rows for side in (row["ours"], row["theirs"])), default=0
    )


def _goals(rows: Sequence[Mapping[str, Any]]) -> str:
    met = sum(row["met"] is True for row in rows)
    judged = sum(row["met"] is not None for row in rows)
    lines = [
        "## The goals",
        "",
        "A ratio is the operation's rate to that of its floor; one with an x is how many times as long it takes.",
        "In brackets are the least and the most of the rounds.",
        "By processor is the same ratio of the processor's time, which waits for no disk and no other program.",
        f"{met} of {judged} goals are met.",
        "",
        "| Operation | Floor | Goal | Measured | | By processor | A second | p50 ms | p99 ms | µs of processor |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *map(_goal, rows),
    ]
    missed = [_reason(row["name"], row["operation"]) for row in rows if row["met"] is False]
    if missed:
        lines += ["", "### Why what is missed is missed", "", *missed]
    wrong = sum(row["failures"] for row in rows)
    lines += ["", f"Wrong answers: {wrong or 'none'}."]
    return "\n".join(lines)


def _goal(row: Mapping[str, Any]) -> str:
    x = "x" if row["times"] else ""
    goal = "" if row["goal"] is None else f"{'at most ' if row['times'] else ''}{row['goal']:.2f}{x}"
    ours = row["ours"]
    micros = sum(each for who, each in ours["processor"].items() if who != "generator")
    shown = (
        row["operation"],
        row["floor"],
        goal,
        f"{row['ratio']:.2f}{x} ({row['least']:.2f} to {row['most']:.2f})",
        {None: "", True: "met", False: "**missed**"}[row["met"]],
        "" if row["by_processor"] is None else f"{row['by_processor']:.2f}{x}",
        f"{ours['rate']:,.0f}" if ours["rate"] >= 10 else f"{ours['rate']:.2f}",
        f"{ours['p50']:,.2f}",
        f"{ours['p99']:,.2f}",
        f"{micros:,.0f}" if micros else "",
    )
    return f"| {' | '.join(shown)} |"


def _reason(name: str, operation: str) -> str:
    if name not in REASONS:
        print(f"{operation} missed its goal, and REASONS has no {name!r}", file=sys.stderr)
    return f"- {operation}: {REASONS.get(name, 'the reason is not known.')}"


def _growth(growth: Mapping[str, Any], folder: Path) -> str:
    lines = [
        "## How cost grows",
        "",
        f"Customers of several sizes in one market of {growth['market']:,} current versions.",
        "One client asks; milliseconds are the median at the client.",
    ]
    missed = []
    for database, questions in growth["databases"].items():
        name = f"growth-{database.lower()}.svg"
        plotted = {
            question: [(float(size), each) for size, each in found["p50"].items()]
            for question, found in questions.items()
        }
        plot = svg(f"{database}: cost against size", "versions of the customer", "milliseconds", plotted)
        (folder / name).write_text(plot)
        sizes = [int(size) for size in next(iter(questions.values()))["p50"]]
        lines += [
            "",
            f"### {database}",
            "",
            f"![Cost against the size of the customer, on {database}]({folder.name}/{name})",
            "",
            f"| Question | {' | '.join(f'{size:,}' for size in sizes)} | Largest to smallest | Goal | |",
            f"|---|{'---|' * len(sizes)}---|---|---|",
        ]
        for question, found in questions.items():
            goal, ratio = found["goal"], found["ratio"]
            judged = "" if goal is None else "met" if ratio <= goal else "**missed**"
            shown = [f"{each:.3f}" for each in found["p50"].values()]
            lines.append(f"| {question} | {' | '.join(shown)} | {ratio:.2f} | {goal or 'none'} | {judged} |")
            if judged == "**missed**":
                missed.append(_reason(question, f"{question}, {database}"))
    lines += ["", *missed, *([""] if missed else []), *_others(growth)]
    return "\n".join(lines)


def _others(growth: Mapping[str, Any]) -> Iterable[str]:
    download, beside, memory = growth["download"], growth["beside"], growth["memory"]
    yield "### What else does not grow"
    yield ""
    yield (
        f"- A download of {download['versions']:,} versions in pages of 1,000 took {download['seconds']:.1f} s. "
        f"A page of the last tenth took {download['ratio']:.2f} times as long as one of the first."
    )
    yield (
        f"- POSTs of 12,000 versions made the p99 of another customer's GETs {beside['more']:.1f} ms longer "
        "(goal: at most 20)."
    )
    (early, before), (late, after) = memory["requests"][len(memory["requests"]) // 4], memory["requests"][-1]
    yield f"- A worker had {before:.0f} MB after {early:,} requests and {after:.0f} MB after {late:,}."
    yield (
        f"- It had {memory['peak']:.0f} MB at most while it read and made the largest update, of "
        f"{memory['versions']:,} versions (goal: at most 300)."
    )


def _shares(shares: Mapping[str, Mapping[str, float]]) -> str:
    rooms = list(dict.fromkeys(room for found in shares.values() for room in found))
    rooms.sort(key=lambda room: -sum(found.get(room, 0) for found in shares.values()))
    lines = [
        "## Where the time goes",
        "",
        "Shares of the processor's time of the service's own process; by the clock the wait for the disk counts too.",
        "On PostgreSQL the database's own processes are not in it.",
        "",
        f"| | {' | '.join(shares)} |",
        f"|---|{'---|' * len(shares)}",
    ]
    for room in rooms:
        cells = [f"{found[room]:.0%}" if room in found else "" for found in shares.values()]
        lines.append(f"| {room} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(results: str, folder: str = str(Path(__file__).parents[1] / "docs")) -> None:
    """Writes the page and its plots."""
    plots = Path(folder) / "performance"
    plots.mkdir(parents=True, exist_ok=True)
    (Path(folder) / "performance.md").write_text(page(json.loads(Path(results).read_text()), plots))


if __name__ == "__main__":
    main(*sys.argv[1:])
