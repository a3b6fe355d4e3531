"""The definitions that the chart brings: written by the generator, complete, told from Istio's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from sources.kubernetes.resources import Scope, resources_in
from sources.registry import KINDS
from sources.schemas.definition import OURS, Definition
from sources.schemas.definitions import DEFINITIONS, definition_files

FOLDER = Path(__file__).parents[4] / "deploy" / "chart" / "crds"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The loader in Python takes seconds for so much text."""


def test_the_files_are_what_make_crds_writes() -> None:
    assert {file.name: file.read_text() for file in FOLDER.glob("*")} == definition_files(), "run `make crds`"


def test_every_custom_kind_that_is_read_has_a_definition_of_the_same_name() -> None:
    defined = {(each.group, each.kind): each for each in DEFINITIONS}
    for resource in resources_in(Scope()):
        if resource.custom:
            found = defined[resource.group, resource.kind]
            assert (found.plural, found.versions) == (resource.plural, resource.versions)
            assert KINDS[resource.group, resource.kind].versions == found.versions


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.kind)
def test_one_version_is_stored_all_are_served_and_all_have_a_status(definition: Definition) -> None:
    # As it lies there, which is what would be written: see above.
    found = yaml.load((FOLDER / definition.file).read_bytes(), _LOADER)
    assert found["metadata"]["name"] == definition.name
    assert OURS.items() <= found["metadata"]["labels"].items()
    assert found["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    versions = found["spec"]["versions"]
    assert [each["name"] for each in versions] == list(definition.versions)
    assert [each["storage"] for each in versions] == [True] + [False] * (len(versions) - 1)
    assert all(each["served"] and each["subresources"] == {"status": {}} for each in versions)


def parts(schema: Mapping[str, object], path: str = "") -> Iterator[tuple[str, Mapping[str, object]]]:
    """Every schema of a field, with its path."""
    yield path, schema
    properties, more, items = schema.get("properties"), schema.get("additionalProperties"), schema.get("items")
    for name, inner in properties.items() if isinstance(properties, Mapping) else ():
        yield from parts(inner, f"{path}.{name}")
    for step, inner in (("{}", more), ("[]", items)):
        if isinstance(inner, Mapping):
            yield from parts(inner, f"{path}{step}")


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.kind)
def test_every_part_says_its_type_and_keeps_what_nobody_knows_only_where_less_would_mean_more(
    definition: Definition,
) -> None:
    for path, schema in parts(definition.spec):
        assert schema["type"] in ("object", "array", "string", "integer", "number", "boolean"), path
        if "x-kubernetes-preserve-unknown-fields" in schema:
            kept = definition.group == "security.istio.io" or path.endswith("orkloadSelector")
            of_sidecar = definition.kind == "Sidecar" and path in ("", ".egress[]", ".outboundTrafficPolicy")
            assert kept or of_sidecar, path
        if schema["type"] == "object":
            assert ("properties" in schema) != ("additionalProperties" in schema), path
