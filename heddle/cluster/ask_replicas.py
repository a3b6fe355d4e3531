"""Questions of a person to all control planes of a cluster, through its API server and with its tokens.

Rights in Heddle's namespace: list pods, get `pods/proxy`, create `serviceaccounts/token` of the readers' accounts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from heddle.cluster.admin_protocol import REASON, TOKEN_HEADER
from heddle.cluster.names import HEDDLE, NAME, revision_name
from heddle.cluster.replicas import Replica, reader_of, replicas
from heddle.cluster.requests import ClusterApi, create, find_all, open_cluster
from injector.settings import SYSTEM_NAMESPACE
from sds.tokens import ADMIN_AUDIENCE
from sources.kubernetes.resources import Resource

if TYPE_CHECKING:
    from sources.kubernetes.api import Refused

TOKEN_SECONDS: Final = 600
"""The least that an API server gives."""

_NO_QUERY: Final[Mapping[str, str]] = MappingProxyType({})
_T = TypeVar("_T")
_FORBIDDEN, _NOT_FOUND = 403, 404


class CannotAsk(Exception):
    """The control planes cannot be asked, none of them; the text says why and what to do."""


class AskingApi(ClusterApi, Protocol):
    """The part of `sources.kubernetes.api.Api` that is needed here."""

    async def get(
        self, path: str, query: Mapping[str, str], accept: str, *, headers: Mapping[str, str] = _NO_QUERY
    ) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a control plane says."""

    replica: Replica
    found: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """A control plane has no such thing; its words."""

    replica: Replica
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """A control plane that could not be asked, and why."""

    replica: Replica
    trouble: str


Answer = Answered | Declined | Silent


class ControlPlanes:
    """Those in `namespace`, of all revisions or of one by its full name. `seconds` is a clock that never goes back."""

    def __init__(self, api: AskingApi, *, namespace: str, revision: str, seconds: Callable[[], float]) -> None:
        self._api = api
        self.namespace = namespace
        self._revision = revision
        self._seconds = seconds
        self._tokens: dict[str, tuple[str, float]] = {}

    @property
    def place(self) -> str:
        """For people."""
        return f"{self.namespace} of {self._api.name}"

    async def ask(self, path: str, query: Mapping[str, str] = _NO_QUERY) -> tuple[Answer, ...]:
        """What each of them answers, as they are now. Raises CannotAsk, also if there is none; Unreachable, Garbled."""
        there = await self._there()
        tokens = {revision: await self._token(revision) for revision in sorted({each.revision for each in there})}
        return tuple(await asyncio.gather(*(self._ask(each, tokens[each.revision], path, query) for each in there)))

    async def _there(self) -> tuple[Replica, ...]:
        from sources.kubernetes.api import Refused
        from sources.kubernetes.observed_pods import to_observed_pod

        pods = Resource(kind="Pod", plural="pods", namespace=self.namespace)
        try:
            items = await find_all(self._api, pods, labels=f"{NAME}={HEDDLE}")
        except Refused as error:
            if error.refusal.code != _FORBIDDEN:
                raise CannotAsk(f"the pods in {self.place} cannot be listed: {error}") from None
            raise self._missing("list", "pods", error) from None
        observed = (to_observed_pod(item) for item in items)
        found = replicas((each.pod for each in observed if each is not None), self.namespace)
        found = tuple(each for each in found if self._revision in ("", each.revision))
        if not found:
            of = f" of revision {self._revision}" if self._revision else ""
            raise CannotAsk(
                f"no control plane{of} runs in {self.place}: name Heddle's namespace, "
                "or see what is wrong with `heddle check`"
            )
        return found

    async def _token(self, revision: str) -> str:
        """One that is good for a while; '' if the revision has no account for that."""
        from sources.kubernetes.api import Refused

        token, made = self._tokens.get(revision, ("", 0.0))
        if token and self._seconds() < made + TOKEN_SECONDS / 2:
            return token
        account = reader_of(revision)
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [ADMIN_AUDIENCE], "expirationSeconds": TOKEN_SECONDS},
        }
        try:
            made_now = await create(
                self._api, f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token", asked
            )
        except Refused as error:
            if error.refusal.code == _NOT_FOUND:
                return ""
            if error.refusal.code == _FORBIDDEN:
                raise self._missing("create", "serviceaccounts/token", error, account) from None
            raise CannotAsk(f"no token of {account} can be made in {self.place}: {error}") from None
        token = str((made_now.get("status") or {}).get("token", ""))
        self._tokens[revision] = token, self._seconds()
        return token

    async def _ask(self, replica: Replica, token: str, path: str, query: Mapping[str, str]) -> Answer:
        from sources.kubernetes.api import FULL, Refused

        if not replica.address:
            return Silent(replica=replica, trouble="it has not started yet")
        if not token:
            account = reader_of(replica.revision)
            return Silent(replica=replica, trouble=f"there is no service account {account}: its release is older")
        proxied = f"/api/v1/namespaces/{self.namespace}/pods/https:{replica.pod}:{replica.port}/proxy{path}"
        try:
            body = await self._api.get(proxied, query, FULL, headers={TOKEN_HEADER: token})
            found = json.loads(body)
        except Refused as error:
            return self._to_answer(replica, error)
        except (ValueError, RecursionError):
            return Silent(replica=replica, trouble="its answer is no JSON")
        if not isinstance(found, dict):
            return Silent(replica=replica, trouble="its answer is no object")
        return Answered(replica=replica, found=found)

    def _to_answer(self, replica: Replica, error: Refused) -> Answer:
        """A control plane's own refusals are told from the API server's by their reason. Raises CannotAsk."""
        code, ours = error.refusal.code, error.refusal.reason == REASON
        if ours and code == _NOT_FOUND:
            return Declined(replica=replica, words=str(error))
        if not ours and code == _FORBIDDEN:
            raise self._missing("get", "pods/proxy", error)
        return Silent(replica=replica, trouble=str(error))

    def _missing(self, verb: str, resource: str, error: Refused, name: str = "") -> CannotAsk:
        named = f" {name}" if name else ""
        return CannotAsk(
            f"you may not {verb} {resource}{named} in the namespace {self.namespace}, which this needs "
            f"(docs/kubernetes.md, `Asking from outside`, has the whole Role): {error}"
        )


def run_with_control_planes(args: argparse.Namespace, ask: Callable[[ControlPlanes], Awaitable[_T]]) -> _T:
    """What `ask` answers of those that the arguments mean (`heddle.cluster_arguments`). Raises CannotAsk."""
    from sources.kubernetes.access import NoCluster
    from sources.kubernetes.api import Refused, Unreachable
    from sources.kubernetes.events import Garbled

    try:
        return asyncio.run(_ask_of(args, ask))
    except (NoCluster, Unreachable, Refused, Garbled) as error:
        raise CannotAsk(f"the cluster cannot be asked: {error}") from None


async def _ask_of(args: argparse.Namespace, ask: Callable[[ControlPlanes], Awaitable[_T]]) -> _T:
    from heddle import clock

    access = argparse.Namespace(kubeconfig=args.kubeconfig, context=args.context or "")
    async with open_cluster(access) as api:
        planes = ControlPlanes(
            cast(AskingApi, api),
            namespace=args.system_namespace or SYSTEM_NAMESPACE,
            revision=revision_name(args.revision) if args.revision else "",
            seconds=clock.monotonic,
        )
        return await ask(planes)
