"""Images by name: nothing is pulled, so each is a local program under the name that the image gives it."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from heddle.local.sidecar import find_envoy

CHECKOUT: Final = Path(__file__).resolve().parents[2]
_HEDDLE, _PACKAGES = "/opt/heddle", "/opt/packages"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """`name` is a pattern for the whole name of an image.

    `links` are symbolic links, `mounts` files and folders of this machine, by their place in it. `environment` and
    `entry_point` are what its build would have set; `folders` are where the links lead, which anybody may read.
    """

    name: str
    links: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    entry_point: Sequence[str] = ()
    folders: Sequence[Path] = ()


def known_images() -> tuple[Image, ...]:
    """The sidecar, Heddle itself (this checkout), and the applications of the tests. The first that fits is it.

    Raises FileNotFoundError if there is no Envoy.
    """
    python = Path(sys.executable).resolve()
    # Python finds its library by where it really is, so it is linked; the rest may not be hidden by a volume on /tmp.
    interpreter = {f"/usr/local/bin/{name}": str(python) for name in ("python3", "python")}
    packages = {_PACKAGES: Path(sysconfig.get_path("purelib"))}
    quiet = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    return (
        Image(name="*envoy*", mounts={"/usr/local/bin/envoy": find_envoy()}),
        Image(
            name="*heddle*",
            links=interpreter,
            mounts={**packages, _HEDDLE: CHECKOUT},
            environment={**quiet, "PYTHONPATH": f"{_HEDDLE}:{_PACKAGES}"},
            entry_point=("python3", "-m", "heddle.main"),
            folders=(python.parent,),
        ),
        Image(
            name="*",
            links=interpreter,
            mounts={
                **packages,
                "/app": Path(__file__).with_name("app"),
                "/load": CHECKOUT / "examples" / "shop" / "app",
            },
            environment={**quiet, "PYTHONPATH": _PACKAGES},
            folders=(python.parent,),
        ),
    )


def find_image(images: Sequence[Image], name: str) -> Image:
    """The first image that fits. Raises KeyError."""
    for image in images:
        if fnmatchcase(name, image.name):
            return image
    raise KeyError(name)
