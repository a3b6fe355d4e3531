"""Objects that only go wrong together, and what is merely remarked on: findings as announced in comments."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from heddle.analyze import analyze

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("together/*.yaml"))

_ANNOUNCED = re.compile(r"# (error|warning|info) ([A-Z][A-Za-z]+)$")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_findings_are_those_announced(path: Path) -> None:
    expected = sorted(
        (number, *found.groups())
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (found := _ANNOUNCED.search(line))
    )
    found = analyze({"mesh.yaml": (HERE / "mesh.yaml").read_bytes(), path.name: path.read_bytes()})
    assert [(p.position.line, str(p.severity), str(p.code)) for p in found if p.position] == expected


def test_the_loser_names_the_winner() -> None:
    path = HERE / "together/conflicts.yaml"
    found = analyze({"mesh.yaml": (HERE / "mesh.yaml").read_bytes(), path.name: path.read_bytes()})
    messages = {str(p.code): p.message for p in found}
    assert "VirtualService/shop/old" in messages["ConflictingHosts"]
    assert "PeerAuthentication/shop/a" in messages["ConflictingPolicies"]
    assert "DestinationRule/shop/first" in messages["DuplicateSubset"]


@pytest.mark.parametrize(
    ("case", "fix"),
    [
        ("destination-unknown-host", "Did you mean users.shop.svc.cluster.local?"),
        ("destination-short-namespace", "Did you mean users.shop.svc.cluster.local?"),
        ("destination-unknown-port", "Use one of its ports: 80."),
        ("unknown-field", "Did you mean timeout?"),
        ("destination-weight", "Move weight one level up, beside destination."),
        ("match-method-lower-case", "Write GET."),
    ],
)
def test_the_fix_is_concrete(case: str, fix: str) -> None:
    path = HERE / f"poison/{case}.yaml"
    found = analyze({"mesh.yaml": (HERE / "mesh.yaml").read_bytes(), path.name: path.read_bytes()})
    assert [p.fix for p in found] == [fix]
