"""`heddle check-inject`: whether a pod gets a sidecar, and why, or why not."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from heddle.analyze import read_manifests, to_json
from heddle.cluster.requests import add_cluster_arguments
from heddle.injection_arguments import add_injection_arguments, injection_settings
from heddle.output import add_output_argument, cannot_read, complain, print_json, print_table
from model.problems import Problem, Severity

if TYPE_CHECKING:
    from injector.manifests import Explained

EXIT_FINE, EXIT_FINDINGS, EXIT_ERROR = 0, 1, 2
_KINDS = {
    "po": "pod",
    "pods": "pod",
    "deploy": "deployment",
    "deployments": "deployment",
    "sts": "statefulset",
    "statefulsets": "statefulset",
    "ds": "daemonset",
    "daemonsets": "daemonset",
    "rs": "replicaset",
    "replicasets": "replicaset",
    "jobs": "job",
    "cj": "cronjob",
    "cronjobs": "cronjob",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "  heddle check-inject -f manifests/\n"
        "  heddle check-inject -f manifests/ deploy/web -n shop\n"
        "Decides as the webhook would: by the labels of the pod and of its Namespace, which must be in the files too\n"
        "(one that is not has no labels, unless --kubernetes, --kubeconfig or --context has it read from a cluster).\n"
        "Exit status 1 if one of the pods gets no sidecar, or if an annotation is wrong; every answer says what to\n"
        "change."
    )
    parser.add_argument("pod", nargs="?", metavar="NAME", help="POD, deploy/NAME, sts/NAME, ... (all there are)")
    parser.add_argument(
        "-f", "--filename", action="append", required=True, metavar="PATH", help="a file, a directory, or - for stdin"
    )
    parser.add_argument("-n", "--namespace", help="only there; also that of objects that do not say theirs")
    parser.add_argument("--istio-injection", action="store_true", help="Heddle takes istio-injection=enabled over")
    parser.add_argument(
        "--kubernetes", action="store_true", help="read the namespaces that the files lack from a cluster"
    )
    add_cluster_arguments(parser)
    add_injection_arguments(parser)
    add_output_argument(parser)


def run_command(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from injector.manifests import explain_text, namespace_labels
    from sources.kubernetes.access import NoCluster
    from sources.kubernetes.api import Refused, Unreachable
    from sources.kubernetes.events import Garbled

    try:
        settings = injection_settings(args)
        if args.istio_injection:
            settings = replace(settings, take_over_istio_injection=True)
        files = read_manifests(args.filename, sys.stdin.buffer)
    except (OSError, ValueError) as error:
        complain(cannot_read(error, "name a file or directory that is there with -f (and --settings)"))
        return EXIT_ERROR
    namespaces = {name: labels for text in files.values() for name, labels in namespace_labels(text).items()}
    if args.kubernetes or args.kubeconfig is not None or args.context:
        try:
            namespaces = {**asyncio.run(_read_namespaces(args)), **namespaces}
        except (NoCluster, Unreachable, Refused, Garbled) as error:
            complain(f"the namespaces cannot be read: {error}")
            return EXIT_ERROR
    explained: list[Explained] = []
    problems: list[Problem] = []
    for file, text in files.items():
        some, faults = explain_text(
            text, file=file, settings=settings, namespaces=namespaces, namespace=args.namespace or "default"
        )
        explained += some
        problems += faults
    chosen = [one for one in explained if _is_meant(one, args.pod, args.namespace)]
    if not chosen and not problems:
        there = ", ".join(str(one.ref) for one in explained[:20])
        complain(f"no pod fits {args.pod or args.namespace or 'that'!r}; there are: {there or 'none'}")
        return EXIT_ERROR
    problems += [problem for one in chosen for problem in one.problems]
    if args.output == "json":
        print_json(
            {
                "pods": [_entry(one, namespaces) for one in chosen],
                "findings": [to_json(problem) for problem in problems],
            }
        )
    else:
        _print(chosen, problems, namespaces)
    wrong = any(problem.severity is not Severity.INFO for problem in problems)
    return EXIT_FINDINGS if wrong or not all(one.decision.inject for one in chosen) else EXIT_FINE


def _is_meant(one: Explained, wanted: str | None, namespace: str | None) -> bool:
    if namespace is not None and one.ref.namespace != namespace:
        return False
    if wanted is None:
        return True
    kind, slash, name = wanted.rpartition("/")
    return one.ref.name == name and (not slash or one.ref.kind.lower() == _KINDS.get(kind.lower(), kind.lower()))


async def _read_namespaces(args: argparse.Namespace) -> dict[str, dict[str, str]]:
    """The labels of the cluster's namespaces. Raises NoCluster, Unreachable, Refused, Garbled."""
    from heddle.cluster.names import INSTALLED, labels_of
    from heddle.cluster.requests import find_all, open_cluster

    async with open_cluster(args) as api:
        found = await find_all(api, INSTALLED["Namespace"])
    return {item["metadata"]["name"]: dict(labels_of(item)) for item in found}


def _missing(one: Explained, namespaces: Collection[str]) -> str:
    """What the answer leaves out because nobody said it, and how to say it; '' for nothing."""
    name = one.ref.namespace
    if name in namespaces:
        return ""
    return (
        f"the Namespace {name} is not in the input, and was taken to have no labels: add it (kubectl get namespace "
        f"{name} -o yaml), or have it read from the cluster with --kubernetes"
    )


def _entry(one: Explained, namespaces: Collection[str]) -> dict[str, object]:
    decision = one.decision
    return {
        "resource": str(one.ref),
        "injected": decision.inject and not _refused(one),
        "reason": str(decision.why),
        "message": decision.message,
        "fix": decision.fix,
        "by_hand": one.injected,
        "missing": _missing(one, namespaces),
    }


def _refused(one: Explained) -> bool:
    return any(problem.severity is Severity.ERROR for problem in one.problems)


def _print(chosen: Sequence[Explained], problems: Sequence[Problem], namespaces: Collection[str]) -> None:
    from heddle.analyze import to_lines

    rows = []
    for one in chosen:
        answer = "refused" if _refused(one) else "yes" if one.decision.inject else "no"
        rows.append((str(one.ref), answer, one.decision.why, one.decision.message))
    print_table(("POD", "SIDECAR", "REASON", "WHY"), rows)
    fixes = {f"{one.ref}: {one.decision.fix}" for one in chosen if one.decision.fix}
    for fix in sorted(fixes):
        print(f"to change that: {fix}")
    for missing in sorted({_missing(one, namespaces) for one in chosen} - {""}):
        print(f"not known: {missing}")
    if problems:
        print()
        sys.stdout.writelines(list(to_lines(problems, 1))[:-1])
