"""What a CustomResourceDefinition of ours says about a kind, and its YAML."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from sources.schemas.parts import Schema, text

OURS = {"app.kubernetes.io/name": "heddle", "app.kubernetes.io/component": "crds"}
"""Labels by which our definitions are told from Istio's own."""

_KEEP = {"helm.sh/resource-policy": "keep"}
_AGE = {
    "name": "Age",
    "type": "date",
    "jsonPath": ".metadata.creationTimestamp",
    "description": "When the object was created.",
}
_HEADER = "# Written by `make crds` from sources/schemas. Changes made here are lost.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What `kubectl get` shows. `path` is a JSONPath, `kind` a type of OpenAPI; `wide`: with `-o wide` only."""

    name: str
    path: str
    kind: str = "string"
    description: str
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One kind, in the versions that are served, the stored one first.

    `spec` is the schema of the field of that name; `needs_spec`: there is no object without it. `short` '' for no short
    name: Istio's definition has none.
    """

    group: str
    versions: tuple[str, ...]
    kind: str
    plural: str
    short: str
    description: str
    spec: Schema
    needs_spec: bool = True
    columns: tuple[Column, ...] = ()

    @property
    def name(self) -> str:
        """`virtualservices.networking.istio.io`."""
        return f"{self.plural}.{self.group}"

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.group}_{self.plural}.yaml"


def to_custom_resource_definition(definition: Definition) -> dict[str, object]:
    """The object as an API server takes it; the first of the versions is stored."""
    kind, group = definition.kind, definition.group
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": definition.name, "labels": dict(OURS), "annotations": dict(_KEEP)},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": definition.plural,
                "singular": kind.lower(),
                **({"shortNames": [definition.short]} if definition.short else {}),
                "categories": ["istio-io", group.replace(".", "-")],
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == definition.versions[0],
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [*map(_column, definition.columns), dict(_AGE)],
                    "schema": {"openAPIV3Schema": _schema(definition)},
                }
                for version in definition.versions
            ],
        },
    }


def to_yaml(definition: Definition) -> str:
    """The file of one definition."""
    found = to_custom_resource_definition(definition)
    return _HEADER + yaml.dump(found, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


def _column(column: Column) -> dict[str, object]:
    return {
        "name": column.name,
        "type": column.kind,
        "jsonPath": column.path,
        "description": column.description,
        **({"priority": 1} if column.wide else {}),
    }


def _schema(definition: Definition) -> Schema:
    return {
        "type": "object",
        "description": definition.description,
        "properties": {"spec": definition.spec, "status": _status()},
        **({"required": ["spec"]} if definition.needs_spec else {}),
    }


def _status() -> Schema:
    """Conditions are merged by type, so that several programs may write theirs; others' further fields are kept."""
    instant = {"type": "string", "format": "date-time"}
    generation = {"x-kubernetes-int-or-string": True}
    condition = {
        "type": "object",
        "required": ["type"],
        "properties": {
            "type": text(least=1, most=316),
            "status": text(),
            "reason": text(),
            "message": text(),
            "lastTransitionTime": instant,
            "lastProbeTime": instant,
            "observedGeneration": generation,
        },
    }
    conditions = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": condition,
    }
    return {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"conditions": conditions, "observedGeneration": generation},
    }


class _Plain(yaml.SafeDumper):
    """Without anchors: kubectl reads them, people do not."""

    def ignore_aliases(self, data: object) -> bool:
        return True
