"""What commands make of their arguments, and say of those that they cannot take."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta
from typing import Any

import pytest

from heddle.main import build_parser, main
from heddle.serve import _ON_CLUSTERS
from heddle.spans import span
from model.on_demand import SidecarConfig


def parsed(*words: str) -> argparse.Namespace:
    line = list(words)
    return build_parser(line).parse_args(line)


SERVE = ("serve", "--config", "d")
UP = ("local", "up", "d")


@pytest.mark.parametrize("command", [SERVE, UP])
def test_the_choices_of_a_sidecars_configuration_are_named(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert [parsed(*command, "--sidecar-config", mode).sidecar_config for mode in SidecarConfig] == [*SidecarConfig]
    assert parsed(*command).sidecar_config is SidecarConfig.AUTO
    with pytest.raises(SystemExit):
        main([*command, "--sidecar-config", "foo"])
    said = capsys.readouterr().err
    assert "argument --sidecar-config: 'foo' is none of auto, on-demand, eager\n" in said


@pytest.mark.parametrize("command", [SERVE, UP])
@pytest.mark.parametrize(("option", "attribute"), [("--unused-after", "unused_after"), ("--cert-life", "cert_life")])
@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("1", 1), ("90", 90), ("0.5", 0.5), ("1m30s", 90), ("250ms", 0.25)]
)
def test_a_span_may_be_a_number_of_seconds(
    command: tuple[str, ...], option: str, attribute: str, text: str, seconds: float
) -> None:
    found: Any = getattr(parsed(*command, option, text), attribute)
    assert found == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1e3", "20 s", "soon", "9999999999", "1d"])
def test_no_span(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=rf"^{re.escape(repr(text))} is no span of time .*, or 60\)"):
        span(text)


def test_the_help_says_what_only_a_cluster_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    _, _, rest = capsys.readouterr().out.partition("\nonly with --kubernetes:\n")
    group, _, _ = rest.partition("\n\n")
    named = re.findall(r"^  --([a-z-]+)", group, re.M)
    assert sorted(named) == sorted(name.replace("_", "-") for name in _ON_CLUSTERS)
