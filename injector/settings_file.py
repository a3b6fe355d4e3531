"""The file in which an installation says what it decides: one YAML mapping, every field of which may be left out.

    namespace: heddle-system
    revision: heddle
    injection:
      excludedNamespaces: [kube-system]
      drain: 5s
    validation:
      onError: Refuse

docs/injection.md and docs/validation.md list the fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from injector.quantities import parse_quantity
from injector.settings import REVISION, SYSTEM_NAMESPACE, InjectionSettings, Resources
from injector.sidecar_options import IMAGE, LEVELS
from injector.validation_settings import OnError, ValidationSettings
from model.problem_codes import ProblemCode
from model.problems import Problem, Severity
from sources.fields import Fields, Report
from sources.kubernetes_names import is_dns_label, is_dns_name
from sources.yaml_documents import Node, NotYaml, read_documents

_PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
_IP_FAMILIES: Final = {"IPv4": 4, "IPv6": 6}
_AMOUNTS: Final = {"cpu": "cpu", "memory": "memory", "cpuLimit": "cpu_limit", "memoryLimit": "memory_limit"}
_SHORTEST_TOKEN: Final = timedelta(minutes=10)
"""Kubernetes makes none that live shorter."""

_LONGEST_TOKEN: Final = timedelta(days=1)
_LONGEST_DRAIN: Final = timedelta(hours=1)
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationSettings:
    """All of it. Heddle's own namespace and the revision that it is are `injection`'s."""

    injection: InjectionSettings = field(default_factory=InjectionSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)


class BadSettings(ValueError):
    """A file with errors. `problems` are all of them; the text has a line for each, with its place and its fix."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(_to_line, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What is known without the file. `namespace` and `revision` win over what it says, unless they are ''."""

    namespace: str = ""
    revision: str = ""
    default_namespace: str = SYSTEM_NAMESPACE


def parse_settings(text: bytes, *, file: str, given: Given = Given()) -> InstallationSettings:
    """What `text` says; what it leaves open is as in an installation that changes nothing. Raises BadSettings."""
    report = Report(file=file)
    try:
        documents = read_documents(text)
    except NotYaml as error:
        report.add(Severity.ERROR, ProblemCode.MALFORMED_YAML, error.reason, "Correct the YAML.", error.line)
        raise BadSettings(tuple(report.problems)) from None
    root = documents[0].root if documents else Node({}, 1)
    for fault in documents[0].faults if documents else ():
        report.add(Severity.ERROR, fault.code, fault.message, fault.fix, fault.line)
    if len(documents) > 1 or not isinstance(root.value, dict):
        message = "the settings are one mapping, and this is something else"
        report.add(Severity.ERROR, ProblemCode.WRONG_TYPE, message, "Write fields such as injection.", root.line)
        raise BadSettings(tuple(report.problems))
    fields = Fields(root.value, root.line, report)
    settings = _parse(fields, given)
    fields.finish()
    if report.failed:
        raise BadSettings(tuple(report.problems))
    return settings


def _parse(fields: Fields, given: Given) -> InstallationSettings:
    namespace = _name(fields, "namespace", is_dns_label)
    revision = _name(fields, "revision", is_dns_label)
    namespace = given.namespace or namespace or given.default_namespace
    revision = given.revision or revision or REVISION
    validation = fields.child("validation")
    on_error = OnError.REFUSE
    if validation is not None:
        on_error = validation.choice("onError", OnError, OnError.REFUSE)
        validation.finish()
    return InstallationSettings(
        injection=_parse_injection(fields.child("injection"), namespace, revision),
        validation=ValidationSettings(on_error=on_error),
    )


def _parse_injection(fields: Fields | None, namespace: str, revision: str) -> InjectionSettings:
    default = replace(
        InjectionSettings(),
        revision=revision,
        is_default=revision == REVISION,
        system_namespace=namespace,
        xds_host=f"heddle.{namespace}.svc",
        server_name=f"heddle.{namespace}.svc",
    )
    if fields is None:
        return default
    settings = _parse_injection_fields(fields, default)
    fields.finish()
    return settings


def _parse_injection_fields(fields: Fields, default: InjectionSettings) -> InjectionSettings:
    host, port = _address(fields, "xdsAddress", (default.xds_host, default.xds_port))
    excluded = fields.texts("excludedNamespaces") if fields.has("excludedNamespaces") else default.excluded_namespaces
    fields.ignore("excludedNamespaces")
    for index, name in enumerate(excluded):
        if not is_dns_label(name):
            message = f"{name[:80]!r} is no namespace"
            fields.problem(ProblemCode.INVALID_NAME, message, "Name one.", field=f"excludedNamespaces[{index}]")
    return replace(
        default,
        is_default=fields.boolean("isDefault", default.is_default),
        take_over_istio_injection=fields.boolean("takeOverIstioInjection", default.take_over_istio_injection),
        excluded_namespaces=excluded,
        proxy_image=_matching(fields, "proxyImage", default.proxy_image, IMAGE, "the name of an image"),
        init_image=_matching(fields, "initImage", default.init_image, IMAGE, "the name of an image"),
        image_pull_policy=fields.choice("imagePullPolicy", _PULL_POLICIES, default.image_pull_policy),
        xds_host=host,
        xds_port=port,
        server_name=_name(fields, "serverName", is_dns_name) or default.server_name,
        root_config_map=_name(fields, "rootConfigMap", is_dns_name) or default.root_config_map,
        token_life=_span(fields, "tokenLife", default.token_life, _SHORTEST_TOKEN, _LONGEST_TOKEN),
        resources=_parse_resources(fields, default.resources),
        concurrency=fields.integer("concurrency", default=default.concurrency, minimum=0, maximum=256),
        log_level=fields.choice("logLevel", LEVELS, default.log_level),
        drain=_span(fields, "drain", default.drain, timedelta(0), _LONGEST_DRAIN),
        ip_version=4 if fields.choice("ipFamily", tuple(_IP_FAMILIES), "IPv4") == "IPv4" else 6,
    )


def _parse_resources(fields: Fields, default: Resources) -> Resources:
    """Whoever gives one of the four gives them all, as in the annotations."""
    inner = fields.child("resources")
    if inner is None:
        return default
    given, amounts = {}, {}
    for name, attribute in _AMOUNTS.items():
        node = inner.node(name)
        if node is None:
            continue
        # `cpu: 1` is a number to YAML.
        text = node.value if isinstance(node.value, str) else node.written
        try:
            amounts[name], given[attribute] = parse_quantity(text), text
        except ValueError as error:
            inner.problem(ProblemCode.INVALID_VALUE, str(error), "Write a quantity such as 100m or 64Mi.", field=name)
    for name in ("cpu", "memory"):
        if name in amounts and amounts.get(f"{name}Limit", amounts[name]) < amounts[name]:
            message = f"{name} is more than its limit"
            inner.problem(ProblemCode.INVALID_VALUE, message, f"Lower {name}, or raise {name}Limit.", field=name)
    inner.finish()
    return Resources(**given)


def _name(fields: Fields, name: str, fits: Callable[[str], bool]) -> str:
    text = fields.text(name)
    if text and not fits(text):
        message = f"{name} is {text[:80]!r}, which is no name in Kubernetes"
        fields.problem(ProblemCode.INVALID_NAME, message, "Use lower-case letters, digits and '-'.", field=name)
    return text


def _matching(fields: Fields, name: str, default: str, pattern: re.Pattern[str], what: str) -> str:
    text = fields.text(name, default)
    if not pattern.fullmatch(text):
        fields.problem(ProblemCode.INVALID_VALUE, f"{name} is {text[:80]!r}", f"Write {what}.", field=name)
    return text


def _address(fields: Fields, name: str, default: tuple[str, int]) -> tuple[str, int]:
    text = fields.text(name)
    found = _ADDRESS.fullmatch(text)
    if found is not None and 1 <= int(found[2]) <= 65535:
        return found[1].strip("[]"), int(found[2])
    if fields.has(name):
        fix = "Write HOST:PORT, such as heddle.heddle-system.svc:15012."
        fields.problem(ProblemCode.INVALID_VALUE, f"{name} is {text[:80]!r}, which is no address", fix, field=name)
    return default


def _span(fields: Fields, name: str, default: timedelta, shortest: timedelta, longest: timedelta) -> timedelta:
    """In whole seconds."""
    fix = f"Write a span from {_written(shortest)} to {_written(longest)}."
    span = fields.duration(name, default=default)
    if span < shortest:
        fields.problem(ProblemCode.INVALID_VALUE, f"{name} is less than {_written(shortest)}", fix, field=name)
        return default
    if span > longest:
        fields.problem(ProblemCode.INVALID_VALUE, f"{name} is more than {_written(longest)}", fix, field=name)
        return default
    return timedelta(seconds=round(span.total_seconds()))


def _written(bound: timedelta) -> str:
    """As one writes it: `0s`, `10m`, `24h`."""
    seconds = round(bound.total_seconds())
    for length, unit in ((3600, "h"), (60, "m")):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _to_line(problem: Problem) -> str:
    field_name = f"{problem.field}: " if problem.field else ""
    return f"{problem.position}: {field_name}{problem.message}; fix: {problem.fix}"
