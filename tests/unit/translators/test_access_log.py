"""Access logs, and that no format of a user's can break a listener."""

from __future__ import annotations

import pytest
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog

from model.settings import MeshSettings
from translators.access_log import FIELDS, build_access_logs, default_text_format


def built(*, text: str = "", as_json: bool = False) -> StdoutAccessLog:
    settings = MeshSettings(access_log_file="/dev/stdout", access_log_format=text, access_log_json=as_json)
    (log,) = build_access_logs(settings)
    assert log.typed_config is not None
    return StdoutAccessLog.parse(log.typed_config.value)


def text_of(log: StdoutAccessLog) -> str | None:
    assert log.log_format is not None
    assert log.log_format.text_format_source is not None
    return log.log_format.text_format_source.inline_string


def test_no_file_no_log() -> None:
    assert build_access_logs(MeshSettings()) == []


def test_the_default_has_all_fields_in_one_line() -> None:
    text = default_text_format()
    assert text.startswith('[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ')
    assert text.endswith("%ROUTE_NAME%\n")
    assert all(command in text for _, command in FIELDS)
    assert text_of(built()) == text


@pytest.mark.parametrize("text", ["100%", "%lower%", "%START_TIME", "a % b %%"])
def test_a_format_with_a_lone_percent_is_not_used(text: str) -> None:
    assert text_of(built(text=text)) == default_text_format()


def test_a_format_of_the_users_own() -> None:
    assert text_of(built(text="%RESPONSE_CODE% 100%%\n")) == "%RESPONSE_CODE% 100%%\n"


@pytest.mark.parametrize("text", ["", "not json", "[]", "{}"])
def test_json_falls_back_to_the_default_fields(text: str) -> None:
    log = built(text=text, as_json=True)
    assert log.log_format is not None
    assert log.log_format.json_format is not None
    assert list(log.log_format.json_format.fields) == [name for name, _ in FIELDS]
