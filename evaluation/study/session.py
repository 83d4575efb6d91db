"""A study at work: participants, their trials and ratings; it knows nothing of HTTP."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from evaluation.study.plan import SCORES, Question, StudyCell, Trial, plan_trials, read_cells
from evaluation.study.votes import VOTES_FILE, VoteKey, Votes, VoteStore
from infra.digests import digest_json
from infra.errors import UsageError

NAME_LENGTH = 40
"""Characters of a participant's name, at most."""


@dataclass(frozen=True)
class Asked:
    """A question about one film.

    Attributes:
        field: Its name in the page's form.
        question: What is asked.
        score: What was answered; None so far.
    """

    field: str
    question: Question
    score: int | None


@dataclass(frozen=True)
class Card:
    """A film as it is shown: a letter, and nothing of who made it.

    Attributes:
        letter: By its place.
        video: Where the page finds it.
        asked: The questions.
    """

    letter: str
    video: str
    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class Screen:
    """One trial of one participant, as it is shown.

    Attributes:
        place: Of the trial, from 0.
        total: How many trials there are.
        reference: Where the page finds the original film.
        light: And the picture of the wanted light; None where there is none.
        cards: The films.
    """

    place: int
    total: int
    reference: str
    light: str | None
    cards: tuple[Card, ...]


class Study:
    """A study that is open for ratings.

    Args:
        run_folder: Of the finished benchmark.
        seed: Of the plan; what the study began with (0 for a new one) without.
        trials: Of each participant; what it began with (all for a new one) without.

    Attributes:
        media: Files that may be shown, by the opaque names that the pages know.

    Raises:
        UsageError: There is nothing to rate, another process has the votes open, or the study
            began with another seed or number of trials.
        LakeError: The run folder cannot be written.
    """

    def __init__(
        self, run_folder: Path, *, seed: int | None = None, trials: int | None = None
    ) -> None:
        self._cells = read_cells(run_folder)
        if not self._cells:
            raise UsageError(
                f"no film in {run_folder} can be rated: every method failed, or there was none",
                hint="its report says why",
            )
        self._store = VoteStore(run_folder / VOTES_FILE)
        try:
            design = self._store.begin(seed=seed, trials=trials)
        except BaseException:
            self._store.close()
            raise
        self._seed, self._trials = design["seed"] or 0, design["trials"]
        self.media: dict[str, Path] = {
            self._opaque("file", name): run_folder / name
            for cell in self._cells
            for name in cell.files()
        }
        self._names = {self._opaque("participant", name): name for name in self._votes.participants}

    @property
    def damaged(self) -> list[int]:
        """Lines of the votes' file that could not be understood."""
        return self._votes.damaged

    @property
    def _votes(self) -> Votes:
        return self._store.votes

    def join(self, name: str) -> str:
        """Begin, or go on, as a participant.

        Returns:
            The opaque name by which pages and votes know them.

        Raises:
            ValueError: That is no name; the message says what is.
            LakeError: It cannot be written down.
        """
        name = " ".join(unicodedata.normalize("NFC", name).split())
        if not (0 < len(name) <= NAME_LENGTH and name.isprintable()):
            raise ValueError(f"A name has 1 to {NAME_LENGTH} characters.")
        self._store.join(name)
        token = self._opaque("participant", name)
        self._names[token] = name
        return token

    def name(self, token: str) -> str:
        """The participant's own name.

        Raises:
            KeyError: Nobody has begun under that token.
        """
        return self._names[token]

    def screens(self, token: str) -> list[Screen]:
        """All that a participant is shown, and what they have answered.

        Raises:
            KeyError: Nobody has begun under that token.
        """
        name = self._names[token]
        trials = self._planned(name)
        return [
            Screen(
                place,
                len(trials),
                self._opaque("file", trial.reference),
                self._opaque("file", trial.light_picture) if trial.light_picture else None,
                tuple(
                    Card(letter, self._opaque("file", cell.video), self._asked(name, letter, cell))
                    for letter, cell in zip(_letters(len(trial.cells)), trial.cells, strict=True)
                ),
            )
            for place, trial in enumerate(trials)
        ]

    def rate(self, token: str, place: int, ratings: Mapping[str, str]) -> None:
        """Write ratings of one trial down; the same again changes nothing.

        Args:
            token: Whose.
            place: Of the trial, from 0.
            ratings: Scores in digits, by the fields of the trial's `Asked`.

        Raises:
            KeyError: Nobody has begun under that token, or they have no such trial.
            ValueError: A field or a score is none that was asked for; nothing was written.
            LakeError: They cannot be written; those before may have been.
        """
        name = self._names[token]
        trials = self._planned(name)
        if place not in range(len(trials)):
            raise KeyError(place)
        cells = trials[place].cells
        keys = {
            asked.field: VoteKey(name, cell.id, asked.question.key)
            for letter, cell in zip(_letters(len(cells)), cells, strict=True)
            for asked in self._asked(name, letter, cell)
        }
        allowed = {str(score): score for score in SCORES}
        if not (ratings.keys() <= keys.keys() and set(ratings.values()) <= allowed.keys()):
            raise ValueError("A rating is none that was asked for.")
        for field, score in ratings.items():
            self._store.vote(keys[field], allowed[score])

    def close(self) -> None:
        """Let another process have the votes."""
        self._store.close()

    def _planned(self, name: str) -> list[Trial]:
        number = self._votes.participants[name]
        return plan_trials(self._cells, seed=self._seed, participant=number, trials=self._trials)

    def _asked(self, name: str, letter: str, cell: StudyCell) -> tuple[Asked, ...]:
        scores = self._votes.scores
        return tuple(
            Asked(f"{letter}.{each.key}", each, scores.get(VoteKey(name, cell.id, each.key)))
            for each in cell.questions()
        )

    def _opaque(self, kind: str, name: str) -> str:
        return digest_json([self._seed, kind, name])[:24]


def unfinished(screens: list[Screen]) -> int | None:
    """Place of the first trial with an open question; None when all are answered."""
    for screen in screens:
        if any(asked.score is None for card in screen.cards for asked in card.asked):
            return screen.place
    return None


def _letters(n: int) -> list[str]:
    """A, B, ... Z, A2, B2, ..."""
    size = len(ascii_uppercase)
    return [ascii_uppercase[i % size] + (str(i // size + 1) if i >= size else "") for i in range(n)]
