"""The `kubernetes` client without its synchronous half.

Importing `kubernetes.aio` runs the start of `kubernetes` first, which loads a second client with requests and OAuth: a
tenth of what a control plane does until it serves its first sidecar, for code that it never calls.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec

_PACKAGE = "kubernetes"


def skip_synchronous_client() -> None:
    """From now on, unless the package is loaded already. Whoever imports `kubernetes.client` by name still gets it."""
    if _PACKAGE in sys.modules:
        return
    spec = find_spec(_PACKAGE)
    if spec is not None:
        sys.modules[_PACKAGE] = module_from_spec(spec)
