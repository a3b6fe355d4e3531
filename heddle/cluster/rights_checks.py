"""Whether whoever asks may install: each right that `rights` finds, asked of the API server. Nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from heddle.cluster.apply import is_ours
from heddle.cluster.check_results import Result, failed, ok
from heddle.cluster.names import DEFINITIONS, HEDDLE, NAME, labels_of, shown
from heddle.cluster.requests import ClusterApi, create, find, path_of
from heddle.cluster.rights import Grant, Right, find_grants, find_writing_rights, to_text, to_verbs

if TYPE_CHECKING:
    from sources.kubernetes.events import Json

_SECTION: Final = "rights"
_AT_ONCE: Final = 8
"""Questions under way: there are some two hundred, and an API server may be far away."""

_FORBIDDEN: Final = 403


async def check_rights(
    api: ClusterApi, objects: Sequence[Json], definitions: Sequence[Json], *, namespace: str
) -> Sequence[Result]:
    """One result a kind that is written or read, and one a role that is granted."""
    applied: list[Json] = []
    left: list[Json] = []
    for item in (*definitions, *objects):
        (left if await _is_left_as_it_is(api, item) else applied).append(item)
    writing = tuple(dict.fromkeys(find_writing_rights(applied, left, namespace=namespace)))
    grants = tuple(find_grants(objects))
    lacking = await _find_lacking(
        api, {*writing, *(right for grant in grants for right in (*grant.held, grant.escalate, grant.bind))}
    )
    results = []
    kinds: dict[str, list[Right]] = {}
    for right in writing:
        kinds.setdefault(right.target, []).append(right)
    for name, rights in sorted(kinds.items()):
        check = f"may {'write' if any(right.verb == 'patch' for right in rights) else 'look at'} {name}"
        missing = [right for right in rights if right in lacking]
        if missing:
            hint = "Install as somebody who may, such as a cluster administrator."
            results.append(failed(_SECTION, check, f"may not {to_verbs(missing)}", hint))
        else:
            results.append(ok(_SECTION, check))
    return (*results, *(_check_grant(grant, lacking) for grant in grants))


def _check_grant(grant: Grant, lacking: frozenset[Right]) -> Result:
    check = f"may grant {shown(grant.role)}"
    missing = [right for right in grant.held if right in lacking]
    if not missing:
        return ok(_SECTION, check)
    instead = [right for right in (grant.escalate, grant.bind) if right in lacking]
    if not instead:
        return ok(_SECTION, check, "by escalate and bind")
    hint = (
        "Nobody may grant what they may not do themselves: install as somebody who may, such as a cluster "
        f"administrator, or be given these rights, or {to_text(instead)}."
    )
    return failed(_SECTION, check, f"may not {to_text(missing)}", hint)


async def _is_left_as_it_is(api: ClusterApi, item: Json) -> bool:
    """A Namespace or a definition that somebody else made: see `apply`."""
    from sources.kubernetes.api import Refused

    if item["kind"] not in ("Namespace", DEFINITIONS.kind):
        return False
    try:
        held = await find(api, path_of(item), metadata_only=True)
    except Refused as error:
        if error.refusal.code == _FORBIDDEN:
            return False
        raise
    if held is None:
        return False
    return not is_ours(held) if item["kind"] == "Namespace" else labels_of(held).get(NAME) != HEDDLE


async def _find_lacking(api: ClusterApi, rights: Iterable[Right]) -> frozenset[Right]:
    """Those that whoever asks does not have."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def ask(right: Right) -> bool:
        async with turn:
            return await _may(api, right)

    try:
        async with asyncio.TaskGroup() as group:
            asked = {right: group.create_task(ask(right)) for right in rights}
    except ExceptionGroup as failures:
        # One says it for all.
        raise failures.exceptions[0] from None
    return frozenset(right for right, task in asked.items() if not task.result())


async def _may(api: ClusterApi, right: Right) -> bool:
    spec: Json
    if right.path:
        spec = {"nonResourceAttributes": {"path": right.path, "verb": right.verb}}
    else:
        asked = {
            "group": right.group,
            "resource": right.resource,
            "subresource": right.subresource,
            "verb": right.verb,
            "namespace": right.namespace,
            "name": right.name,
        }
        spec = {"resourceAttributes": {name: value for name, value in asked.items() if value}}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
    answer = await create(api, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    return bool((answer.get("status") or {}).get("allowed"))
