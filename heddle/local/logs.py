"""`heddle local logs`: what a container printed."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from heddle.local.execute import find_container, find_pod, find_state
from heddle.local.log_files import LogReader
from heddle.meshes import NoMesh
from heddle.output import complain
from heddle.pod_names import NoSuchPod

_LOOK_EVERY_SECONDS = 0.1


def print_logs(args: argparse.Namespace) -> int:
    """0, or 2 if there is no such container."""
    try:
        pod = find_pod(find_state(args.mesh), args.pod, args.namespace)
        log = Path(find_container(pod, args.container).log)
    except (NoMesh, NoSuchPod, PermissionError) as error:
        complain(str(error))
        return 2
    reader = LogReader(log)
    sys.stdout.buffer.write(reader.tail(args.tail if args.tail is not None and args.tail >= 0 else None))
    sys.stdout.buffer.flush()
    while args.follow and log.parent.exists():
        for block in reader.added():
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
        time.sleep(_LOOK_EVERY_SECONDS)
    return 0
