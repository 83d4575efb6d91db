"""Cells of a benchmark: which method makes what of which clip; and the plan of all of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from evaluation.methods.base import Light, Mode, case_name
from evaluation.protocols.lossless import Film
from infra.digests import digest_json
from infra.errors import UsageError


@dataclass(frozen=True)
class Subject:
    """A clip of one person, cut to the face's square.

    Attributes:
        name: What people call it.
        identity: Whom it shows; clips of one identity are no independent samples.
        film: Its frames.
        facts: Where it is from, in JSON types.
    """

    name: str
    identity: str
    film: Film
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The film's digest: equal frames are one subject."""
        return self.film.digest

    def to_json(self) -> dict[str, Any]:
        """JSON types; see `from_json`."""
        return {
            "name": self.name,
            "identity": self.identity,
            "film": self.film.to_json(),
            "facts": dict(self.facts),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """The subject that `to_json` told of."""
        return cls(told["name"], told["identity"], Film.from_json(told["film"]), told["facts"])


@dataclass(frozen=True, eq=False)
class LightTarget:
    """A light that is wanted.

    Attributes:
        name: What it is called.
        coefficients: Of spherical harmonics (9, 3), as in `stages.models.spherical_harmonics`.
        picture: A face that is lit so; None where the light was given by numbers.
        film: The same face's square, as a film of one frame: what a metric looks at.
    """

    name: str
    coefficients: NDArray[np.float32]
    picture: Path | None = None
    film: Film | None = None

    @property
    def light(self) -> Light:
        """What a method is told."""
        return Light(self.name, self.coefficients, self.picture)

    @property
    def content(self) -> list[Any]:
        """What makes it this light, whatever it is called, in JSON types."""
        numbers = np.asarray(self.coefficients, np.float32).astype(float).tolist()
        return [numbers, self.film.digest if self.film else None]

    def to_json(self) -> dict[str, Any]:
        """JSON types; see `from_json`."""
        return {
            "name": self.name,
            "coefficients": self.content[0],
            "picture": str(self.picture) if self.picture else None,
            "film": self.film.to_json() if self.film else None,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """The light that `to_json` told of."""
        return cls(
            told["name"],
            np.asarray(told["coefficients"], np.float32),
            Path(told["picture"]) if told["picture"] else None,
            Film.from_json(told["film"]) if told["film"] else None,
        )


@dataclass(frozen=True)
class Case:
    """What every method is given once: a clip, and a light for it or a portrait to move.

    Attributes:
        mode: `relight`, or `animate`.
        subject: The driving clip.
        reference: Whose portrait moves; None for relighting, where it is the subject itself.
        light: The light that is wanted; None for animation, where it is the portrait's own.
        seed: The protocol's.
        name: What files of it are called, no two cases' alike; `plan` gives it.
    """

    mode: Mode
    subject: Subject
    reference: Subject | None = None
    light: LightTarget | None = None
    seed: int = 0
    name: str = ""

    @cached_property
    def id(self) -> str:
        """Digest of what is in it; names do not matter. Methods are compared over equal ones."""
        return digest_json(
            {
                "mode": self.mode,
                "subject": self.subject.id,
                "reference": self.reference.id if self.reference else None,
                "light": self.light.content if self.light else None,
                "seed": self.seed,
            }
        )[:32]

    @property
    def draw(self) -> int:
        """Seed of the case's random numbers: every method's are the same, no two cases'."""
        return int(self.id[:7], 16)

    def to_json(self) -> dict[str, Any]:
        """JSON types; see `from_json`."""
        return {
            "mode": self.mode,
            "subject": self.subject.to_json(),
            "reference": self.reference.to_json() if self.reference else None,
            "light": self.light.to_json() if self.light else None,
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """The case that `to_json` told of."""
        reference, light = told["reference"], told["light"]
        return cls(
            told["mode"],
            Subject.from_json(told["subject"]),
            Subject.from_json(reference) if reference else None,
            LightTarget.from_json(light) if light else None,
            told["seed"],
            told["name"],
        )


@dataclass(frozen=True)
class Cell:
    """One method on one case: a row of the benchmark.

    Attributes:
        method: What the method is called in this benchmark.
        method_digest: Of all that decides its films (`evaluation.methods.base.Method.digest`), or
            `unavailable_digest`.
        case: What it is given.
    """

    method: str
    method_digest: str
    case: Case

    @cached_property
    def id(self) -> str:
        """Digest of what decides its film: rows and features are joined by it, never by place."""
        return digest_json([self.method_digest, self.case.id])[:32]

    @property
    def mode(self) -> Mode:
        """`relight`, or `animate`."""
        return self.case.mode

    @property
    def subject(self) -> Subject:
        """The driving clip."""
        return self.case.subject

    @property
    def reference(self) -> Subject | None:
        """Whose portrait moves; None for relighting."""
        return self.case.reference

    @property
    def light(self) -> LightTarget | None:
        """The light that is wanted; None for animation."""
        return self.case.light

    def to_json(self) -> dict[str, Any]:
        """JSON types; see `from_json`."""
        return {
            "id": self.id,
            "method": self.method,
            "method_digest": self.method_digest,
            "case": self.case.to_json(),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """The cell that `to_json` told of."""
        return cls(told["method"], told["method_digest"], Case.from_json(told["case"]))


def unavailable_digest(name: str, options: Mapping[str, Any]) -> str:
    """Stands for the digest of a method that cannot run: its own may take what is not here.

    Args:
        name: The method's, in `evaluation.methods.registry.METHODS`.
        options: What was asked for, in JSON types.
    """
    return digest_json(["unavailable", name, dict(options)])[:16]


def plan(methods: Mapping[str, str], cases: Sequence[Case]) -> list[Cell]:
    """Every method on every case, in an order that depends on their content alone.

    Methods come one after the other, so that a worker seldom has to load another; a method's
    cases are in the order of their ids, so that equal ones, under whatever names, are one row.

    Args:
        methods: Digest of each method, by what it is called.
        cases: What each is given, in any order.

    Raises:
        UsageError: Two methods are one under two names.
    """
    called: dict[str, str] = {}
    for method in sorted(methods):
        other = called.setdefault(methods[method], method)
        if other != method:
            raise UsageError(
                f"{other} and {method} are the same method with the same options",
                hint="leave one of them out, or give it other options",
            )
    unique = _named({case.id: case for case in sorted(cases, key=_names, reverse=True)})
    return [
        Cell(method, methods[method], unique[case])
        for method in sorted(methods)
        for case in sorted(unique)
    ]


def _named(cases: Mapping[str, Case]) -> dict[str, Case]:
    """Cases with names for files; a name that two would share gets a part of the case's id."""
    names = {id: case_name(*(each for each in _names(case) if each)) for id, case in cases.items()}
    taken = Counter(name.casefold() for name in names.values())
    return {
        id: replace(case, name=name if taken[name.casefold()] == 1 else f"{name}-{id[:12]}")
        for id, case in cases.items()
        for name in (names[id],)
    }


def _names(case: Case) -> tuple[str, ...]:
    named = (case.subject, case.reference, case.light)
    return tuple(each.name if each else "" for each in named)
