"""The documents name everything there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from heddle.main import COMMANDS, VERSION, build_parser
from model.problem_codes import ProblemCode

ROOT = Path(__file__).resolve().parents[2]
CASES = tuple((ROOT / "tests").rglob("*.yaml")) + tuple((ROOT / "tests").rglob("test_*.py"))


def findings_table() -> str:
    rows = (f"| `{code}` | {code.meaning} |" for code in sorted(ProblemCode))
    return "\n".join(("| code | meaning |", "| --- | --- |", *rows))


def test_every_finding_is_documented() -> None:
    documented = (ROOT / "docs" / "findings.md").read_text()
    assert findings_table() in documented, f"docs/findings.md should contain:\n{findings_table()}"


def test_every_finding_is_produced_by_a_case() -> None:
    texts = [path.read_text() for path in CASES if path != Path(__file__)]
    missing = [
        code.name for code in ProblemCode if not any(re.search(rf"\b({code}|{code.name})\b", text) for text in texts)
    ]
    assert not missing


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme_and_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"`heddle {name}" in (ROOT / "README.md").read_text()
    with pytest.raises(SystemExit) as end:
        build_parser([name]).parse_args([name, "--help"])
    assert end.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 10


def test_the_version_is_one() -> None:
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text()
    assert f"## {VERSION}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_decision_says_when_and_what() -> None:
    for path in (ROOT / "docs" / "adr").glob("*.md"):
        text = path.read_text()
        assert re.match(r"# \d+\. ", text), path
        assert "**Decision.**" in text, path
