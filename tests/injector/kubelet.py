"""What a kubelet does with an injected container before it runs: variables in its arguments, files of its volumes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from injector.names import RUN_FOLDER, SECRETS_FOLDER

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
FACTS = {
    "metadata.name": "web-1",
    "metadata.namespace": "shop",
    "status.podIP": "127.0.0.1",
    "spec.serviceAccountName": "web",
}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` is the variable's value, itself if there is none; `$$` is a dollar.

    Source: k8s.io/kubernetes/third_party/forked/golang/expansion.
    """

    def expanded(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else variables.get(found[1], found[0])

    return _REFERENCE.sub(expanded, text)


def container_of(pod: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The container, of either kind. Raises StopIteration if there is none."""
    spec = pod["spec"]
    return next(one for one in [*spec.get("initContainers", ()), *spec["containers"]] if one["name"] == name)


def environment(container: Mapping[str, Any], facts: Mapping[str, str]) -> dict[str, str]:
    """The container's own variables."""
    return {
        one["name"]: one["value"] if "value" in one else facts[one["valueFrom"]["fieldRef"]["fieldPath"]]
        for one in container.get("env", ())
    }


def command_line(container: Mapping[str, Any], facts: Mapping[str, str] = FACTS) -> list[str]:
    """What is run."""
    variables = environment(container, facts)
    return [expand(text, variables) for text in [*container["command"], *container.get("args", ())]]


def in_folder(argv: list[str], pod: Mapping[str, Any], folder: Path, *, roots: bytes, token: bytes) -> list[str]:
    """The command line with its two mounted folders elsewhere, and the files in them written."""
    secrets = folder / "secrets"
    secrets.mkdir()
    annotations = pod["metadata"]["annotations"]
    moved = annotations["heddle.io/token-secret"].replace(SECRETS_FOLDER, str(secrets))
    (secrets / "token-secret.json").write_text(moved)
    (secrets / "root.pem").write_bytes(roots)
    (secrets / "token").write_bytes(token)
    return [text.replace(SECRETS_FOLDER, str(secrets)).replace(RUN_FOLDER, str(folder)) for text in argv]
