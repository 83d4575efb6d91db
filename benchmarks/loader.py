"""Random training windows out of a release, beside LCVD's way of reading them.

    python benchmarks/loader.py [RELEASE] [--draws 60]

Both read the same draws of the same clips, by turns, in one process with one decoder thread, on
one core (decord's other threads would help it on a second one): a reference frame from anywhere
and a window of 16 frames, stride 4, of all four streams.

- ours: `training.data.ReleaseClips`: four members by their byte offsets in the shard, checked;
- theirs: the four streams as four MP4 files with FFmpeg's defaults for x264 (medium, crf 23, a
  key frame every 250 frames, B-frames), opened with decord for every sample, and asked for the
  window, then for the reference.

Without RELEASE one is built out of ../shared/media, or out of the demo's clips. Prints one JSON
line, and keeps it in benchmarks/results/loader.json:

- ``ours_per_s``, ``theirs_per_s``: windows a second, wall;
- ``ratio``: of these (at least 5); ``cpu_ratio``: the same by processor time;
- ``stride_1_ratio``: for windows of consecutive frames;
- ``psnr``: of their video against ours (dB): that both read the same frames;
- ``bytes_ratio``: size of our four members over that of their four files.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import decord
import numpy as np
from parts.reading import Cost, asked
from parts.results import keep

from training.data import STREAMS, ReleaseClips
from training.sampling import Draw, SampleStream, Window

LEAST = 5.0


def ours(clips: ReleaseClips, draw: Draw) -> list[np.ndarray]:
    """All streams of a draw, the reference first."""
    sample = clips.read(draw.clip, draw.indices, params=False)  # LCVD has no such stream
    return [sample.video, sample.mask, sample.kpmap, sample.mesh]


def theirs(folder: Path, draw: Draw) -> list[np.ndarray]:
    """The same in LCVD's way: open every file, read the window, then the reference."""
    streams = []
    for stream in STREAMS:
        reader = decord.VideoReader(str(folder / f"{draw.clip}-{stream}.mp4"), num_threads=1)
        window = reader.get_batch(list(draw.frames)).asnumpy()
        reference = reader[draw.reference].asnumpy()
        streams.append(np.concatenate([reference[None], window]))
    return streams


def compare(
    clips: ReleaseClips, folder: Path, draws: Sequence[Draw]
) -> tuple[Cost, Cost, list[float]]:
    """Read every draw both ways, by turns; costs of ours and theirs, and PSNRs of the video."""
    cost, other, psnr = Cost(), Cost(), []
    for draw in draws:
        mine = cost.of(lambda draw=draw: ours(clips, draw))
        yours = other.of(lambda draw=draw: theirs(folder, draw))
        error = np.mean((mine[0].astype(np.float32) - yours[0]) ** 2)
        psnr.append(10 * np.log10(255**2 / float(error)))
    return cost, other, psnr


def main() -> int:
    """Measure, print one line, and keep it."""
    with asked(__doc__.splitlines()[0]) as (release, count, folder):
        clips = ReleaseClips(release)
        streams = [
            SampleStream(clips.lengths, Window(16, (stride, stride)), seed=0) for stride in (4, 1)
        ]
        draws = [[each.draw(place) for place in range(count)] for each in streams]
        compare(clips, folder, draws[0][:2])  # both warm
        mine, other, psnr = compare(clips, folder, draws[0][:count])
        mine_1, other_1, _ = compare(clips, folder, draws[1][: count // 2])
        sizes = [
            sum(
                len(release.read(key, f"{stream}.mp4")) for key in clips.keys for stream in STREAMS
            ),
            sum(path.stat().st_size for path in folder.glob("*-*.mp4")),
        ]
    ratio = other.wall / mine.wall
    keep(
        {
            "benchmark": "loader",
            "clips": len(clips),
            "frames_a_clip": round(float(np.mean(clips.lengths)), 1),
            "draws": count,
            "ours_per_s": round(count / mine.wall, 2),
            "theirs_per_s": round(count / other.wall, 2),
            "ratio": round(ratio, 2),
            "cpu_ratio": round(other.cpu / mine.cpu, 2),
            "stride_1_ratio": round(other_1.wall / mine_1.wall, 2),
            "psnr": round(float(np.mean(psnr)), 1),
            "bytes_ratio": round(sizes[0] / sizes[1], 2),
            "load": round(os.getloadavg()[0], 1),
            "passed": ratio >= LEAST,
        }
    )
    return 0 if ratio >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
