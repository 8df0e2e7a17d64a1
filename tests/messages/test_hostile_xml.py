"""Every body of the hostile corpus is refused: soon, in our words, and without opening anything."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import hostile_xml
from hostile_xml import CORPUS, MARKER, VALID
from ibt.messages import read_update
from ibt.rules.faults import Refusal

#: What would show that a library's own text, or a file, has come through.
FOREIGN = ("libxml", "lxml", "xmlSchema", "{http", "atomic type", "file:", "/etc/", "facet", "xs:", MARKER)

opened: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def watch() -> Iterator[None]:
    """Notes every file and socket that Python opens; the parser's own are seen by what would come through."""
    watching = True

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if watching and (event == "open" or event.startswith("socket.")):
            opened.append(f"{event} {arguments}")

    sys.addaudithook(note)
    yield
    watching = False


def test_the_corpus_is_large_and_its_pattern_is_valid() -> None:
    assert len(CORPUS) >= 300
    assert len(read_update(VALID)) == 1


@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_body_is_refused_in_our_words(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_update(CORPUS[name])
    text = caught.value.text
    assert caught.value.status == 400
    assert not [word for word in FOREIGN if word in text]
    assert all(line and line.isprintable() for line in text.split("\n"))
    assert len(text.split("\n")) <= 102


@pytest.mark.parametrize("name", [name for name in CORPUS if name.startswith(("entity", "doctype", "large", "in a"))])
def test_a_hostile_body_opens_nothing_and_is_refused_within_100_ms(name: str) -> None:
    opened.clear()
    took = []
    for _ in range(3):  # the best of three: others work on this machine too
        begin = time.perf_counter()
        with pytest.raises(Refusal):
            read_update(CORPUS[name])
        took.append(time.perf_counter() - begin)
    assert opened == []
    assert min(took) < 0.1


MEASURE = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import hostile_xml
from hostile_xml import CORPUS, VALID
from ibt.messages import read_update
from ibt.rules.faults import Refusal
read_update(VALID)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for body in CORPUS.values():
    try:
        read_update(body)
    except Refusal:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_whole_corpus_takes_less_than_50_mb() -> None:
    tests = str(Path(hostile_xml.__file__).parent)
    measured = subprocess.run([sys.executable, "-c", MEASURE, tests], capture_output=True, text=True, check=True)
    assert int(measured.stdout) < 50 * 1024


def test_names_that_never_come_again_are_not_kept() -> None:
    def resident() -> int:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()

    def refuse(number: int) -> None:
        names = "".join(f"<n{number}-{name}/>" for name in range(9_000))
        with pytest.raises(Refusal):
            read_update(VALID.replace(b"<customer_id>", names.encode() + b"<customer_id>"))

    for number in range(20):
        refuse(number)
    gc.collect()
    before = resident()
    for number in range(20, 220):
        refuse(number)
    gc.collect()
    assert resident() - before < 30 * 1024 * 1024
