"""The environment of a container, and its command line, as a kubelet works them out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from model.pods import Container, EnvFrom, FieldPath, KeyOf, Literal

Data = Mapping[tuple[str, str], Mapping[str, bytes]]
"""(namespace, name) of a ConfigMap or Secret to its keys."""

_INHERITED: Final = re.compile(r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR")
"""What a container takes over from whoever started the mesh, in place of what an image would set. Not its proxies:
they are the host's way out, and would lead past the sidecar."""

_REFERENCE: Final = re.compile(r"\$(?:\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")
_SUBSCRIPT: Final = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")


class CannotResolve(Exception):
    """A variable names something that is not there; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """What the downward API tells a container. `addresses` are the pod's, v4 first, at least one."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    service_account: str
    node_name: str
    host_address: str
    addresses: tuple[str, ...]


def inherited_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of the host that pods see too."""
    return {name: value for name, value in environment.items() if _INHERITED.fullmatch(name)}


def field_value(path: str, facts: PodFacts) -> str:
    """The value of one downward API field. A label or annotation that is not there is ''. Raises CannotResolve."""
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        return (facts.labels if subscript[1] == "labels" else facts.annotations).get(subscript[2], "")
    known = {
        "metadata.name": facts.name,
        "metadata.namespace": facts.namespace,
        "metadata.uid": facts.uid,
        "spec.nodeName": facts.node_name,
        "spec.serviceAccountName": facts.service_account,
        "status.hostIP": facts.host_address,
        "status.hostIPs": facts.host_address,
        "status.podIP": facts.addresses[0],
        "status.podIPs": ",".join(facts.addresses),
    }
    if path not in known:
        raise CannotResolve(f"the downward API has no field {path!r}")
    return known[path]


def resolve_environment(
    container: Container,
    facts: PodFacts,
    *,
    config_maps: Data,
    secrets: Data,
    inherited: Mapping[str, str],
    given: Mapping[str, str],
) -> dict[str, str]:
    """All variables of the container, later ones winning: `inherited`, `given` (the runtime's own), `POD_IP` and its
    like, `envFrom`, `env`.

    `$(NAME)` in a value stands for an earlier variable, but not for an inherited one; unknown names stay as written,
    and `$$(NAME)` gives `$(NAME)`. Raises CannotResolve.
    """
    own = {
        "HOSTNAME": facts.name,
        "POD_IP": facts.addresses[0],
        "POD_NAME": facts.name,
        "POD_NAMESPACE": facts.namespace,
        **given,
    }
    data: Mapping[str, Data] = {"ConfigMap": config_maps, "Secret": secrets}
    for source in container.env_from:
        own.update(_all_keys(source, facts.namespace, data[source.kind]))
    for variable in container.env:
        match variable.value:
            case Literal(value=text):
                own[variable.name] = expand_references(text, own)
            case FieldPath(path=path):
                own[variable.name] = field_value(path, facts)
            case KeyOf() as reference:
                value = _one_key(reference, facts.namespace, data[reference.kind])
                if value is not None:
                    own[variable.name] = value
            case None:
                pass
            case _:
                assert_never(variable.value)
    return {**inherited, **own}


def expand_references(text: str, variables: Mapping[str, str]) -> str:
    """`text` with each `$(NAME)` of a known variable replaced, and each `$$` by `$`."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)


def command_line(container: Container, variables: Mapping[str, str]) -> tuple[str, ...]:
    """The program and its arguments, references to variables replaced."""
    return tuple(expand_references(word, variables) for word in (*container.command, *container.args))


def _all_keys(source: EnvFrom, namespace: str, data: Data) -> dict[str, str]:
    found = data.get((namespace, source.name))
    if found is None:
        if source.optional:
            return {}
        raise CannotResolve(f"{source.kind} {namespace}/{source.name} does not exist")
    return {f"{source.prefix}{key}": _to_text(value) for key, value in found.items()}


def _one_key(reference: KeyOf, namespace: str, data: Data) -> str | None:
    where = f"{reference.kind} {namespace}/{reference.name}"
    found = data.get((namespace, reference.name))
    if found is not None and reference.key in found:
        return _to_text(found[reference.key])
    if reference.optional:
        return None
    raise CannotResolve(f"{where} does not exist" if found is None else f"{where} has no key {reference.key!r}")


def _to_text(value: bytes) -> str:
    # As a kubelet does: what is no UTF-8 goes to the process as the same bytes. A zero byte ends a variable's value.
    return value.decode("utf-8", errors="surrogateescape").partition("\0")[0]
