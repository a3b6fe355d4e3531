"""Runs another module with the memory of `heddle serve` (`python -m bench.with_huge_pages MODULE`)."""

from __future__ import annotations

import runpy
import sys

from heddle.huge_pages import start_with_huge_pages

if __name__ == "__main__":
    start_with_huge_pages()
    runpy.run_module(sys.argv[1], run_name="__main__")
