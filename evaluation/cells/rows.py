"""Rows: what became of a cell. One small file each, written whole or not at all.

Values of metrics are not in it: they follow from features, so that adding a metric changes no row.
"""

import json
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

from evaluation.cells.cell import Cell
from evaluation.cells.places import Places
from evaluation.protocols.lossless import Film
from infra.digests import canonical_json, digest_json
from infra.storage import write_atomic

FORMAT = 1

Outcome = Literal["done", "failed", "unavailable"]

_LONGEST_REASON = 2000


@dataclass(frozen=True)
class Row:
    """What became of a cell.

    Attributes:
        cell: Its id.
        about: Whose it was when it was made (`about`), in JSON types; a later run may call the
            same otherwise. Rows and cells are joined by `cell` alone.
        outcome: `done`; `failed`, the method could not; `unavailable`, it lacks what it needs
            here and now, so that the next run tries again.
        reason: Why it is not `done`; empty where it is.
        film: What the method made; None where it is not `done`.
        seconds_per_frame: Seconds inside the method, for each frame; None where not `done`.
        peak_bytes: Most memory that the method and its child processes held meanwhile, beyond
            what its process held without it; None where not `done`.
        peak_gpu_bytes: Most memory of a GPU that it held through torch in its process, likewise;
            None where none was used.
        made: Machine and versions at the time, in JSON types.
    """

    cell: str
    about: dict[str, Any]
    outcome: Outcome
    reason: str = ""
    film: Film | None = None
    seconds_per_frame: float | None = None
    peak_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, float]:
        """The numbers of the generation, as metrics ask for them."""
        told = {
            "seconds_per_frame": self.seconds_per_frame,
            "peak_bytes": self.peak_bytes,
            "peak_gpu_bytes": self.peak_gpu_bytes,
        }
        return {name: float(value) for name, value in told.items() if value is not None}

    def stands(self, retry: bool) -> bool:
        """Whether the cell need not be made again.

        What was made must still be there; what failed would fail again; what was lacking may have
        been put in place since.

        Args:
            retry: Let methods try again where they failed before.
        """
        if self.outcome == "done":
            return self.film is not None and self.film.path.is_file()
        return self.outcome == "failed" and not retry

    def to_json(self) -> dict[str, Any]:
        """JSON types. Films are told without their folder: a lake may be moved."""
        film = self.film.to_json() if self.film else None
        if film:
            del film["path"]
        return {
            "format": FORMAT,
            "cell": self.cell,
            "about": self.about,
            "outcome": self.outcome,
            "reason": self.reason,
            "film": film,
            "seconds_per_frame": self.seconds_per_frame,
            "peak_bytes": self.peak_bytes,
            "peak_gpu_bytes": self.peak_gpu_bytes,
            "made": self.made,
        }

    def write(self, places: Places) -> Path:
        """Write the row, in place of an earlier one of its cell.

        Raises:
            LakeError: The disk is full or read-only.
        """
        told = self.to_json()
        path = places.row(self.cell)
        text = canonical_json({**told, "seal": digest_json(told)})
        write_atomic(path, (text + "\n").encode(), point="benchmark.row")
        return path

    @classmethod
    def read(cls, places: Places, cell: str) -> Self | None:
        """The row of the cell of that id; None where there is none, or it is damaged."""
        try:
            told = json.loads(places.row(cell).read_bytes())
            seal = told.pop("seal")
            if digest_json(told) != seal or told.pop("format") != FORMAT or told["cell"] != cell:
                return None
            film = told.pop("film")
            return cls(film=_film(places, film) if film else None, **told)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None


def about(cell: Cell) -> dict[str, Any]:
    """What a row says of its cell to people: ids, and names as they are now; no paths."""
    reference, light = cell.reference, cell.light
    return {
        "method": cell.method,
        "method_digest": cell.method_digest,
        "case": cell.case.id,
        "mode": cell.mode,
        "subject": _who(cell.subject.id, cell.subject.name, cell.subject.identity),
        "reference": reference and _who(reference.id, reference.name, reference.identity),
        "light": light.name if light else None,
    }


def failed(cell: Cell, reason: str, *, outcome: Outcome = "failed") -> Row:
    """The row of a cell that came to nothing: its method crashed, hung, raised, or is not here."""
    text = reason.strip() or "no reason was given"
    if len(text) > _LONGEST_REASON:
        text = text[:_LONGEST_REASON] + " ..."
    return Row(cell.id, about(cell), outcome, text)


def _who(digest: str, name: str, identity: str) -> dict[str, str]:
    return {"id": digest, "name": name, "identity": identity}


def _film(places: Places, told: dict[str, Any]) -> Film:
    digest = str(told["digest"])
    return Film(places.film(digest), digest, told["frames"], told["size"], Fraction(told["fps"]))
