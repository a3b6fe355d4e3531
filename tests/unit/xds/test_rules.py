"""Every rule of the protocol has tests by its number, and docs/xds.md says which."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TABLE = ROOT / "docs" / "xds.md"
RULES = range(1, 63)
WITH_ENVOY = ("`envoy/", "`mesh/", "`kubernetes/test_end_to_end.py`")
"""Where tests have real Envoys."""
_WITHOUT = re.compile(r"No Envoy shows (R\d+(?:(?:,\s| and\s)R\d+)*)")
_TEST = re.compile(r"^(?:async )?def (test_(?:r\d+_)+\w+)\(", re.MULTILINE)
_ROW = re.compile(r"^\| R(\d+) \| ([^|]+) \|([^|]*)\|$", re.MULTILINE)


def rules_tested() -> dict[int, list[str]]:
    found: defaultdict[int, set[str]] = defaultdict(set)
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in _TEST.findall(path.read_text()):
            prefix = re.match(r"test_((?:r\d+_)+)", name)
            assert prefix is not None
            for number in re.findall(r"r(\d+)_", prefix[1]):
                found[int(number)].add(f"`{path.relative_to(ROOT / 'tests')}` {name.removeprefix('test_')}")
    return {number: sorted(names) for number, names in found.items()}


def test_every_rule_has_a_test_by_its_number() -> None:
    found = rules_tested()
    assert not [f"R{number}" for number in RULES if number not in found]
    assert not [f"R{number}" for number in found if number not in RULES]


def test_the_table_of_rules_is_right(update_golden: bool) -> None:
    found = rules_tested()
    text = TABLE.read_text()
    assert [int(number) for number, _, _ in _ROW.findall(text)] == list(RULES)

    def row(match: re.Match[str]) -> str:
        return f"| R{match[1]} | {match[2]} | {'; '.join(found.get(int(match[1]), ()))} |"

    right = _ROW.sub(row, text)
    if update_golden:
        TABLE.write_text(right)
    assert TABLE.read_text() == right, "run: pytest tests/unit/xds/test_rules.py --update-golden"


def test_every_rule_that_an_envoy_can_show_is_shown_by_one() -> None:
    without = {int(number) for found in _WITHOUT.findall(TABLE.read_text()) for number in re.findall(r"\d+", found)}
    shown = {number for number, tests in rules_tested().items() if any(test.startswith(WITH_ENVOY) for test in tests)}
    assert {*RULES} - shown == without, "what docs/xds.md says that no Envoy shows"
