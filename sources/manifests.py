"""One file of manifests, parsed: its objects, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Position, Problem, Severity
from sources.fields import Fields, Report, describe
from sources.json_values import TooDeep, to_node
from sources.kinds import Kind, Object
from sources.metadata import parse_metadata, parse_ref
from sources.other_kinds import remark_on
from sources.registry import KINDS
from sources.yaml_documents import Document, Fault, Node, NotYaml, read_documents

_LIST_MEMBERS = frozenset({"apiVersion", "kind", "metadata", "items"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a file says. `rejected` are the objects that stand in it and must not come into force; `stand_ins` are what
    some of them leave to be enforced while no good version is known.

    `readable` False: the file is no YAML, so that nothing is known about what it holds. `nameless`: a document is
    wrong in such a way that nobody can tell which object it was meant to be.
    """

    objects: tuple[Object, ...] = ()
    rejected: frozenset[ObjectRef] = frozenset()
    stand_ins: tuple[Object, ...] = ()
    problems: tuple[Problem, ...] = ()
    readable: bool = True
    nameless: bool = False


def parse_documents(file: str, text: bytes) -> Parsed:
    """All objects of a file. One bad object hides no other; text that is no YAML hides them all."""
    try:
        documents = read_documents(text)
    except NotYaml as error:
        return Parsed(readable=False, problems=(_malformed(file, error),))
    objects: list[Object] = []
    stand_ins: list[Object] = []
    rejected: set[ObjectRef] = set()
    problems: list[Problem] = []
    nameless = False
    for document in documents:
        for node, faults in _expanded(document):
            report = Report(file=file)
            for fault in faults:
                report.add(Severity.ERROR, fault.code, fault.message, fault.fix, fault.line)
            # A document that was skipped is empty here, and what would be said of that is false.
            found = None if document.skipped else _parse_object(node, report)
            if found is not None:
                (stand_ins if found.stand_in else objects).append(found)
            if report.failed and report.ref is not None:
                rejected.add(report.ref)
            else:
                nameless = nameless or report.failed
            problems.extend(report.problems)
    return Parsed(
        objects=tuple(objects),
        rejected=frozenset(rejected),
        stand_ins=tuple(stand_ins),
        problems=tuple(problems),
        nameless=nameless,
    )


def parse_value(name: str, value: object) -> Parsed:
    """One object that came as JSON and is decoded already. `name` stands where a file's name does in its problems."""
    report = Report(file=name)
    try:
        found = _parse_object(to_node(value), report)
    except TooDeep as error:
        # Its name is within reach, so that the object is known and keeps what is in force.
        found = None
        _parse_object(to_node(_shallow(value)), report)
        report.problems.clear()
        report.add(Severity.ERROR, ProblemCode.TOO_LARGE, str(error), "Split the object.", 0)
    if found is not None and not found.stand_in:
        return Parsed(objects=(found,), problems=tuple(report.problems))
    return Parsed(
        rejected=frozenset({report.ref}) if report.ref is not None else frozenset(),
        stand_ins=(found,) if found is not None else (),
        problems=tuple(report.problems),
        nameless=report.ref is None and report.failed,
    )


def _shallow(value: object) -> object:
    """The object with its name and nothing else."""
    if not isinstance(value, dict):
        return value
    return {name: value[name] for name in ("apiVersion", "kind", "metadata") if name in value}


def _malformed(file: str, error: NotYaml) -> Problem:
    return Problem(
        severity=Severity.ERROR,
        code=ProblemCode.MALFORMED_YAML,
        message=error.reason,
        fix="Correct the YAML; until then what was read from this file before stays in force.",
        position=Position(file=file, line=error.line),
    )


def _expanded(document: Document) -> Iterator[tuple[Node, tuple[Fault, ...]]]:
    """The object of a document, or the items of its List; a fault belongs to the last one that begins before it.

    A List without an item to bear the blame stands for itself.
    """
    members = document.root.value
    items = members["items"].value if isinstance(members, Mapping) and _is_list(members) else ()
    if not isinstance(items, tuple) or not items:
        yield document.root, document.faults
        return
    lines = [item.line for item in items[1:]]
    for index, item in enumerate(items):
        end = lines[index] if index < len(lines) else None
        yield (
            item,
            tuple(
                fault
                for fault in document.faults
                if (end is None or fault.line < end) and (index == 0 or fault.line >= item.line)
            ),
        )


def _is_list(members: Mapping[str, Node]) -> bool:
    kind = members.get("kind")
    return (
        kind is not None
        and isinstance(kind.value, str)
        and kind.value.endswith("List")
        and "items" in members
        and members.keys() <= _LIST_MEMBERS
    )


def _parse_object(node: Node, report: Report) -> Object | None:
    if not isinstance(node.value, Mapping):
        message = f"the document is {describe(node)}, and no object"
        fix = "An object has apiVersion, kind and metadata."
        report.add(Severity.ERROR, ProblemCode.NOT_AN_OBJECT, message, fix, node.line)
        return None
    root = Fields(node.value, node.line, report)
    if _is_list(node.value):
        # It has no items, or they are no list.
        root.each("items")
        return None
    api_version, name = root.text("apiVersion"), root.text("kind")
    if not api_version or not name:
        missing = "kind" if api_version else "apiVersion"
        message = f"{missing} is missing, so this is no Kubernetes object"
        root.problem(ProblemCode.NOT_AN_OBJECT, message, f"Add {missing}.", field=missing)
        return None
    group, _, version = api_version.rpartition("/")
    kind = KINDS.get((group, name))
    if kind is None:
        remark = remark_on(group, name, KINDS)
        report.ref = parse_ref(name, True, root)
        root.problem(remark.code, remark.message, remark.fix, field="kind", severity=remark.severity)
        report.ref = None
        return None
    return _parse_known(kind, version, node, root)


def _parse_known(kind: Kind, version: str, node: Node, root: Fields) -> Object | None:
    report = root.report
    report.unknown = Severity.ERROR if kind.strict else Severity.WARNING
    ref = report.ref = parse_ref(kind.kind, kind.namespaced, root)
    if report.problems:
        # Faults of the document were filed before its object had a name.
        report.problems[:] = [_named(problem, ref) for problem in report.problems]
    if ref is None:
        _say_why_nameless(kind, root)
        return None
    if version not in kind.versions:
        message = f"{kind.kind} has no version {version[:80]!r}"
        fix = f"Use {'/'.join(part for part in (kind.group, kind.versions[0]) if part)}."
        root.problem(ProblemCode.UNKNOWN_VERSION, message, fix, field="apiVersion")
    metadata = parse_metadata(ref, root)
    root.ignore("status")
    value = kind.parse(root, metadata)
    root.finish()
    if report.failed:
        value = _stand_in(kind, ref, node, report.file)
    if value is None:
        return None
    position = Position(file=report.file, line=node.line)
    return Object(ref=ref, position=position, value=value, root=node, metadata=metadata, stand_in=report.failed)


def _stand_in(kind: Kind, ref: ObjectRef, node: Node, file: str) -> object | None:
    """What a refused object of this kind leaves to be enforced; None unless its metadata, at least, is right."""
    if kind.parse_stand_in is None or not isinstance(node.value, Mapping):
        return None
    report = Report(file=file, ref=ref)
    root = Fields(node.value, node.line, report)
    value = kind.parse_stand_in(root, parse_metadata(ref, root))
    return None if report.failed else value


def _say_why_nameless(kind: Kind, root: Fields) -> None:
    """An unquoted `123` or `n` is no text to YAML: the name or namespace is there, and is none."""
    metadata = root.child("metadata")
    if metadata is None and root.has("metadata"):
        return
    count = len(root.report.problems)
    name = metadata.text("name") if metadata is not None else ""
    if not name and len(root.report.problems) == count:
        root.problem(ProblemCode.MISSING_FIELD, "metadata.name is missing", "Give the object a name.", field="metadata")
    if metadata is not None and kind.namespaced:
        metadata.text("namespace")


def _named(problem: Problem, ref: ObjectRef | None) -> Problem:
    return replace(problem, object=ref)
