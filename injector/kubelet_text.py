"""Text that a kubelet hands to a container: `$(NAME)` in it means a variable, and `$$` a dollar."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"\$(?=[$(])")
"""Any other dollar is just a dollar to it, so that scripts stay readable."""

POD_NAME = "$(POD_NAME)"
POD_NAMESPACE = "$(POD_NAMESPACE)"
INSTANCE_IP = "$(INSTANCE_IP)"
SERVICE_ACCOUNT = "$(SERVICE_ACCOUNT)"
WORKLOAD_NAME = "$(WORKLOAD_NAME)"


def to_literal(text: str) -> str:
    """`text` such that a kubelet hands on just that, whatever it may contain."""
    return _SPECIAL.sub("$$", text)
