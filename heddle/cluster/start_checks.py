"""Whether a control plane would start with what the chart makes: its arguments and its settings, read as it reads them.

Values that only it refuses would end replicas that work: they are replaced by ones that never start.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from heddle.cluster.names import shown
from heddle.cluster.requests import path_of
from heddle.serve import add_arguments
from heddle.sidecar_arguments import to_unused_after
from injector.settings_file import BadSettings, Given, parse_settings
from sds.certificate_policy import CertificatePolicy

if TYPE_CHECKING:
    from model.problems import Problem
    from sources.kubernetes.events import Json

_VALUES: Final[Mapping[str, str]] = {
    "--cert-life": "certificateLife",
    "--unused-after": "sidecarConfig.unusedAfter",
    "--sidecar-config": "sidecarConfig.mode",
    "--mesh-config": "meshConfig",
    "--secrets-of": "gatewaySecretNamespaces",
    "--revision": "revision",
    **dict.fromkeys(("--xds", "--webhook", "--health", "--admin"), "bindAddress"),
}
"""Which value an argument is made of."""

_ELSEWHERE: Final[Mapping[str, str]] = {"injection.isDefault": "isDefault"}
"""Fields of the settings that another value than that of their name makes."""

_ARGUMENT: Final = re.compile(r"argument (--[a-z-]+): ")


class _Refused(ValueError):
    """What `heddle serve` says of its arguments."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Refused(message)


def find_start_faults(objects: Sequence[Json], values: Mapping[str, Any]) -> Iterator[str]:
    """One sentence each, with the value's path, of what a replica of these objects would end with at once."""
    yield from _twice(objects)
    for item in objects:
        if item["kind"] == "Deployment":
            yield from _argument_faults(item)
            yield from _settings_faults(item, objects, values)


def _twice(objects: Sequence[Json]) -> Iterator[str]:
    """The mesh's settings in place of our own, if they have their name."""
    paths = [path_of(item) for item in objects]
    for item in {path: item for path, item in zip(paths, objects, strict=True) if paths.count(path) > 1}.values():
        yield f"{shown(item)} is Heddle's own already: give the value meshConfig.name another one"


def _argument_faults(deployment: Json) -> Iterator[str]:
    """What `heddle serve` says of its arguments."""
    try:
        args = _parse_arguments(deployment)
        CertificatePolicy(life=args.cert_life)
        to_unused_after(args.unused_after)
    except ValueError as error:
        yield _ARGUMENT.sub(lambda found: f"{_VALUES.get(found[1], found[1])}: ", str(error))


def _parse_arguments(deployment: Json) -> argparse.Namespace:
    """Raises _Refused."""
    parser = _Parser(add_help=False)
    add_arguments(parser)
    command, *arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert command == "serve"
    # A value that is null leaves nothing behind its argument, which an API server takes for an empty text.
    return parser.parse_args([argument or "" for argument in arguments])


def _settings_faults(deployment: Json, objects: Sequence[Json], values: Mapping[str, Any]) -> Iterator[str]:
    metadata = deployment["metadata"]
    text = next(
        item["data"]["settings.yaml"]
        for item in objects
        if item["kind"] == "ConfigMap" and "settings.yaml" in item["data"]
    )
    try:
        parse_settings(
            text.encode(),
            file="",
            given=Given(revision=metadata["name"], default_namespace=metadata["namespace"]),
        )
    except BadSettings as error:
        yield from (_told(problem, values) for problem in error.problems)


def _told(problem: Problem, values: Mapping[str, Any]) -> str:
    field = _ELSEWHERE.get(problem.field, problem.field)
    if field == "injection.initImage" and not (values.get("injection") or {}).get("initImage"):
        field = "image"
    said = problem.message.removeprefix(problem.field.rpartition(".")[2]).removeprefix(":").strip()
    return f"{field} {said}. {problem.fix}".lstrip()
