"""The asyncio half of the `kubernetes` client, and of that only what is imported by name.

Importing a module of it runs the start of `kubernetes` first, which loads a second client with requests and OAuth, and
then that of `kubernetes.aio`, which loads all there is beside the client: more than a tenth of what a control plane
does until it serves its first sidecar, for code that it never calls.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec

_PACKAGES = ("kubernetes", "kubernetes.aio")


def skip_unused_client() -> None:
    """From now on, for what is not loaded already. Whoever imports `kubernetes.client` by name still gets it."""
    for package in _PACKAGES:
        if package in sys.modules:
            continue
        spec = find_spec(package)
        if spec is None:
            return
        module = sys.modules[package] = module_from_spec(spec)
        parent, _, name = package.rpartition(".")
        if parent:
            setattr(sys.modules[parent], name, module)
