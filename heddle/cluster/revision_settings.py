"""What the revisions of an installation decide about pods, as their control planes read it: for commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from heddle.cluster.names import HEDDLE, INSTALLED, PART_OF, REVISION_OF, labels_of
from heddle.cluster.requests import ClusterApi, find, find_all
from injector.decide import decide
from injector.settings import REVISION, InjectionSettings
from injector.settings_file import BadSettings, Given, parse_settings

if TYPE_CHECKING:
    from sources.kubernetes.events import Json

_KEY: Final = "settings.yaml"
"""In the ConfigMap that has the revision's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionSettings:
    """One revision. `installed`: it has a Deployment, as far as one may see.

    `trouble` says what could not be read, '' if all was. What is not known is as in an installation that changes
    nothing.
    """

    injection: InjectionSettings
    installed: bool = True
    trouble: str = ""


async def find_revisions(api: ClusterApi, *, namespace: str, revision: str = "") -> Sequence[RevisionSettings]:
    """The revisions that are installed in `namespace`, by name, and `revision` whether it is or not ('': no more).

    What may not be read is told as their trouble. Raises Unreachable, Garbled.
    """
    from sources.kubernetes.api import Refused

    deployments = replace(INSTALLED["Deployment"], namespace=namespace)
    try:
        items = await find_all(api, deployments, labels=f"{PART_OF}={HEDDLE}")
    except Refused as error:
        # Its settings may be readable all the same.
        found = await _read(api, namespace, revision or REVISION, ())
        return (replace(found, trouble=found.trouble or f"the Deployments in {namespace} cannot be read: {error}"),)
    arguments = {name: _arguments(item) for item in items if (name := labels_of(item).get(REVISION_OF))}
    known = [await _read(api, namespace, name, arguments[name]) for name in sorted(arguments)]
    if revision and revision not in arguments:
        known.append(RevisionSettings(injection=default_settings(namespace, revision), installed=False))
    return tuple(known)


def default_settings(namespace: str, revision: str) -> InjectionSettings:
    """Those of a revision in `namespace` that changes nothing."""
    return _parse("", "", namespace, revision, ())


def asks_for_sidecars(name: str, labels: Mapping[str, str], settings: Iterable[InjectionSettings]) -> bool:
    """Whether a namespace's labels ask one of these revisions for sidecars."""
    return any(decide({"spec": {}}, namespace=name, namespace_labels=labels, settings=each).inject for each in settings)


async def _read(api: ClusterApi, namespace: str, revision: str, arguments: Sequence[str]) -> RevisionSettings:
    from sources.kubernetes.api import Refused

    place = f"ConfigMap {revision} in {namespace}"
    try:
        item = await find(api, f"/api/v1/namespaces/{namespace}/configmaps/{revision}")
        text = ((item or {}).get("data") or {}).get(_KEY)
        if text is None:
            trouble = f"there is no {place} with {_KEY}"
        else:
            return RevisionSettings(injection=_parse(str(text), place, namespace, revision, arguments))
    except Refused as error:
        trouble = f"{place}: {error}"
    except BadSettings as error:
        trouble = "; ".join(str(error).splitlines())
    return RevisionSettings(injection=default_settings(namespace, revision), trouble=trouble)


def _parse(text: str, place: str, namespace: str, revision: str, arguments: Sequence[str]) -> InjectionSettings:
    """As `heddle serve` does with these arguments. Raises BadSettings."""
    said = dict(pairwise(arguments))
    given = Given(
        namespace=said.get("--namespace", ""),
        revision=said.get("--revision", revision),
        default_namespace=namespace,
    )
    return parse_settings(text.encode(), file=place, given=given).injection


def _arguments(deployment: Json) -> Sequence[str]:
    found: list[str] = deployment["spec"]["template"]["spec"]["containers"][0].get("args") or []
    return found
