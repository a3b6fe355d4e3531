"""Values of the chart as arguments, of `heddle install` and `heddle check --pre`: `-f FILE`, `--set NAME=VALUE`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heddle.output import cannot_read, complain

if TYPE_CHECKING:
    from heddle.cluster.chart import Chart, Rendered


def add_values_arguments(parser: argparse.ArgumentParser) -> None:
    """`-f` and `--set`."""
    parser.add_argument(
        "-f", "--values", action="append", default=[], type=Path, metavar="FILE", help="values; later files win"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="assignments", help="a value, as with Helm"
    )


def render_installation(args: argparse.Namespace) -> tuple[Chart, Rendered] | None:
    """What the arguments make of the chart, with `args.namespace` and `args.revision`.

    None if they make nothing: why has been said then.
    """
    import yaml

    from heddle.cluster.chart import BadValues, load_chart
    from heddle.cluster.template_syntax import TemplateError
    from sources.kubernetes_names import is_dns_label

    if not is_dns_label(args.namespace):
        complain(f"{args.namespace!r} is no name of a namespace: lower-case letters, digits and '-'")
        return None
    try:
        values = _values(args)
    except (OSError, ValueError) as error:
        complain(cannot_read(error, "name a file of values that can be read with -f, or - for standard input"))
        return None
    try:
        chart = load_chart()
        return chart, chart.render(values, namespace=args.namespace)
    except BadValues as error:
        for line in str(error).splitlines():
            complain(line)
    except (OSError, ValueError, TemplateError, yaml.YAMLError) as error:
        complain(str(error))
    return None


def _values(args: argparse.Namespace) -> dict[str, Any]:
    """Files, then assignments, then the revision. Raises OSError, ValueError."""
    from heddle.cluster.chart_values import merged, parse_assignments

    # Whoever installs without Helm needs the namespace from us.
    values: dict[str, Any] = {"namespace": {"create": True}}
    for file in args.values:
        values = merged(values, _read_values(file), keep_null=True)
    for assignments in args.assignments:
        values = parse_assignments(assignments, values)
    if args.revision is not None:
        values["revision"] = args.revision
    return values


def _read_values(file: Path) -> dict[str, Any]:
    """Raises OSError, ValueError with the file's name."""
    import yaml

    from sources.yaml_documents import read_documents

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        found = yaml.safe_load(text)
    except UnicodeDecodeError:
        raise ValueError(f"{file} is no text in UTF-8: save it as that") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        place = f"{file}:{where.line + 1}" if where is not None else str(file)
        reason = getattr(error, "problem", None) or "it cannot be read"
        raise ValueError(f"{place} is no YAML: {reason}; correct it there") from None
    if not isinstance(found, dict | None):
        raise ValueError(f"{file} holds no values: write a mapping, such as `replicas: 3`")
    for fault in (fault for document in read_documents(text.encode()) for fault in document.faults):
        raise ValueError(f"{file}:{fault.line}: {fault.message}. {fault.fix}")
    return found or {}
