"""What metrics look at: which films, in whose role; and a cell's features, found together again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from evaluation.cells.cache import FeatureCache
from evaluation.cells.cell import Case, Cell
from evaluation.cells.rows import Row
from evaluation.metrics.base import CaseFeatures, Extractor, Features, Metric, Role
from evaluation.protocols.lossless import Film

Wanted = Mapping[Role, Mapping[str, Extractor]]
"""Extractors by the role of the film that they look at, then by their digest."""


@dataclass(frozen=True)
class Input:
    """A film that methods are given, or held against.

    Attributes:
        film: The film.
        roles: What it is for; sorted.
    """

    film: Film
    roles: tuple[Role, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON types; see `from_json`."""
        return {"film": self.film.to_json(), "roles": list(self.roles)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """The input that `to_json` told of."""
        return cls(Film.from_json(told["film"]), tuple(told["roles"]))


def wanted(metrics: Iterable[Metric]) -> dict[Role, dict[str, Extractor]]:
    """What metrics look at; extractors of one digest count once."""
    found: dict[Role, dict[str, Extractor]] = {}
    for metric in metrics:
        for role, extractor in metric.extractors().items():
            found.setdefault(role, {}).setdefault(extractor.digest, extractor)
    return found


def films_of(case: Case) -> dict[Role, Film]:
    """A case's films by role; the method's own is not among them."""
    films: dict[Role, Film] = {
        "driving": case.subject.film,
        "reference": (case.reference or case.subject).film,
    }
    if case.light and case.light.film:
        films["target"] = case.light.film
    return films


def inputs(cases: Iterable[Case]) -> list[Input]:
    """The films of cases, each once, in the order of their digests."""
    films: dict[str, Film] = {}
    roles: dict[str, set[Role]] = {}
    for case in cases:
        for role, film in films_of(case).items():
            films[film.digest] = film
            roles.setdefault(film.digest, set()).add(role)
    return [Input(films[digest], tuple(sorted(roles[digest]))) for digest in sorted(films)]


def case_features(cell: Cell, row: Row, cache: FeatureCache, metric: Metric) -> CaseFeatures:
    """All that a metric may ask for of a cell, out of the cache.

    What is not there, because nobody looked yet or an extractor raised, is left out; that there is
    a film is told all the same. Each metric is given its own features, for two may ask extractors
    of one name with other options.

    Args:
        cell: The cell.
        row: What became of it; `done`.
        cache: Where features are.
        metric: Who asks.
    """
    films = films_of(cell.case)
    if row.film:
        films["output"] = row.film
    found: dict[Role, dict[str, Features]] = {}
    for role, extractor in metric.extractors().items():
        features = cache.load(films[role].digest, extractor.digest) if role in films else None
        if features is not None:
            found[role] = {extractor.name: features}
    light = cell.light.coefficients if cell.light else None
    return CaseFeatures(found, light, row.facts, frozenset(films))
