"""Made-up records of benchmarks: drawn numbers, for tests of what is made of them."""

import numpy as np

from evaluation.records.facts import (
    CellFacts,
    ClipFacts,
    LightFacts,
    MethodFacts,
    MetricFacts,
    ProtocolFacts,
    Provenance,
    SetFacts,
    StudyFacts,
    TraceFacts,
)
from evaluation.records.record import Record

HOSTILE = "<img src=x onerror=alert(1)>\"'|`*_{}$\\%&#~^\n=1+1</script>"
"""A name that means something in every format."""


def make_record(
    *,
    methods=("copy", "ratio", "lcvd"),
    clips=6,
    identities=3,
    lights=("left", "right"),
    published="hdtf",
    videos=False,
    factors=None,
    seed=0,
    **changes,
) -> Record:
    """A record of relighting: each method better in light and worse in identity than the last.

    LE is standard and has a published column; ID is embedded; FID is a set metric; the last
    method fails on the first clip under the first light.

    Args:
        methods: Names.
        clips: How many, of ``identities`` people in turn.
        identities: How many.
        lights: Names.
        published: Published table that the protocol follows.
        videos: Whether clips and cells name a video beside the report.
        factors: Factors of each method.
        seed: Of the numbers.
        **changes: Fields of the record to be others.
    """
    generator = np.random.default_rng(seed)
    names = [f"clip-{number:03d}" for number in range(clips)]
    people = {name: f"person-{number % identities}" for number, name in enumerate(names)}
    cells = []
    for rank, method in enumerate(methods):
        for name in names:
            for light in lights:
                failed = rank == len(methods) - 1 and (name, light) == (names[0], lights[0])
                light_error, likeness, lpips = generator.normal(
                    (0.9 - 0.1 * rank, 0.95 - 0.15 * rank, 0.03), (0.05, 0.03, 0.004)
                ).tolist()
                cells.append(
                    CellFacts(
                        id=f"{rank}-{name}-{light}",
                        case=f"{name}-{light}",
                        method=method,
                        mode="relight",
                        clip=name,
                        light=light,
                        outcome="failed" if failed else "done",
                        reason="no face was found in 3 of 16 frames" if failed else "",
                        seconds_per_frame=None if failed else 0.01 * (rank + 1),
                        peak_bytes=None if failed else 1.5e9,
                        values={}
                        if failed
                        else {"le": light_error, "id": likeness, "lpips_adjacent": lpips},
                        video=f"videos/{rank}-{name}-{light}.mp4" if videos else "",
                    )
                )
    fields = {
        "name": "synthetic",
        "protocol": ProtocolFacts(
            name="hdtf",
            size=256,
            digest="0f" * 8,
            source="made up",
            published=published,
            left_out={"short.mp4": "7 frames; 8 are needed"},
        ),
        "methods": tuple(
            MethodFacts(name=name, digest=f"{rank:016x}", factors=(factors or {}).get(name, {}))
            for rank, name in enumerate(methods)
        ),
        "metrics": METRICS,
        "clips": tuple(
            ClipFacts(
                id=name,
                name=f"Clip {name[-3:]}",
                identity=people[name],
                frames=16,
                video=f"videos/{name}.mp4" if videos else "",
            )
            for name in names
        ),
        "lights": tuple(LightFacts(name=name) for name in lights),
        "cells": tuple(cells),
        "sets": tuple(
            SetFacts(
                method=name,
                metric="fid",
                value=50.0 - 5 * rank,
                low=45.0 - 5 * rank,
                high=56.0 - 5 * rank,
                draws=25,
                n=192,
                reals=192,
                warning="192 outputs are too few for 2048 features",
            )
            for rank, name in enumerate(methods)
        ),
        "traces": tuple(
            TraceFacts(
                method=name,
                metric="le",
                values=(0.9 - 0.1 * rank + 0.01 * np.sin(np.arange(16))).tolist(),
            )
            for rank, name in enumerate(methods)
        ),
        "study": tuple(
            StudyFacts(
                method=name,
                question=question,
                value=3.0 + 0.2 * rank,
                low=2.7,
                high=3.9,
                votes=34,
                raters=17,
                agreement=0.61,
            )
            for rank, name in enumerate(methods)
            for question in ("LA-U", "ID-U")
        ),
        "provenance": Provenance(
            release="made-up 1",
            seal="ab" * 32,
            checkpoints={"lcvd": "cd" * 32},
            weights={"inception": "ef" * 32},
            seeds={"generation": 0},
            versions={"limelight": "0.1"},
            run={"machine": "2 cores"},
        ),
    }
    return Record(**fields | changes)


METRICS = (
    MetricFacts(
        name="le",
        title="LE",
        higher_is_better=False,
        range=(0.0, None),
        estimator="DECA",
        definition="Distance of the lights.",
        published="LE",
    ),
    MetricFacts(
        name="id",
        title="ID",
        higher_is_better=True,
        range=(-1.0, 1.0),
        estimator="local binary patterns",
        grade="embedded",
        definition="Likeness to the source.",
    ),
    MetricFacts(
        name="lpips_adjacent",
        title="LPIPS",
        higher_is_better=False,
        range=(0.0, None),
        estimator="LPIPS (AlexNet)",
        published="LPIPS",
    ),
    MetricFacts(
        name="fid",
        title="FID",
        higher_is_better=False,
        range=(0.0, None),
        estimator="Inception (FID weights)",
        published="FID",
    ),
)
