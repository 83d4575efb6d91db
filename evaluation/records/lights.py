"""The lights of a benchmark, as its record tells of them: each once, under a name of its own."""

from collections.abc import Callable, Iterable, Mapping

from evaluation.cells.cell import LightTarget
from evaluation.records.facts import LightFacts

Key = tuple[str, str]
"""What makes lights one in a report: their name, and the digest of the face that shows it.

A light that is asked for by name differs from clip to clip, for it is as bright as the clip's own;
it is one light all the same. Two faces are two lights, whatever they are called.
"""


def key(light: LightTarget) -> Key:
    """Which light of the report it is."""
    return light.name, light.film.digest if light.film else ""


def unique_names(lights: Iterable[LightTarget]) -> dict[Key, str]:
    """A name for each light, in the order of the names.

    The second face of one name is called ``name (2)``; faces are counted by their digests.
    """
    keys = sorted({key(light) for light in lights})
    taken = {name for name, _ in keys}
    names: dict[Key, str] = {}
    for name, digest in keys:
        told, count = name, 1
        while told in names.values() or (count > 1 and told in taken):
            count += 1
            told = f"{name} ({count})"
        names[name, digest] = told
    return names


def light_facts(
    lights: Iterable[LightTarget], names: Mapping[Key, str], picture: Callable[[LightTarget], str]
) -> tuple[LightFacts, ...]:
    """What a record says of lights.

    Args:
        lights: As cells were asked for them, in an order that does not depend on a machine: the
            picture is that of the first of each name.
        names: Of `unique_names`.
        picture: Gives the path of a light's picture, relative to the report; empty for none.
    """
    asked: dict[Key, list[LightTarget]] = {}
    for light in lights:
        asked.setdefault(key(light), []).append(light)
    return tuple(
        LightFacts(
            name=name,
            coefficients=_common([light.content[0] for light in asked[which]]),
            picture=picture(asked[which][0]),
        )
        for which, name in names.items()
    )


def _common(coefficients: list[list[list[float]]]) -> list[list[float]]:
    """Those of all, where they are equal."""
    first = coefficients[0]
    return first if all(each == first for each in coefficients) else []
