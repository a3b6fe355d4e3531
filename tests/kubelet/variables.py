"""The variables of a container and its command line, with nothing in them that its pod does not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heddle.local.environment import CannotResolve, PodFacts, expand_references, field_value
from tests.kubelet.images import PATH, Image

Data = Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """ConfigMaps and Secrets of the pod's namespace, by name."""

    config_maps: Mapping[str, Data]
    secrets: Mapping[str, Data]


def pod_facts(pod: Mapping[str, Any], *, addresses: Sequence[str], host_address: str) -> PodFacts:
    """What the downward API tells of a pod that has its addresses."""
    metadata, spec = pod["metadata"], pod["spec"]
    return PodFacts(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        service_account=spec.get("serviceAccountName") or "default",
        node_name=spec.get("nodeName") or "",
        host_address=host_address,
        addresses=tuple(addresses),
    )


def resolve_variables(
    container: Mapping[str, Any],
    facts: PodFacts,
    sources: Sources,
    image: Image,
    given: Mapping[str, str],
    hostname: str,
) -> dict[str, str]:
    """The whole environment: the image's, `given` (Services), `envFrom`, `env`. Raises CannotResolve."""
    own = dict(given)
    for source in container.get("envFrom") or ():
        for kind, data in (("configMapRef", sources.config_maps), ("secretRef", sources.secrets)):
            if kind in source:
                found = _data(data, source[kind], kind)
                own.update({f"{source.get('prefix') or ''}{key}": _text(value) for key, value in found.items()})
    for variable in container.get("env") or ():
        value = _value(variable, facts, sources, container, own)
        if value is not None:
            own[variable["name"]] = value
    return {"PATH": PATH, "HOME": "/root", "HOSTNAME": hostname, **image.environment, **own}


def command_of(container: Mapping[str, Any], image: Image, variables: Mapping[str, str]) -> tuple[str, ...]:
    """The program and its arguments, `$(NAME)` replaced. Raises CannotResolve if there is nothing to run."""
    words = [*(container.get("command") or image.entry_point), *(container.get("args") or ())]
    if not words:
        raise CannotResolve("no command; images are not pulled")
    return tuple(expand_references(word, variables) for word in words)


def _value(
    variable: Mapping[str, Any], facts: PodFacts, sources: Sources, container: Mapping[str, Any], own: Mapping[str, str]
) -> str | None:
    source = variable.get("valueFrom") or {}
    if "fieldRef" in source:
        return field_value(source["fieldRef"]["fieldPath"], facts)
    if "resourceFieldRef" in source:
        kind, _, name = source["resourceFieldRef"]["resource"].partition(".")
        return _quantity(((container.get("resources") or {}).get(kind) or {}).get(name, "0"), name)
    for key, data in (("configMapKeyRef", sources.config_maps), ("secretKeyRef", sources.secrets)):
        if key in source:
            found = _data(data, source[key], key)
            if source[key]["key"] in found:
                return _text(found[source[key]["key"]])
            if source[key].get("optional"):
                return None
            raise CannotResolve(f"{key} {source[key]['name']} has no key {source[key]['key']}")
    return expand_references(variable.get("value") or "", own)


def _quantity(text: str, name: str) -> str:
    """As the downward API gives it with a divisor of 1: whole cores (rounded up), whole bytes."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9, "m": 0.001}
    for unit, factor in units.items():
        if text.endswith(unit):
            number = float(text.removesuffix(unit)) * factor
            return str(-int(-number // 1)) if name == "cpu" else str(round(number))
    return text


def _data(data: Mapping[str, Data], reference: Mapping[str, Any], kind: str) -> Data:
    found = data.get(reference["name"])
    if found is None and not reference.get("optional"):
        raise CannotResolve(f"{kind} {reference['name']} does not exist")
    return found or {}


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="surrogateescape")
