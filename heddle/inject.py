"""`heddle inject`: manifests in, the same manifests with sidecars out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

from heddle.analyze import read_manifests, to_lines
from heddle.injection_arguments import add_injection_arguments, injection_settings
from heddle.output import cannot_read, complain
from model.problems import Problem

EXIT_FINE, EXIT_FINDINGS, EXIT_ERROR = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "  heddle inject -f app.yaml | kubectl apply -f -\n"
        "  kubectl get deploy web -o yaml | heddle inject -f - | kubectl apply -f -\n"
        "Every pod and pod template (Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob, and Lists of\n"
        "them) gets a sidecar, unless it declines; everything else passes through as it is. The same input gives the\n"
        "same bytes, and so does output that is put in again. After an error nothing is printed (exit status 1)."
    )
    parser.add_argument(
        "-f", "--filename", action="append", required=True, metavar="PATH", help="a file, a directory, or - for stdin"
    )
    parser.add_argument("-n", "--namespace", default="default", help="of objects that do not say theirs (default)")
    add_injection_arguments(parser)


def run_command(args: argparse.Namespace) -> int:
    from injector.manifests import inject_text

    try:
        settings = injection_settings(args)
        files = read_manifests(args.filename, sys.stdin.buffer)
    except (OSError, ValueError) as error:
        complain(cannot_read(error, "name a file or directory that is there with -f (and --settings)"))
        return EXIT_ERROR
    done = [inject_text(text, file=file, settings=settings, namespace=args.namespace) for file, text in files.items()]
    for one in done:
        _report(one.problems)
        for explained in one.explained:
            if not explained.decision.inject:
                complain(f"{explained.ref}: no sidecar: {explained.decision.message}")
    if any(one.text is None for one in done):
        return EXIT_FINDINGS
    sys.stdout.write("---\n".join(one.text for one in done if one.text))
    return EXIT_FINE


def _report(problems: Iterable[Problem]) -> None:
    found = tuple(problems)
    if found:
        sys.stderr.writelines(list(to_lines(found, 1))[:-1])
