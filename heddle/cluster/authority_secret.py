"""The authority in a cluster: one Secret, made by whoever is first, never overwritten by a new root."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from model.problems import ObjectRef
from sds.authority import Authority, create_authority
from sds.authority_material import (
    INTERMEDIATE,
    ROOT_CERTIFICATE,
    ROOT_KEY,
    AuthorityMaterial,
    AuthorityPlace,
    build_intermediate,
    build_material,
    check_is_of,
    is_due,
    log_created,
    log_renewed,
    parse_authority,
    renew,
)
from sds.keyfiles import KeyFileError
from sources.kubernetes.api import Api, Refused, Unreachable
from sources.kubernetes.events import Garbled, Json

NAME = "heddle-ca"
LOOK_SECONDS = 60.0
"""How often a replica looks whether another has renewed the intermediate."""
RETRY_SECONDS = 1.0

_MAX_BYTES = 64 * 1024
_UNAUTHORIZED, _NOT_FOUND, _TIMEOUT, _CONFLICT, _TOO_MANY = 401, 404, 408, 409, 429
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """The Secret as it was read: the object, to be written back at its own version, and its texts."""

    item: Json = field(repr=False)
    texts: Mapping[str, bytes] = field(repr=False)


class AuthoritySecret:
    """The Secret `heddle-ca` in `namespace`, for which Heddle's account needs get, create and update.

    `mesh_config` is the ConfigMap that asks for a trust domain. `now` is the wall clock, aware; `jitter` answers
    numbers from -1 to 1.
    """

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        mesh_config: ObjectRef,
        now: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._now = now
        self._jitter = jitter
        self._collection = f"/api/v1/namespaces/{namespace}/secrets"
        name = f"the Secret {NAME} in the namespace {namespace}"
        self._place = AuthorityPlace(
            name=name,
            how_to_drop=f"delete {name}",
            consequence="every injected pod has to be started again",
            settings=f"the ConfigMap {mesh_config.name} in the namespace {mesh_config.namespace}, key mesh; the value "
            "meshConfig.mesh of `heddle install`",
        )

    async def load_or_create(self, trust_domain: str) -> Authority:
        """The authority of the Secret; a new one if there is no Secret. Waits for an API server that is away.

        An intermediate with less than half its life left is renewed. Raises KeyFileError if the Secret cannot be read,
        is no authority, or is another trust domain's: as on disk, new roots are for a person to decide.
        """
        while True:
            try:
                authority = await self._load_or_create_once(trust_domain)
            except (Unreachable, Garbled) as error:
                _log.warning("identity.authority_waits", place=self._place.name, reason=str(error))
            except Refused as error:
                if not _may_pass(error):
                    raise KeyFileError(self._refused(error)) from None
                _log.warning("identity.authority_waits", place=self._place.name, reason=str(error))
            else:
                if authority is not None:
                    return authority
                continue
            await asyncio.sleep(RETRY_SECONDS * (1 + self._jitter() / 2))

    async def follow(self, authority: Authority, took: Callable[[Authority], None]) -> None:
        """Until cancelled, tells of each renewed intermediate, and renews it when it is due.

        Whatever becomes of the Secret, the authority that is in use stays so: the log says what is wrong.
        """
        while True:
            await asyncio.sleep(LOOK_SECONDS * (1 + self._jitter() / 10))
            try:
                found = await self._look_again(authority)
            except (KeyFileError, Unreachable, Refused, Garbled) as error:
                _log.error("identity.authority_kept", place=self._place.name, reason=str(error))
                continue
            if found is not None and found != authority:
                _log.info("identity.authority_taken", place=self._place.name, issuer=found.issuer)
                authority = found
                took(found)

    async def _load_or_create_once(self, trust_domain: str) -> Authority | None:
        """None: somebody else has just written; look again."""
        held = await self._read()
        if held is None:
            return await self._create(trust_domain)
        authority = self._parse(held)
        check_is_of(authority, trust_domain, self._place)
        return await self._renew(held, authority) if is_due(authority, self._now()) else authority

    async def _look_again(self, authority: Authority) -> Authority | None:
        held = await self._read()
        if held is None:
            advice = "put it back from a backup, or the next start makes new roots and no sidecar trusts another"
            raise KeyFileError(f"{self._place.name} is gone: {advice}")
        found = self._parse(held)
        if found.root != authority.root:
            advice = "put the former Secret back, or start every replica of Heddle and every injected pod again"
            raise KeyFileError(f"{self._place.name} holds other roots than those in use: {advice}")
        return await self._renew(held, found) if is_due(found, self._now()) else found

    async def _read(self) -> _Held | None:
        try:
            body = await self._api.get(f"{self._collection}/{NAME}", {})
        except Refused as error:
            if error.refusal.code == _NOT_FOUND:
                return None
            raise
        try:
            item = json.loads(body)
        except (ValueError, RecursionError):
            # Without the cause, which quotes what it could not read.
            raise Garbled("the answer is no JSON") from None
        data = item.get("data") if isinstance(item, dict) else None
        parts = (ROOT_CERTIFICATE, ROOT_KEY, INTERMEDIATE)
        return _Held(item=item, texts={name: self._text(data, name) for name in parts})

    async def _create(self, trust_domain: str) -> Authority | None:
        new = create_authority(trust_domain=trust_domain, now=self._now())
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": NAME,
                "namespace": self._namespace,
                "labels": {"app.kubernetes.io/managed-by": "heddle"},
            },
            "type": "Opaque",
            "data": {name: _encode(text) for name, text in build_material(new).items()},
        }
        try:
            await self._api.write("POST", self._collection, secret)
        except Refused as error:
            if error.refusal.code == _CONFLICT:
                return None
            raise
        log_created(new.authority, self._place)
        return new.authority

    async def _renew(self, held: _Held, authority: Authority) -> Authority | None:
        renewed = renew(authority, held.texts[ROOT_KEY], self._place, self._now())
        data = {**held.item["data"], INTERMEDIATE: _encode(build_intermediate(renewed))}
        try:
            # With the version that was read: whoever is second is refused, and takes what the first made.
            await self._api.write("PUT", f"{self._collection}/{NAME}", {**held.item, "data": data})
        except Refused as error:
            if error.refusal.code == _CONFLICT:
                return None
            raise
        log_renewed(renewed)
        return renewed

    def _parse(self, held: _Held) -> Authority:
        material = AuthorityMaterial(root=held.texts[ROOT_CERTIFICATE], intermediate=held.texts[INTERMEDIATE])
        return parse_authority(material, self._place)

    def _text(self, data: object, name: str) -> bytes:
        encoded = data.get(name) if isinstance(data, dict) else None
        if not isinstance(encoded, str):
            raise KeyFileError(f"{self._place.name} has no {name}")
        if len(encoded) > _MAX_BYTES:
            raise KeyFileError(f"{self._place.part(name)} is larger than {_MAX_BYTES} bytes")
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise KeyFileError(f"{self._place.part(name)} is not base64") from None

    def _refused(self, error: Refused) -> str:
        fix = f"Heddle's account needs get and update on it, and create on Secrets in {self._namespace}"
        return f"{self._place.name} can be neither read nor made: {error}; {fix}"


def _may_pass(error: Refused) -> bool:
    code = error.refusal.code
    return code >= 500 or code in (_UNAUTHORIZED, _TIMEOUT, _CONFLICT, _TOO_MANY)


def _encode(text: bytes) -> str:
    return base64.b64encode(text).decode("ascii")
