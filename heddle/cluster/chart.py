"""The chart in `deploy/chart`: values in, the objects of an installation out. No helm is needed (ADR 17)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from heddle.cluster.chart_values import Values, merged
from heddle.cluster.mesh_values import find_mesh_faults
from heddle.cluster.start_checks import find_start_faults
from heddle.cluster.template import render
from heddle.cluster.template_syntax import Template, TemplateError, parse_template
from heddle.cluster.value_checks import find_value_faults
from heddle.cluster.value_schema import find_faults
from sources.kubernetes.events import Json

CHART: Final = Path(__file__).resolve().parents[2] / "deploy" / "chart"
NAMESPACE: Final = "heddle-system"
MANAGER: Final = "Heddle"
"""Who an object of an installation without Helm is managed by, in its label `app.kubernetes.io/managed-by`."""

_NOTES: Final = "NOTES.txt"
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Definitions are hundreds of kilobytes, for which the loader in Python takes seconds."""


class BadValues(ValueError):
    """Values that the chart's schema refuses, or the control plane would. The text has a line for each fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """`objects` in the order in which they are applied. `notes` are for people. `revision` names its Deployment.

    `remarks`: what of the values has no effect.
    """

    objects: tuple[Json, ...]
    notes: str
    revision: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart as it lies on disk. `metadata` is Chart.yaml."""

    metadata: Mapping[str, Any]
    defaults: Values
    schema: Mapping[str, Any]
    templates: Mapping[str, Template]
    definitions: tuple[Json, ...]
    """CustomResourceDefinitions."""

    def render(self, values: Mapping[str, Any], *, namespace: str, service: str = MANAGER) -> Rendered:
        """The installation that `values`, on top of the defaults, make in a namespace.

        `service` is who it is labelled to be managed by. Raises BadValues, TemplateError.
        """
        together = merged(self.defaults, values)
        faults = tuple(find_faults(self.schema, together))
        if faults:
            raise BadValues("\n".join(faults))
        faults, remarks = find_mesh_faults((together.get("meshConfig") or {}).get("mesh") or {})
        faults += tuple(find_value_faults(together))
        if faults:
            raise BadValues("\n".join(faults))
        data = {
            "Values": together,
            "Release": {"Namespace": namespace, "Service": service, "Name": "heddle"},
            "Chart": {"AppVersion": str(self.metadata["appVersion"]), "Name": self.metadata["name"]},
        }
        objects: list[Json] = []
        for name in sorted(self.templates):
            if not name.endswith(".yaml"):
                continue
            text = render(self.templates, name, data)
            try:
                objects += (found for found in yaml.load_all(text, _LOADER) if found is not None)
            except yaml.YAMLError as error:
                raise TemplateError(f"{name}: what it makes is no YAML: {error}") from None
        faults = tuple(find_start_faults(objects, together))
        if faults:
            raise BadValues("\n".join(faults))
        return Rendered(
            objects=tuple(sorted(objects, key=_place)),
            notes=render(self.templates, _NOTES, data),
            revision=render(self.templates, "heddle.name", data),
            remarks=remarks,
        )


def load_chart(folder: Path = CHART) -> Chart:
    """Raises OSError, TemplateError, yaml.YAMLError."""
    templates: dict[str, Template] = {}
    for file in sorted((folder / "templates").iterdir()):
        for template in parse_template(file.read_text(encoding="utf-8"), file.name):
            if template.name in templates:
                raise TemplateError(f"{file.name}: {template.name} is defined twice")
            templates[template.name] = template
    definitions = folder / "crds"
    return Chart(
        metadata=_read_yaml(folder / "Chart.yaml"),
        defaults=_read_yaml(folder / "values.yaml"),
        schema=json.loads((folder / "values.schema.json").read_text(encoding="utf-8")),
        templates=templates,
        definitions=tuple(_definitions(sorted(definitions.glob("*.yaml")) if definitions.is_dir() else ())),
    )


def _definitions(files: Iterable[Path]) -> Iterable[Json]:
    for file in files:
        with file.open(encoding="utf-8") as opened:
            yield from (found for found in yaml.load_all(opened, _LOADER) if found is not None)


def _read_yaml(file: Path) -> Values:
    with file.open(encoding="utf-8") as opened:
        found: Values = yaml.safe_load(opened)
        return found


_ORDER: Final = (
    "Namespace",
    "NetworkPolicy",
    "ServiceAccount",
    "ConfigMap",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "PodDisruptionBudget",
    "Deployment",
    "HorizontalPodAutoscaler",
    # Last: from then on pods wait for it.
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
)


def _place(item: Json) -> int:
    return _ORDER.index(item["kind"])
