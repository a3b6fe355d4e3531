"""Text to documents and back: each with its place, and with its text as long as nothing changes in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Position, Problem, Severity
from sources.kinds import Metadata, Object
from sources.yaml_documents import Document, NotYaml, read_documents

_SEPARATOR: Final = re.compile(r"^---[ \t]*(?:#.*)?\r?$\n?", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The text between two separators, which is one document as a rule. `lines` come before it in its file."""

    file: str
    text: str
    lines: int
    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()


def read_chunks(text: bytes, file: str) -> Iterator[Chunk]:
    """All chunks of a file. `file` is its name in problems."""
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fix = "Write the file in UTF-8."
        yield Chunk(file=file, text="", lines=0, problems=(_not_yaml(file, 0, f"it is no text: {error.reason}", fix),))
        return
    start = 0
    for end, following in [*(found.span() for found in _SEPARATOR.finditer(decoded)), (len(decoded), 0)]:
        yield _read(file, decoded[start:end], decoded.count("\n", 0, start))
        start = following


def _read(file: str, text: str, lines: int) -> Chunk:
    try:
        documents = read_documents(text.encode())
    except NotYaml as error:
        problem = _not_yaml(file, lines + error.line, error.reason, "Correct the YAML.")
        return Chunk(file=file, text=text, lines=lines, problems=(problem,))
    faults = tuple(
        Problem(
            severity=Severity.ERROR,
            code=fault.code,
            message=fault.message,
            fix=fault.fix,
            position=Position(file=file, line=lines + fault.line),
        )
        for document in documents
        for fault in document.faults
    )
    return Chunk(file=file, text=text, lines=lines, documents=documents, problems=faults)


def join_chunks(chunks: list[str]) -> str:
    """The documents with a separator between each two; one that is only comments keeps its place."""
    text = ""
    for number, chunk in enumerate(chunks):
        if number:
            text += "---\n" if not text or text.endswith("\n") else "\n---\n"
        text += chunk
    return text if not text or text.endswith("\n") else text + "\n"


def place_problem(problem: Problem, document: Document, chunk: Chunk) -> Problem:
    """The problem with the line of its field, or of the deepest part of it that is there."""
    ref = problem.object or ObjectRef(kind="", name="")
    whole = Object(
        ref=ref,
        position=Position(file=chunk.file, line=document.root.line),
        value=None,
        root=document.root,
        metadata=Metadata(ref=ref),
    )
    line = whole.where(problem.field).line
    return replace(problem, position=Position(file=chunk.file, line=chunk.lines + line))


def _not_yaml(file: str, line: int, message: str, fix: str) -> Problem:
    return Problem(
        severity=Severity.ERROR,
        code=ProblemCode.MALFORMED_YAML,
        message=message,
        fix=fix,
        position=Position(file=file, line=line),
    )
