"""docs/gateways.md, word for word."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "gateways.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_it_shows_the_example_as_it_is() -> None:
    assert blocks("yaml") == [(ROOT / "examples" / "gateway" / "gateway.yaml").read_text()]


@pytest.mark.envoy
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="without root the host does not reach pods")
def test_its_commands_work(tmp_path: Path) -> None:
    (script,) = blocks("sh")
    mesh = f"document-{os.getpid()}"
    (tmp_path / "heddle").write_text(f'#!/bin/sh\nexec {sys.executable} -m heddle.main "$@"\n')
    (tmp_path / "heddle").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    text = "set -eu\n" + script.replace("/tmp/gateway", str(tmp_path / mesh))
    try:
        done = subprocess.run(
            ["bash", "-c", text], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
    finally:
        subprocess.run(
            ["bash", "-c", f"heddle local down --mesh {mesh} || true"], cwd=ROOT, env=environment, capture_output=True
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "location: https://site.example/" in done.stdout
    assert "Hello from behind the gateway." in done.stdout
    assert "CN=site.example" in done.stdout
