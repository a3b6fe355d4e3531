"""The chart of this checkout: read once, for so much YAML takes half a second, and rendered once for equal values."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from heddle.cluster.chart import Chart, Rendered, load_chart


@cache
def our_chart() -> Chart:
    """Nobody changes what it holds."""
    return load_chart()


def render_ours(values: Mapping[str, Any], *, namespace: str) -> Rendered:
    """As `Chart.render`. The objects are the caller's own."""
    found = _render(json.dumps(values), namespace)
    return replace(found, objects=copy.deepcopy(found.objects))


@cache
def _render(values: str, namespace: str) -> Rendered:
    return our_chart().render(json.loads(values), namespace=namespace)
