"""The rights that an installation takes: to write its objects, and to grant the control plane what their rules say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from heddle.cluster.names import DEFINITIONS, INSTALLED, LEADER_LEASE
from sources.kubernetes.resources import PODS, Resource

if TYPE_CHECKING:
    from sources.kubernetes.events import Json

_ROLES: Final = ("Role", "ClusterRole")
_BINDINGS: Final = ("RoleBinding", "ClusterRoleBinding")
_CLUSTER_WIDE: Final = frozenset(
    {"ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}
)
_APPLIED: Final = ("get", "create", "patch")
"""Server-side apply is a patch, which takes the right to create where there is nothing yet."""

_NEVER_DELETED: Final = ("Namespace", "Secret", "Lease", DEFINITIONS.kind)
"""See `apply.installed_objects`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """To do one thing to one resource, or to get one `path` that is none.

    `namespace` '' for all, or for what is in none; `name` '' for any. Source: Kubernetes, SelfSubjectAccessReviewSpec.
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def target(self) -> str:
        """As RBAC writes it: `deployments.apps`, `gateways.networking.istio.io/status`, `/openid/v1/jwks`."""
        if self.path:
            return self.path
        full = f"{self.resource}.{self.group}" if self.group else self.resource
        return full + (f"/{self.subresource}" if self.subresource else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A role that is made, and bound. Nobody may grant what they do not hold, `held`, but by `escalate` and `bind`.

    Source: Kubernetes, "Using RBAC Authorization", Privilege escalation prevention and bootstrapping.
    """

    role: Json
    held: tuple[Right, ...]
    escalate: Right
    bind: Right


def find_writing_rights(objects: Sequence[Json], left: Sequence[Json], *, namespace: str) -> Iterator[Right]:
    """What `heddle install --apply --wait` does to a cluster: see `apply`, `trial` and `rollout`. Some stand twice.

    `objects` are all that are applied, definitions too; `left` are those of others, which are only looked at.
    """
    kinds = {item["kind"] for item in objects}
    yield from (_right_to("get", item) for item in left)
    for item in objects:
        for verb in (*_APPLIED, *(() if item["kind"] in _NEVER_DELETED else ("delete",))):
            yield _right_to(verb, item)
    # Those that the objects are in.
    for name in sorted({item["metadata"].get("namespace", "") for item in objects} - {""}):
        yield Right(verb="get", resource=INSTALLED["Namespace"].plural, namespace=name, name=name)
    # What an earlier version had more is looked for everywhere, and deleted.
    for resource in INSTALLED.values():
        if resource.kind in _NEVER_DELETED:
            continue
        yield _right("list", resource)
        if resource.kind not in kinds:
            yield _right("delete", resource, "" if resource.kind in _CLUSTER_WIDE else namespace)
    # How it comes up.
    yield _right("list", PODS, namespace)
    yield _right("get", PODS, namespace)
    yield _right("get", INSTALLED["Lease"], namespace, LEADER_LEASE)


def find_grants(objects: Sequence[Json]) -> Iterator[Grant]:
    """Every role among the objects with what it grants."""
    bindings = [item for item in objects if item["kind"] in _BINDINGS]
    for role in objects:
        if role["kind"] not in _ROLES:
            continue
        metadata = role["metadata"]
        bound_in = next(
            binding["metadata"].get("namespace", "")
            for binding in bindings
            if binding["roleRef"]["kind"] == role["kind"]
            and binding["roleRef"]["name"] == metadata["name"]
            and binding["metadata"].get("namespace") == metadata.get("namespace")
        )
        kind = INSTALLED[role["kind"]]
        yield Grant(
            role=role,
            held=tuple(_rights_of(role["rules"], metadata.get("namespace", ""))),
            escalate=_right_to("escalate", role),
            bind=_right("bind", kind, bound_in, metadata["name"]),
        )


def to_text(rights: Iterable[Right]) -> str:
    """`get, list pods, services; create secrets in edge`: what is done to several things is said once."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for right in rights:
        name = f" {right.name}" if right.name else ""
        verbs.setdefault((f"{right.target}{name}", right.namespace), []).append(right.verb)
    targets: dict[tuple[str, str], list[str]] = {}
    for (target, namespace), done in verbs.items():
        targets.setdefault((", ".join(dict.fromkeys(done)), namespace), []).append(target)
    return "; ".join(
        f"{done} {', '.join(found)}" + (f" in {namespace}" if namespace else "")
        for (done, namespace), found in targets.items()
    )


def to_verbs(rights: Iterable[Right]) -> str:
    """`list in all namespaces; create, patch in edge`, of one kind."""
    verbs: dict[str, list[str]] = {}
    for right in rights:
        verbs.setdefault(_place(right), []).append(right.verb)
    return "; ".join(", ".join(dict.fromkeys(done)) + place for place, done in verbs.items())


def _place(right: Right) -> str:
    resource = next(
        (one for one in INSTALLED.values() if (one.group, one.plural) == (right.group, right.resource)), PODS
    )
    if right.group == DEFINITIONS.group or resource.kind in _CLUSTER_WIDE or resource.kind == "Namespace":
        return ""
    return f" in {right.namespace}" if right.namespace else " in all namespaces"


def _rights_of(rules: Iterable[Mapping[str, Any]], namespace: str) -> Iterator[Right]:
    """One at a time, as the API server compares them."""
    for rule in rules:
        for verb in rule["verbs"]:
            yield from (Right(verb=verb, path=path) for path in rule.get("nonResourceURLs") or ())
            for group in rule.get("apiGroups") or ():
                for written in rule.get("resources") or ():
                    resource, _, subresource = written.partition("/")
                    for name in rule.get("resourceNames") or ("",):
                        yield Right(
                            verb=verb,
                            group=group,
                            resource=resource,
                            subresource=subresource,
                            namespace=namespace,
                            name=name,
                        )


def _right_to(verb: str, item: Json) -> Right:
    resource = DEFINITIONS if item["kind"] == DEFINITIONS.kind else INSTALLED[item["kind"]]
    name = item["metadata"]["name"]
    # An API server takes a Namespace to be in itself.
    namespace = name if item["kind"] == "Namespace" else item["metadata"].get("namespace", "")
    return _right(verb, resource, namespace, name)


def _right(verb: str, resource: Resource, namespace: str = "", name: str = "") -> Right:
    return Right(verb=verb, group=resource.group, resource=resource.plural, namespace=namespace, name=name)
