"""What all tests share: fixed seeds and no deadlines in properties (a slow machine is no bug)."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from protos.plain_messages import use_plain_messages

# A test module may import messages before anything of ours: they are to be what they are outside tests.
use_plain_messages()
settings.register_profile("bounded", derandomize=True, deadline=None, max_examples=25)
settings.register_profile("soak", deadline=None, max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "bounded"))


# A shell that starts the tests in the background has SIGINT ignored, for their children too, and some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/*/*.out.yaml, delete orphans")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is loaded here stays, with all of Envoy's classes: the collector need not look through it now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command under test sets up logging for its process, which is that of all tests."""
    yield
    structlog.reset_defaults()
