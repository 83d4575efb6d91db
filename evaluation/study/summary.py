"""What people said of each method: mean opinion, how sure it is, and how far they agree."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.study.plan import CELLS_FILE, QUESTIONS, StudyCell, read_cells
from evaluation.study.votes import VOTES_FILE, VoteKey, Votes, read_votes

RESAMPLES = 10_000
LEVEL = 0.95


def summarise_study(run_folder: Path) -> dict[str, Any] | None:
    """The summary of a benchmark's study, for its record; None where nobody has voted yet.

    Raises:
        UsageError: The list of its cells cannot be understood, or a film is missing.
    """
    if not (run_folder / CELLS_FILE).exists():
        return None
    votes = read_votes(run_folder / VOTES_FILE)
    return summarise(read_cells(run_folder), votes) if votes.scores else None


def summarise(cells: Sequence[StudyCell], votes: Votes, *, seed: int = 0) -> dict[str, Any]:
    """Fold votes into numbers; the same votes in any order give the same.

    Args:
        cells: What was rated; votes on others are counted as strays, and nothing else.
        votes: What was said.
        seed: Of the bootstrap.

    Returns:
        JSON types, and no participant's name: ``participants``; ``votes``; ``strays``;
        ``damaged`` lines; ``bootstrap``: ``resamples``, ``level``, ``seed``, ``clusters``;
        ``questions``, each ``key``, ``column``, ``prompt`` and ``agreement`` (see
        `krippendorff`); ``methods``, by name and the question's key: ``mean``, ``n`` (votes),
        ``participants`` and ``interval``, two bounds, or None of fewer than two participants.
    """
    methods = {cell.id: cell.method for cell in cells}
    known = {key: score for key, score in sorted(votes.scores.items()) if key.cell in methods}
    people = {name: row for row, name in enumerate(sorted({key.participant for key in known}))}
    # The same draws of participants for every method, so that methods can be compared.
    rng = np.random.default_rng(seed)
    share = np.full(len(people), 1 / max(len(people), 1))
    draws = rng.multinomial(len(people), share, RESAMPLES) if people else np.zeros((0, 0), int)
    opinions: dict[str, dict[str, Any]] = {}
    for method in sorted(set(methods.values())):
        opinions[method] = {}
        for question in QUESTIONS:
            sums = np.zeros((2, len(people)), np.int64)
            for key, score in known.items():
                if methods[key.cell] == method and key.question == question.key:
                    sums[:, people[key.participant]] += (score, 1)
            if sums[1].any():
                opinions[method][question.key] = _opinion(sums[0], sums[1], draws)
    return {
        "participants": len(people),
        "votes": len(known),
        "strays": len(votes.scores) - len(known),
        "damaged": len(votes.damaged),
        "bootstrap": {
            "resamples": RESAMPLES,
            "level": LEVEL,
            "seed": seed,
            "clusters": "participants",
        },
        "questions": [
            {
                "key": question.key,
                "column": question.column,
                "prompt": question.prompt,
                "agreement": krippendorff(_by_cell(known, question.key)),
            }
            for question in QUESTIONS
        ],
        "methods": opinions,
    }


def krippendorff(units: Sequence[Sequence[int]]) -> float | None:
    """Krippendorff's alpha for interval data, which takes missing votes as they come.

    1 where all agree, 0 where they do as chance would have it (Krippendorff 2011, "Computing
    Krippendorff's alpha-reliability", with the squared difference).

    Args:
        units: Scores of each unit, by whoever rated it; those with one score say nothing.

    Returns:
        Alpha; None where no unit has two scores, or where all scores are the same.
    """
    paired = [np.asarray(unit, np.float64) for unit in units if len(unit) > 1]
    if not paired:
        return None
    pooled = np.concatenate(paired)
    expected = _squares(pooled) / (len(pooled) - 1)
    if expected == 0:
        return None
    observed = sum(_squares(unit) / (len(unit) - 1) for unit in paired)
    return float(1 - observed / expected)


def _squares(scores: NDArray[np.float64]) -> float:
    """Sum of squared differences over all ordered pairs."""
    return float(2 * len(scores) * (scores**2).sum() - 2 * scores.sum() ** 2)


def _by_cell(known: Mapping[VoteKey, int], question: str) -> list[list[int]]:
    units: dict[str, list[int]] = {}
    for key, score in known.items():
        if key.question == question:
            units.setdefault(key.cell, []).append(score)
    return list(units.values())


def _opinion(
    sums: NDArray[np.int64], counts: NDArray[np.int64], draws: NDArray[np.int64]
) -> dict[str, Any]:
    """Of one method and question; ``sums`` and ``counts`` are of each participant's votes."""
    voters = int((counts > 0).sum())
    interval = None
    if voters > 1:
        totals = draws @ counts
        # A draw that has none of a method's voters says nothing of it.
        means = (draws @ sums)[totals > 0] / totals[totals > 0]
        tail = 50 * (1 - LEVEL)
        interval = np.percentile(means, [tail, 100 - tail]).tolist()
    return {
        "mean": float(sums.sum() / counts.sum()),
        "n": int(counts.sum()),
        "participants": voters,
        "interval": interval,
    }
