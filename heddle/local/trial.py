"""One try at what a mesh needs of the kernel: `python -m heddle.local.trial root|user-namespace`, run by `probe`.

Makes a mesh's namespaces, a pod's inside them, an interface pair and redirecting rules. Ends with status 0, or with 1
and the reason as the last line of standard error.
"""

import os
import subprocess
import sys
from typing import Final

from heddle.local import namespaces
from heddle.local.init import exit_status
from heddle.local.isolation import Isolation, leave_host
from heddle.local.namespaces import Namespace
from heddle.local.programs import find_program

_RULES: Final = """*nat
-A OUTPUT -p tcp -m mark --mark 0x539 -j RETURN
-A OUTPUT -p tcp -j REDIRECT --to-ports 15001
-A OUTPUT -p udp -m statistic --mode random --probability 0.5 -j DNAT --to-destination 192.0.2.1:53
COMMIT
"""


def main(isolation: Isolation) -> int:
    """Try `isolation` (not LOOPBACK) in this process, which is left changed. Raises OSError as the kernel does."""
    leave_host(isolation)
    child = os.fork()
    if child != 0:
        return exit_status(os.waitpid(child, 0)[1])
    status = 1
    try:
        _build_pod()
        status = 0
    except (OSError, subprocess.CalledProcessError) as error:
        os.write(2, f"\n{error}\n".encode())
    finally:
        os._exit(status)


def _build_pod() -> None:
    namespaces.make_mounts_private()
    namespaces.mount_proc()
    mesh_network = os.open("/proc/self/ns/net", os.O_RDONLY)
    namespaces.unshare(Namespace.NETWORK | Namespace.MOUNT | Namespace.UTS)
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w", encoding="utf-8") as file:
        file.write("0")
    peer = ("peer", "name", "trial", "netns", f"/proc/1/fd/{mesh_network}")
    subprocess.run((find_program("ip"), "link", "add", "eth0", "type", "veth", *peer), check=True)
    subprocess.run((find_program("iptables-restore"), "--noflush"), input=_RULES, text=True, check=True)


if __name__ == "__main__":
    try:
        sys.exit(main(Isolation(sys.argv[1])))
    except OSError as error:
        sys.exit(str(error))
