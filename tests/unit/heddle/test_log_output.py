"""What a process writes by default, and what only where it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from heddle.log_output import configure_logging


@pytest.fixture(autouse=True)
def configuration() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def written(capsys: pytest.CaptureFixture[str], *, verbose: bool, audit: bool) -> list[str]:
    capsys.readouterr()
    configure_logging(json_lines=True, verbose=verbose, audit=audit)
    log = structlog.get_logger()
    log.info("identity.issued", serial="1")
    log.info("xds.authenticated", peer="ipv4:10.0.0.1:4711")
    log.debug("some.detail")
    log.warning("xds.unauthenticated", reason="no bearer token")
    log.error("sds.secret_failed")
    return [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]


def test_certificates_are_audited_by_default_and_streams_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    worse = ["xds.unauthenticated", "sds.secret_failed"]
    assert written(capsys, verbose=False, audit=False) == worse
    assert written(capsys, verbose=False, audit=True) == ["identity.issued", *worse]
    for audit in (False, True):
        assert written(capsys, verbose=True, audit=audit) == ["identity.issued", "xds.authenticated", *worse]
