"""What one replica counts, for Prometheus. No metric names a pod, a namespace or a host: their number is bounded."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from heddle.cluster.metrics_text import Metric, MetricKind, to_text
from heddle.control_plane import ControlPlane

REASONS: Final = (
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "UNAVAILABLE",
    "RESOURCE_EXHAUSTED",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
)
"""As which statuses streams are refused: there from the start, so that the first one shows as a rise."""

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_MEMORY: Final = Path("/proc/self/statm")


def describe_plane(plane: ControlPlane) -> str:
    """The metrics of this replica at present, as `metrics_text.to_text` writes them."""
    streams = plane.streams.progress()
    rejected = sum(len(stream.rejected) for stream in streams)
    return to_text(
        (
            _gauge("heddle_connected_sidecars", "Sidecars and gateways connected to this replica.", len(streams)),
            _gauge("heddle_rejected_resources", "Resources that connected sidecars refuse at present.", rejected),
            _gauge("heddle_generation", "Changes of the mesh since this process started.", plane.store.generation),
            _gauge("heddle_pending", "What of the source was not read yet.", len(plane.source.pending)),
            _counter("heddle_certificates_issued_total", "Certificates made for pods.", plane.admission.issued),
            Metric(
                name="heddle_streams_refused_total",
                kind=MetricKind.COUNTER,
                help="Streams refused, or ended with an error, by their status.",
                label="reason",
                values={**dict.fromkeys(REASONS, 0), **plane.streams.refused},
            ),
            _counter("process_cpu_seconds_total", "CPU time, user and system.", time.process_time()),
            _gauge("process_resident_memory_bytes", "Memory that is resident.", _resident_bytes()),
        )
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return Metric(name=name, kind=MetricKind.GAUGE, help=text, values={"": value})


def _counter(name: str, text: str, value: float) -> Metric:
    return Metric(name=name, kind=MetricKind.COUNTER, help=text, values={"": value})


def _resident_bytes() -> int:
    return int(_MEMORY.read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
