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
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """`name` is a pattern for the whole name of an image. `links` are programs and folders by their place in it.

    `environment` and `entry_point` are what its build would have set; `folders` are where its programs are.
    """

    name: str
    links: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    entry_point: Sequence[str] = ()
    folders: Sequence[Path] = ()


def known_images() -> tuple[Image, ...]:
    """The sidecar, Heddle itself (this checkout), and the applications of the tests. The first that fits is it.

    Raises FileNotFoundError if there is no Envoy.
    """
    scripts = Path(sys.prefix) / "bin"
    python = Path(sys.executable).resolve()
    interpreter = {
        "/usr/local/bin/python3": str(python),
        "/usr/local/bin/python": str(python),
        "/app": str(CHECKOUT / "tests" / "kubelet" / "app"),
    }
    envoy = find_envoy()
    return (
        Image(name="*envoy*", links={"/usr/local/bin/envoy": str(envoy)}, folders=(envoy.parent,)),
        Image(
            name="*heddle*",
            # As in its Dockerfile: `heddle` and `python` are on the path, and nothing can be written.
            environment={
                "PATH": f"{scripts}:{PATH}",
                "PYTHONPATH": str(CHECKOUT),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUNBUFFERED": "1",
            },
            entry_point=("heddle",),
            folders=(python.parent, scripts, CHECKOUT),
        ),
        Image(
            name="*",
            links=interpreter,
            environment={"PYTHONPATH": sysconfig.get_path("purelib"), "PYTHONUNBUFFERED": "1"},
            folders=(python.parent, Path(sysconfig.get_path("purelib")), CHECKOUT),
        ),
    )


def find_image(images: Sequence[Image], name: str) -> Image:
    """The first image that fits. Raises KeyError."""
    for image in images:
        if fnmatchcase(name, image.name):
            return image
    raise KeyError(name)
