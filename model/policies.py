"""Who may talk to whom, and how: PeerAuthentication and AuthorizationPolicy. Source: Istio's kinds of these names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from model.matching import StringMatch
from model.problems import ObjectRef


class MtlsMode(StrEnum):
    """What a workload accepts. DISABLE: plaintext only; PERMISSIVE: both; STRICT: mutual TLS only."""

    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAuthentication:
    """`mode` None (UNSET): inherited. `selector` empty: the whole namespace, or the mesh if in the root namespace.

    `port_modes` by workload port; only with a selector.
    """

    ref: ObjectRef
    selector: Mapping[str, str] = field(default_factory=dict)
    mode: MtlsMode | None = None
    port_modes: Mapping[int, MtlsMode | None] = field(default_factory=dict)
    created: datetime | None = None


class Action(StrEnum):
    ALLOW = "ALLOW"
    DENY = "DENY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Either:
    """A field and its `not` twin: one of `any_of` must match (empty: no matter), and none of `none_of`."""

    any_of: tuple[StringMatch, ...] = ()
    none_of: tuple[StringMatch, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.any_of or self.none_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSet:
    """Workload ports: one of `any_of` (empty: no matter), none of `none_of`."""

    any_of: tuple[int, ...] = ()
    none_of: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.any_of or self.none_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressSet:
    """CIDR blocks: one of `any_of` (empty: no matter), none of `none_of`."""

    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.any_of or self.none_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One `from.source`: all that is set must hold.

    `principals` match the SPIFFE id without its scheme; `service_accounts` hold `NAMESPACE/NAME` exactly.
    `ip_blocks` match the connection's own address.
    """

    principals: Either = field(default_factory=Either)
    namespaces: Either = field(default_factory=Either)
    service_accounts: Either = field(default_factory=Either)
    ip_blocks: AddressSet = field(default_factory=AddressSet)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One `to.operation`: all that is set must hold. Paths with `{*}` or `{**}` are in `path_templates`."""

    hosts: Either = field(default_factory=Either)
    methods: Either = field(default_factory=Either)
    paths: Either = field(default_factory=Either)
    path_templates: tuple[str, ...] = ()
    not_path_templates: tuple[str, ...] = ()
    ports: PortSet = field(default_factory=PortSet)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One `when`. `key` is one the translator knows (`request.headers[x]`, `source.namespace`, ...)."""

    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Matches if one of `sources` (empty: anyone), one of `operations` (empty: anything) and all `conditions` do.

    `undone` are the fields that are left out because Heddle cannot evaluate them, as paths within the rule
    (`from[0].source.remoteIpBlocks`). All of them narrow a rule: with any, an ALLOW rule must match nobody, and a DENY
    rule matches without them (ADR 11).
    """

    sources: tuple[Source, ...] = ()
    operations: tuple[Operation, ...] = ()
    conditions: tuple[Condition, ...] = ()
    undone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationPolicy:
    """`selector` empty: all workloads of the namespace, or of the mesh if in the root namespace.

    ALLOW without rules denies everything; DENY without rules denies nothing.
    """

    ref: ObjectRef
    selector: Mapping[str, str] = field(default_factory=dict)
    action: Action = Action.ALLOW
    rules: tuple[Rule, ...] = ()
    created: datetime | None = None
