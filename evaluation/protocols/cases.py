"""What a protocol asks of every method: its clips, each under its lights or with its portraits.

What is drawn is drawn by digests of the seed and of content: neither the order nor the names of
clips matter, and one that is added takes a place only where it is drawn itself.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.lake import Lake
from evaluation.cells.cell import Case, LightTarget, Subject
from evaluation.cells.places import Places
from evaluation.protocols.cut_worker import ClipCutter, CuttingStoppedError, Progress, Run
from evaluation.protocols.cutting import Cutter
from evaluation.protocols.lighting import Lighting
from evaluation.protocols.lossless import made_anew
from evaluation.protocols.sources import LeftOut, Sourced, read_portraits, read_source
from evaluation.protocols.tables import Protocol
from infra.digests import digest_json
from infra.errors import UsageError

__all__ = ["CuttingStoppedError", "Prepared", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """A protocol, ready for methods.

    Attributes:
        protocol: The protocol.
        subjects: Clips that are judged on, by name.
        cases: What every method is given.
        left_out: Clips and faces that could not be used.
        origin: Where the clips are from, in JSON types.
    """

    protocol: Protocol
    subjects: tuple[Subject, ...]
    cases: tuple[Case, ...]
    left_out: tuple[LeftOut, ...] = ()
    origin: dict[str, Any] = field(default_factory=dict)


def prepare(
    protocol: Protocol,
    lake: Lake,
    scratch: Path,
    progress: Progress = lambda name: None,
    run: Run | None = None,
) -> Prepared:
    """Cut a protocol's clips, find its lights, and say what every method is given.

    What was cut before is not cut again, and sent to no worker. With an engine, ``run`` is

        lambda spec, items: engine.pool("cuts", spec, Resources(), None).run(
            items, cancelled=cancelled
        )

    It is called only if there is something to cut, once a batch, and always with the same ``spec``.
    A clip over which workers are lost is left out, with the reason.

    Args:
        protocol: What is asked for.
        lake: Where releases are, and where films are kept.
        scratch: Folder for temporary files.
        progress: Told the name of each clip and face, once it is cut.
        run: Gives clips to workers; without, they are cut one after the other in this process.

    Raises:
        UsageError: There is no such source, or too few of its clips can be used.
        LakeError: The disk is full or read-only, or the release is damaged; or a film that was kept
            is, which is then removed: the next run cuts it anew.
        CuttingStoppedError: ``run`` ended without a result for each clip: it was cancelled.
    """
    with made_anew():
        places = Places(lake.root / "benchmarks")
        return _prepared(protocol, lake, places, ClipCutter(protocol, lake, scratch, progress, run))


def _prepared(protocol: Protocol, lake: Lake, places: Places, cutter: ClipCutter) -> Prepared:
    sourced = read_source(protocol, lake, cutter)
    own = Cutter(protocol, places)
    if protocol.mode == "animate":
        cases, left_out = _animations(protocol, sourced, cutter, own)
    else:
        lighting = Lighting(protocol, places)
        targets, left_out = _faces(protocol, sourced, cutter, own, lighting)
        cases, more = _relightings(protocol, sourced, lighting, targets)
        left_out += more
    if not cases:
        raise UsageError(
            f"the protocol {protocol.name} has no case: {left_out[0].name}: {left_out[0].reason}"
        )
    return Prepared(
        protocol,
        sourced.subjects,
        tuple(sorted(cases, key=lambda case: case.id)),
        (*sourced.left_out, *left_out),
        sourced.origin,
    )


def _relightings(
    protocol: Protocol, sourced: Sourced, lighting: Lighting, targets: list[LightTarget]
) -> tuple[list[Case], list[LeftOut]]:
    cases, left_out = [], []
    for subject in sourced.subjects:
        try:
            wanted = [*targets, *lighting.named(subject, protocol.lights.presets)]
        except UsageError as error:
            left_out.append(LeftOut(subject.name, error.message))
            continue
        cases += [Case("relight", subject, None, each, protocol.seed) for each in wanted]
    return cases, left_out


def _animations(
    protocol: Protocol, sourced: Sourced, cutter: ClipCutter, own: Cutter
) -> tuple[list[Case], list[LeftOut]]:
    table = protocol.portraits
    if table.folder:
        portraits, left_out = read_portraits(table.folder, 0, cutter)
    else:
        portraits, left_out = [_portrait(each, own) for each in sourced.subjects], []
    cases = []
    for driver in sourced.subjects:
        others = [each for each in portraits if each.identity != driver.identity]
        if len(others) < table.each:
            raise UsageError(
                f"the protocol {protocol.name} asks for {table.each} portraits of other people"
                f" for each clip; for {driver.name} there are {len(others)}",
                hint="add clips of more people, or set portraits.folder",
            )
        others.sort(key=lambda each: digest_json([protocol.seed, driver.id, each.id]))
        chosen = others[: table.each]
        cases += [Case("animate", driver, each, None, protocol.seed) for each in chosen]
    return cases, left_out


def _faces(
    protocol: Protocol,
    sourced: Sourced,
    cutter: ClipCutter,
    own: Cutter,
    lighting: Lighting,
) -> tuple[list[LightTarget], list[LeftOut]]:
    """The lights on as many reference faces as are asked for."""
    table = protocol.lights
    if not table.faces:
        return [], []
    if table.folder:
        portraits, left_out = read_portraits(table.folder, table.faces, cutter)
    else:
        portraits, left_out = [_portrait(each, own) for each in _drawn(protocol, sourced)], []
    targets: list[LightTarget] = []
    for each in portraits:
        if len(targets) == table.faces:
            break
        try:
            targets.append(lighting.of_face(each.name, each.film))
        except UsageError as error:
            left_out.append(LeftOut(each.name, error.message))
    if len(targets) < table.faces:
        raise UsageError(
            f"the protocol {protocol.name} asks for {table.faces} reference faces; there are"
            f" {len(targets)}",
            hint="set lights.folder to a folder of portraits, or lights.faces to fewer",
        )
    return targets, left_out


def _drawn(protocol: Protocol, sourced: Sourced) -> list[Subject]:
    """Subjects in a drawn order, one of each person before a second one of any."""
    order = sorted(sourced.subjects, key=lambda each: digest_json([protocol.seed, each.id]))
    turns: dict[str, int] = {}
    ranked = []
    for subject in order:
        turn = turns[subject.identity] = turns.get(subject.identity, -1) + 1
        ranked.append((turn, subject))
    return [subject for _, subject in sorted(ranked, key=lambda each: each[0])]


def _portrait(subject: Subject, cutter: Cutter) -> Subject:
    """A subject's first picture."""
    return Subject(subject.name, subject.identity, cutter.first(subject.film), subject.facts)
