"""Formats of access logs: what Envoy refuses is refused here, and nothing more of what it takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sources.access_log_format import LOG_COMMANDS, NAMING_COMMANDS, check_log_format
from translators.access_log import default_text_format

GOLDEN = Path(__file__).parents[2] / "golden" / "listeners" / "access_log_commands.in.yaml"
"""Its output goes through `envoy --mode validate`."""


@pytest.mark.parametrize(
    "text",
    [
        default_text_format(),
        "100%% of %REQ(:PATH)%",
        "%REQ(x-a?x-b):10% %RESP(server)% %TRAILER(grpc-status)%",
        "%START_TIME(%Y-%m-%d)%",
        "plain",
    ],
)
def test_what_envoy_takes(text: str) -> None:
    check_log_format(text, as_json=False)
    check_log_format(json.dumps({"a": text, "b": {"c": [text, 1, None]}}), as_json=True)


@pytest.mark.parametrize(
    "text",
    [
        "%NOSUCH%",
        "%REQ%",
        "%REQ()%",
        "%REQ(a?b?c)%",
        "100% of %REQ(:PATH)%",
        "%",
        "%ISTIO%",
        "%DURATION(x)%",
        "%REQ(a b)%",
    ],
)
def test_what_envoy_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_log_format(text, as_json=False)
    with pytest.raises(ValueError, match=r"."):
        check_log_format(json.dumps({"a": text}), as_json=True)


@pytest.mark.parametrize("text", ["not json", "[]", "{}", "1", "[" * 100_000])
def test_json_is_an_object(text: str) -> None:
    with pytest.raises(ValueError, match="accessLogEncoding is JSON"):
        check_log_format(text, as_json=True)


def test_every_command_was_put_to_a_real_envoy() -> None:
    put = set(re.findall(r"%([A-Z0-9_]+)", GOLDEN.read_text()))
    assert put >= LOG_COMMANDS | NAMING_COMMANDS


def test_every_command_is_listed_once() -> None:
    assert not LOG_COMMANDS & NAMING_COMMANDS
