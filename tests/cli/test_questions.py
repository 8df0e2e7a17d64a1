"""`ibt subaccounts`, `mappings`, `mapping`: which forms, which filters, where to."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from python_calamine import CalamineWorkbook

from cli.conftest import Command, Sandbox, on_a_terminal
from ibt.client import COLUMNS
from ibt.messages import read_mapping, read_mappings, read_subaccounts

AsUser = Callable[[str, int], Command]

AUGUST = (
    "1,999998,FCM Load,XYZ Inc,QRS Ltd,2015-08-01T04:00:00Z,2015-10-01T04:00:00Z,Conf,"
    "2015-08-01T04:00:00Z,2015-09-01T04:00:00Z,2015-07-01T04:00:00Z,Default"
)


def contracts(text: str) -> list[str]:
    """The contracts of a CSV, each once."""
    return list(dict.fromkeys(row["contract_id"] for row in csv.DictReader(io.StringIO(text))))


def test_the_csv_has_a_line_for_each_version_and_the_xmls_names(xyz: Command) -> None:
    ran = xyz("mappings", "--start-date", "08/01/2015")
    assert (ran.status, ran.err) == (0, "")
    assert ran.lines[:2] == [",".join(COLUMNS), AUGUST]
    assert len(ran.lines) == 3


def test_subaccounts_have_a_line_for_each_version(as_user: AsUser) -> None:
    assert as_user("xyz", 1)("subaccounts").lines == [
        "subaccount_id,begin,end,subaccount_name,subaccount_status",
        "ABC1,2013-05-01T04:00:00Z,,ABC1 activity,Active",
        "Default,2013-05-01T04:00:00Z,,Default,Active",
    ]


def test_a_history_has_every_version(as_user: AsUser) -> None:
    history = as_user("history", 40)
    contract = contracts(history("mappings").out)[0]
    assert len(history("mapping", contract).lines) > len(history("mappings", "--contract-id", contract).lines)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (("--contract-id", "99999*"), ["999998", "999999"]),
        (("--contract-id", "999999"), ["999999"]),
        (("--subaccount-id", "ABC*"), []),
        (("--subaccount-name", "Def%"), ["999998", "999999"]),
        (("--category", "FCM LOAD OBLIGATION"), ["999998", "999999"]),
        (("--category", "LOAD REAL TIME"), []),
        (("--location-id", "1"), []),
        (("--party-id", "1"), ["999998", "999999"]),
        (("--start-date", "2015-09-30", "--end-date", "2016-01-01"), ["999998", "999999"]),
        (("--start-date", "10/01/2015"), []),
        (("--end-date", "2015-08"), ["999998", "999999"]),
        (("--start-date", "2014-01", "--end-date", "2015-07"), []),
    ],
)
def test_each_filter_of_the_specification_by_its_name(
    xyz: Command, filters: tuple[str, ...], found: list[str]
) -> None:
    ran = xyz("mappings", *filters)
    assert (ran.status, contracts(ran.out)) == (0, found)


def test_a_blank_reference_id_is_a_filter(as_user: AsUser) -> None:
    markets = as_user("markets", 30)
    blank, every = contracts(markets("mappings", "--reference-id", "").out), contracts(markets("mappings").out)
    assert 0 < len(blank) < len(every)


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (("--contract-id", "x"), 'contract_id "x": has other characters than digits, * and %'),
        (("--category", "FCM"), 'category "FCM": is no category'),
        (("--location-id", "x"), "Invalid value for '--location-id'"),
        (("--start-date", "08/32/2015"), "write 08/01/2015 or 2015-08-01, or a month, 2015-08"),
        (("--start-date", "2015-09", "--end-date", "2015-08"), 'start_date "09/01/2015": is after end_date'),
        (("--subaccount-id", ""), 'subaccount_id "": is empty'),
        (("--format", "yaml"), "'yaml' is not one of"),
        (("--limit", "5"), "No such option: --limit"),
        (("extra",), "extra"),
    ],
)
def test_a_filter_that_cannot_be_is_told_before_anything_is_sent(
    xyz: Command, filters: tuple[str, ...], said: str
) -> None:
    ran = xyz("mappings", *filters, IBT_URL="localhost:1")
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err


def test_the_forms_say_the_same(xyz: Command, tmp_path: Path) -> None:
    rows = list(csv.reader(io.StringIO(xyz("mappings").out)))
    values = [list(map(str, one.values())) for one in json.loads(xyz("mappings", "--format", "json").out)]
    assert values == rows[1:]
    total, mappings = read_mappings(xyz("mappings", "--format", "xml").out.encode())
    assert (total, sum(len(each.versions) for each in mappings)) == (4, 4)
    assert xyz("mappings", "-o", "all.xlsx").out == ""
    sheet = CalamineWorkbook.from_path(tmp_path / "all.xlsx").get_sheet_by_index(0).to_python()
    assert [[str(int(cell)) if isinstance(cell, float) else cell for cell in row] for row in sheet] == rows


def test_the_xml_of_the_other_resources_is_the_specifications(xyz: Command) -> None:
    assert len(read_subaccounts(xyz("subaccounts", "--format", "xml").out.encode())) == 2
    assert read_mapping(xyz("mapping", 999999, "--format", "xml").out.encode()).contract.contract_id == 999999


def test_nothing_found_is_a_header_alone(xyz: Command) -> None:
    assert xyz("mappings", "--location-id", 1).lines == [",".join(COLUMNS)]
    assert xyz("mappings", "--location-id", 1, "--format", "json").out == "[]\n"


def test_a_table_has_months_and_stands_in_columns(xyz: Command) -> None:
    assert xyz("mappings", "--start-date", "2015-08", "--contract-id", 999998, "--format", "table").lines == [
        "contract_id  market_name  buyer_name  seller_name  status  month    subaccount_id  version",
        "999998       FCM Load     XYZ Inc     QRS Ltd      Conf    2015-08  Default        2015-07-01T04:00:00Z",
    ]


def test_a_workbook_holds_what_looks_like_a_formula_as_text(as_user: AsUser, tmp_path: Path) -> None:
    from ibt.cli.options import Form  # noqa: PLC0415 - for this test alone
    from ibt.cli.tables import write_rows  # noqa: PLC0415

    with (tmp_path / "x.xlsx").open("wb") as stream:
        write_rows(Form.XLSX, ("a", "b"), [("=1+1", "https://example.com"), (7, None)], stream)
    sheet = CalamineWorkbook.from_path(tmp_path / "x.xlsx").get_sheet_by_index(0)
    assert sheet.to_python() == [["a", "b"], ["=1+1", "https://example.com"], [7.0, ""]]


@pytest.mark.parametrize("name", ["all.csv", "all.json", "all.xml", "all.xlsx", "ALL.CSV"])
def test_the_ending_of_the_file_tells_the_form(xyz: Command, tmp_path: Path, name: str) -> None:
    begins = {".csv": b"customer_id,", ".json": b"[\n{", ".xml": b"<?xml", ".xlsx": b"PK"}
    assert xyz("mappings", "-o", name).status == 0
    assert (tmp_path / name).read_bytes().startswith(begins[(tmp_path / name).suffix.lower()])
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "all.doc"), "Which form for all.doc? Name it .csv or .json or .xml or .xlsx, or give --format."),
        (("-o", "no/all.csv"), "no/all.csv cannot be written: No such file or directory."),
        (("--format", "xlsx"), "A workbook needs a file: give -o FILE.xlsx."),
    ],
)
def test_a_place_that_cannot_be_is_told(xyz: Command, arguments: tuple[str, ...], said: str) -> None:
    ran = xyz("mappings", *arguments)
    assert (ran.status, ran.out, ran.err) == (2, "", f"{said}\n")


def test_a_file_is_whole_or_as_it_was(xyz: Command, tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("old")
    assert xyz("mappings", "-o", "all.csv", IBT_CUSTOMER="2").status == 4
    assert (tmp_path / "all.csv").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["all.csv"]


def test_a_device_is_written_to_and_stays(xyz: Command) -> None:
    assert xyz("mappings", "-o", "/dev/null").status == 0
    assert Path("/dev/null").is_char_device()


def test_many_pages_are_one_table(as_user: AsUser) -> None:
    assert len(as_user("thousand", 50)("mappings").lines) == 12001


def test_on_a_terminal_there_is_a_table(sandbox: Sandbox, tmp_path: Path) -> None:
    ran = on_a_terminal("mappings", folder=tmp_path, variables={"XDG_CONFIG_HOME": str(sandbox.config.parent)})
    assert ran.status == 0
    assert ran.lines[0].startswith("contract_id  market_name")


def test_long_work_shows_its_progress_on_a_terminal(sandbox: Sandbox, tmp_path: Path) -> None:
    variables = {
        "XDG_CONFIG_HOME": str(sandbox.config.parent),
        "IBT_CERTIFICATE": str(sandbox.certificate("thousand")),
        "IBT_CUSTOMER": "50",
    }
    ran = on_a_terminal("mappings", "-o", "all.csv", folder=tmp_path, variables=variables)
    assert ran.status == 0
    assert "Reading" in ran.out
    assert "/12000 versions" in ran.out
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 12001


def test_whoever_reads_may_stop(sandbox: Sandbox, tmp_path: Path) -> None:
    script = 'python="$1"; { "$python" -m ibt mappings; echo $? >status; } 2>err | head -n 1'
    environment = {
        "PATH": "/usr/bin:/bin",
        "XDG_CONFIG_HOME": str(sandbox.config.parent),
        "IBT_CERTIFICATE": str(sandbox.certificate("thousand")),
        "IBT_CUSTOMER": "50",
    }
    ran = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    assert ran.stdout.startswith(b"customer_id,")
    assert (tmp_path / "err").read_text() == ""
    assert (tmp_path / "status").read_text() == "141\n"


def test_verbose_shows_requests_replies_and_curl_on_stderr(xyz: Command, sandbox: Sandbox) -> None:
    ran = xyz("subaccounts", "-v")
    assert ran.lines[0] == "subaccount_id,begin,end,subaccount_name,subaccount_status"
    curl, get, *_ = ran.err.splitlines()
    assert curl.startswith(f"curl --cacert {sandbox.ca} --cert {sandbox.certificate('xyz')} --header ")
    assert get == f"> GET {sandbox.url}/1/subaccounts"
    assert "< 200\n" in ran.err
    assert "<subaccount_id>ABC1</subaccount_id>" in ran.err


def test_the_curl_line_does_the_same(xyz: Command) -> None:
    ran = xyz("mappings", "--start-date", "2015-08", "--format", "xml", "--verbose")
    curl = ran.err.splitlines()[0]
    again = subprocess.run(["sh", "-c", f"{curl} --silent"], capture_output=True, text=True, check=True)
    assert again.stdout == ran.out


def test_verbose_never_shows_a_password(xyz: Command, sandbox: Sandbox) -> None:
    p12 = str(sandbox.certificate("xyz", "p12"))
    ran = xyz("subaccounts", "-v", IBT_CERTIFICATE=p12, IBT_PASSWORD="sandbox")
    assert f"--cert-type P12 --cert {p12} --pass '***'" in ran.err
    assert "sandbox" not in ran.err.replace(str(sandbox.folder), "")
