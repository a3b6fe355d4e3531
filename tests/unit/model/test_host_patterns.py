"""What covers what."""

from __future__ import annotations

import pytest

from model.host_patterns import covers


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("a.example", "a.example", True),
        ("*", "a.example", True),
        ("*", "*", True),
        ("*.example", "a.example", True),
        ("*.example", "a.b.example", True),
        ("*.example", "*.b.example", True),
        ("*.example", "*.example", True),
        ("*.example", "example", False),
        ("*.example", ".example", False),
        ("*.example", "aexample", False),
        ("*.b.example", "*.example", False),
        ("a.example", "*", False),
        ("a.example", "*.example", False),
    ],
)
def test_covers(pattern: str, host: str, expected: bool) -> None:
    assert covers(pattern, host) is expected
