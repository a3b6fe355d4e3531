"""What `heddle local exec` does: `python -m tests.network.enter_under_test MESH POD DIRECTORY COMMAND...`."""

import json
import os
import sys

from heddle.local.enter import MeshGone, PodHandle, run_in_pod


def main() -> int:
    mesh, pod = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    try:
        return run_in_pod(
            (mesh["pid"], mesh["started"]),
            PodHandle(network=pod["network"], mount=pod["mount"], hostname=pod["hostname"]),
            sys.argv[4:],
            environment=os.environ,
            directory=sys.argv[3],
        )
    except MeshGone as gone:
        print(gone, file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main())
