"""`make bench`: everything that is measured, one after the other. Exit status 1 if a target is missed."""

from __future__ import annotations

import sys

from bench import cluster_sync, fanout, injection, pod_start, real_cluster, wire


def main() -> int:
    print("The wire", flush=True)
    missed = wire.main()
    print("\nA change", flush=True)
    missed = fanout.main() or missed
    print("\nA cluster", flush=True)
    missed = cluster_sync.main() or missed
    print("\nInjection", flush=True)
    missed = injection.main() or missed
    print("\nA real cluster", flush=True)
    missed = real_cluster.main() or missed
    print("\nA pod's start", flush=True)
    return pod_start.main() or missed


if __name__ == "__main__":
    sys.exit(main())
