"""`make bench`: the tables and the JSON are of one run. Nothing is measured here."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from bench.__main__ import PARTS, main
from bench.figures_table import Figure, report

FINE = Figure(what="a wait", measured="3 ms", target="under 4 ms", met=True, values={"wait_ms": 3.0})
MISSED = Figure(what="a longer wait", measured="5 ms", target="under 4 ms", met=False)


class StubParts:
    """Reports what it is given for each part, and breaks for others."""

    def __init__(self, **figures: Figure) -> None:
        self.figures = figures
        self.ran: list[str] = []

    def run(self, part: str, json_file: Path) -> int:
        self.ran.append(part)
        return report([self.figures[part]], json_file) if part in self.figures else 1


def test_tables_and_json_are_of_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stub = StubParts(wire=FINE, fanout=FINE)
    written = tmp_path / "bench.json"
    assert main(["fanout", "wire", "--json", str(written)], run=stub.run) == 0
    assert stub.ran == ["fanout", "wire"]
    said = capsys.readouterr().out
    assert said.splitlines() == [
        "A change", "a wait  3 ms  under 4 ms  met", "",
        "The wire", "a wait  3 ms  under 4 ms  met", "",
        f"as JSON: {written}",
    ]  # fmt: skip
    figure = {"what": "a wait", "measured": "3 ms", "target": "under 4 ms", "met": True, "values": {"wait_ms": 3.0}}
    assert json.loads(written.read_text()) == {"fanout": [figure], "wire": [figure]}


def test_without_arguments_all_parts_are_measured_and_the_json_is_in_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stub = StubParts(**dict.fromkeys(PARTS, FINE))
    assert main([], run=stub.run) == 0
    assert stub.ran == list(PARTS)
    assert list(json.loads((tmp_path / "build" / "bench.json").read_text())) == list(PARTS)


def test_a_missed_target_and_a_part_that_broke_are_told_and_keep_nothing_from_being_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "bench.json"
    assert main(["wire", "fanout", "--json", str(written)], run=StubParts(wire=MISSED, fanout=FINE).run) == 1
    assert "MISSED" in capsys.readouterr().out
    assert main(["wire", "fanout", "--json", str(written)], run=StubParts(fanout=FINE).run) == 1
    assert capsys.readouterr().err == "bench.wire broke off\n"
    found = json.loads(written.read_text())
    assert found["wire"] is None
    assert [figure["what"] for figure in found["fanout"]] == ["a wait"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--json", "none/bench.json"], "'none/bench.json' cannot be written: No such file or directory"),
        (["wires"], "'wires' is none of wire, fanout, "),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_measured(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    stub = StubParts()
    with pytest.raises(SystemExit):
        main(arguments, run=stub.run)
    assert told in capsys.readouterr().err
    assert not stub.ran


@pytest.mark.parametrize("part", PARTS)
def test_every_part_says_what_it_measures_and_writes_json(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"bench.{part}").main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: python -m bench.{part} ")
    assert "--json FILE" in said
