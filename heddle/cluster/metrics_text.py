"""Prometheus' text exposition format: https://prometheus.io/docs/instrumenting/exposition_formats/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class MetricKind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """`values` by the value of `label`; a metric without a label has one, by ''."""

    name: str
    kind: MetricKind
    help: str
    label: str = ""
    values: Mapping[str, float]


def to_text(metrics: Iterable[Metric]) -> str:
    """All of them, in their order. Labels' values are names of ours: nothing in them needs escaping."""
    lines: list[str] = []
    for metric in metrics:
        lines += (f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}")
        lines += (f"{metric.name}{_labels(metric.label, value)} {number}" for value, number in metric.values.items())
    return "".join(f"{line}\n" for line in lines)


def _labels(label: str, value: str) -> str:
    return f'{{{label}="{value}"}}' if label else ""
