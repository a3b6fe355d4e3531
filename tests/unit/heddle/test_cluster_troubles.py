"""A cluster that cannot be reached or does not let us: what failed, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from heddle.cluster.troubles import tell_trouble
from heddle.main import main
from sources.kubernetes.api import Refused, Unreachable
from sources.kubernetes.events import Refusal


@pytest.mark.parametrize(
    ("error", "said", "fix"),
    [
        (Unreachable("no route"), "cannot be reached: no route", "--kubeconfig"),
        (Refused(Refusal(code=401, message="Unauthorized")), "credentials: Unauthorized", "log in again"),
        (Refused(Refusal(code=403, message="pods is forbidden")), "pods is forbidden", "heddle check --pre"),
    ],
)
def test_what_failed_and_what_to_do(error: Exception, said: str, fix: str) -> None:
    told = tell_trouble(error)
    assert said in told
    assert fix in told


@pytest.mark.parametrize("arguments", [["install", "--apply"], ["check"], ["uninstall"]])
def test_an_empty_kubeconfig_is_named(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "config"
    empty.write_text("")
    assert main([*arguments, "--kubeconfig", str(empty)]) == 2
    said = capsys.readouterr().err
    assert str(empty) in said
    assert "it is empty" in said
    assert "NoneType" not in said
