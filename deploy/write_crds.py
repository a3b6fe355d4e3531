"""Writes `deploy/chart/crds`: the files that Helm installs where a cluster has no such definitions yet."""

from __future__ import annotations

from pathlib import Path

from sources.schemas.definitions import definition_files

FOLDER = Path(__file__).parent / "chart" / "crds"


def main() -> None:
    files = definition_files()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.yaml"):
        if old.name not in files:
            old.unlink()
    for name, content in files.items():
        (FOLDER / name).write_text(content)


if __name__ == "__main__":
    main()
