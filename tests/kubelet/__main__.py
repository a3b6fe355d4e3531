"""`python -m tests.kubelet OPTIONS`: leaves the host, and starts the agent in namespaces of its own."""

from __future__ import annotations

import sys

from heddle.local.isolation import Isolation, run_isolated


def main() -> int:
    return run_isolated(Isolation.ROOT, (sys.executable, "-m", "tests.kubelet.agent", sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
