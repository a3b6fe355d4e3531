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
    words: set[str] = set()
    for path in CASES:
        if path != Path(__file__):
            words.update(re.findall(r"\w+", path.read_text()))
    assert not [code.name for code in ProblemCode if words.isdisjoint({code, code.name})]


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


def _anchors(text: str) -> set[str]:
    """Those that GitHub gives headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_documents_lead_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "deploy" / "README.md"]
    broken = []
    for document in documents:
        text = document.read_text()
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (document.parent / path).resolve() if path else document
            if not target.exists() or (anchor and anchor not in _anchors(target.read_text())):
                broken.append(f"{document.relative_to(ROOT)}: {link}")
    assert broken == []


def test_operations_name_every_metric_and_event_that_is_there() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    metrics = set(re.findall(r'"(\w+)", "', (ROOT / "heddle" / "cluster" / "metrics.py").read_text()))
    metrics |= set(re.findall(r'name="(\w+)"', (ROOT / "heddle" / "cluster" / "metrics.py").read_text()))
    assert len(metrics) == 8
    assert [name for name in sorted(metrics) if f"`{name}`" not in text] == []
    sources = [
        path for folder in ("heddle", "injector", "sds", "sources", "xds") for path in (ROOT / folder).rglob("*.py")
    ]
    written = {
        event: level
        for path in sources
        for level, event in re.findall(r'_log\.(info|warning|error)\(\s*"([a-z_]+\.[a-z_]+)"', path.read_text())
        if "local" not in path.parts
    }
    named = set(
        re.findall(
            r"`((?:xds|identity|sds|kubernetes|plane|leadership|status|peers|settings|webhook|connections|injector|validator|admin|sources)\.[a-z_]+)`",
            text,
        )
    )
    assert named - set(written) == set()
    loud = {event for event, level in written.items() if level != "info"}
    assert loud - named == set()
