"""What is left to do: the one act behind build, resume, rerun, retry and the next schedule."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.outcomes import OutcomeTable
from stages.base import Stage

_STATUSES = pa.array(["done", "rejected", "failed", "quarantined"])
_NOTHING, _DONE, _REJECTED, _FAILED, _QUARANTINED = range(5)


@dataclass(frozen=True)
class State:
    """Where each clip stands with each stage, under the current fingerprints.

    Attributes:
        clips: Clip ids.
        stages: Stage names, in order.
        codes: uint8 array (clips, stages) of status codes; 0 where there is no row.
    """

    clips: Sequence[str]
    stages: tuple[str, ...]
    codes: np.ndarray

    @classmethod
    def read(cls, latest: pa.Table, clips: Sequence[str], stages: Sequence[Stage[Any]]) -> "State":
        """Arrange the rows of ``OutcomeTable.latest`` as a matrix."""
        names = tuple(stage.name for stage in stages)
        codes = np.zeros((len(clips), len(names)), np.uint8)
        ids = pa.array(clips, pa.string())
        for column, name in enumerate(names):
            rows = latest.filter(pc.field("stage") == name)
            if not rows.num_rows:
                continue
            at = pc.index_in(rows["clip"].cast(pa.string()), value_set=ids)
            known = pc.is_valid(at).to_numpy()
            position = pc.fill_null(at, 0).to_numpy()[known]
            status = pc.index_in(rows["status"].cast(pa.string()), value_set=_STATUSES).to_numpy()
            codes[position, column] = status[known] + _DONE
        return cls(clips, names, codes)

    @classmethod
    def load(
        cls,
        outcomes: OutcomeTable,
        fingerprints: Mapping[str, str],
        clips: Sequence[str],
        stages: Sequence[Stage[Any]],
    ) -> "State":
        """Read where clips stand; stage by stage, for the sake of memory (millions of rows)."""
        ids = pa.chunked_array([pa.array(clips, pa.string())])
        codes = [np.zeros((len(clips), 0), np.uint8)]
        for stage in stages:
            current = {stage.name: fingerprints[stage.name]}
            rows = outcomes.latest(current, ids, ("clip", "stage", "status"))
            codes.append(cls.read(rows, clips, [stage]).codes)
        return cls(clips, tuple(stage.name for stage in stages), np.hstack(codes))

    def done(self) -> np.ndarray:
        """Bool array (clips, stages): what is done."""
        return np.asarray(self.codes == _DONE)

    def complete(self) -> np.ndarray:
        """Bool array (clips,): every stage is done, so the clip belongs in the release."""
        return np.asarray(self.done().all(axis=1))

    def verdicts(self) -> np.ndarray:
        """Str array (clips,): what `catalog.verdicts.verdict` says of each clip."""
        stops = self.codes > _DONE
        first = self.codes[np.arange(len(self.codes)), stops.argmax(axis=1)]
        done = np.where(self.complete(), _DONE, _NOTHING)
        words = np.array(["pending", *_STATUSES.to_pylist()])
        return np.asarray(words[np.where(stops.any(axis=1), first, done)])

    def runnable(self, stages: Sequence[Stage[Any]]) -> np.ndarray:
        """Bool array (clips, stages): what a build must run.

        A stage runs where it has no row or failed, unless a stage that it rests on turned
        the clip down. A quarantined clip is left alone until someone retries it.
        """
        runs = (self.codes == _NOTHING) | (self.codes == _FAILED)
        blocked = self.codes == _REJECTED
        column = {name: i for i, name in enumerate(self.stages)}
        for i, stage in enumerate(stages):
            for name in (*stage.needs, *stage.after):
                blocked[:, i] |= blocked[:, column[name]]
        aside = (self.codes == _QUARANTINED).any(axis=1, keepdims=True)
        return np.asarray(runs & ~blocked & ~aside)

    def tasks(
        self, stages: Sequence[Stage[Any]], group: Sequence[str]
    ) -> Iterator[tuple[str, list[str]]]:
        """Yield (clip, stages to run) for the stages of one group.

        A clip waits while a stage of an earlier group that it rests on has not been done.
        """
        runs = self.runnable(stages)
        column = {name: i for i, name in enumerate(self.stages)}
        inside = [column[name] for name in group]
        rests = {
            column[name]
            for stage in stages
            if stage.name in group
            for name in (*stage.needs, *stage.after)
            if name not in group
        }
        ready = (self.codes[:, sorted(rests)] == _DONE).all(axis=1)
        for row in np.flatnonzero(runs[:, inside].any(axis=1) & ready).tolist():
            yield self.clips[row], [self.stages[i] for i in inside if runs[row, i]]
