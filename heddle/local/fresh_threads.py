"""Work that changes its thread's namespaces: each job in a thread of its own, which ends with it."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final, TypeVar

_Result = TypeVar("_Result")
_AT_ONCE: Final = 4


def run_in_fresh_threads(jobs: Sequence[Callable[[], _Result]]) -> list[Future[_Result]]:
    """Run the jobs, four at once; all are done on return, and each future has its job's result or exception."""
    slots = threading.Semaphore(_AT_ONCE)
    futures: list[Future[_Result]] = [Future() for _ in jobs]
    threads = [
        threading.Thread(target=_settle, args=(future, job, slots)) for future, job in zip(futures, jobs, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return futures


def _settle(future: Future[_Result], job: Callable[[], _Result], slots: threading.Semaphore) -> None:
    with slots:
        try:
            future.set_result(job())
        except BaseException as error:
            future.set_exception(error)
