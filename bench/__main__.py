"""What matters, measured part by part: a table of each as it comes, and JSON of the same figures.

The JSON has a list of figures by the part's name, null for a part that broke; it is written anew after each part.
Exit status 1 if a target is missed or a part broke. `python -m bench.PART --help` says what a part measures and how
to make it smaller.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.figures_table import add_json_argument

PARTS = {
    "wire": "The wire",
    "fanout": "A change",
    "connecting": "All at once, and at rest",
    "mesh_size": "By the size of the mesh",
    "real_sidecar": "A real sidecar",
    "cluster_sync": "A cluster",
    "injection": "Injection",
    "real_cluster": "A real cluster",
    "pod_start": "A pod's start",
}
"""Titles by the names of modules of this folder."""

JSON_FILE = Path("build/bench.json")


def run_part(part: str, json_file: Path) -> int:
    """Measures one part, which prints its table and writes its figures to the file; its exit status.

    In a process of its own: what another part loaded and grew to would be measured with it, and the library's messages
    are as the library has them in `wire` alone (protos/plain_messages.py).
    """
    return subprocess.run([sys.executable, "-m", f"bench.{part}", "--json", str(json_file)], check=False).returncode


def main(arguments: Sequence[str] | None = None, *, run: Callable[[str, Path], int] = run_part) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", type=_part, metavar="PART", help=f"{', '.join(PARTS)} (all, in this order)")
    add_json_argument(parser, JSON_FILE)
    args = parser.parse_args(arguments)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    missed = False
    figures: dict[str, Any] = {}
    for part in args.parts or PARTS:
        print(f"\n{PARTS[part]}" if figures else PARTS[part], flush=True)
        with tempfile.TemporaryDirectory(prefix="heddle-bench-") as folder:
            written = Path(folder) / "figures.json"
            missed = run(part, written) != 0 or missed
            figures[part] = json.loads(written.read_text()) if written.exists() and written.stat().st_size else None
        if figures[part] is None:
            missed = True
            print(f"bench.{part} broke off", file=sys.stderr)
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"\nas JSON: {args.json}")
    return 1 if missed else 0


def _part(text: str) -> str:
    # Not `choices`, which refuse that none is given.
    if text not in PARTS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(PARTS)}")
    return text


if __name__ == "__main__":
    sys.exit(main())
