"""The bench judges others, so it is judged here: how it counts what is wrong, its floor's statements, its page."""

from __future__ import annotations

import json
import re
import sys
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import asking  # type: ignore[import-not-found]  # noqa: E402
import bench  # type: ignore[import-not-found]  # noqa: E402 - these lie with the benchmarks
import growth  # type: ignore[import-not-found]  # noqa: E402
import market  # type: ignore[import-not-found]  # noqa: E402
import report  # type: ignore[import-not-found]  # noqa: E402
import rows  # type: ignore[import-not-found]  # noqa: E402
import servers  # type: ignore[import-not-found]  # noqa: E402
from floors import pgbench  # type: ignore[import-not-found]  # noqa: E402
from load import Measured  # type: ignore[import-not-found]  # noqa: E402


def test_the_generator_counts_every_wrong_answer(tmp_path: Path) -> None:
    market.certificates(tmp_path, 1)
    right, wrong = (asking.get("/", crc=crc) for crc in (zlib.crc32(b"x" * 100), 1))
    with servers.running(tmp_path, *servers.static(tmp_path, 200, 100)) as server:
        asked = {
            "right": server.stream([right], 2),
            "another body": server.stream([wrong], 2),
            "another status": server.stream([right], 2, status=304),
            "every second": server.stream([right, wrong], 1),
        }
        found = {name: server.ask(stream, seconds=0.3, warm_up=0)[0] for name, stream in asked.items()}
    assert all(one.answers > 1 for one in found.values())
    assert found["right"].failures == 0
    assert found["another body"].failures == found["another body"].answers
    assert found["another status"].failures == found["another status"].answers
    assert abs(2 * found["every second"].failures - found["every second"].answers) <= 1
    assert found["right"].processor["service"] >= 0
    assert found["right"].busy["generator"] < 2


def test_a_row_with_a_wrong_answer_is_not_met() -> None:
    ours, floor = Measured(90.0, 1.0, 1.0, 90, 0, 0), Measured(100.0, 1.0, 1.0, 100, 0, 0)
    wrong = Measured(90.0, 1.0, 1.0, 90, 1, 0)
    (good,) = rows.in_turn([rows.Row("a", "a", "b", 0.5, lambda: ours, lambda: floor)], 3)
    (bad,) = rows.in_turn([rows.Row("a", "a", "b", 0.5, lambda: wrong, lambda: floor)], 3)
    (slow,) = rows.in_turn([rows.Row("a", "a", "b", 1.05, lambda: ours, lambda: floor, times=True)], 3)
    assert (good.ratio, good.met) == (0.9, True)
    assert (bad.ratio, bad.met, bad.failures) == (0.9, False, 3)
    assert (slow.ratio, slow.met) == (pytest.approx(1.11, abs=0.01), False)


def test_a_statement_of_the_service_becomes_one_of_pgbench() -> None:
    seen = [
        ("SELECT a FROM b WHERE c = %(c)s::INTEGER AND d LIKE 'x%%' LIMIT %(start)s::BIGINT", {"c": 7, "start": 0}),
        (
            "INSERT INTO a VALUES (%(audit_number)s::INTEGER, %(e)s, %(f)s, %(ids)s::INTEGER[])",
            {
                "audit_number": 1,
                "e": None,
                "f": "",
                "ids": [1, 2],
            },
        ),
    ]
    script = pgbench._script([("BEGIN", None), *seen, ("COMMIT", None)])
    assert script.text.splitlines() == [
        r"\set number :number + 1",
        "BEGIN;",
        "SELECT a FROM b WHERE c = :c_1::INTEGER AND d LIKE 'x%' LIMIT :start_1::BIGINT;",
        "INSERT INTO a VALUES (:number::INTEGER, NULL, '', :ids_2::INTEGER[]);",
        "COMMIT;",
    ]
    assert script.values == {"c_1": "7", "start_1": "0", "ids_2": "{1,2}"}


def test_what_is_asked_of_a_market_is_in_it() -> None:
    of = market.Market(4, 10, others=(3, 20), history=2)
    ids = [market.contract_ids(of, customer_id) for customer_id in range(1, of.of_other(2))]
    assert [len(each) for each in ids] == [10, 10, 10, 10, 3, 3, 20, 20]
    assert ids[::2] == ids[1::2]
    assert sorted(number for each in ids[::2] for number in each) == list(range(1, 44))
    assert of.all_versions == 12 * 86


@pytest.fixture
def results() -> dict[str, Any]:
    """Results of a run, made up."""
    ours, floor = Measured(90.0, 1.0, 1.0, 90, 0, 0, {"service": 100.0}), Measured(100.0, 1.0, 1.0, 100, 0, 0)
    of_row = rows.Row("get-25", "GET page of 25", "static 8 KB", 0.95, lambda: ours, lambda: floor)
    sizes = {"1008": 0.3, "100008": 0.6}
    return {
        **bench.machine(None),
        "full": False,
        "rounds": 3,
        "rows": [vars(found) for found in rows.in_turn([of_row], 3)],
        "growth": {
            "market": 1_000_000,
            "databases": {"SQLite": {"first page": {"p50": sizes, "ratio": 2.0, "goal": growth.MOST}}},
            "download": {"versions": 1, "seconds": 1.0, "first": 1.0, "last": 1.0, "ratio": 1.0},
            "beside": {"more": 3.0},
            "memory": {"requests": [[10, 90.0], [20, 90.0]], "peak": 250.0, "versions": 70_000},
        },
        "shares": {"GET": {"HTTP": 0.4, "log": 0.6}},
    }


def test_the_page_is_made_of_the_results(results: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "performance").mkdir()
    page = report.page(json.loads(json.dumps(results)), tmp_path / "performance")
    assert "| GET page of 25 | static 8 KB | 0.95 | 0.90 (0.90 to 0.90) | **missed** |" in page
    assert "| first page | 0.300 | 0.600 | 2.00 | 1.3 | **missed** |" in page
    (plot,) = re.findall(r"!\[.*\]\((.*)\)", page)
    drawn = ElementTree.fromstring((tmp_path / plot).read_text())
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}circle")) == 2


def test_every_reason_is_of_a_goal(tmp_path: Path) -> None:
    text = "".join(path.read_text() for path in BENCHMARKS.glob("*.py") if path.name != "report.py")
    assert [name for name in report.REASONS if f'"{name}"' not in text and name.rpartition("-")[0] not in text] == []
