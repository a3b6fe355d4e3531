"""Settings that change while they are in force."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from heddle.cluster.settings_reload import SettingsReload
from injector.settings import InjectionSettings
from injector.settings_file import BadSettings, Given, InstallationSettings


async def test_what_the_file_says_comes_into_force(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("injection: {logLevel: info}")
    settings = SettingsReload(file, Given(revision="heddle-canary"))
    assert settings.current.injection.log_level == "info"
    assert not await settings.reload()
    file.write_text("injection: {logLevel: debug}")
    assert await settings.reload()
    assert (settings.current.injection.log_level, settings.current.injection.revision) == ("debug", "heddle-canary")
    file.write_text("# the same\ninjection: {logLevel: debug}")
    assert not await settings.reload()


async def test_a_wrong_file_changes_nothing_and_is_told_of_once(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("injection: {logLevel: info}")
    settings = SettingsReload(file, Given())
    with capture_logs() as logs:
        file.write_text("injection: {logLevel: loud}")
        assert [await settings.reload() for _ in range(3)] == [False] * 3
    assert [entry["event"] for entry in logs] == ["settings.kept"]
    assert f"{file}:1: injection.logLevel" in logs[0]["reason"]
    assert settings.current.injection.log_level == "info"
    file.write_text("injection: {logLevel: error}")
    assert await settings.reload()


def test_a_wrong_file_is_an_error_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    with pytest.raises(OSError):
        SettingsReload(file, Given())
    file.write_text("injection: []")
    with pytest.raises(BadSettings):
        SettingsReload(file, Given())


async def test_without_a_file_the_defaults_hold() -> None:
    settings = SettingsReload(None, Given())
    assert settings.current == InstallationSettings(injection=InjectionSettings())
    assert not await settings.reload()
