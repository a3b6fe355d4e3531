"""What the machine itself does to everything that is measured on it; every table ends with this."""

from __future__ import annotations

import mmap
import os
import time

from bench.figures_table import Figure

_BYTES = 128 << 20
_BLOCK = 64 << 10
_IDLE_SECONDS = 5.0


def machine_figures(idle_seconds: float = _IDLE_SECONDS) -> list[Figure]:
    """Its load, and what it costs to come back to memory that was left alone for so long, which is waited for.

    Where a hypervisor takes its mappings away from idle memory, a first touch is some hundred times as dear as
    usual, for every server, in proportion to the memory it comes back to.
    """
    load = os.getloadavg()[0]
    first, again = _touches_us(idle_seconds)
    return [
        Figure(what="load of the machine meanwhile", measured=f"{load:.1f}", values={"load": load}),
        Figure(
            what=f"  64 KiB of its memory, left alone for {idle_seconds:.0f} s",
            measured=f"{first:.1f} µs until they are there again, {again:.1f} at the next touch",
            values={"idle_memory_us": first, "memory_us": again},
        ),
    ]


def _touches_us(idle_seconds: float) -> tuple[float, float]:
    """Microseconds for each block at the first touch after that time, and at the second."""
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
