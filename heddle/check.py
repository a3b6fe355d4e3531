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
from heddle.install_values import add_values_arguments, render_installation
from heddle.output import add_output_argument, complain, print_json

if TYPE_CHECKING:
    from heddle.cluster.chart import Chart, Rendered
    from heddle.cluster.check_results import Result
    from heddle.cluster.requests import ClusterApi

EXIT_FINE, EXIT_FINDINGS, EXIT_ERROR = 0, 1, 2
_NAMESPACE = "heddle-system"

Check: TypeAlias = "Callable[[], Awaitable[Sequence[Result]]]"
Plan: TypeAlias = "tuple[Chart, Rendered]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "  heddle check --pre     before an installation: will this cluster do?\n"
        "  heddle check --pre -f mine.yaml    may I install with these values?\n"
        "  heddle check           after it: does it work, and for how long?\n"
        "Nothing is changed. √ is fine, ‼ should be looked at, × does not work; the last two have a hint.\n"
        "Exit status 1 if something does not work; 2 if the cluster cannot be reached.\n"
        "Without the right to look at something that line is a ‼.\n"
        "With --pre it names every right that `heddle install --apply` takes and you lack; -f and --set as there."
    )
    parser.add_argument("--pre", action="store_true", help="before an installation")
    parser.add_argument("-n", "--namespace", default=_NAMESPACE, help=f"Heddle's own namespace ({_NAMESPACE})")
    parser.add_argument("--revision", metavar="NAME", help="which version (the one without a name)")
    add_values_arguments(parser)
    add_cluster_arguments(parser)
    add_output_argument(parser)


def run_command(args: argparse.Namespace) -> int:
    from heddle.cluster.check_results import State, to_json, to_lines
    from heddle.cluster.troubles import tell_trouble
    from sources.kubernetes.access import NoCluster
    from sources.kubernetes.api import Refused, Unreachable
    from sources.kubernetes.events import Garbled

    if (args.values or args.assignments) and not args.pre:
        complain("-f and --set are values of an installation to come: add --pre")
        return EXIT_ERROR
    plan = None
    if args.pre:
        plan = render_installation(args)
        if plan is None:
            return EXIT_ERROR
    try:
        results = asyncio.run(_check(args, plan))
    except (NoCluster, Unreachable, Refused, Garbled) as error:
        complain(f"the cluster cannot be checked: {tell_trouble(error)}")
        return EXIT_ERROR
    if args.output == "json":
        print_json({"checks": [to_json(result) for result in results]})
    else:
        coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print("\n".join(to_lines(results, coloured=coloured)))
    return EXIT_FINDINGS if any(result.state is State.FAILED for result in results) else EXIT_FINE


async def _check(args: argparse.Namespace, plan: Plan | None) -> Sequence[Result]:
    from heddle.cluster.names import revision_name

    revision = plan[1].revision if plan is not None else revision_name(args.revision or "")
    async with open_cluster(args) as api:
        return await check_all(api, plan=plan, namespace=args.namespace, revision=revision)


async def check_all(api: ClusterApi, *, plan: Plan | None, namespace: str, revision: str) -> Sequence[Result]:
    """All results, in their order. `plan` is what is to be installed, None to check what is.

    Raises what `ClusterApi` raises if not even the version can be had.
    """
    from heddle import clock
    from heddle.cluster import cluster_checks, identity_checks, installation_checks, rights_checks, trust_domain
    from heddle.cluster.revision_settings import find_revisions
    from heddle.main import VERSION

    now = clock.now()
    results = list(await cluster_checks.check_api(api, now))
    place = {"namespace": namespace, "revision": revision}
    revisions = await find_revisions(api, **place)
    results += cluster_checks.check_settings(revisions)
    settings = [each.injection for each in revisions]
    checks: list[tuple[str, Check]] = [
        ("kinds", partial(cluster_checks.check_kinds, api, installed=plan is None)),
        ("pod-security", partial(cluster_checks.check_pod_security, api, namespace=namespace, settings=settings)),
        ("other-webhooks", partial(cluster_checks.check_other_webhooks, api)),
    ]
    if plan is not None:
        chart, rendered = plan
        made = (rendered.objects, chart.definitions)
        checks.insert(0, ("rights", partial(rights_checks.check_rights, api, *made, namespace=namespace)))
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
