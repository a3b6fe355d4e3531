"""The volumes of a pod: what is in them, and keeping it so while ConfigMaps change and tokens grow old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from heddle.local.environment import CannotResolve, PodFacts, field_value
from tests.kubelet.atomic_writer import VolumeFile, write_files
from tests.kubelet.container_root import Mount
from tests.kubelet.variables import Data, Sources

_DEFAULT_LIFE_SECONDS: Final = 3600
_RENEWED_AT: Final = 0.8
"""A kubelet renews a token after this part of its life."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A service account token, from `issued` until `expires`."""

    text: str
    issued: datetime
    expires: datetime


AskToken = Callable[[str, int], Awaitable[Token]]
"""A token of the pod for an audience ('' for the API server's) and so many seconds."""


class PodVolumes:
    """`folder` is the pod's own. `facts` and `sources` answer what is so now."""

    def __init__(
        self,
        pod: Json,
        folder: Path,
        *,
        facts: Callable[[], PodFacts],
        sources: Callable[[], Sources],
        ask_token: AskToken,
        now: Callable[[], datetime],
        renew_after: timedelta | None = None,
    ) -> None:
        self._spec = pod["spec"]
        self._folder = folder
        self._facts = facts
        self._sources = sources
        self._ask_token = ask_token
        self._now = now
        self._renew_after = renew_after
        self._tokens: dict[tuple[str, str], Token] = {}
        self._look = asyncio.Event()
        self.ready = asyncio.Event()
        self.problem = ""
        """Why they are not ready."""

    def look_again(self) -> None:
        """Something that they hold may differ."""
        self._look.set()

    async def keep(self) -> None:
        """Until cancelled: makes them, then follows what they hold."""
        self._make_folders()
        while True:
            self._look.clear()
            wait = 0.5
            try:
                await self._renew_tokens()
                self._write()
            except CannotResolve as error:
                self.problem = str(error)
            except TokenUnavailable as error:
                # What is there stays: a token lives a while after it should have been renewed.
                self.problem = str(error)
            else:
                self.problem = ""
                self.ready.set()
                wait = min((self._due(token) for token in self._tokens.values()), default=3600.0)
            try:
                async with asyncio.timeout(max(wait, 0.05)):
                    await self._look.wait()
            except TimeoutError:
                continue

    def mounts(self, container: Json) -> tuple[Mount, ...]:
        """Where the container wants them."""
        volumes = {volume["name"]: volume for volume in self._spec.get("volumes") or ()}
        found = []
        for mount in container.get("volumeMounts") or ():
            volume = volumes[mount["name"]]
            source = Path(volume["hostPath"]["path"]) if "hostPath" in volume else self._folder / mount["name"]
            source = source / (mount.get("subPath") or "")
            found.append(Mount(source=source, path=mount["mountPath"], read_only=bool(mount.get("readOnly"))))
        return tuple(found)

    def _make_folders(self) -> None:
        for volume in self._spec.get("volumes") or ():
            folder = self._folder / volume["name"]
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777 if "emptyDir" in volume else 0o755)

    async def _renew_tokens(self) -> None:
        async def renew(key: tuple[str, str], source: Json) -> None:
            life = source.get("expirationSeconds") or _DEFAULT_LIFE_SECONDS
            self._tokens[key] = await self._ask_token(source.get("audience") or "", life)

        due = [
            renew((volume, source["path"]), source)
            for volume, source in self._token_sources()
            if (held := self._tokens.get((volume, source["path"]))) is None or self._due(held) <= 0
        ]
        await asyncio.gather(*due)

    def _due(self, token: Token) -> float:
        """Seconds until it is time for the next."""
        after = self._renew_after or (token.expires - token.issued) * _RENEWED_AT
        return (token.issued + after - self._now()).total_seconds()

    def _token_sources(self) -> list[tuple[str, Json]]:
        return [
            (volume["name"], source["serviceAccountToken"])
            for volume in self._spec.get("volumes") or ()
            for source in (volume.get("projected") or {}).get("sources") or ()
            if "serviceAccountToken" in source
        ]

    def _write(self) -> None:
        for volume in self._spec.get("volumes") or ():
            files = self._files(volume)
            if files is not None:
                write_files(self._folder / volume["name"], files)

    def _files(self, volume: Json) -> dict[str, VolumeFile] | None:
        if "projected" in volume:
            sources, mode = volume["projected"].get("sources") or (), volume["projected"].get("defaultMode")
        else:
            kind = next((kind for kind in ("configMap", "secret", "downwardAPI") if kind in volume), None)
            if kind is None:
                return None
            sources, mode = ({kind: volume[kind]},), volume[kind].get("defaultMode")
        found: dict[str, VolumeFile] = {}
        for source in sources:
            found.update(self._source(volume["name"], source, 0o644 if mode is None else mode))
        return found

    def _source(self, volume: str, source: Json, mode: int) -> dict[str, VolumeFile]:
        if "serviceAccountToken" in source:
            path = source["serviceAccountToken"]["path"]
            return {path: self._token_file(self._tokens[volume, path].text)}
        if "downwardAPI" in source:
            items = source["downwardAPI"].get("items") or ()
            return {
                item["path"]: self._file(self._field(item["fieldRef"]["fieldPath"]), item.get("mode") or mode)
                for item in items
            }
        held = self._sources()
        if "configMap" in source:
            return self._keys(source["configMap"], held.config_maps, "name", "configmap", mode)
        if "secret" in source:
            naming = "secretName" if "secretName" in source["secret"] else "name"
            return self._keys(source["secret"], held.secrets, naming, "secret", mode)
        raise CannotResolve(f"volume {volume}: nothing here knows {', '.join(source)}")

    def _keys(
        self, reference: Json, data: Mapping[str, Data], naming: str, kind: str, mode: int
    ) -> dict[str, VolumeFile]:
        found = data.get(reference[naming])
        if found is None:
            if reference.get("optional"):
                return {}
            raise CannotResolve(f'MountVolume.SetUp failed: {kind} "{reference[naming]}" not found')
        items = reference.get("items")
        if items is None:
            return {key: self._file(value, mode) for key, value in found.items()}
        files = {}
        for item in items:
            if item["key"] in found:
                files[item["path"]] = self._file(found[item["key"]], item.get("mode") or mode)
            elif not reference.get("optional"):
                raise CannotResolve(f"references non-existent config key: {item['key']}")
        return files

    def _field(self, path: str) -> bytes:
        facts = self._facts()
        if path in ("metadata.labels", "metadata.annotations"):
            values = facts.labels if path.endswith("labels") else facts.annotations
            return "\n".join(f'{key}="{value}"' for key, value in sorted(values.items())).encode()
        return field_value(path, facts).encode()

    def _file(self, content: bytes, mode: int) -> VolumeFile:
        group = (self._spec.get("securityContext") or {}).get("fsGroup")
        return VolumeFile(content=content, mode=mode | (0o040 if group else 0), group=group)

    def _token_file(self, text: str) -> VolumeFile:
        """A token is its user's alone where all containers are the same user's."""
        group = (self._spec.get("securityContext") or {}).get("fsGroup")
        shared = (self._spec.get("securityContext") or {}).get("runAsUser")
        containers = [*(self._spec.get("initContainers") or ()), *self._spec["containers"]]
        users = {(container.get("securityContext") or {}).get("runAsUser", shared) for container in containers}
        if group:
            return VolumeFile(content=text.encode(), mode=0o640, group=group)
        if len(users) == 1 and (user := users.pop()) is not None:
            return VolumeFile(content=text.encode(), mode=0o600, user=user)
        return VolumeFile(content=text.encode(), mode=0o644)


class TokenUnavailable(Exception):
    """The API server gave no token; the text says why."""
