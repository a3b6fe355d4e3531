"""`make bench`: everything that is measured, one after the other. Exit status 1 if a target is missed."""

from __future__ import annotations

import subprocess
import sys

from bench import cluster_sync, connecting, fanout, injection, mesh_size, pod_start, real_cluster, real_sidecar


def main() -> int:
    print("The wire", flush=True)
    # In a process of its own, in which the library's messages are as the library has them (protos/plain_messages.py).
    missed = subprocess.run([sys.executable, "-m", "bench.wire"], check=False).returncode
    print("\nA change", flush=True)
    missed = fanout.main() or missed
    print("\nAll at once, and at rest", flush=True)
    missed = connecting.main() or missed
    print("\nBy the size of the mesh", flush=True)
    missed = mesh_size.main() or missed
    print("\nA real sidecar", flush=True)
    missed = real_sidecar.main() or missed
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
