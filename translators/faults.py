"""Faults injected on purpose: delays and aborts."""

from __future__ import annotations

from envoy_data_plane.envoy.extensions.filters.common.fault.v3 import FaultDelay
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import FaultAbort, HttpFault

from model.routing import Abort, Delay, Fault
from translators.percentages import build_percentage

FAULT_FILTER = "envoy.filters.http.fault"
"""The HTTP filter of the outbound connection manager that a route's fault is for."""


def build_fault(fault: Fault) -> HttpFault:
    """The fault filter's configuration for one route. The delay comes before the abort."""
    return HttpFault(
        delay=_delay(fault.delay) if fault.delay else None, abort=_abort(fault.abort) if fault.abort else None
    )


def _delay(delay: Delay) -> FaultDelay:
    return FaultDelay(fixed_delay=delay.fixed, percentage=build_percentage(delay.percentage))


def _abort(abort: Abort) -> FaultAbort:
    return FaultAbort(
        http_status=abort.http_status,
        grpc_status=abort.grpc_status if abort.http_status is None else None,
        percentage=build_percentage(abort.percentage),
    )
