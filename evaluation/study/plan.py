"""Who is shown what: cells of a benchmark, the questions, and each participant's trials."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Literal

from infra.digests import digest_json
from infra.errors import UsageError
from infra.storage import write_atomic

CELLS_FILE = "study.json"
"""In a benchmark's run folder: the cells that may be rated, as a JSON list."""

MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
}
"""What may be shown, by the ending of a file's name."""

QuestionKey = Literal["light", "identity", "quality"]

SCORES = range(1, 6)


@dataclass(frozen=True)
class Question:
    """What is asked of every film.

    Attributes:
        key: Its name in votes and records.
        column: Heading in the paper's tables.
        title: One word.
        prompt: The question itself.
    """

    key: QuestionKey
    column: str
    title: str
    prompt: str


QUESTIONS = (
    Question("light", "LA-U", "Light", "How well does the light on the face match the wanted one?"),
    Question("identity", "ID-U", "Identity", "How well is the person of the original preserved?"),
    Question("quality", "VQ-U", "Quality", "How good is the video: sharp, steady, without flaws?"),
)


@dataclass(frozen=True)
class StudyCell:
    """One film of one method, and what it is held against.

    Files are named relative to the run folder, and lie in it: the folder may be moved. The films
    carry no tags: a title with the method's name in it would end the blindness.

    Attributes:
        id: The cell's, as in the benchmark's record.
        method: Who made it; never shown.
        subject: Id of the driving clip; never shown.
        light: Name of the light that was wanted; never shown, empty where none was.
        video: The method's film.
        reference: The film whose person it should show: the original.
        light_picture: A picture of the light that was wanted. Without one nobody can tell how
            accurate the light is, and it is not asked.
    """

    id: str
    method: str
    subject: str
    light: str
    video: str
    reference: str
    light_picture: str | None = None

    def questions(self) -> tuple[Question, ...]:
        """What is asked of it."""
        return QUESTIONS if self.light_picture else QUESTIONS[1:]

    def files(self) -> tuple[str, ...]:
        """All that is shown of it."""
        return tuple(filter(None, (self.video, self.reference, self.light_picture)))


@dataclass(frozen=True)
class Trial:
    """What is seen at once: the films of all methods for one clip and one light.

    Attributes:
        cells: In the order shown, which tells nothing of the methods.
    """

    cells: tuple[StudyCell, ...]

    @property
    def reference(self) -> str:
        """The original film."""
        return self.cells[0].reference

    @property
    def light_picture(self) -> str | None:
        """The wanted light."""
        return self.cells[0].light_picture


def write_cells(run_folder: Path, cells: Sequence[StudyCell]) -> Path:
    """Write what may be rated; the benchmark does, once its films are in the run folder.

    Where every method failed, that is nothing: the list is empty, and `session.Study` says so.

    Returns:
        The file.

    Raises:
        UsageError: A cell is there twice, or a file is missing, elsewhere or nothing to be shown.
        LakeError: The folder cannot be written.
    """
    _check(run_folder, cells)
    path = run_folder / CELLS_FILE
    text = json.dumps([asdict(cell) for cell in cells], indent=1)
    write_atomic(path, f"{text}\n".encode(), point="study.cells")
    return path


def read_cells(run_folder: Path) -> tuple[StudyCell, ...]:
    """What `write_cells` wrote.

    Raises:
        UsageError: There is no such list, it cannot be understood, or a film is missing.
    """
    path = run_folder / CELLS_FILE
    try:
        cells = tuple(StudyCell(**row) for row in json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise UsageError(
            f"{run_folder} holds no {CELLS_FILE}: it is not the folder of a finished benchmark",
            hint="limelight benchmark ls",
        ) from error
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{path} cannot be understood: {error}", hint="run the benchmark again: it is resumed"
        ) from error
    _check(run_folder, cells)
    return cells


def plan_trials(
    cells: Sequence[StudyCell], *, seed: int, participant: int, trials: int | None = None
) -> list[Trial]:
    """The trials of one participant.

    Participants, one after the other, go round and round the clips and lights, so that all of
    these are seen equally often, or once more. Methods take their places by a Williams square:
    each is at each place, and after each other one, equally often.

    Args:
        cells: All that may be shown, in any order.
        seed: Of the study.
        participant: Which one, counted from 0 in the order in which they began.
        trials: How many each is shown; all of them without.

    Raises:
        ValueError: There is nothing to be shown, or fewer than one trial is asked for.
    """
    if not cells or (trials is not None and trials < 1):
        raise ValueError(f"{len(cells)} cells cannot be shown in {trials} trials")
    groups: dict[tuple[str, ...], dict[str, StudyCell]] = {}
    for cell in cells:
        key = (cell.subject, cell.light, cell.reference, cell.light_picture or "")
        groups.setdefault(key, {})[cell.method] = cell
    keys = sorted(groups, key=lambda key: digest_json([seed, *key]))
    methods = sorted({cell.method for cell in cells}, key=lambda name: digest_json([seed, name]))
    rows = williams(len(methods))
    each = min(trials or len(keys), len(keys))
    shown = []
    for place in range(participant * each, (participant + 1) * each):
        turn, index = divmod(place, len(keys))
        films = groups[keys[index]]
        order = (methods[which] for which in rows[(index + turn) % len(rows)])
        shown.append(Trial(tuple(films[method] for method in order if method in films)))
    random.Random(digest_json([seed, participant])).shuffle(shown)
    return shown


def williams(n: int) -> list[list[int]]:
    """A square of orders of n things that balances places and neighbours (Williams, 1949).

    Returns:
        n orders, or 2n where n is odd: each thing is at each place, and right after each other
        thing, equally often.
    """
    first = [(step + 1) // 2 if step % 2 else -(step // 2) for step in range(n)]
    rows = [[(value + shift) % n for value in first] for shift in range(n)]
    return rows if n % 2 == 0 else rows + [row[::-1] for row in rows]


def _check(run_folder: Path, cells: Sequence[StudyCell]) -> None:
    optional = {"light_picture"}
    for cell in cells:
        for field in fields(cell):
            value = getattr(cell, field.name)
            if not (isinstance(value, str) or (value is None and field.name in optional)):
                raise UsageError(f"{CELLS_FILE}: {field.name} is {value!r}, and must be text")
    if len({cell.id for cell in cells}) < len(cells):
        raise UsageError(f"{CELLS_FILE} names a cell twice; ids must differ")
    root = run_folder.resolve()
    for name in dict.fromkeys(name for cell in cells for name in cell.files()):
        path = (root / name).resolve()
        if PurePosixPath(name).is_absolute() or not path.is_relative_to(root):
            raise UsageError(f"{CELLS_FILE}: {name} lies outside {run_folder}")
        if path.suffix not in MEDIA_TYPES:
            raise UsageError(f"{name} cannot be shown; allowed are {', '.join(MEDIA_TYPES)}")
        if not path.is_file():
            raise UsageError(
                f"{path} is missing", hint="run the benchmark again: it makes what is missing"
            )
