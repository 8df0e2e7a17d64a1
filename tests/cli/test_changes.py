"""`ibt plan`, `apply`, `undo`: what would be changed, changing it, and the way back."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.conftest import Command, Sandbox, on_a_terminal

AsUser = Callable[[str, int], Command]

HEADER = "contract_id,month,subaccount_id\n"
CHANGES = HEADER + "999999,2015-08,ABC1\n999999,2015-09,ABC1\n999998,2015-08,Default\n"
PLANNED = """\
contract_id  months            old      new      result
999999       2015-08..2015-09  Default  ABC1     change
999998       2015-08           Default  Default  unchanged

2 changes in 1 contract, 1 unchanged.
"""


def mapped(command: Command) -> list[tuple[str, str, str]]:
    """Contract, begin and subaccount of each mapping version that stands."""
    lines = (line.split(",") for line in command("mappings").lines[1:])
    return [(fields[1], fields[8], fields[-1]) for fields in lines]


@pytest.fixture
def changes(xyz: Command, tmp_path: Path) -> Iterator[Path]:
    """Changes of customer 1, whose mappings are as in the specification's samples before and after."""
    file = tmp_path / "changes.csv"
    file.write_text(CHANGES)
    yield file
    back = tmp_path / "all-back.csv"
    back.write_text(HEADER + "".join(f"{c},{m},Default\n" for c in (999998, 999999) for m in ("2015-08", "2015-09")))
    assert xyz("apply", back, "--yes", "--receipt", tmp_path / "all-back.json").status == 0


def test_a_plan_shows_contract_and_months_old_and_new(xyz: Command, changes: Path) -> None:
    before = mapped(xyz)
    ran = xyz("plan", changes)
    assert (ran.status, ran.out, ran.err) == (3, PLANNED, "To keep the plan, give -o plan.json.\n")
    assert mapped(xyz) == before


def test_a_plan_of_nothing_new_ends_with_0(xyz: Command, changes: Path) -> None:
    changes.write_text(HEADER + "999999,2015-08,Default\n")
    ran = xyz("plan", changes)
    assert (ran.status, ran.lines[-1]) == (0, "0 changes in 0 contracts, 1 unchanged.")


def test_a_refused_plan_has_the_services_lines(xyz: Command, changes: Path) -> None:
    changes.write_text(HEADER + "999999,2015-08,ABC2\n999997,2015-09,ABC1\n999998,2015-08,ABC1\n")
    ran = xyz("plan", changes, "-o", "plan.json")
    assert ran.status == 1
    *table, said, subaccount, contract = ran.lines
    assert table == [
        "contract_id  months   old      new   result",
        "999999       2015-08  Default  ABC2  refused",
        "999997       2015-09           ABC1  refused",
        "999998       2015-08  Default  ABC1  change",
        "",
    ]
    assert said == "Refused, so nothing of it can be made:"
    period = "2015-08-01T04:00:00Z to 2015-09-01T04:00:00Z"
    assert subaccount.startswith(f'contract 999999, period {period}, subaccount_id "ABC2": must be a subaccount')
    assert contract.startswith('contract 999997, contract_id "999997": customer 1 is not a party')
    assert xyz("apply", "plan.json", "--yes").status == 1
    assert xyz("apply", changes, "--yes").status == 1


def test_apply_and_undo_leave_everything_as_it_was(xyz: Command, changes: Path, tmp_path: Path) -> None:
    before = mapped(xyz)
    assert xyz("plan", changes, "-o", "plan.json").err == "To make them: ibt apply plan.json\n"
    made = xyz("apply", "plan.json", "--yes", "--receipt", "receipt.json")
    assert (made.status, made.err) == (0, "")
    assert made.lines[-1] == "Made. The receipt is in receipt.json; the way back: ibt undo receipt.json"
    assert ("999999", "2015-08-01T04:00:00Z", "ABC1") in mapped(xyz)
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    (contract,) = receipt["contracts"]
    assert [(each["before"]["subaccount_id"], each["after"]["subaccount_id"]) for each in contract["changes"]] == [
        ("Default", "ABC1"),
        ("Default", "ABC1"),
    ]
    assert re.fullmatch("[0-9a-f]{16}", receipt["request_id"])
    back = xyz("undo", "receipt.json", "-o", "back.json")
    assert (back.status, back.lines[1]) == (3, "999999       2015-08..2015-09  ABC1  Default  change")
    assert xyz("apply", "back.json", "--yes").status == 0
    assert mapped(xyz) == before


def test_a_plan_is_refused_where_the_data_have_moved(xyz: Command, changes: Path, tmp_path: Path) -> None:
    assert xyz("plan", changes, "-o", "plan.json").status == 3
    other = tmp_path / "other.csv"
    other.write_text(HEADER + "999998,2015-09,ABC1\n")
    assert xyz("apply", other, "--yes").status == 0
    before = mapped(xyz)
    ran = xyz("apply", "plan.json", "--yes", "--receipt", "receipt.json")
    assert ran.status == 1
    assert ran.err.startswith(
        "The customer's data have changed since this was made from them, so nothing was changed"
    )
    assert mapped(xyz) == before
    assert not (tmp_path / "receipt.json").exists()


def test_undo_tells_what_others_have_changed_since(xyz: Command, changes: Path, tmp_path: Path) -> None:
    assert xyz("apply", changes, "--yes", "--receipt", "first.json").status == 0
    other = tmp_path / "other.csv"
    other.write_text(HEADER + "999999,2015-09,Default\n")
    assert xyz("apply", other, "--yes").status == 0
    ran = xyz("undo", "first.json")
    assert ran.status == 3
    assert ran.lines[-2:] == [
        'Note: contract 999999, 2015-09: was changed again at 2015-07-11T12:01:22Z, to "Default"',
        "1 change in 1 contract, 1 unchanged.",
    ]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (("--months", "2015-08"), "2 changes in 2 contracts, 0 unchanged."),
        (("--months", "2015-09..2016-12"), "2 changes in 2 contracts, 0 unchanged."),
        (("--category", "FCM LOAD OBLIGATION"), "4 changes in 2 contracts, 0 unchanged."),
        (
            ("--category", "FCM LOAD OBLIGATION", "--months", "2015-08..2015-12"),
            "4 changes in 2 contracts, 0 unchanged.",
        ),
        (("--contract-id", "*8"), "2 changes in 1 contract, 0 unchanged."),
    ],
)
def test_all_that_fits_filters_is_planned_at_once(xyz: Command, filters: tuple[str, ...], found: str) -> None:
    ran = xyz("plan", "--set", "ABC1", *filters)
    assert (ran.status, ran.lines[-1]) == (3, found)


def test_nothing_that_fits_is_nothing_to_do(xyz: Command) -> None:
    ran = xyz("plan", "--set", "ABC1", "--months", "2014-01")
    assert (ran.status, ran.out) == (0, "0 changes in 0 contracts, 0 unchanged.\n")


def test_what_mappings_wrote_is_a_plan_once_it_is_edited(xyz: Command, tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text(xyz("mappings").out.replace(",Default\n", ",ABC1\n"))
    assert xyz("plan", "all.csv").lines[-1] == "4 changes in 2 contracts, 0 unchanged."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "What is to be planned? Give a CSV with the changes, or --set SUBACCOUNT, one of the two."),
        (("changes.csv", "--set", "ABC1"), "What is to be planned?"),
        (("changes.csv", "--months", "2015-08"), "Filters and --months belong to --set"),
        (("changes.csv", "--category", "X"), "Filters and --months belong to --set"),
        (("--set", "ABC1"), 'What is to be mapped to "ABC1"? Give --months, or a filter'),
        (("--set", "ABC1", "--months", "2015-8"), '"2015-8" is not a month: write it as 2015-08.'),
        (("--set", "ABC1", "--months", "2015-09..2015-08"), '"2015-09..2015-08" ends before it begins'),
        (("--set", "", "--months", "2015-08"), "a subaccount_id has 1 to 100 characters, not 0."),
        (("no.csv",), "There is no file no.csv."),
    ],
)
def test_a_plan_of_what_cannot_be_is_told(xyz: Command, changes: Path, arguments: tuple[str, ...], said: str) -> None:
    assert changes.exists()
    ran = xyz("plan", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(said)
    assert ran.err.count("\n") == 1


def test_each_fault_of_the_csv_is_told_with_its_line(xyz: Command, changes: Path) -> None:
    changes.write_text(HEADER + "x,2015-08,ABC1\n999999,2015-13,\n")
    for command in (("plan", "changes.csv"), ("apply", "changes.csv", "--yes")):
        ran = xyz(*command)
        assert (ran.status, ran.out) == (2, "")
        assert ran.err.splitlines() == [
            'changes.csv, line 2, contract_id "x": is no contract\'s id: give 1 to 9 digits (3.2.4)',
            'changes.csv, line 3, month "2015-13": is no month: write it as 2015-08 (3.2.5)',
            'changes.csv, line 3, subaccount_id "": must have 1 to 100 characters (3.2.4)',
        ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "this is not JSON, and so not a plan."),
        ("{}", "this is not a plan of ibt."),
        ('{"ibt": "receipt", "form": 1}', "this is a receipt, not a plan."),
        ('{"ibt": "plan", "form": 2}', "this plan has the form 2; this version of ibt reads form 1."),
        ('{"ibt": "plan", "form": 1}', "this plan was changed by hand and lacks something, or has a wrong value."),
    ],
)
def test_a_plan_that_is_none_is_told(xyz: Command, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    ran = xyz("apply", "plan.json", "--yes")
    assert (ran.status, ran.err) == (2, f"plan.json: {said}\n")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("changes.csv", "changes.csv is what the plan is made of, and would be lost: give -o another name."),
        ("./changes.csv", "changes.csv is what the plan is made of, and would be lost: give -o another name."),
        ("plan.xlsx", "A plan is JSON, and plan.xlsx is called otherwise: give -o a name that ends in .json."),
    ],
)
def test_a_plan_is_not_written_over_what_it_is_made_of(
    xyz: Command, changes: Path, tmp_path: Path, output: str, said: str
) -> None:
    before = changes.read_bytes()
    ran = xyz("plan", "changes.csv", "-o", output)
    assert (ran.status, ran.out, ran.err) == (2, "", f"{said}\n")
    assert changes.read_bytes() == before
    assert not (tmp_path / "plan.xlsx").exists()


def test_a_plan_that_is_to_be_planned_is_told(xyz: Command, changes: Path) -> None:
    assert xyz("plan", "changes.csv", "-o", "plan.json").status == 3
    ran = xyz("plan", "plan.json")
    assert (ran.status, ran.err) == (
        2,
        "plan.json is a plan already, it seems: ibt apply plan.json makes its changes.\n",
    )


def test_without_a_terminal_nobody_is_asked(xyz: Command, changes: Path) -> None:
    before = mapped(xyz)
    ran = xyz("apply", changes)
    assert (ran.status, ran.out) == (2, PLANNED)
    assert ran.err == "There is no terminal to ask on: give --yes to make these changes.\n"
    assert mapped(xyz) == before


@pytest.mark.parametrize(("typed", "status"), [("y\n", 0), ("n\n", 3), ("\n", 3), ("\x03", 130), ("\x04", 130)])
def test_on_a_terminal_the_user_is_asked(
    xyz: Command, changes: Path, sandbox: Sandbox, tmp_path: Path, typed: str, status: int
) -> None:
    before = mapped(xyz)
    variables = {"XDG_CONFIG_HOME": str(sandbox.config.parent)}
    question = f"Make 2 changes for customer 1 at {sandbox.url}? [y/N]: "
    ran = on_a_terminal("apply", changes, folder=tmp_path, variables=variables, asked="[y/N]: ", typed=typed)
    assert ran.status == status, ran.out
    assert question in ran.out
    assert (mapped(xyz) == before) is (status != 0)
    assert len(list(tmp_path.glob("receipt-1-*Z.json"))) == (status == 0)


def test_a_receipt_never_takes_the_place_of_another_file(xyz: Command, changes: Path, tmp_path: Path) -> None:
    before = mapped(xyz)
    for place, said in (("changes.csv", "is there already"), ("no/receipt.json", "cannot be written")):
        ran = xyz("apply", changes, "--yes", "--receipt", place)
        assert ran.status == 2
        assert ran.err.startswith("Nothing was changed, as ")
        assert said in ran.err
    assert mapped(xyz) == before
    assert changes.read_text() == CHANGES


def test_each_receipt_has_a_name_of_its_own(xyz: Command, changes: Path, tmp_path: Path) -> None:
    for subaccount in ("ABC1", "Default", "ABC1"):
        changes.write_text(f"{HEADER}999999,2015-08,{subaccount}\n")
        assert xyz("apply", changes, "--yes").status == 0
    assert len(list(tmp_path.glob("receipt-1-*.json"))) == 3


@pytest.mark.parametrize("guard", ["profile", "host"])
def test_production_is_only_read_without_production(
    xyz: Command, sandbox: Sandbox, changes: Path, guard: str
) -> None:
    before = mapped(xyz)
    named = {"IBT_URL": "smd.iso-ne.com"} if guard == "host" else {"IBT_URL": "", "IBT_PROFILE": "real"}
    xyz("profile", "add", "real", "--url", sandbox.url, "--production")
    ran = xyz("apply", changes, "--yes", **named)
    assert ran.status == 2
    assert ran.err.endswith(" is for production, where nothing is changed without --production.\n")
    assert mapped(xyz) == before
    if guard == "profile":
        assert xyz("plan", changes, **named).status == 3
        assert xyz("apply", changes, "--yes", "--production", **named).status == 0
        assert mapped(xyz) != before
    xyz("profile", "remove", "real")


def test_a_plan_and_a_receipt_are_of_one_customer(xyz: Command, as_user: AsUser, changes: Path) -> None:
    assert xyz("plan", changes, "-o", "plan.json").status == 3
    assert xyz("apply", "plan.json", "--yes", "--receipt", "receipt.json", IBT_CUSTOMER="").status == 0
    plain = as_user("plain", 10)
    for command, file in (("apply", "plan.json"), ("undo", "receipt.json")):
        ran = plain(command, file)
        assert (ran.status, ran.err) == (2, f"{file} is of customer 1: give --customer 1, not 10.\n")


def test_a_thousand_changes_are_made_and_undone(as_user: AsUser) -> None:
    thousand = as_user("thousand", 50)
    before = mapped(thousand)
    assert thousand("plan", "--set", "ODD", "--months", "2015-02", "-o", "plan.json").status == 3
    assert thousand("apply", "plan.json", "--yes", "--receipt", "receipt.json").status == 0
    assert {subaccount for _, begin, subaccount in mapped(thousand) if begin.startswith("2015-02")} == {"ODD"}
    assert thousand("undo", "receipt.json", "-o", "back.json").status == 3
    assert thousand("apply", "back.json", "--yes").status == 0
    assert mapped(thousand) == before


def test_months_that_follow_each_other_stand_in_one_line(as_user: AsUser, tmp_path: Path) -> None:
    thousand = as_user("thousand", 50)
    contract, begins = next(
        (contract, [each[1] for each in of_contract])
        for contract, of_contract in itertools.groupby(mapped(thousand), lambda each: each[0])
    )
    months = [begin[:7] for begin in begins]
    (tmp_path / "c.csv").write_text(HEADER + "".join(f"{contract},{month},Default\n" for month in months))
    assert thousand("plan", "c.csv").lines[1].split()[:2] == [contract, f"{months[0]}..{months[-1]}"]
