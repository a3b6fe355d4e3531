"""Makes this checkout importable in the virtual environment that runs this file, and puts `heddle` into its bin.

Heddle is an application with an environment of its own; a path file and a launcher are all an editable install is,
and, unlike pip's, need no build backend from a registry.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

LAUNCHER = """\
#!{python}
import sys

from heddle.main import main

sys.exit(main())
"""


def link(checkout: Path) -> Path:
    """Writes the path file and the launcher; returns the launcher."""
    Path(sysconfig.get_path("purelib"), "heddle-checkout.pth").write_text(f"{checkout}\n")
    launcher = Path(sysconfig.get_path("scripts"), "heddle")
    launcher.write_text(LAUNCHER.format(python=sys.executable))
    launcher.chmod(0o755)
    return launcher


if __name__ == "__main__":
    link(Path(__file__).resolve().parent.parent)
