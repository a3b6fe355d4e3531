"""Other processes that are told what to do by lines of JSON, and what they cost."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
_LINE_LIMIT = 2**26


class Child:
    """A process that answers each line of JSON with one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def tell(self, command: Json) -> None:
        """Sends a command without waiting for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")

    async def hear(self) -> Json:
        """The next answer. Raises EOFError if the process has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise EOFError("a process of the benchmark has ended")
        answer: Json = json.loads(line)
        return answer

    async def ask(self, command: Json) -> Json:
        """Sends a command and waits for its answer."""
        self.tell(command)
        return await self.hear()

    def cpu_ms(self) -> float:
        """What its threads that are still there have run so far. Source: Linux, sched-stats.rst."""
        total = 0
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e6

    def memory_mib(self, field: str = "VmRSS") -> float:
        """Resident memory: `VmRSS` now, `VmHWM` its peak. Source: proc(5)."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
        raise LookupError(field)


@asynccontextmanager
async def child(*argv: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[Child]:
    """A process, which ends with the block: by the end of its input. `environment` is added to ours."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_LIMIT,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield Child(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 20)
        except TimeoutError:
            process.kill()
            await process.wait()


def python(module: str) -> tuple[str, ...]:
    """The command line of a module of ours."""
    return (sys.executable, "-m", module)


def server(module: str) -> tuple[str, ...]:
    """The command line of a module of ours that has huge pages, as `heddle serve` does."""
    return (*python("bench.with_huge_pages"), module)


async def commands() -> AsyncIterator[Json]:
    """In a child: the commands, until the input ends."""
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


def reply(answer: Json) -> None:
    """In a child: the answer to the last command."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def run_child(serve: Callable[[AsyncIterator[Json]], Awaitable[None]]) -> None:
    """In a child: serves until the input ends, and leaves without waiting for connections to be closed politely."""

    async def run() -> None:
        await serve(commands())
        os._exit(0)

    asyncio.run(run())
