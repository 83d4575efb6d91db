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

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import av
import decord
import numpy as np
from parts.results import keep

from catalog.lake import Lake
from catalog.release import Release
from flows.builder import Build, Request
from flows.config import parse_config
from flows.demo import gather_clips
from infra.engine.open import open_engine
from training.data import ReleaseClips
from training.sampling import Draw, SampleStream, Window

STREAMS = ("video", "mask", "kpmap", "mesh")
MEDIA = Path(__file__).resolve().parents[2] / "shared" / "media"
LEAST = 5.0
LONG_GOPS = {"preset": "medium", "crf": "23", "g": "250", "bf": "3"}
"""FFmpeg's defaults."""


@dataclass
class Cost:
    """Seconds spent so far."""

    wall: float = 0.0
    cpu: float = 0.0

    def of(self, work: Callable[[], list[np.ndarray]]) -> list[np.ndarray]:
        """Do some work, and add what it took."""
        wall, cpu = perf_counter(), process_time()
        result = work()
        self.wall += perf_counter() - wall
        self.cpu += process_time() - cpu
        return result


def build(folder: Path) -> Release:
    """A release of every portrait among the media, all of it in the split train."""
    source = MEDIA if MEDIA.is_dir() else gather_clips(folder / "clips")
    config = parse_config({"pack": {"val": 0.0, "test": 0.0}}, "benchmark")
    lake = Lake.open(folder / "lake", create=True)
    request = Request(str(source), "loader", config)
    release = Build(lake, request, lambda: open_engine("inline"), "loader").all()
    assert release is not None
    return release


def write_long_gops(clips: ReleaseClips, clip: int, folder: Path) -> None:
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("release", nargs="?", type=Path)
    parser.add_argument("--draws", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        release = Release(arguments.release) if arguments.release else build(folder)
        clips = ReleaseClips(release)
        for clip in range(len(clips)):
            write_long_gops(clips, clip, folder)
        streams = [
            SampleStream(clips.lengths, Window(16, (stride, stride)), seed=0) for stride in (4, 1)
        ]
        draws = [[each.draw(place) for place in range(arguments.draws)] for each in streams]
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        compare(clips, folder, draws[0][:2])  # both warm
        mine, other, psnr = compare(clips, folder, draws[0][: arguments.draws])
        mine_1, other_1, _ = compare(clips, folder, draws[1][: arguments.draws // 2])
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
            "draws": arguments.draws,
            "ours_per_s": round(arguments.draws / mine.wall, 2),
            "theirs_per_s": round(arguments.draws / other.wall, 2),
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
