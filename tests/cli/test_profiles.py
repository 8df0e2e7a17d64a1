"""Profiles, the environment and options: who asks, and where."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from cli.conftest import Command, Sandbox, on_a_terminal
from ibt.client.profiles import NoProfile, Profile, drop_profile, keep_profile, read_profiles, settled

URL = "https://h/sms_oper_contract/api/customers"
BY_HAND = """\
# mine
[a]  # the first
url = "a.example"
customer = 1 # one

# of the second
[b]
url = "b.example"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ibt" / "profiles.toml"


@pytest.fixture
def by_hand(file: Path) -> Path:
    file.parent.mkdir()
    file.write_text(BY_HAND)
    return file


@pytest.mark.parametrize(
    "profile",
    [
        Profile(),
        Profile("h", Path("/c.pem"), Path("/k.pem"), "secret", Path("/ca"), 7, production=True),
        Profile("h", password='"\\\n\x00\x7f é'),
        Profile(customer=0),
    ],
    ids=["empty", "full", "odd characters", "customer 0"],
)
def test_a_profile_is_read_as_it_was_kept(file: Path, profile: Profile) -> None:
    keep_profile(file, "x", profile)
    assert read_profiles(file) == {"x": profile}
    keep_profile(file, "y", replace(profile, url="other"))
    keep_profile(file, "x", profile)
    assert read_profiles(file) == {"x": profile, "y": replace(profile, url="other")}
    drop_profile(file, "x")
    assert list(read_profiles(file)) == ["y"]


def test_only_its_owner_reads_the_file(file: Path) -> None:
    keep_profile(file, "x", Profile(password="secret"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_what_people_wrote_stays(by_hand: Path) -> None:
    keep_profile(by_hand, "a", Profile("c.example"))
    keep_profile(by_hand, "d", Profile("d.example"))
    assert by_hand.read_text() == (
        '# mine\n[a]\nurl = "c.example"\n\n# of the second\n[b]\nurl = "b.example"\n\n[d]\nurl = "d.example"\n'
    )


def test_a_file_that_is_written_in_another_way_stays_as_it_is(file: Path) -> None:
    file.parent.mkdir()
    file.write_text('a = {url = "h"}\n')
    assert read_profiles(file) == {"a": Profile("h")}
    with pytest.raises(NoProfile, match="change it by hand"):
        keep_profile(file, "a", Profile("other"))
    assert file.read_text() == 'a = {url = "h"}\n'


def test_paths_in_a_file_begin_at_its_folder_or_at_home(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.parent.mkdir()
    file.write_text('[a]\ncertificate = "me.pem"\nca = "~/ca.pem"\nkey = "/k.pem"\n')
    monkeypatch.setenv("HOME", "/home/me")
    assert read_profiles(file)["a"] == Profile(
        certificate=file.parent / "me.pem", ca=Path("/home/me/ca.pem"), key=Path("/k.pem")
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]\nurl = ", "this is not TOML"),
        ("[a]\nurl = x\n", "line 2: this is not TOML"),
        ('[a]\nurl = "x"\n[a]\n', "this is not TOML"),
        ('url = "x"\n', "url stands outside a profile"),
        ('[a]\nuri = "x"\n', "profile a: the field uri is unknown"),
        ("[a]\nurl = 1\n", "profile a: url must be a text in quotes"),
        ('[a]\ncustomer = "1"\n', "customer must be a number of at most 9 digits"),
        ("[a]\ncustomer = true\n", "customer must be a number"),
        ("[a]\ncustomer = 1000000000\n", "customer must be a number"),
        ("[a]\nproduction = 1\n", "production must be true or false"),
    ],
)
def test_a_file_with_something_wrong_is_told_in_one_sentence(file: Path, text: str, said: str) -> None:
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(NoProfile, match=said) as told:
        read_profiles(file)
    assert str(told.value).startswith(str(file))


@pytest.mark.parametrize(
    ("options", "name", "environment", "expected"),
    [
        (Profile(), None, {}, NoProfile),
        (Profile(), "a", {}, Profile("a.example", customer=1)),
        (Profile(), None, {"IBT_PROFILE": "b"}, Profile("b.example")),
        (Profile(), None, {"IBT_PROFILE": ""}, NoProfile),
        (Profile(), "a", {"IBT_PROFILE": "b"}, Profile("a.example", customer=1)),
        (Profile(), "nobody", {}, NoProfile),
        (Profile(), None, {"IBT_PROFILE": "nobody"}, NoProfile),
        (Profile(customer=3), "a", {}, Profile("a.example", customer=3)),
        (Profile(), None, {"IBT_PROFILE": "a", "IBT_CUSTOMER": "2"}, Profile("a.example", customer=2)),
        (Profile(), "a", {"IBT_CUSTOMER": "2"}, Profile("a.example", customer=1)),
        (Profile(), "b", {"IBT_CUSTOMER": "2"}, Profile("b.example", customer=2)),
        (Profile(customer=3), None, {"IBT_URL": "h", "IBT_CUSTOMER": "2"}, Profile("h", customer=3)),
        (Profile("h"), None, {}, Profile("h")),
        (Profile(), None, {"IBT_URL": "h", "IBT_CUSTOMER": "x"}, NoProfile),
        (
            Profile(),
            None,
            {"IBT_URL": "h", "IBT_CERTIFICATE": "c", "IBT_KEY": "k", "IBT_PASSWORD": "p", "IBT_CA": "a"},
            Profile("h", Path("c"), Path("k"), "p", Path("a")),
        ),
        (Profile(certificate=Path("o")), None, {"IBT_URL": "h", "IBT_KEY": "k"}, Profile("h", Path("o"))),
    ],
)
def test_the_nearest_word_counts(
    by_hand: Path, options: Profile, name: str | None, environment: dict[str, str], expected: object
) -> None:
    if expected is NoProfile:
        with pytest.raises(NoProfile):
            settled(options, name, environment, by_hand)
    else:
        assert settled(options, name, environment, by_hand) == expected


def test_the_only_profile_is_taken_and_among_several_the_default(file: Path) -> None:
    assert settled(Profile(), None, {}, file) == Profile()
    keep_profile(file, "x", Profile("x.example"))
    assert settled(Profile(), None, {}, file) == Profile("x.example")
    assert settled(Profile("h"), None, {}, file) == Profile("h")
    keep_profile(file, "y", Profile("y.example"))
    with pytest.raises(NoProfile, match=r"Which profile\? Give --profile, or set IBT_PROFILE: .* has x, y"):
        settled(Profile(), None, {}, file)
    keep_profile(file, "default", Profile("d.example"))
    assert settled(Profile(), None, {}, file) == Profile("d.example")


@pytest.mark.parametrize(
    ("profile", "guarded"),
    [
        (Profile("smd.iso-ne.com"), True),
        (Profile("SMD.ISO-NE.com."), True),
        (Profile("https://smd.iso-ne.com/sms_oper_contract/api/customers"), True),
        (Profile("smd.iso-ne.com:443"), True),
        (Profile("sandboxsmd.iso-ne.com"), False),
        (Profile("localhost", production=True), True),
        (Profile("localhost"), False),
        (Profile(), False),
    ],
)
def test_production_is_what_says_so_and_the_operators_own_host(profile: Profile, guarded: bool) -> None:
    assert profile.guarded is guarded


def test_a_profile_is_added_listed_used_and_removed(ibt: Command, sandbox: Sandbox) -> None:
    named = ("--url", sandbox.url.split("/")[2], "--certificate", sandbox.certificate("xyz"), "--customer", 1)
    added = ibt("profile", "add", "here", *named, "--ca", sandbox.ca)
    assert (added.status, added.out) == (0, "")
    listed = ibt("profile", "list")
    assert listed.lines == [
        "name,url,customer,certificate,key,ca,production,password",
        f"here,{sandbox.url},1,{sandbox.certificate('xyz')},,{sandbox.ca},,",
    ]
    assert ibt("subaccounts", "--profile", "here").status == 0
    assert ibt("subaccounts", "-p", "nowhere").err.startswith('There is no profile "nowhere": ')
    assert ibt("profile", "remove", "here").status == 0
    assert ibt("profile", "list").lines == listed.lines[:1]
    assert ibt("profile", "remove", "here").status == 2


def test_paths_are_kept_whole(ibt: Command, tmp_path: Path) -> None:
    (tmp_path / "me.pem").touch()
    ibt("profile", "add", "x", "--certificate", "me.pem")
    assert read_profiles(tmp_path / "config" / "ibt" / "profiles.toml")["x"].certificate == tmp_path / "me.pem"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a b",), '"a b" is no name for a profile: use letters, digits, - and _.\n'),
        (("x", "--certificate", "no.pem"), "There is no file no.pem.\n"),
        (("x", "--url", "http://h"), '"http://h" is no address of a service'),
        (("x", "--customer", "-1"), "Invalid value for '--customer'"),
    ],
)
def test_what_cannot_be_a_profile_is_refused(ibt: Command, arguments: tuple[str, ...], said: str) -> None:
    ran = ibt("profile", "add", *arguments)
    assert (ran.status, ran.err.startswith(said)) == (2, True), ran.err


@pytest.mark.parametrize(("store", "kept"), [((), None), (("--store-password",), "sandbox")])
def test_a_password_is_kept_only_where_that_is_asked_for(
    ibt: Command, sandbox: Sandbox, tmp_path: Path, store: tuple[str, ...], kept: str | None
) -> None:
    p12 = sandbox.certificate("xyz", "p12")
    named = ("--url", sandbox.url, "--certificate", p12, "--ca", sandbox.ca, "--customer", 1)
    added = ibt("profile", "add", "x", *named, "--password", "sandbox", *store)
    assert ("The password is not kept" in added.err) is (kept is None)
    assert read_profiles(tmp_path / "config" / "ibt" / "profiles.toml")["x"].password == kept
    assert "sandbox" not in ibt("profile", "list", "--format", "json").out.replace(str(sandbox.folder), "")
    assert ibt("subaccounts").status == (0 if kept else 6)
    assert ibt("subaccounts", IBT_PASSWORD="sandbox").status == 0


def test_on_a_terminal_the_password_is_asked_for_and_not_shown(sandbox: Sandbox, tmp_path: Path) -> None:
    variables = {
        "XDG_CONFIG_HOME": str(tmp_path),
        "IBT_URL": sandbox.url,
        "IBT_CERTIFICATE": str(sandbox.certificate("xyz", "p12")),
        "IBT_CA": str(sandbox.ca),
        "IBT_CUSTOMER": "1",
    }
    ran = on_a_terminal("subaccounts", folder=tmp_path, variables=variables, asked="xyz.p12: ", typed="sandbox\n")
    assert ran.status == 0
    asked, *_ = ran.lines
    assert asked.startswith("The password of ")
    assert "ABC1" in ran.out


def test_a_sandbox_leaves_its_profile(sandbox: Sandbox) -> None:
    assert read_profiles(sandbox.config / "profiles.toml") == {
        "sandbox": Profile(sandbox.url, sandbox.certificate("xyz"), ca=sandbox.ca, customer=1)
    }
