"""The injected init container's own command, in a network namespace of its own, as a kubelet runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from injector.inject_pod import inject_pod
from injector.settings import InjectionSettings
from tests.injector.kubelet import command_line, container_of, environment
from tests.unit.injector.pods import pod

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(
        os.geteuid() != 0, reason="a container's root is root: only root makes a namespace with all users"
    ),
]

ADDRESS = "10.99.0.5"
PLACE = f"""
set -e
ip link set lo up
ip link add eth0 type veth peer name outside
ip link set outside up
ip address add {ADDRESS}/32 dev eth0
ip link set eth0 up
set +e
"""
READ_ONLY = "mount -o remount,bind,ro / && ! touch /run/xtables.lock 2>/dev/null || exit 99"
FAKE = "#!/bin/sh\necho 'no such table' >&2\nexit 1\n"


def injected(**annotations: str) -> dict[str, Any]:
    after = inject_pod(
        pod(annotations={f"traffic.sidecar.istio.io/{k}": v for k, v in annotations.items()}), InjectionSettings()
    )
    assert after.pod is not None
    return after.pod


def run(then: str, *, before: str = "", path: str = "", **annotations: str) -> subprocess.CompletedProcess[str]:
    """Runs the init container, and a shell script after it in the same place."""
    container = container_of(injected(**annotations), "istio-init")
    script = f'{PLACE}{before}\nPATH="$FAKES$PATH" "$@"\nstatus=$?\n{then}\nexit $status'
    return subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script, "sh", *command_line(container)],
        env={**os.environ, **environment(container, {}), "FAKES": f"{path}:" if path else ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def rules_of(listing: str) -> list[str]:
    return [line for line in listing.splitlines() if line.startswith("-A")]


def test_the_rules_are_set_for_both_families() -> None:
    done = run(
        "iptables-nft-save -t nat; echo; ip6tables-nft-save -t nat; ip -6 address show dev lo",
        before=READ_ONLY,
        excludeInboundPorts="22",
    )
    assert (done.returncode, done.stderr) == (0, "")
    four, _, six = done.stdout.partition("\n\n")
    assert "-A HEDDLE_INBOUND -p tcp -m tcp --dport 22 -j RETURN" in rules_of(four)
    assert "-A HEDDLE_OUTBOUND -s 127.0.0.6/32 -o lo -j RETURN" in rules_of(four)
    assert "-A HEDDLE_OUTBOUND -s ::6/128 -o lo -j RETURN" in rules_of(six)
    assert "inet6 ::6/128" in six


def test_a_container_that_is_started_again_changes_nothing() -> None:
    count = "iptables-nft-save -t nat | grep -c ^-A"
    done = run(f'{count}; "$@"; {count}')
    first, second = [line for line in done.stdout.splitlines() if line.isdigit()]
    assert (done.returncode, first) == (0, second)


def test_the_kind_that_the_place_has_already_is_used() -> None:
    done = run(
        "iptables-legacy-save -t nat; iptables-nft-save -t nat",
        before=f"iptables-legacy -t nat -L >/dev/null; {READ_ONLY}",
    )
    assert done.returncode == 0
    assert "iptables-legacy: capture is set" in done.stdout
    assert len([rule for rule in rules_of(done.stdout) if "HEDDLE_OUTBOUND -s 127.0.0.6/32" in rule]) == 1


def fakes(folder: Path, *names: str) -> str:
    for name in names:
        fake = folder / name
        fake.write_text(FAKE)
        fake.chmod(0o755)
    return str(folder)


NFT = ("iptables-nft-save", "ip6tables-nft-save")


def test_a_kernel_without_nftables_gets_the_old_kind(tmp_path: Path) -> None:
    done = run("iptables-legacy-save -t nat", path=fakes(tmp_path, *NFT))
    assert done.returncode == 0
    assert any("HEDDLE_OUTBOUND" in rule for rule in rules_of(done.stdout))


def test_without_rules_for_ipv4_the_pod_does_not_start(tmp_path: Path) -> None:
    done = run("", path=fakes(tmp_path, "iptables-nft-restore"))
    assert done.returncode == 1
    assert "IPv4 cannot be captured" in done.stderr


NO_NAT = """#!/bin/sh
rules=$(cat)
case $rules in *nat*) echo 'no nat table' >&2; exit 1;; esac
printf '%s\\n' "$rules" | /usr/sbin/ip6tables-nft-restore "$@"
"""


def test_ipv6_that_cannot_be_captured_is_blocked(tmp_path: Path) -> None:
    fake = tmp_path / "ip6tables-nft-restore"
    fake.write_text(NO_NAT)
    fake.chmod(0o755)
    done = run("ip6tables-nft-save -t filter", path=str(tmp_path))
    assert done.returncode == 0
    assert "IPv6 cannot be captured and is blocked" in done.stderr
    assert len([rule for rule in rules_of(done.stdout) if "REJECT" in rule]) == 2


@pytest.mark.parametrize(("address", "status"), [("2001:db8::5/128", 1), ("", 0)])
def test_ipv6_that_can_be_neither_matters_only_to_a_pod_that_has_it(tmp_path: Path, address: str, status: int) -> None:
    path = fakes(tmp_path, "ip6tables-nft-restore", "ip6tables-legacy-restore")
    before = f"ip -6 address add {address} dev eth0 nodad" if address else ""
    done = run("", before=before, path=path)
    assert done.returncode == status
    assert ("the pod must not start" in done.stderr) is bool(status)


@pytest.mark.envoy
def test_probes_reach_the_application_past_its_own_capture() -> None:
    """Nobody listens on the sidecar's inbound port here: what is captured is refused."""
    script = f"{sys.executable} -m tests.network.probe_behind_capture {ADDRESS}"
    done = run(f"{script}; status=$?")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "tcp 200 http 200 captured refused"
