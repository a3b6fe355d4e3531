"""What the machine itself does to everything that is measured on it: the last lines of some tables."""

from __future__ import annotations

import mmap
import os
import time

from bench.figures_table import Figure

_BYTES = 128 << 20
_BLOCK = 64 << 10
_IDLE_SECONDS = 5.0


def machine_figures(idle_seconds: float = _IDLE_SECONDS) -> list[Figure]:
    """Its load, and what it costs just now to come back to memory that was left alone for so long, which is waited for.

    Where a hypervisor takes its mappings away from idle memory, a first touch is some hundred times as dear as
    usual, for every server, and the more so the more memory it comes back to. One page in each 64 KiB is touched: to
    those beside it the way is shorter then.
    """
    load = os.getloadavg()[0]
    first, again = _touches_us(idle_seconds)
    return [
        Figure(what="load of the machine meanwhile", measured=f"{load:.1f}", values={"load": load}),
        Figure(
            what=f"  memory of it that was left alone for {idle_seconds:.0f} s",
            measured=f"{first:.1f} µs for a page in 64 KiB at the first touch, {again:.1f} at the next",
            values={"idle_memory_us": first, "memory_us": again},
        ),
    ]


def _touches_us(idle_seconds: float) -> tuple[float, float]:
    """Microseconds for a page of each block at the first touch after that time, and at the second."""
    with mmap.mmap(-1, _BYTES) as memory:
        for at in range(0, _BYTES, mmap.PAGESIZE):
            memory[at] = 1
        time.sleep(idle_seconds)
        return _touch_us(memory), _touch_us(memory)


def _touch_us(memory: mmap.mmap) -> float:
    began = time.perf_counter()
    for at in range(0, _BYTES, _BLOCK):
        memory[at]
    return (time.perf_counter() - began) * 1e6 / (_BYTES // _BLOCK)
