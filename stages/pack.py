"""Pack: the artifacts of a build's finished clips become a release.

The last stage, and the only one that is about many clips at once.
"""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import Field, model_validator

from catalog.lake import Lake
from catalog.members import Member
from catalog.outcomes import Outcome
from catalog.publish import Pedigree, Sample, publish
from catalog.release import Progress, Release
from catalog.shards import Source
from infra.errors import UsageError
from infra.weights import find_weight, weight_digest
from stages.base import StageConfig

VERSION = 1
"""Raised whenever the same outcomes are packed in another way."""


class PackConfig(StageConfig):
    """``[pack]``: how the samples are divided and put into shards."""

    shard_bytes: int = Field(256 << 20, ge=1 << 20)
    """A shard is closed before it grows beyond this."""
    val: float = Field(0.05, ge=0, le=1)
    """Share of the identities that go into the split val."""
    test: float = Field(0.05, ge=0, le=1)
    """Share of the identities that go into the split test."""
    seed: int = 0
    """Another seed divides the identities otherwise."""
    leave_out: tuple[str, ...] = ("landmarks.npz",)
    """Artifacts, by name, that stay in the lake; all others become members of the samples."""

    @model_validator(mode="after")
    def _shares_leave_room(self) -> "PackConfig":
        if self.val + self.test > 1:
            raise ValueError(f"val + test is {self.val + self.test:g}; it must be at most 1")
        return self


def pack(
    lake: Lake,
    name: str,
    kept: Sequence[tuple[Member, Mapping[str, Outcome]]],
    *,
    fingerprints: Mapping[str, str],
    weights: Sequence[str],
    config: PackConfig,
    progress: Progress = lambda done, total: None,
) -> Release:
    """Publish the release of the clips of which every stage is done.

    Args:
        lake: Holds their artifacts; gets the release.
        name: Of the release.
        kept: Each clip, and its outcomes by stage.
        fingerprints: Of every stage, by name.
        weights: Names (in the weights registry) of what the stages loaded.
        config: How to pack.
        progress: Told the bytes packed.

    Raises:
        UsageError: No clip is left to pack.
        LakeError: The disk is full, read-only or failing; an artifact is missing or damaged.
    """
    if not kept:
        raise UsageError(
            f"nothing to release: no clip of {name!r} came through every stage",
            hint=f"see why: limelight status {name}",
        )
    samples = [_sample(lake, member, outcomes, config) for member, outcomes in kept]
    pedigree = Pedigree(
        fingerprints=fingerprints,
        config={**config.model_dump(mode="json"), "version": VERSION},
        weights={name: _weight(name) for name in sorted(weights)},
        shard_bytes=config.shard_bytes,
    )
    return publish(lake, name, samples, pedigree, progress)


def _sample(
    lake: Lake, member: Member, outcomes: Mapping[str, Outcome], config: PackConfig
) -> Sample:
    frame = outcomes["frame"].facts
    return Sample(
        key=member.clip,
        split=member.split,
        label=member.label,
        identity=member.identity,
        frames=frame["frames"],
        fps=frame["fps"],
        score=outcomes["quality"].score,
        width=frame["size"],
        height=frame["size"],
        facts={stage: outcome.facts for stage, outcome in outcomes.items()},
        members=list(_members(lake, outcomes, config)),
    )


def _members(lake: Lake, outcomes: Mapping[str, Outcome], config: PackConfig) -> Iterator[Source]:
    for stage, outcome in outcomes.items():
        for artifact in outcome.artifacts:
            if artifact.name not in config.leave_out:
                path = lake.artifacts.require(stage, artifact)
                yield Source(artifact.name, path, artifact.digest, artifact.size)


def _weight(name: str) -> dict[str, str]:
    weight = find_weight(name)
    return {"sha256": weight_digest(name), "licence": weight.licence, "terms": weight.terms}
