"""`heddle check-inject`: whether a pod gets a sidecar, and why, or why not."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from heddle.analyze import read_manifests, to_json
from heddle.cluster.requests import add_cluster_arguments
from heddle.injection_arguments import add_injection_arguments, injection_settings, override
from heddle.output import add_output_argument, cannot_read, complain, print_json, print_table
from model.problems import Problem, Severity

if TYPE_CHECKING:
    from heddle.cluster.revision_settings import RevisionSettings
    from injector.manifests import Explained
    from injector.settings import InjectionSettings

EXIT_FINE, EXIT_FINDINGS, EXIT_ERROR = 0, 1, 2
_SYSTEM_NAMESPACE = "heddle-system"
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
        "  kubectl get pod web-1 -n shop -o yaml | heddle check-inject -f - --kubernetes\n"
        "Decides as the webhook would: by the labels of the pod and of its Namespace, which must be in the files too\n"
        "(one that is not has no labels), and by the installation's settings, which are --settings or the defaults.\n"
        "--kubernetes, --kubeconfig or --context has both read from a cluster: the namespaces that the files lack,\n"
        "and without --settings what each revision that is installed there goes by; what other options say wins.\n"
        "What cannot be read of the settings is said on standard error and taken to be the default.\n"
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
        "--kubernetes", action="store_true", help="ask a cluster for what the files lack: namespaces, settings"
    )
    parser.add_argument(
        "--system-namespace", metavar="NS", help=f"Heddle's own namespace in the cluster ({_SYSTEM_NAMESPACE})"
    )
    add_cluster_arguments(parser)
    add_injection_arguments(parser, revision="heddle; of a cluster all that are installed")
    add_output_argument(parser)


def run_command(args: argparse.Namespace) -> int:
    from injector.manifests import namespace_labels
    from sources.kubernetes.access import NoCluster
    from sources.kubernetes.api import Refused, Unreachable
    from sources.kubernetes.events import Garbled

    asks_cluster = args.kubernetes or args.kubeconfig is not None or bool(args.context)
    if args.system_namespace is not None and not asks_cluster:
        complain("--system-namespace: only with --kubernetes")
        return EXIT_ERROR
    try:
        settings = [_with_istio(injection_settings(args), args)]
        files = read_manifests(args.filename, sys.stdin.buffer)
    except (OSError, ValueError) as error:
        complain(cannot_read(error, "name a file or directory that is there with -f (and --settings)"))
        return EXIT_ERROR
    namespaces = {name: labels for text in files.values() for name, labels in namespace_labels(text).items()}
    if asks_cluster:
        try:
            read, revisions = asyncio.run(_read_cluster(args))
        except (NoCluster, Unreachable, Refused, Garbled) as error:
            complain(f"the namespaces cannot be read: {error}")
            return EXIT_ERROR
        namespaces = {**read, **namespaces}
        _tell_unknown(args, revisions)
        settings = [_with_istio(override(each.injection, args), args) for each in revisions] or settings
    explained, problems = _explain(files, settings, namespaces, args.namespace or "default")
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


async def _read_cluster(args: argparse.Namespace) -> tuple[dict[str, dict[str, str]], Sequence[RevisionSettings]]:
    """The labels of the cluster's namespaces, and the revisions that are meant; none if a file says what they decide.

    Raises NoCluster, Unreachable, Refused, Garbled.
    """
    from heddle.cluster.names import INSTALLED, labels_of, revision_name
    from heddle.cluster.requests import find_all, open_cluster
    from heddle.cluster.revision_settings import find_revisions

    wanted = revision_name(args.revision) if args.revision else ""
    async with open_cluster(args) as api:
        found = await find_all(api, INSTALLED["Namespace"])
        if args.settings is None:
            place = args.system_namespace or _SYSTEM_NAMESPACE
            revisions = await find_revisions(api, namespace=place, revision=wanted)
        else:
            revisions = ()
    labels = {item["metadata"]["name"]: dict(labels_of(item)) for item in found}
    return labels, [each for each in revisions if wanted in ("", each.injection.revision)]


def _tell_unknown(args: argparse.Namespace, revisions: Sequence[RevisionSettings]) -> None:
    """What of the settings is taken to be the default, and why."""
    place = args.system_namespace or _SYSTEM_NAMESPACE
    for each in revisions:
        if each.trouble:
            complain(
                f"the settings of {each.injection.revision} cannot be read: {each.trouble}; what is not known is taken "
                "to be the default (or name a file with --settings)"
            )
        elif not each.installed:
            complain(f"{each.injection.revision} is not installed in {place}: its settings are taken to be the default")
    if not revisions and args.settings is None:
        complain(f"Heddle is not installed in {place} (--system-namespace): its settings are taken to be the default")


def _with_istio(settings: InjectionSettings, args: argparse.Namespace) -> InjectionSettings:
    from dataclasses import replace

    return replace(settings, take_over_istio_injection=True) if args.istio_injection else settings


def _explain(
    files: Mapping[str, bytes],
    settings: Sequence[InjectionSettings],
    namespaces: Mapping[str, Mapping[str, str]],
    namespace: str,
) -> tuple[list[Explained], list[Problem]]:
    """What becomes of each pod: the API server asks the revision that its labels name, and that one answers here.

    `settings` are the revisions', at least one.
    """
    from injector.decide import Why
    from injector.manifests import explain_text

    # Where nobody is meant the default revision speaks, as whose labels the fix names.
    ordered = sorted(settings, key=lambda each: not each.is_default)
    explained: list[Explained] = []
    problems: list[Problem] = []
    for file, text in files.items():
        answers = [
            explain_text(text, file=file, settings=each, namespaces=namespaces, namespace=namespace) for each in ordered
        ]
        for each in zip(*(pods for pods, _ in answers), strict=True):
            by_rank = sorted(each, key=lambda one: (not one.decision.inject, one.decision.why is Why.OTHER_REVISION))
            explained.append(by_rank[0])
        problems += answers[0][1]
    return explained, problems


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
