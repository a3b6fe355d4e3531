"""Writes, for one message class, the Python source of a function that encodes its instances.

betterproto2 interprets a message's metadata field by field each time, and validates every level again.
Here the metadata is read once per class and becomes straight-line code. Closures over the same metadata
were measured too and take 1.5 times as long. An `Address` would begin:

    def encode(m):
        out = []
        x = m.socket_address
        if x is not None:
            b = c8(x)
            out += b'\\n', V[n] if (n := len(b)) < 16384 else varint(n), b
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import betterproto2 as bp

from protos import scalars
from protos.metadata import metadata

Encoder = Callable[[Any], bytes]

_LENGTH = f"V[n] if (n := len(b)) < {scalars.SMALL} else varint(n)"
# A conditional's test runs before its branches, so `n` is bound when `V[n]` is reached.


@dataclass(frozen=True, slots=True)
class Encoded:
    """A message of a class, encoded: it may stand in a field in the message's place."""

    cls: type[bp.Message]
    body: bytes


def _reject_class(expected: type, value: object) -> NoReturn:
    # The value itself stays out of the text: it may hold a private key.
    raise TypeError(f"a {expected.__name__} is wanted, not a {type(value).__name__}")


def _reject_oneof(message: bp.Message, group: str) -> NoReturn:
    raise ValueError(f"{type(message).__name__}: more than one field of the oneof {group} is set")


class Program:
    """The source of one class's encoder and the names that it uses."""

    def __init__(self, cls: type[bp.Message], encoder_of: Callable[[type[bp.Message]], Encoder]) -> None:
        self._cls = cls
        self._encoder_of = encoder_of
        self.names: dict[str, Any] = {
            "V": scalars.VARINTS,
            "varint": scalars.varint,
            "join": b"".join,
            "Encoded": Encoded,
            "reject_class": _reject_class,
            "reject_oneof": _reject_oneof,
        }
        self.source = "\n".join(("def encode(m):", *(f"    {line}" for line in self._body())))

    def compile(self) -> Encoder:
        """The function itself."""
        code = compile(self.source, f"<encoder of {self._cls.__module__}.{self._cls.__qualname__}>", "exec")
        exec(code, self.names)  # noqa: S102 - the source holds field names and numbers of generated classes only
        encoder: Encoder = self.names["encode"]
        return encoder

    def _body(self) -> Iterator[str]:
        fields = metadata(self._cls).meta_by_field_name
        sizes = Counter(meta.group for meta in fields.values())
        # With a single field a oneof cannot be set twice.
        groups = {group: f"g{i}" for i, group in enumerate(sizes) if group and sizes[group] > 1}
        yield "out = []"
        for flag in groups.values():
            yield f"{flag} = False"
        for name, meta in fields.items():
            yield f"x = m.{name}"
            # A field with presence is sent whenever it is set, every other one unless it is its type's zero.
            bare = meta.proto_type == bp.TYPE_MESSAGE and not meta.repeated
            yield "if x is not None:" if meta.optional or meta.group or bare else "if x:"
            if meta.group in groups:
                flag = groups[meta.group]
                yield f"    if {flag}: reject_oneof(m, {meta.group!r})"
                yield f"    {flag} = True"
            for line in self._field(name, meta):
                yield f"    {line}"
        yield "if x := m._unknown_fields: out.append(x)"
        yield "return join(out)"

    def _field(self, name: str, meta: bp.FieldMetadata) -> Iterator[str]:
        """Appends the field's key and value, which is in `x`, to `out`."""
        tag = scalars.key(meta.number, meta.proto_type)
        if meta.proto_type == bp.TYPE_MAP:
            yield from self._map(name, meta, tag)
        elif not meta.repeated:
            yield from self._value(metadata(self._cls).cls_by_field[name], meta, tag)
        elif meta.proto_type in bp.PACKED_TYPES:
            packed = self._bind(scalars.ENCODERS[meta.proto_type])
            yield f"b = join([{packed}(x) for x in x])"
            yield f"out += {scalars.key(meta.number, bp.TYPE_BYTES)!r}, {_LENGTH}, b"
        else:
            yield "for x in x:"
            for line in self._value(metadata(self._cls).cls_by_field[name], meta, tag):
                yield f"    {line}"

    def _map(self, name: str, meta: bp.FieldMetadata, tag: bytes) -> Iterator[str]:
        # An entry is a message of key and value, both always written.
        assert meta.map_meta is not None
        key_meta, value_meta = meta.map_meta
        yield "outer = out"
        yield "for k, v in x.items():"
        yield "    out = []"
        yield "    x = k"
        for line in self._value(str, key_meta, scalars.key(1, key_meta.proto_type)):
            yield f"    {line}"
        yield "    x = v"
        value_cls = metadata(self._cls).cls_by_field[f"{name}.value"]
        for line in self._value(value_cls, value_meta, scalars.key(2, value_meta.proto_type)):
            yield f"    {line}"
        yield "    b = join(out)"
        yield f"    outer += {tag!r}, {_LENGTH}, b"
        yield "out = outer"

    def _value(self, cls: type, meta: bp.FieldMetadata, tag: bytes) -> Iterator[str]:
        """Appends `tag` and the one value in `x`, of the class `cls` if it is a message."""
        proto_type = meta.proto_type
        if proto_type == bp.TYPE_STRING:
            yield "b = x.encode()"
            yield f"out += {tag!r}, {_LENGTH}, b"
        elif proto_type == bp.TYPE_BOOL:
            encoder = self._bind(scalars.ENCODERS[proto_type])
            yield f"out.append({tag + scalars.VARINTS[1]!r} if x is True else {tag!r} + {encoder}(x))"
        elif proto_type in scalars.INLINE:
            encoder = self._bind(scalars.ENCODERS[proto_type])
            yield f"out += {tag!r}, V[x] if 0 <= x < {scalars.SMALL} else {encoder}(x)"
        elif proto_type != bp.TYPE_MESSAGE:
            yield f"out += {tag!r}, {self._bind(scalars.ENCODERS[proto_type])}(x)"
        elif meta.unwrap is not None:
            yield f"out += {tag!r}, {self._bind(_unwrapper(meta.unwrap()))}(x)"
        else:
            wanted = self._bind(cls)
            yield f"if type(x) is {wanted}: b = {self._bind_encoder(cls)}(x)"
            yield f"elif type(x) is Encoded and x.cls is {wanted}: b = x.body"
            yield f"else: reject_class({wanted}, x)"
            yield f"out += {tag!r}, {_LENGTH}, b"

    def _bind(self, value: object) -> str:
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def _bind_encoder(self, cls: type[bp.Message]) -> str:
        """A name for another class's encoder, which is compiled when it is first called.

        Messages refer to hundreds of others and to themselves; a process uses few of them.
        """
        name = f"c{len(self.names)}"

        def compile_first(message: bp.Message) -> bytes:
            encoder = self.names[name] = self._encoder_of(cls)
            return encoder(message)

        self.names[name] = compile_first
        return name


def _unwrapper(wrapper: type[bp.Message]) -> Encoder:
    """The encoder of a field that holds, in place of the message `wrapper`, a plain Python value."""
    match wrapper.__name__:
        case "Duration":
            return scalars.duration
        case "Timestamp":
            return scalars.timestamp
        case _:
            return scalars.wrapped(metadata(wrapper).meta_by_field_name["value"].proto_type)
