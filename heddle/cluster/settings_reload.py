"""The installation's settings, and what becomes of them when their file changes.

A ConfigMap's file is replaced by the kubelet, about a minute after the ConfigMap; it is looked at every few seconds.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import structlog

from injector.settings_file import BadSettings, Given, InstallationSettings, parse_settings

CHECK_SECONDS: Final = 5.0
_log = structlog.get_logger()


class SettingsReload:
    """`current` is what is in force: what the file said last that was right. Raises OSError, BadSettings at first.

    `file` None: there is none, and the defaults hold.
    """

    def __init__(self, file: Path | None, given: Given) -> None:
        self._file = file
        self._given = given
        self._text = b"" if file is None else file.read_bytes()
        self.current: InstallationSettings = self._parse()

    async def run(self) -> None:
        """See `duties.Duty`."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self.reload()

    async def reload(self) -> bool:
        """Reads the file again; whether other settings are in force now. A wrong file is told of once."""
        if self._file is None:
            return False
        try:
            text = self._file.read_bytes()
            if text == self._text:
                return False
            self._text = text
            settings = self._parse()
        except (OSError, BadSettings) as error:
            _log.error("settings.kept", reason=str(error))
            return False
        if settings == self.current:
            return False
        # Not at the start, which waits for what Envoy's messages take to be loaded: see `heddle.serve._settings`.
        from injector.bootstrap_text import warm_up

        # What depends on them is made before the first pod waits for it.
        await asyncio.to_thread(warm_up, settings.injection)
        self.current = settings
        _log.info("settings.reloaded", file=str(self._file))
        return True

    def _parse(self) -> InstallationSettings:
        return parse_settings(self._text, file=str(self._file or ""), given=self._given)
