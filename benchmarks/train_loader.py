"""Training samples out of a release, beside LCVD's data set and beside bare decoding.

    python benchmarks/train_loader.py [RELEASE] [--draws 60]

All do the same draws of the same clips (a reference from anywhere and a window of 15 frames,
stride 4; 512 pixels; nothing changed), by turns, in one process, with one thread, on one core:

- ours: `training.samples.read.SampleReader`, from the release's shard to the tensors of a
  `TrainingSample`, and `collate`, which makes them numbers for the network; once with all
  conditions read from the release's films, once with shading and keypoint maps drawn anew;
- theirs: LCVD's ``Dataset``: four MP4 files with FFmpeg's defaults for x264, opened with decord
  for every sample and asked for the window, then for the reference; pictures to tensors, -1..1
  and 0..1; masks thresholded and brought to 64 pixels;
- the ceiling: bare decoding of the frames to pictures (RGB, or grey for masks), through the same
  decoder: what any decoder hands out, and nothing more. Stricter still: the packets that the
  frames need, through the codec alone, without colours.

Times are medians over the draws. Without RELEASE one is built out of ../shared/media, or out of
the demo's clips. Prints one JSON line, and keeps it in benchmarks/results/train_loader.json:

- ``film_per_s``, ``render_per_s``, ``theirs_per_s``: samples a second, wall, as numbers;
- ``ratio``, ``render_ratio``: ours over theirs by processor time, which a busy machine does not
  change (the first at least 5); ``wall_ratio``: the first by the clock;
- ``of_decoding``: time of bare decoding of the four films over that of a `TrainingSample` made
  of them, by processor time (at least 0.85); ``of_packets``: the same of the codec alone;
- ``render_of_decoding``, ``render_of_packets``: both, of the two films that are decoded where the
  other two streams are drawn anew: the rest of the time is drawing;
- ``parts_ms``: processor time of the parts of a sample.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import decord
import numpy as np
import torch
from parts.reading import Cost, asked
from parts.results import keep
from torch.nn.functional import interpolate

from training.data import STREAMS, ReleaseClips
from training.films import NormalFilm
from training.recipe import Recipe
from training.samples.read import SampleReader
from training.samples.sample import collate
from training.sampling import Draw

LEAST, CEILING = 5.0, 0.85
FRAMES, STRIDE, SIZE = 16, 4, 512
DRAWN = ("video", "mask")


def recipe(conditions: str) -> Recipe:
    """What is read, and nothing changed."""
    return Recipe.model_validate(
        {
            "model": {"adapters": ("shading", "reference", "landmarks")},
            "conditions": {"scheme": "paper"},
            "data": {
                "size": SIZE,
                "frames": FRAMES,
                "stride": (STRIDE, STRIDE),
                "conditions": conditions,
                "augment": {"flip": 0, "zoom": 0, "light": 0},
            },
        }
    )


def skim(clips: ReleaseClips, draw: Draw, streams: tuple[str, ...]) -> None:
    """Decode what the films need for a draw's frames, and look at none of it."""
    for stream in streams:
        data = clips.release.read(clips.keys[draw.clip], f"{stream}.mp4")
        with NormalFilm(data) as film:
            film.skim(sorted(set(draw.indices)))


def pictures(clips: ReleaseClips, draw: Draw, streams: tuple[str, ...]) -> list[np.ndarray]:
    """The frames of a draw as RGB, or grey."""
    return [clips.film(draw.clip, stream, draw.indices) for stream in streams]


def theirs(folder: Path, draw: Draw) -> tuple[torch.Tensor, ...]:
    """A sample in LCVD's way."""
    streams = []
    for stream in STREAMS:
        reader = decord.VideoReader(str(folder / f"{draw.clip}-{stream}.mp4"), num_threads=1)
        window = reader.get_batch(list(draw.frames)).asnumpy()
        frames = np.concatenate([reader[draw.reference].asnumpy()[None], window])
        streams.append(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255)
    video, mask, maps, shading = streams
    hard = interpolate((mask[:, :1] > 0.5).float(), (SIZE // 8, SIZE // 8))
    return video * 2 - 1, hard, maps, shading


def main() -> int:
    """Measure, print one line, and keep it."""
    with asked(__doc__.splitlines()[0]) as (release, count, folder):
        film, render = (SampleReader(release, recipe(kind)) for kind in ("film", "render"))
        clips = film.clips
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        works: dict[str, Callable[[Draw], object]] = {
            "film": lambda draw: film[draw.position],
            "render": lambda draw: render[draw.position],
            "film_numbers": lambda draw: collate([film[draw.position]]),
            "render_numbers": lambda draw: collate([render[draw.position]]),
            "theirs": lambda draw: theirs(folder, draw),
            "pictures": lambda draw: pictures(clips, draw, STREAMS),
            "pictures_drawn": lambda draw: pictures(clips, draw, DRAWN),
            "packets": lambda draw: skim(clips, draw, STREAMS),
            "packets_drawn": lambda draw: skim(clips, draw, DRAWN),
        }
        costs: dict[str, list[Cost]] = {work: [] for work in works}
        for position in range(-2, count):
            draw = film.stream.draw(max(position, 0))
            for work, taken in costs.items():
                cost = Cost()
                cost.of(lambda w=work, d=draw: works[w](d))
                taken += [cost] if position >= 0 else []  # the first are to warm up
    wall = {work: median(cost.wall for cost in taken) for work, taken in costs.items()}
    cpu = {work: median(cost.cpu for cost in taken) for work, taken in costs.items()}
    ratios = [cpu["theirs"] / cpu[f"{kind}_numbers"] for kind in ("film", "render")]
    share = cpu["pictures"] / cpu["film"]
    passed = ratios[0] >= LEAST and share >= CEILING
    keep(
        {
            "benchmark": "train_loader",
            "clips": len(clips),
            "draws": count,
            "film_per_s": round(1 / wall["film_numbers"], 2),
            "render_per_s": round(1 / wall["render_numbers"], 2),
            "theirs_per_s": round(1 / wall["theirs"], 2),
            "ratio": round(ratios[0], 2),
            "render_ratio": round(ratios[1], 2),
            "wall_ratio": round(wall["theirs"] / wall["film_numbers"], 2),
            "of_decoding": round(share, 3),
            "of_packets": round(cpu["packets"] / cpu["film"], 3),
            "render_of_decoding": round(cpu["pictures_drawn"] / cpu["render"], 3),
            "render_of_packets": round(cpu["packets_drawn"] / cpu["render"], 3),
            "parts_ms": {work: round(1e3 * seconds, 1) for work, seconds in cpu.items()},
            "load": round(os.getloadavg()[0], 1),
            "passed": passed,
        }
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
