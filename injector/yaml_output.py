"""YAML out: the same bytes for the same objects, and every text still a text to Kubernetes' own reader."""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from sources.yaml_documents import Node, resolve


def to_plain(node: Node) -> object:
    """A document as plain JSON values."""
    value = node.value
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: to_plain(item) for name, item in value.items()}
    return value


def dump_yaml(value: object) -> str:
    """One document, without `---`, in the order of its keys."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=1 << 20
    )


_RARE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
"""Characters that some readers take for the end of a line, or for none of theirs; only an escape is sure to survive."""


class _Dumper(yaml.SafeDumper):
    """Without aliases, which kubectl reads and people do not."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if _RARE.search(text):
        style = '"'
    elif text.count("\n") > 1 or (text.endswith("\n") and text.strip()):
        style = "|"
    elif not isinstance(resolve(text), str):
        # PyYAML would leave out the quotes around some words that are booleans to others, such as `y`.
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
