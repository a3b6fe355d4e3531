"""The init container that sets a pod's capture rules, the same rules that the laptop runtime sets.

Rules are handed over as arguments. Which of the two kinds of iptables the node has is found out where it runs: rules of
both kinds in one network namespace would work against each other, so what is there already decides, and else what the
kernel takes, nftables first.
"""

from __future__ import annotations

from typing import Final

from injector.capture import CaptureSettings, build_block, build_capture
from injector.kubelet_text import to_literal
from injector.names import CAPTURE
from injector.pod_values import Json
from injector.settings import InjectionSettings

SCRIPT: Final = """\
set -u
# $1 rules for IPv4, $2 for IPv6, $3 rules that block IPv6.
# A kernel lists the tables of the old kind that this network namespace has.
backend() {
  if grep -qsx nat "/proc/net/$1_names"; then echo legacy; return; fi
  if "$2-nft-save" -t nat >/dev/null 2>&1; then echo nft; else echo legacy; fi
}
apply() {
  program="$1-$(backend "$2" "$1")"
  # A container that is started again finds its own rules, which were set as one transaction.
  if "$program-save" -t nat 2>/dev/null | grep -q HEDDLE_INBOUND; then return 0; fi
  printf '%s' "$3" | "$program-restore" --noflush || return 1
  echo "$program: capture is set"
}
apply iptables ip_tables "$1" || { echo 'IPv4 cannot be captured: the pod must not start' >&2; exit 1; }
# No address of IPv6, not even the loopback's: the kernel has none, or the pod.
if ! grep -qs . /proc/net/if_inet6; then exit 0; fi
if apply ip6tables ip6_tables "$2"; then
  ip -6 address replace ::6/128 dev lo nodad && exit 0
fi
# Left open, it would be a way around the sidecar.
for kind in nft legacy; do
  if printf '%s' "$3" | "ip6tables-$kind-restore" --noflush 2>/dev/null; then
    echo 'IPv6 cannot be captured and is blocked' >&2
    exit 0
  fi
done
# Scope 00 is global: without such an address nothing gets in or out by IPv6.
if grep -qE '^[0-9a-f]{32} [0-9a-f]+ [0-9a-f]+ 00 ' /proc/net/if_inet6; then
  echo 'IPv6 can neither be captured nor blocked: the pod must not start' >&2
  exit 1
fi
"""
"""Run by `sh` as root with NET_ADMIN and NET_RAW. Needs iptables (both kinds), iproute2 and grep in the image."""


def build_capture_container(capture: CaptureSettings, settings: InjectionSettings) -> Json:
    """`istio-init`. It must be the first of the init containers."""
    rules = (build_capture(capture, 4), build_capture(capture, 6), build_block())
    return {
        "name": CAPTURE,
        "image": settings.init_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["sh", "-c"],
        "args": [to_literal(SCRIPT), CAPTURE, *map(to_literal, rules)],
        # The old kind of iptables locks a file, and the file system is read-only; nobody else is here to be locked out.
        "env": [{"name": "XTABLES_LOCKFILE", "value": "/dev/null"}],
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"cpu": "1", "memory": "64Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
        },
    }
