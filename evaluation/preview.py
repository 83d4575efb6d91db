"""A look at a build: one self-contained HTML page with a card a clip and a few plots."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import uuid4

from catalog.lake import Lake
from catalog.members import Member, read_members, read_recipe
from catalog.outcomes import Outcome
from catalog.sources import local_copy
from catalog.verdicts import WORDS, Verdict, verdict
from evaluation.pages import write_page
from evaluation.plots import Plot, bars, histogram, scatter
from evaluation.strips import data_url, strip
from infra.errors import LimelightError
from stages.frames import SourceFrames
from stages.media import UnusableVideo

_STRIPS = (
    ("frame", "video", "video.mp4"),
    ("matting", "mask", "mask.mp4"),
    ("kpmap", "kpmap", "kpmap.mp4"),
    ("geometry", "mesh", "mesh.mp4"),
)
"""Stage, label and artifact of each strip, from top to bottom."""


@dataclass(frozen=True)
class Row:
    """A labelled strip: a ``data:`` URL and its size in pixels."""

    name: str
    url: str
    width: int
    height: int


@dataclass
class Card:
    """What the page says of one clip.

    Attributes:
        label: Its name.
        status: ``done`` (kept), ``rejected``, ``failed``, ``quarantined`` or ``pending``.
        stage: Where it ended.
        reason: Why, in words.
        score: Its quality in 0..1.
        details: Terms and values.
        rows: Strips.
        note: Why there are none, or fewer than there should be.
        stderr: Last lines of a worker that it killed.
        command: Reproduces a failure.
    """

    label: str
    status: str
    stage: str
    reason: str
    score: float | None
    details: list[tuple[str, str]]
    rows: list[Row] = field(default_factory=list)
    note: str = ""
    stderr: str = ""
    command: str = ""


def write_preview(lake: Lake, name: str, out: Path, *, limit: int = 100) -> Path:
    """Write the preview of a release's latest build.

    Args:
        lake: Holds it.
        name: Of the release.
        out: The HTML file to write.
        limit: Clips shown in full, of every verdict some; the statistics cover all of them.

    Returns:
        ``out``.

    Raises:
        UsageError: No build of that name.
    """
    recipe = read_recipe(lake, name)
    members = read_members(lake, name)
    outcomes = lake.outcomes.of([member.clip for member in members], recipe.fingerprints)
    stages = list(recipe.fingerprints)
    verdicts = {m.clip: verdict(outcomes[m.clip], stages) for m in members}
    counts = Counter(status for status, _, _ in verdicts.values())
    shown = _pick(members, verdicts, limit)
    uris = {row["clip"]: row["uri"] for row in lake.clips.rows([m.clip for m in shown]).to_pylist()}
    scratch = lake.scratch(f"preview-{name}-{uuid4().hex}")
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        cards = [
            _card(lake, member, outcomes[member.clip], verdicts[member.clip], uris, scratch)
            for member in shown
        ]
    finally:
        lake.discard_scratch(scratch.name)
    return write_page(
        "preview.html.j2",
        out,
        name=name,
        subtitle=f"{len(members)} clips from {recipe.source}",
        total=len(members),
        shown=len(shown),
        counts=[(status, counts[status]) for status in WORDS if counts[status]],
        words=WORDS,
        plots=_plots(outcomes, verdicts, stages, recipe.config),
        clips=cards,
    )


def _pick(members: Sequence[Member], verdicts: Mapping[str, Verdict], limit: int) -> list[Member]:
    """Up to ``limit`` clips by verdict and name: of every verdict as many, while there are any."""
    by_verdict: dict[str, list[Member]] = {status: [] for status in WORDS}
    for member in sorted(members, key=lambda member: member.label):
        by_verdict[verdicts[member.clip].status].append(member)
    ranked = [pair for group in by_verdict.values() for pair in enumerate(group)]
    chosen = {member.clip for _, member in sorted(ranked, key=lambda pair: pair[0])[:limit]}
    return [member for _, member in ranked if member.clip in chosen]


def _card(
    lake: Lake,
    member: Member,
    outcomes: Mapping[str, Outcome],
    ended: Verdict,
    uris: Mapping[str, str],
    scratch: Path,
) -> Card:
    status, stage, reason = ended
    quality = outcomes.get("quality")
    card = Card(
        label=member.label,
        status=status,
        stage=stage,
        reason=reason,
        score=quality.score if quality else None,
        details=_details(member, outcomes),
    )
    bad = outcomes.get(stage)
    if bad is not None and status in ("failed", "quarantined"):
        card.stderr, card.command = bad.stderr, bad.command
    try:
        if "frame" in outcomes and outcomes["frame"].status == "done":
            length = outcomes["frame"].facts["frames"]
            for stage, word, film in _STRIPS:
                made = outcomes[stage].artifacts if stage in outcomes else ()
                for artifact in (each for each in made if each.name == film):
                    path = lake.artifacts.require(stage, artifact)
                    card.rows.append(_row(word, SourceFrames(path, budget=0), length))
        elif "probe" in outcomes and outcomes["probe"].status == "done":
            facts = outcomes["probe"].facts
            path = local_copy(uris[member.clip], scratch)
            frames = SourceFrames(path, budget=0, facts=facts)
            card.rows.append(_row("source", frames, facts["frames"]))
    except (LimelightError, UnusableVideo, OSError, IndexError) as error:
        card.note = f"Cannot be shown: {error}"
    return card


def _row(name: str, frames: SourceFrames, length: int) -> Row:
    picture = strip(frames, length=length)
    return Row(name, data_url(picture), picture.shape[1], picture.shape[0])


def _details(member: Member, outcomes: Mapping[str, Outcome]) -> list[tuple[str, str]]:
    details = [("identity", member.identity), ("split", member.split)]
    if "probe" in outcomes and outcomes["probe"].status == "done":
        facts = outcomes["probe"].facts
        details.append(("source", f"{facts['width']}×{facts['height']}, {facts['frames']} frames"))
        details.append(("fps", f"{float(Fraction(facts['fps'])):.5g}"))
    quality = outcomes.get("quality")
    if quality is not None and quality.score is not None:
        details.append(("quality", f"{quality.score:.3f}"))
    seconds = sum(outcome.seconds for outcome in outcomes.values())
    details.append(("worker time", f"{seconds:.1f} s"))
    details.append(("clip", member.clip[:12]))
    return details


def _plots(
    outcomes: Mapping[str, Mapping[str, Outcome]],
    verdicts: Mapping[str, Verdict],
    stages: Sequence[str],
    config: Mapping[str, Any],
) -> list[Plot]:
    scores: dict[str, list[float]] = {}
    frames: dict[str, list[float]] = {}
    seconds = dict.fromkeys(stages, 0.0)
    light: list[tuple[float, float]] = []
    for clip, made in outcomes.items():
        status = verdicts[clip][0]
        for outcome in made.values():
            seconds[outcome.stage] += outcome.seconds
        quality = made.get("quality")
        if quality is not None and quality.score is not None:
            scores.setdefault(status, []).append(quality.score)
        probe = made.get("probe")
        if probe is not None and probe.status == "done":
            frames.setdefault(status, []).append(float(probe.facts["frames"]))
        geometry = made.get("geometry")
        if geometry is not None and "light_direction" in geometry.facts:
            azimuth, elevation = geometry.facts["light_direction"]
            light.append((azimuth, elevation))
    plots = []
    if scores:
        line = config.get("quality", {}).get("threshold")
        plots.append(
            histogram(
                scores,
                "quality score",
                "Quality, by verdict; the dashed line is the threshold",
                limits=(0, 1),
                line=line,
            )
        )
    if frames:
        plots.append(histogram(frames, "frames", "Length of the clips, by verdict"))
    if light:
        x, y = zip(*light, strict=True)
        plots.append(
            scatter(
                x,
                y,
                ("azimuth in degrees", "elevation in degrees"),
                "Where the light comes from, a dot a kept clip (0, 0 is the camera)",
                limits=(90, 90),
            )
        )
    if any(seconds.values()):
        plots.append(bars(seconds, "worker seconds", "What each stage took"))
    return plots
