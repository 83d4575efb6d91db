"""How much a protocol asks for, found without cutting or computing anything."""

from collections import Counter

from catalog.lake import Lake
from catalog.release import Release
from catalog.sources import list_source
from evaluation.protocols.tables import Protocol
from infra.errors import UsageError


def count_clips(protocol: Protocol, lake: Lake | None) -> int:
    """Clips that a protocol's source has, up to its limit; not all of them may be of use.

    Args:
        protocol: Says whose.
        lake: Where releases are; None where there is no lake yet.

    Raises:
        UsageError: There is no such source, or nothing in it.
    """
    source = protocol.source
    if source.release:
        if lake is None:
            raise UsageError(f"there is no lake, and so no release {source.release}")
        splits = Release.open(lake, source.release, source.version or None).index["split"]
        held = Counter(splits.to_pylist())
        found = held.total() if source.split == "all" else held[source.split]
        where = f"the release {source.release}, split {source.split},"
        others = ", ".join(f"{split} {count}" for split, count in sorted(held.items()))
        hint = f"it has {others}: source.split={'val' if held['val'] else 'all'}"
    elif source.folder:
        # Layouts differ in the files that they list, videos or pictures: here both are welcome.
        kinds = ("ffhq", source.layout)
        found = len({each.uri for kind in kinds for each in list_source(source.folder, kind)})
        where, hint = source.folder, "videos and pictures are known by their endings"
    else:
        raise UsageError(
            f"the protocol {protocol.name} does not say whose clips",
            hint="name a folder (--source FOLDER) or a release (--release NAME)",
        )
    if not found:
        raise UsageError(f"{where} holds no clips", hint=hint)
    return min(found, source.limit) if source.limit else found


def cases_each(protocol: Protocol) -> int:
    """Cases of every clip: lights that it is relit with, or portraits that it moves."""
    if protocol.mode == "animate":
        return protocol.portraits.each
    return len(protocol.lights.presets) + protocol.lights.faces
