"""`heddle check`: whether a cluster will do, and whether what is installed in it works."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from heddle.cluster.requests import add_cluster_arguments, open_cluster
from heddle.output import add_output_argument, complain, print_json

if TYPE_CHECKING:
    from heddle.cluster.check_results import Result
    from heddle.cluster.requests import ClusterApi

EXIT_FINE, EXIT_FINDINGS, EXIT_ERROR = 0, 1, 2
_NAMESPACE = "heddle-system"

Check: TypeAlias = "Callable[[], Awaitable[Sequence[Result]]]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "  heddle check --pre     before an installation: will this cluster do?\n"
        "  heddle check           after it: does it work, and for how long?\n"
        "Nothing is changed. √ is fine, ‼ should be looked at, × does not work; the last two have a hint.\n"
        "Exit status 1 if something does not work; 2 if the cluster cannot be reached.\n"
        "Without the right to look at something that line is a ‼."
    )
    parser.add_argument("--pre", action="store_true", help="before an installation")
    parser.add_argument("-n", "--namespace", default=_NAMESPACE, help=f"Heddle's own namespace ({_NAMESPACE})")
    parser.add_argument("--revision", default="", metavar="NAME", help="which version (the one without a name)")
    add_cluster_arguments(parser)
    add_output_argument(parser)


def run_command(args: argparse.Namespace) -> int:
    from heddle.cluster.check_results import State, to_json, to_lines
    from heddle.cluster.troubles import tell_trouble
    from sources.kubernetes.access import NoCluster
    from sources.kubernetes.api import Refused, Unreachable
    from sources.kubernetes.events import Garbled

    try:
        results = asyncio.run(_check(args))
    except (NoCluster, Unreachable, Refused, Garbled) as error:
        complain(f"the cluster cannot be checked: {tell_trouble(error)}")
        return EXIT_ERROR
    if args.output == "json":
        print_json({"checks": [to_json(result) for result in results]})
    else:
        coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print("\n".join(to_lines(results, coloured=coloured)))
    return EXIT_FINDINGS if any(result.state is State.FAILED for result in results) else EXIT_FINE


async def _check(args: argparse.Namespace) -> Sequence[Result]:
    from heddle.cluster.names import revision_name

    async with open_cluster(args) as api:
        return await check_all(api, before=args.pre, namespace=args.namespace, revision=revision_name(args.revision))


async def check_all(api: ClusterApi, *, before: bool, namespace: str, revision: str) -> Sequence[Result]:
    """All results, in their order. Raises what `ClusterApi` raises if not even the version can be had."""
    from heddle import clock
    from heddle.cluster import cluster_checks, identity_checks, installation_checks, trust_domain
    from heddle.cluster.revision_settings import find_revisions
    from heddle.main import VERSION

    now = clock.now()
    results = list(await cluster_checks.check_api(api, now))
    place = {"namespace": namespace, "revision": revision}
    revisions = await find_revisions(api, **place)
    results += cluster_checks.check_settings(revisions)
    settings = [each.injection for each in revisions]
    checks: list[tuple[str, Check]] = [
        ("kinds", partial(cluster_checks.check_kinds, api, installed=not before)),
        ("pod-security", partial(cluster_checks.check_pod_security, api, namespace=namespace, settings=settings)),
        ("other-webhooks", partial(cluster_checks.check_other_webhooks, api)),
    ]
    if before:
        checks.insert(0, ("rights", partial(cluster_checks.check_rights, api, namespace)))
    else:
        names = [each.revision for each in settings]
        authorities = await identity_checks.find_authorities(api, namespace=namespace, revisions=names)
        identity = partial(
            identity_checks.check_identity, api, **place, settings=settings, authorities=authorities.found, now=now
        )
        checks += [
            ("control-plane", partial(installation_checks.check_control_plane, api, **place, version=VERSION)),
            ("webhooks", partial(installation_checks.check_webhooks, api, **place, now=now)),
            ("identity", partial(identity_checks.check_key, api, **place)),
            ("identity", identity),
            ("identity", partial(identity_checks.check_authorities, api, namespace=namespace, authorities=authorities)),
            ("identity", partial(trust_domain.check_trust_domain, api, **place)),
            ("leader", partial(installation_checks.check_leader, api, **place, now=now)),
        ]
    for section, check in checks:
        results += await _looked_at(section, check)
    return results


async def _looked_at(section: str, check: Check) -> Sequence[Result]:
    from heddle.cluster.check_results import warning
    from sources.kubernetes.api import Refused

    try:
        return await check()
    except Refused as error:
        return (warning(section, "may be looked at", str(error), "Ask as somebody who may read it."),)
