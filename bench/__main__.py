"""`make bench`: everything that is measured, one after the other. Exit status 1 if a target is missed."""

from __future__ import annotations

import sys

from bench import fanout, wire


def main() -> int:
    print("The wire", flush=True)
    missed = wire.main()
    print("\nA change", flush=True)
    return fanout.main() or missed


if __name__ == "__main__":
    sys.exit(main())
