"""What Pod Security will say of an injected pod, told before it says so.

The capture's init container needs root, NET_ADMIN and NET_RAW. Of Kubernetes' three levels only `privileged` allows
that, so that a namespace that enforces another one refuses every pod with a sidecar; gateways capture nothing and pass.
Source: Kubernetes, Pod Security Standards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from injector.names import CAPTURE
from injector.pod_values import Json, containers_of

ENFORCE: Final = "pod-security.kubernetes.io/enforce"
_TOO_STRICT: Final = ("baseline", "restricted")


def pod_security_warnings(injected: Json, namespace_labels: Mapping[str, str]) -> Iterator[str]:
    """At most one: that the pod will be refused, and what to do."""
    level = namespace_labels.get(ENFORCE, "")
    if level in _TOO_STRICT and any(each["name"] == CAPTURE for each in containers_of(injected, "initContainers")):
        yield (
            f"Pod Security {level!r} of the namespace will refuse the sidecar's {CAPTURE} (root, NET_ADMIN, NET_RAW). "
            f"Label the namespace {ENFORCE}=privileged, or the pod sidecar.istio.io/inject=false."
        )
