"""What a pod's annotations ask of its sidecar."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from injector.capture import PREFIX, BadAnnotation, CaptureSettings, ExemptUser, capture_from_annotations
from injector.names import STATUS
from injector.obstacles import TEMPLATES
from injector.proxy_config import PROXY_CONFIG, ProxyConfig, parse_proxy_config
from injector.quantities import parse_quantity
from injector.settings import InjectionSettings, Resources
from model.pods import INJECT
from model.problem_codes import ProblemCode
from model.problems import Problem, Severity

MAX_ANNOTATION: Final = 16 * 1024
"""Characters of an annotation that is read. The API server allows 256 KiB for all of a pod's together."""

_OWN: Final = "sidecar.istio.io/"
_READINESS: Final = "readiness.status.sidecar.istio.io/"
LEVELS: Final = ("trace", "debug", "info", "warning", "warn", "error", "critical", "off")
"""What Envoy calls how much it logs."""

_COMPONENTS: Final = re.compile(rf"[a-z0-9_]{{1,40}}:(?:{'|'.join(LEVELS)})")
IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")
"""The name of a container's image, about."""

_RESOURCES: Final[Mapping[str, str]] = {
    f"{_OWN}proxyCPU": "cpu",
    f"{_OWN}proxyMemory": "memory",
    f"{_OWN}proxyCPULimit": "cpu_limit",
    f"{_OWN}proxyMemoryLimit": "memory_limit",
}
READ: Final = frozenset(
    {
        *(_OWN + name for name in ("proxyImage", "logLevel", "componentLogLevel", "rewriteAppHTTPProbers")),
        *(_OWN + name for name in ("interceptionMode", "nativeSidecar")),
        *(_READINESS + name for name in ("initialDelaySeconds", "periodSeconds", "failureThreshold")),
        *_RESOURCES,
        *(PREFIX + f"{verb}{way}" for verb in ("include", "exclude") for way in ("InboundPorts", "OutboundPorts")),
        *(PREFIX + f"{verb}OutboundIPRanges" for verb in ("include", "exclude")),
        INJECT,
        STATUS,
        TEMPLATES,
        PROXY_CONFIG,
    }
)
"""The annotations that have a meaning here."""

_LATER: Final = frozenset(
    {
        *(_OWN + name for name in ("agentLogLevel", "bootstrapOverride", "discoveryAddress", "enableCoreDump")),
        *(_OWN + name for name in ("extraStatTags", "proxyImageType", "statsCompression", "statsHistogramBuckets")),
        *(_OWN + name for name in ("statsInclusionPrefixes", "statsInclusionRegexps", "statsInclusionSuffixes")),
        *(_OWN + name for name in ("userVolume", "userVolumeMount", "controlPlaneAuthPolicy", "capNetBindService")),
        "status.sidecar.istio.io/port",
        *(PREFIX + name for name in ("kubevirtInterfaces", "excludeInterfaces")),
        "istio.io/reroute-virtual-interfaces",
        "prometheus.istio.io/merge-metrics",
    }
)
_FAMILIES: Final = (_OWN, PREFIX, _READINESS, "status.sidecar.istio.io/", "inject.istio.io/")


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarOptions:
    """One pod's sidecar. Its own readiness: `ready_delay` and `ready_period` in seconds, `ready_failures` a count."""

    capture: CaptureSettings
    proxy: ProxyConfig
    resources: Resources
    image: str
    log_level: str
    component_log_level: str = ""
    rewrite_probes: bool = True
    ready_delay: int = 0
    ready_period: int = 15
    ready_failures: int = 4


def default_options(settings: InjectionSettings) -> SidecarOptions:
    """Of a pod without annotations."""
    return SidecarOptions(
        capture=CaptureSettings(exempt=ExemptUser()),
        proxy=ProxyConfig(concurrency=settings.concurrency, termination_drain=settings.drain),
        resources=settings.resources,
        image=settings.proxy_image,
        log_level=settings.log_level,
    )


def parse_options(
    annotations: Mapping[str, str], settings: InjectionSettings
) -> tuple[SidecarOptions, tuple[Problem, ...]]:
    """The options, and what is wrong with them. After an error the pod must not be injected."""
    reader = _Reader(annotations)
    options = default_options(settings)
    try:
        reader.limit_lengths()
        options = replace(
            options,
            capture=capture_from_annotations(annotations, exempt=ExemptUser()),
            resources=_parse_resources(reader, annotations, options.resources),
            image=reader.text(f"{_OWN}proxyImage", options.image, IMAGE, "an image's name"),
            log_level=reader.choice(f"{_OWN}logLevel", options.log_level, LEVELS),
            component_log_level=_parse_components(reader),
            rewrite_probes=reader.boolean(f"{_OWN}rewriteAppHTTPProbers", True),
            ready_delay=reader.number(f"{_READINESS}initialDelaySeconds", options.ready_delay, 0),
            ready_period=reader.number(f"{_READINESS}periodSeconds", options.ready_period, 1),
            ready_failures=reader.number(f"{_READINESS}failureThreshold", options.ready_failures, 1),
        )
        _check_mode(reader)
    except BadAnnotation as bad:
        reader.file(ProblemCode.INVALID_VALUE, bad.name, bad.message, bad.fix)
    proxy, problems = parse_proxy_config(annotations.get(PROXY_CONFIG, ""), options.proxy)
    _remark_on_others(reader)
    return replace(options, proxy=proxy), (*reader.problems, *problems)


class _Reader:
    """Reads annotations one by one. A value that does not parse raises BadAnnotation."""

    def __init__(self, annotations: Mapping[str, str]) -> None:
        self.annotations = annotations
        self.problems: list[Problem] = []

    def file(self, code: ProblemCode, name: str, message: str, fix: str, severity: Severity = Severity.ERROR) -> None:
        field = f"metadata.annotations['{name}']"
        self.problems.append(Problem(severity=severity, code=code, message=message, fix=fix, field=field))

    def limit_lengths(self) -> None:
        for name in sorted(self.annotations.keys() & READ):
            if len(self.annotations[name]) > MAX_ANNOTATION:
                message = f"{len(self.annotations[name])} characters are too many"
                raise BadAnnotation(name, message, f"Use at most {MAX_ANNOTATION}.")

    def text(self, name: str, default: str, pattern: re.Pattern[str], what: str) -> str:
        return self._parse(name, default, lambda text: text if pattern.fullmatch(text) else None, what)

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        what = f"one of {', '.join(choices)}"
        return self._parse(name, default, lambda text: text if text in choices else None, what)

    def boolean(self, name: str, default: bool) -> bool:
        words = {"true": True, "false": False}
        text = self._parse(name, str(default), lambda text: text if text.lower() in words else None, "true or false")
        return words[text.lower()]

    def number(self, name: str, default: int, minimum: int) -> int:
        what = f"a whole number from {minimum} to 99999"
        text = self._parse(name, str(default), lambda text: text if re.fullmatch(r"[0-9]{1,5}", text) else None, what)
        if int(text) < minimum:
            raise BadAnnotation(name, f"{text} is not {what}", f"Write {what}.")
        return int(text)

    def _parse(self, name: str, default: str, parse: Callable[[str], str | None], what: str) -> str:
        written = self.annotations.get(name)
        if written is None:
            return default
        value = parse(written.strip())
        if value is None:
            raise BadAnnotation(name, f"{written[:80]!r} is not {what}", f"Write {what}, or remove the annotation.")
        return value


def _parse_resources(reader: _Reader, annotations: Mapping[str, str], default: Resources) -> Resources:
    """Whoever gives one of the four gives them all. Istio's rule."""
    if not annotations.keys() & _RESOURCES.keys():
        return default
    given, amounts = {}, {}
    for name, field in _RESOURCES.items():
        if name in annotations:
            given[field] = annotations[name].strip()
            try:
                amounts[field] = parse_quantity(given[field])
            except ValueError as error:
                raise BadAnnotation(name, str(error), "Write a quantity such as 100m or 64Mi.") from None
    for name, field in _RESOURCES.items():
        limit = amounts.get(f"{field}_limit")
        if field in amounts and limit is not None and amounts[field] > limit:
            raise BadAnnotation(
                name, f"{given[field]} is more than the limit of {given[f'{field}_limit']}", "Lower it."
            )
    return Resources(**given)


def _parse_components(reader: _Reader) -> str:
    name = f"{_OWN}componentLogLevel"
    text = re.sub(r"\s", "", reader.annotations.get(name, ""))
    if text and not all(_COMPONENTS.fullmatch(part) for part in text.split(",")):
        raise BadAnnotation(name, f"{text[:80]!r} is no list of levels", "Write it like upstream:debug,http:info.")
    return text


def _check_mode(reader: _Reader) -> None:
    mode = reader.annotations.get(f"{_OWN}interceptionMode", "REDIRECT").strip()
    if mode != "REDIRECT":
        fix = "Remove the annotation, or write REDIRECT: traffic is captured by redirecting it."
        raise BadAnnotation(f"{_OWN}interceptionMode", f"{mode[:80]!r} is not done", fix)
    template = reader.annotations.get(TEMPLATES, "sidecar").strip()
    if template not in ("sidecar", "gateway"):
        raise BadAnnotation(TEMPLATES, f"there is no template {template[:80]!r}", "Write sidecar or gateway.")
    if not reader.boolean(f"{_OWN}nativeSidecar", True):
        fix = "Remove the annotation: the sidecar is a native one, which ends after the application."
        message = "false has no effect"
        reader.file(ProblemCode.NOT_IMPLEMENTED, f"{_OWN}nativeSidecar", message, fix, Severity.WARNING)


def _remark_on_others(reader: _Reader) -> None:
    for name in sorted(reader.annotations.keys() - READ):
        if name in _LATER:
            message = f"{name} is not implemented yet and has no effect"
            reader.file(ProblemCode.NOT_IMPLEMENTED, name, message, "Remove it.", Severity.WARNING)
        elif name.startswith(_FAMILIES):
            close = difflib.get_close_matches(name[:80], sorted(READ | _LATER), 1)
            fix = f"Did you mean {close[0]}?" if close else "Remove it."
            reader.file(ProblemCode.UNKNOWN_FIELD, name, f"there is no annotation {name[:80]}", fix, Severity.WARNING)
