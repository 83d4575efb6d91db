"""A chain of three cheap stages over text files, for tests of everything around stages.

A clip is a text file. What it says may be a misdeed (``raise``, ``segfault``, ``exit``,
``hang``, ``leak``, ``reject``), which the stage ``frame`` then commits.
"""

import ctypes
import os
import sys
import time
from pathlib import Path

from catalog.lake import Lake
from flows.builder import Build, Request
from flows.config import BuildConfig, parse_config
from infra.engine.inline import InlineEngine
from stages.base import Product, Rejected, Stage, StageConfig


class FakeConfig(StageConfig):
    word: str = ""
    """Changes the artifact, and with it the fingerprint."""


class FakeProbe(Stage[FakeConfig]):
    name = "probe"
    Config = FakeConfig

    def process(self, clip):
        return Product(facts={"frames": len(clip.path.read_text()), "fps": "25/1"})


class FakeQuality(Stage[FakeConfig]):
    name = "quality"
    Config = FakeConfig
    needs = ("probe",)

    def process(self, clip):
        if clip.path.read_text().startswith("reject"):
            raise Rejected("it says so itself", score=0.1)
        return Product(score=0.9)


class FakeFrame(Stage[FakeConfig]):
    name = "frame"
    Config = FakeConfig
    needs = ("probe",)
    after = ("quality",)

    def process(self, clip):
        text = clip.path.read_text()
        commit(text.split(" ")[0])
        files = {}
        for member in ("video.txt", "mask.txt"):
            files[member] = clip.scratch / member
            files[member].write_text(f"{member} {self.config.word} {text}")
        facts = {"frames": clip.facts["probe"]["frames"], "fps": "25/1", "size": 512}
        return Product(facts=facts, files=files)


def commit(misdeed):
    match misdeed:
        case "raise":
            print("about to raise", file=sys.stderr)
            raise ValueError("I was told to")
        case "segfault":
            print("about to fall over", file=sys.stderr, flush=True)
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "hang":
            time.sleep(3600)
        case "leak":
            hoard = []
            while True:
                hoard.append(bytearray(32 << 20))


def chain(**words):
    """The chain; ``words`` sets the config of a stage: ``chain(frame="x")``."""
    return [
        cls(FakeConfig(word=words.get(cls.name, ""))) for cls in (FakeProbe, FakeQuality, FakeFrame)
    ]


def write_clips(folder, texts):
    """A folder of clips, ``clip-000.mp4`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts):
        (folder / f"clip-{number:03d}.mp4").write_text(text)
    return folder


DEFAULT = BuildConfig()
IMPATIENT = parse_config({"engine": {"deadline_seconds": 6, "memory_bytes": 300 << 20}}, "test")


def fake_build(
    lake, clips, *, engine=InlineEngine, run="test", name="release", config=DEFAULT, **words
):
    """A build of the fake chain, not yet run."""
    return Build(
        Lake.open(Path(lake), create=True),
        Request(str(clips), name, config),
        engine,
        run,
        stages=chain(**words),
    )
