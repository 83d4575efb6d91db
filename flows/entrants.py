"""Which methods a benchmark judges: those that were asked for, and what of them can run here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, JsonValue

from evaluation.cells.cell import unavailable_digest
from evaluation.makers import Maker
from evaluation.methods.base import Mode
from evaluation.methods.registry import make_method, pinned, shown
from evaluation.protocols.tables import Protocol
from evaluation.records.facts import MethodFacts
from infra.errors import UsageError
from infra.tables import Table, override
from infra.weights import identity


class Entrant(Table):
    """A method that is to be judged, under a name of one's choice."""

    method: str
    """One of `evaluation.methods.registry.METHODS`."""

    options: dict[str, JsonValue] = Field({})
    """Its options; what is left out is as the method has it."""

    factors: dict[str, float | str] = Field({})
    """What an ablation varies, and this one's value."""


def parse_entrants(methods: Sequence[str], options: Sequence[str]) -> dict[str, Entrant]:
    """What a command line asks for.

    Args:
        methods: ``METHOD`` or ``NAME=METHOD`` each.
        options: ``NAME.option=value`` each, the value as TOML has it (quotes may be left out).

    Raises:
        UsageError: A name is there twice, an option is none, or is of a method that is not named.
    """
    found: dict[str, str] = {}
    for text in methods:
        name, _, method = text.rpartition("=")
        if (name or method) in found:
            raise UsageError(
                f"two methods are called {name or method!r}", hint="give one a name: NAME=METHOD"
            )
        found[name or method] = method
    tables: dict[str, Any] = {name: {} for name in found}
    for text in options:
        name = text.partition(".")[0]
        if name not in found:
            raise UsageError(
                f"{text!r} is an option of {name!r}, which is not judged",
                hint=f"--method {name} says that it is",
            )
        override(tables, text, kind="method", example="lcvd.guidance=3")
    return {name: Entrant(method=found[name], options=tables[name]) for name in found}


def entrants(protocol: Protocol, asked: Mapping[str, Entrant]) -> dict[str, Entrant]:
    """The methods of a benchmark, each in every variant of an ablation.

    Args:
        protocol: Names the methods where none are asked for, and the variants.
        asked: Those that were asked for.
    """
    chosen = dict(asked) or {name: Entrant(method=name) for name in protocol.methods}
    if not protocol.variants:
        return chosen
    return {
        variant if len(chosen) == 1 else f"{name}, {variant}": Entrant(
            method=entrant.method,
            options={**entrant.options, **options},
            factors=_factors(variant, options),
        )
        for name, entrant in chosen.items()
        for variant, options in protocol.variants.items()
    }


def of_model(protocol: Protocol, model: str) -> dict[str, Entrant]:
    """A protocol's own methods, `lcvd` with a model that was just trained.

    Args:
        protocol: Names the methods.
        model: The model's folder.

    Raises:
        UsageError: `lcvd` is not among them.
    """
    if "lcvd" not in protocol.methods:
        raise UsageError(
            f"the protocol {protocol.name} does not judge lcvd, and so not the trained model",
            hint='add it: --benchmark-set \'methods=["copy", "lcvd"]\'',
        )
    options: dict[str, dict[str, JsonValue]] = {"lcvd": {"model": model}}
    return {name: Entrant(method=name, options=options.get(name, {})) for name in protocol.methods}


def _factors(variant: str, options: Mapping[str, JsonValue]) -> dict[str, float | str]:
    """What a variant varies: its numbers by their names, or else what it is called."""
    numbers = {
        name: float(value)
        for name, value in options.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return {**numbers} or {"variant": variant}


@dataclass(frozen=True)
class Contestant:
    """A method as it stands on this machine.

    Attributes:
        name: What it is called in this benchmark.
        maker: How a worker makes it.
        digest: Of all that decides its films.
        weights: Names of the weights that it loads; none where it cannot run.
        facts: What the record says of it.
    """

    name: str
    maker: Maker
    digest: str
    weights: tuple[str, ...]
    facts: MethodFacts

    @property
    def unavailable(self) -> str:
        """Why it cannot run here; empty where it can."""
        return self.facts.unavailable


def require_one(contestants: Sequence[Contestant]) -> None:
    """Refuse a benchmark of which nothing could come.

    Raises:
        UsageError: None of the methods can run here.
    """
    if all(each.unavailable for each in contestants):
        told = "; ".join(f"{each.name}: {each.unavailable}" for each in contestants)
        raise UsageError(
            f"none of the methods can run here: {told}",
            hint="see to what one of them needs, or judge copy and ratio, which need nothing",
        )


def settled(entrant: Entrant, lake: str) -> Entrant:
    """An entrant as another process, in another working folder, has to be told of it.

    Args:
        entrant: What was asked for.
        lake: Folder of the lake whose models it may take.

    Raises:
        UsageError: There is no such method or option.
    """
    options = pinned(entrant.method, _in_lake(entrant, lake))
    return entrant.model_copy(update={"options": options})


def contestant(name: str, entrant: Entrant, mode: Mode, lake: str) -> Contestant:
    """Look whether a method can run here.

    Args:
        name: What it is called.
        entrant: What was asked for.
        mode: What is to be done.
        lake: Folder of the lake whose models it may take.

    Raises:
        UsageError: There is no such method or option.
    """
    origin = f"the method {name}"
    options = pinned(entrant.method, _in_lake(entrant, lake), origin)
    method = make_method(entrant.method, options, origin)
    reason = method.unavailable() if mode in method.modes else f"{entrant.method} cannot {mode}"
    maker = Maker(
        factory="evaluation.methods.registry:make_method",
        arguments={"name": entrant.method, "options": options},
    )
    if reason:
        facts = MethodFacts(
            name=name,
            options=shown(entrant.method, entrant.options),
            factors=entrant.factors,
            unavailable=reason,
        )
        digest = unavailable_digest(entrant.method, entrant.options)
        return Contestant(name, maker, digest, (), facts)
    weights = method.weights()
    facts = MethodFacts(
        name=name,
        digest=method.digest,
        weights={each: identity(each) for each in weights},
        options={"method": entrant.method, **method.options()},
        factors=entrant.factors,
    )
    return Contestant(name, maker, method.digest, weights, facts)


def _in_lake(entrant: Entrant, lake: str) -> dict[str, JsonValue]:
    """The options; a method that takes models of a lake takes them of the benchmark's."""
    return {"lake": lake, **entrant.options} if entrant.method == "lcvd" else entrant.options
