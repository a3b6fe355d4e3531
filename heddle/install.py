"""`heddle install`: the chart as objects, printed or applied. No helm is needed."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Any

from heddle.cluster.requests import add_cluster_arguments, open_cluster
from heddle.install_values import add_values_arguments, render_installation
from heddle.output import complain
from heddle.spans import wait_seconds

if TYPE_CHECKING:
    from heddle.cluster.chart import Chart, Rendered

EXIT_FINE, EXIT_FINDINGS, EXIT_ERROR = 0, 1, 2
_NAMESPACE = "heddle-system"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "  heddle install --apply --wait                     install, or upgrade, and say what is waited for\n"
        "  heddle install --set replicas=3 -f mine.yaml      print the objects; nothing is contacted\n"
        "  heddle install --crds-only | kubectl create -f -  the kinds alone, those that are absent\n"
        "  heddle install --revision canary --apply --wait   a second version beside the first\n"
        "The values are those of deploy/chart/values.yaml. What is printed has no CustomResourceDefinitions: to apply\n"
        "them might overwrite an Istio's. --apply brings those that are absent, and updates ours.\n"
        "Exit status 1: it was applied, and does not work after --timeout; 2: it could not be applied."
    )
    add_values_arguments(parser)
    parser.add_argument("-n", "--namespace", default=_NAMESPACE, help=f"Heddle's own namespace ({_NAMESPACE})")
    parser.add_argument("--revision", metavar="NAME", help="the name of this version, for two side by side")
    parser.add_argument("--crds-only", action="store_true", help="only the CustomResourceDefinitions")
    parser.add_argument("--apply", action="store_true", help="apply instead of printing")
    parser.add_argument("--wait", action="store_true", help="return when it works; with --apply")
    parser.add_argument("--timeout", type=wait_seconds, default=300.0, metavar="SPAN", help="how long at most (5m)")
    add_cluster_arguments(parser)


def run_command(args: argparse.Namespace) -> int:
    if args.wait and not args.apply:
        complain("--wait waits for what --apply applies: add --apply")
        return EXIT_ERROR
    made = render_installation(args)
    if made is None:
        return EXIT_ERROR
    chart, rendered = made
    for line in rendered.remarks:
        complain(line)
    if args.apply:
        return _apply(args, chart, rendered)
    _print(chart.definitions if args.crds_only else rendered.objects)
    return EXIT_FINE


def _print(objects: Any) -> None:
    from injector.yaml_output import dump_yaml

    for item in objects:
        sys.stdout.write(f"---\n{dump_yaml(item)}")


def _apply(args: argparse.Namespace, chart: Chart, rendered: Rendered) -> int:
    from heddle.cluster.apply import NoNamespace, NotOurs
    from heddle.cluster.trial import WouldBeRefused
    from heddle.cluster.troubles import tell_trouble
    from heddle.cluster.trust_domain import OtherTrustDomain
    from sources.kubernetes.access import NoCluster
    from sources.kubernetes.api import Refused, Unreachable
    from sources.kubernetes.events import Garbled

    try:
        return asyncio.run(_apply_all(args, chart, rendered))
    except (NoCluster, NoNamespace, NotOurs, OtherTrustDomain, WouldBeRefused, Unreachable, Refused, Garbled) as error:
        complain(tell_trouble(error))
        return EXIT_ERROR


async def _apply_all(args: argparse.Namespace, chart: Chart, rendered: Rendered) -> int:
    from heddle.cluster.apply import apply_definitions, apply_objects, refuse_beforehand
    from heddle.cluster.other_revisions import find_lacks
    from heddle.cluster.rollout import find_waits, wait_for_rollout
    from heddle.cluster.trial import try_objects
    from heddle.cluster.trust_domain import refuse_other_trust_domain

    revision = rendered.revision
    place = {"namespace": args.namespace, "revision": revision}
    async with open_cluster(args) as api:
        if not args.crds_only:
            await refuse_beforehand(api, rendered.objects, **place)
            await refuse_other_trust_domain(api, rendered.objects, **place)
            await try_objects(api, rendered.objects)
            for line in await find_lacks(api, rendered.objects, **place):
                complain(line)
        await apply_definitions(api, chart.definitions, _tell)
        if args.crds_only:
            return EXIT_FINE
        await apply_objects(api, rendered.objects, **place, tell=_tell)
        if args.wait:
            try:
                async with asyncio.timeout(args.timeout):
                    await wait_for_rollout(api, namespace=args.namespace, revision=revision, tell=_tell)
            except TimeoutError:
                for line in await find_waits(api, namespace=args.namespace, revision=revision):
                    complain(f"after {args.timeout:g} s: {line}")
                return EXIT_FINDINGS
            _tell("it works")
    print(f"\n{rendered.notes.strip()}")
    return EXIT_FINE


def _tell(line: str) -> None:
    print(line, flush=True)
