"""Where the system's networking programs are."""

import os
import shutil
from functools import cache
from typing import Final

_SYSTEM_FOLDERS: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")

REQUIRED: Final = ("ip", "iptables-restore", "ip6tables-restore", "nsenter", "setpriv")
"""What the namespaced modes run: iproute2, iptables and util-linux."""


@cache
def find_program(name: str) -> str:
    """The absolute path of a program. An ordinary user's PATH often lacks the sbin folders, so they are searched too.

    Raises FileNotFoundError, naming the program.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM_FOLDERS))
    found = shutil.which(name, path=path)
    if found is None:
        raise FileNotFoundError(f"program not found: {name}")
    return os.path.abspath(found)
