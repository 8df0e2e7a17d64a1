"""
Loading a folder of CSV files, as far as a sandbox's surface shows it. Readings 64 to 68.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from ibt.conformance.messages import path, rows, versions
from ibt.conformance.server import NOW, WORLD, Start, failed_start, sandbox

pytestmark = pytest.mark.sandbox

Folder = dict[str, str]

SMALL: Folder = {
    "customers.csv": "customer_id,name\n1,One\n2,Two\n",
    "subaccounts.csv": "customer_id,subaccount_id,begin,end,name,status\n1,A,2015-01-01T05:00:00Z,,A,Active\n",
    "contracts.csv": (
        "contract_id,reference_id,category,location_id,buyer_id,seller_id,begin,end,status,version\n"
        "5,,LOAD REAL TIME,4000,1,2,2015-08-15T04:00:00Z,2015-10-01T04:00:00Z,Conf,2015-07-01T04:00:00Z\n"
    ),
    "mappings.csv": "customer_id,contract_id,begin,end,version,subaccount_id\n",
    "users.csv": "user,customer_id,role\none,1,IBT\n",
}
PERIOD = "2015-08-15T04:00:00Z,2015-09-01T04:00:00Z"
FEBRUARY = "2015-02-01T05:00:00Z"

#: For each file: lines that are refused, with the field and the value that are told.
REFUSED: dict[str, list[tuple[str, str, str]]] = {
    "customers.csv": [
        ("1,Again", "customer_id", "1"),
        ("0,Zero", "customer_id", "0"),
        ("1000000000,Ten digits", "customer_id", "1000000000"),
        ("-3,Negative", "customer_id", "-3"),
        ("four,Word", "customer_id", "four"),
        (f"3,{'n' * 101}", "name", "n" * 100),
    ],
    "subaccounts.csv": [
        (f"1,A,{FEBRUARY},,A,Active", "begin", FEBRUARY),
        (f"1,,{FEBRUARY},,Empty,Active", "subaccount_id", ""),
        (f"1,{'s' * 101},{FEBRUARY},,Long,Active", "subaccount_id", "s" * 100),
        (f"1, B,{FEBRUARY},,Blank,Active", "subaccount_id", " B"),
        (f"1,B ,{FEBRUARY},,Blank,Active", "subaccount_id", "B "),
        (f"1,B\x07,{FEBRUARY},,Control,Active", "subaccount_id", "B\\x07"),
        (f"9,B,{FEBRUARY},,Nobody's,Active", "customer_id", "9"),
        ("1,C,2015-02-01T05:00:00.5Z,,Half a second,Active", "begin", "2015-02-01T05:00:00.5Z"),
        ("1,D,2015-02-01,,A day,Active", "begin", "2015-02-01"),
        ("1,E,2015-02-01T00:00:00-05:00,,Eastern,Active", "begin", "2015-02-01T00:00:00-05:00"),
        (f"1,F,{FEBRUARY},2015-01-01T05:00:00Z,Backwards,Active", "end", "2015-01-01T05:00:00Z"),
    ],
    "contracts.csv": [
        (f"5,,LOAD REAL TIME,4000,1,2,{PERIOD},Conf,", "contract_id", "5"),
        (f"0,,LOAD REAL TIME,4000,1,2,{PERIOD},Conf,", "contract_id", "0"),
        (f"1000000000,,LOAD REAL TIME,4000,1,2,{PERIOD},Conf,", "contract_id", "1000000000"),
        (f"6,{'r' * 26},LOAD REAL TIME,4000,1,2,{PERIOD},Conf,", "reference_id", "r" * 26),
        (f"7,,Load RT,4000,1,2,{PERIOD},Conf,", "category", "Load RT"),
        (f"8,,LOAD REAL TIME,hub,1,2,{PERIOD},Conf,", "location_id", "hub"),
        (f"9,,LOAD REAL TIME,4000,9,2,{PERIOD},Conf,", "buyer_id", "9"),
        (f"10,,LOAD REAL TIME,4000,1,9,{PERIOD},Conf,", "seller_id", "9"),
        (f"11,,LOAD REAL TIME,4000,1,1,{PERIOD},Conf,", "seller_id", "1"),
        (f"12,,LOAD REAL TIME,4000,1,2,{PERIOD.split(',')[1]},{FEBRUARY},Conf,", "end", FEBRUARY),
        ("13,,LOAD REAL TIME,4000,1,2,2015-08-15,2015-09-01T04:00:00Z,Conf,", "begin", "2015-08-15"),
        (f"14,,LOAD REAL TIME,4000,1,2,{PERIOD},Conf,soon", "version", "soon"),
    ],
    "mappings.csv": [
        (f"1,99,{PERIOD},2015-07-02T04:00:00Z,A", "contract_id", "99"),
        ("1,5,2015-08-01T04:00:00Z,2015-09-01T04:00:00Z,2015-07-02T04:00:00Z,A", "begin", "2015-08-01T04:00:00Z"),
        (f"1,5,{PERIOD},2015-07-02T04:00:00Z,B", "subaccount_id", "B"),
        (f"2,5,{PERIOD},2015-07-02T04:00:00Z,A", "subaccount_id", "A"),
        (f"1,5,{PERIOD},2015-06-30T04:00:00Z,A", "version", "2015-06-30T04:00:00Z"),
    ],
    "users.csv": [
        ("a b,1,IBT", "user", "a b"),
        (".hidden,1,IBT", "user", ".hidden"),
        ("../up,1,IBT", "user", "../up"),
        ("andré,1,IBT", "user", "andré"),
        (f"{'u' * 65},1,IBT", "user", "u" * 65),
        (",1,IBT", "user", ""),
        ("two,9,IBT", "customer_id", "9"),
    ],
}
CASES = [
    pytest.param(name, place, field, value, id=f"{name} {line[:40]!r}")
    for name, lines in REFUSED.items()
    for place, (line, field, value) in enumerate(lines)
]


def write(folder: Path, files: Folder) -> Path:
    """Writes the files into a new folder."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder


def with_lines(name: str, *lines: str) -> Folder:
    """The small world with more lines in one file."""
    return {**SMALL, name: SMALL[name] + "".join(f"{line}\n" for line in lines)}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Start]:
    """For each file, a start with a world that has all its lines of REFUSED."""
    starts = {}
    for name, lines in REFUSED.items():
        base = tmp_path_factory.mktemp("refused")
        folder = write(base / "world", with_lines(name, *(line for line, _, _ in lines)))
        starts[name] = failed_start(base / "new" / "sandbox", "--data", str(folder))
        assert not (base / "new").exists()
    return starts


@pytest.fixture
def start(tmp_path: Path) -> Callable[[Folder], Start]:
    """Starts a sandbox with a world that is refused; its folder is not made."""

    def start(files: Folder) -> Start:
        ended = failed_start(tmp_path / "sandbox", "--data", str(write(tmp_path / "world", files)))
        assert (ended.status, ended.out, (tmp_path / "sandbox").exists()) == (2, "", False)
        return ended

    return start


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_folder_ends_with_status_2_and_makes_nothing(refused: dict[str, Start], name: str) -> None:
    """
    All or nothing: a fault ends the start with exit status 2 and nothing is made. Reading 64.
    """
    assert (refused[name].status, refused[name].out) == (2, "")
    assert "Traceback" not in refused[name].err


@pytest.mark.parametrize(("name", "place", "field", "value"), CASES)
def test_a_fault_is_told_with_file_line_field_and_value(
    refused: dict[str, Start], name: str, place: int, field: str, value: str
) -> None:
    """
    Faults with file, line, field and value. Readings 64, 65.
    """
    number = SMALL[name].count("\n") + 1 + place
    told = [line for line in refused[name].lines if re.match(rf"{re.escape(name)}, line {number}\b", line)]
    assert any(f'{field} "{value}"' in line for line in told), refused[name].err


@pytest.mark.parametrize("name", REFUSED)
def test_good_lines_are_not_accused(refused: dict[str, Start], name: str) -> None:
    """
    One clear sentence for each fault, and none for what is right. Reading 65.
    """
    first = SMALL[name].count("\n") + 1
    accused = [re.match(r"(\w+\.csv), line (\d+)\b", line) for line in refused[name].lines]
    assert all(
        place is None or (place[1] == name and first <= int(place[2]) < first + len(REFUSED[name]))
        for place in accused
    ), refused[name].err


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        pytest.param({n: t for n, t in SMALL.items() if n != "customers.csv"}, ["customers.csv"], id="no file"),
        pytest.param({**SMALL, "users.csv": "user,customer_id\none,1\n"}, ["users.csv", "role"], id="no column"),
        pytest.param({**SMALL, "users.csv": ""}, ["users.csv"], id="an empty file"),
        pytest.param(with_lines("users.csv", "two,2"), ["users.csv", "line 3"], id="a field too few"),
        pytest.param(with_lines("users.csv", "two,2,IBT,more"), ["users.csv", "line 3"], id="a field too many"),
        pytest.param(with_lines("users.csv", '"two\n,2,IBT'), ["users.csv", "line 3"], id="a quote that stays open"),
        pytest.param(
            {**SMALL, "users.csv": 'user,customer_id,role,note\none,1,IBT,"two\nlines"\ntwo,9,IBT,\n'},
            ["users.csv", "line 4", 'customer_id "9"'],
            id="the line where the record begins",
        ),
        pytest.param(
            with_lines("subaccounts.csv", "1,Default,2015-09-01T04:00:00Z,,Default,Active"),
            ["Default", "2015-08-15T04:00:00Z"],
            id="a Default that begins after a mapping period",
        ),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(
    start: Callable[[Folder], Start], files: Folder, parts: list[str]
) -> None:
    """
    Faults with file, line (where the record begins), field and value. Readings 64, 65.
    """
    ended = start(files)
    assert any(all(part in line for part in parts) for line in ended.lines), ended.err
    assert "Traceback" not in ended.err


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    """
    CSV files are UTF-8. Reading 64.
    """
    folder = write(tmp_path / "world", SMALL)
    (folder / "customers.csv").write_bytes("customer_id,name\n1,Öne\n2,Two\n".encode("latin-1"))
    ended = failed_start(tmp_path / "sandbox", "--data", str(folder))
    assert (ended.status, (tmp_path / "sandbox").exists()) == (2, False)
    assert any("customers.csv" in line and "UTF-8" in line for line in ended.lines)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """
    One clear sentence, exit status 2, nothing made. Reading 64.
    """
    ended = failed_start(tmp_path / "sandbox", "--data", str(tmp_path / "nowhere"))
    assert (ended.status, (tmp_path / "sandbox").exists()) == (2, False)
    assert "nowhere" in ended.err


def test_a_hundred_faults_are_told_and_the_rest_are_counted(start: Callable[[Folder], Start]) -> None:
    """
    One clear sentence for each fault, at most 100. Reading 64.
    """
    ended = start(with_lines("users.csv", *(f"u{each},9,IBT" for each in range(130))))
    assert sum("users.csv" in line for line in ended.lines) == 100
    assert "and 30 more" in ended.lines


def test_columns_go_by_name_and_a_byte_order_mark_is_dropped(alder: httpx2.Client) -> None:
    """
    Columns by name, any order, others ignored; BOM dropped: the suite's world has all of that. Reading 64.
    """
    assert (WORLD / "customers.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert (WORLD / "subaccounts.csv").read_text().startswith("status,name,comment,")
    assert "<subaccount_name>Alder one</subaccount_name>" in alder.get("/1001/subaccounts").text


def test_mappings_follow_the_birth_version_and_history_replaces_it(alder: httpx2.Client) -> None:
    """
    `mappings.csv` adds versions after the birth version; `history.csv` holds all versions of each month it
    names, the first too. Reading 64.
    """
    assert [each.subaccount_id for each in versions(alder.get(path(1001, 701)))] == ["Default", "[x]"]
    assert [each.version for each in versions(alder.get(path(1001, 702)))] == [
        "2014-11-01T04:00:00Z",
        "2014-11-02T05:00:00Z",
        "2014-11-02T05:00:00Z",
    ]


def test_a_second_start_keeps_the_data_and_says_that_other_data_are_ignored(tmp_path: Path) -> None:
    """
    A start with `--data` on a DIR that has data says that it is ignored, as the data are there. Readings 67, 68.
    """
    directory = tmp_path / "sandbox"
    other = with_lines("contracts.csv", SMALL["contracts.csv"].splitlines()[1].replace("5,", "6,", 1))
    loaded = write(
        tmp_path / "world", {**SMALL, "contracts.csv": SMALL["contracts.csv"].replace("2015-07-01T04:00:00Z", "")}
    )
    with sandbox(directory, "--data", str(loaded)) as server, server.client("one") as one:
        first = one.get(path(1))
    with sandbox(directory, "--data", str(write(tmp_path / "other", other))) as server, server.client("one") as one:
        second = one.get(path(1))
    assert rows(first) == ["5 2015-08 Default", "5 2015-09 Default"]
    assert {each.version for each in versions(first)} == {NOW}
    assert first.content == second.content
    assert "ignored" in directory.with_suffix(".log").read_text()
