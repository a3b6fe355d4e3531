"""What is read of the table of mounts: the kernel's own format, with its escapes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sources import mounts

LINES = """\
21 1 {device} / / rw,relatime - {kind} /dev/vda rw
30 21 0:50 / /srv/my\\040mesh/sub rw shared:1 master:2 - nfs4 host:/x rw
31 21 0:51 / /srv/other rw - tmpfs none rw
garbage
"""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "mountinfo"
    monkeypatch.setattr(mounts, "MOUNTS", file)
    return file


@pytest.mark.parametrize(("kind", "local"), [("ext4", True), ("overlay", True), ("nfs4", False), ("fuse.sshfs", False)])
def test_whose_file_system_it_is(table: Path, tmp_path: Path, kind: str, local: bool) -> None:
    number = tmp_path.stat().st_dev
    table.write_text(LINES.format(device=f"{os.major(number)}:{os.minor(number)}", kind=kind))
    assert mounts.is_local(tmp_path) is local
    assert not mounts.is_local(tmp_path / "nothing")


def test_what_nobody_can_tell_is_not_local(table: Path, tmp_path: Path) -> None:
    assert not mounts.is_local(tmp_path)
    table.write_text(LINES.format(device="0:0", kind="ext4"))
    assert not mounts.is_local(tmp_path)


@pytest.mark.parametrize(
    ("folder", "some"),
    [
        ("/srv", True),
        ("/srv/my mesh", True),
        ("/srv/my mesh/sub", False),
        ("/srv/oth", False),
        ("/", True),
        ("/x", False),
    ],
)
def test_what_is_mounted_below(table: Path, folder: str, some: bool) -> None:
    table.write_text(LINES.format(device="8:1", kind="ext4"))
    assert mounts.has_mounts_below(Path(folder)) is some
