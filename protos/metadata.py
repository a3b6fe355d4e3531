"""What betterproto2 knows of a message class: its fields, their types and defaults."""

import betterproto2 as bp


def metadata(cls: type[bp.Message]) -> bp.ProtoClassMetadata:
    """The metadata that the library itself encodes and parses by, computed on first use."""
    # The library's `classproperty` is typed for instances only.
    return cls._betterproto  # type: ignore[arg-type]
