"""A Dockerfile as its stages and instructions: what a linter, and a test of its steps, look at."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction. `flags` are its `--name=value`, `text` the rest."""

    name: str
    flags: dict[str, str]
    text: str
    line: int

    @property
    def words(self) -> list[str]:
        if self.text.startswith("["):
            found: list[str] = json.loads(self.text)
            return found
        return self.text.split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """From one FROM to the next. `name` '' for none."""

    base: str
    name: str
    instructions: tuple[Instruction, ...]

    def all(self, name: str) -> list[Instruction]:
        return [one for one in self.instructions if one.name == name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """`arguments` are those before the first stage."""

    arguments: dict[str, str]
    stages: tuple[Stage, ...]


def parse_dockerfile(file: Path) -> Dockerfile:
    """Raises ValueError for what no Dockerfile has."""
    arguments: dict[str, str] = {}
    stages: list[tuple[str, str, list[Instruction]]] = []
    for line, text in _logical_lines(file.read_text()):
        match = re.fullmatch(r"([A-Z]+)\s+(.*)", text, re.DOTALL)
        if match is None:
            raise ValueError(f"{file}:{line}: no instruction: {text[:40]!r}")
        name, rest = match[1], match[2].strip()
        flags = {}
        while flag := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
            flags[flag[1]] = flag[2]
            rest = rest[flag.end() :]
        if name == "FROM":
            base, _, stage = re.sub(r"\s+[Aa][Ss]\s+", "\0", rest).partition("\0")
            stages.append((base, stage, []))
        elif not stages:
            if name != "ARG":
                raise ValueError(f"{file}:{line}: {name} before FROM")
            key, _, value = rest.partition("=")
            arguments[key] = value
        else:
            stages[-1][2].append(Instruction(name=name, flags=flags, text=rest, line=line))
    return Dockerfile(
        arguments=arguments,
        stages=tuple(Stage(base=base, name=name, instructions=tuple(found)) for base, name, found in stages),
    )


def _logical_lines(text: str) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    begun, parts = 0, []
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or not line.strip():
            continue
        begun = begun or number
        parts.append(line.strip().removesuffix("\\").strip())
        if not line.rstrip().endswith("\\"):
            found.append((begun, " ".join(parts)))
            begun, parts = 0, []
    if parts:
        raise ValueError(f"line {begun}: goes on after the end")
    return found
