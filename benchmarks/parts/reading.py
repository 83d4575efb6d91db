"""What benchmarks of reading share: a release of real clips, LCVD's way of keeping them, costs."""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import TypeVar

import av

from catalog.lake import Lake
from catalog.release import Release
from flows.builder import Build, Request
from flows.config import parse_config
from flows.demo import gather_clips
from infra.engine.open import open_engine
from training.data import STREAMS, ReleaseClips

MEDIA = Path(__file__).resolve().parents[3] / "shared" / "media"
LONG_GOPS = {"preset": "medium", "crf": "23", "g": "250", "bf": "3"}
"""FFmpeg's defaults."""

T = TypeVar("T")


@contextmanager
def asked(title: str) -> Iterator[tuple[Release, int, Path]]:
    """What a benchmark's command line asks for.

    Args:
        title: What the benchmark is.

    Yields:
        The release, the number of draws, and a folder that holds all of the release's clips in
        LCVD's way until the end.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("release", nargs="?", type=Path)
    parser.add_argument("--draws", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        release = Release(arguments.release) if arguments.release else _build(folder)
        clips = ReleaseClips(release)
        for clip in range(len(clips)):
            _write_long_gops(clips, clip, folder)
        _one_core()
        yield release, arguments.draws, folder


def _one_core() -> None:
    """Keep to one core, so that no reader's threads count for nothing."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@dataclass
class Cost:
    """Seconds spent so far."""

    wall: float = 0.0
    cpu: float = 0.0

    def of(self, work: Callable[[], T]) -> T:
        """Do some work, and add what it took."""
        wall, cpu = perf_counter(), process_time()
        result = work()
        self.wall += perf_counter() - wall
        self.cpu += process_time() - cpu
        return result


def _build(folder: Path) -> Release:
    """A release of every portrait among the media, all of it in the split train."""
    source = MEDIA if MEDIA.is_dir() else gather_clips(folder / "clips")
    config = parse_config({"pack": {"val": 0.0, "test": 0.0}}, "benchmark")
    lake = Lake.open(folder / "lake", create=True)
    request = Request(str(source), "loader", config)
    release = Build(lake, request, lambda: open_engine("inline"), "loader").all()
    assert release is not None
    return release


def _write_long_gops(clips: ReleaseClips, clip: int, folder: Path) -> None:
    """Encode a clip's streams as LCVD's dataset build does; colours pass through RGB."""
    for stream in STREAMS:
        data = clips.release.read(clips.keys[clip], f"{stream}.mp4")
        source = folder / "source.mp4"
        source.write_bytes(data)
        with (
            av.open(str(source)) as film,
            av.open(str(folder / f"{clip}-{stream}.mp4"), "w") as output,
        ):
            encoder = output.add_stream("libx264", rate=20, options=LONG_GOPS)
            encoder.width = film.streams.video[0].width
            encoder.height = film.streams.video[0].height
            encoder.pix_fmt = "yuv420p"
            for frame in film.decode(video=0):
                rgb = frame.to_ndarray(format="rgb24")
                output.mux(encoder.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            output.mux(encoder.encode(None))
