"""A corpus of bad and odd inputs, made on the fly: what the world puts into folders of clips.

Every input must end as a value, a rejection with its reason in words, or a source error;
never in another exception, a crash or a wait without end.
"""

import os
import random
import socket
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from tests.media import FRAMES, picture_at, write_film, write_sound

Kind = Literal["accepted", "rejected", "unreadable"]
ACCEPTED: frozenset[Kind] = frozenset({"accepted"})
REJECTED: frozenset[Kind] = frozenset({"rejected"})
UNREADABLE: frozenset[Kind] = frozenset({"unreadable"})
DECIDED = ACCEPTED | REJECTED


RAW = {"codec": "rawvideo", "pix_fmt": "bgr24"}
X265 = {
    "codec": "libx265",
    "pix_fmt": "yuv420p10le",
    "options": {"x265-params": "log-level=none"},
}


@dataclass(frozen=True)
class HostileInput:
    """One input.

    Attributes:
        name: What it is, unique.
        path: Where it is.
        expected: What the probe may make of it.
    """

    name: str
    path: Path
    expected: frozenset[Kind]


def write_hostile_corpus(folder: Path, clip: Path, *, sparse: int = 1 << 33) -> list[HostileInput]:
    """Fill ``folder`` with hostile inputs.

    Args:
        folder: An empty folder.
        clip: A good MP4 clip that the probe accepts; some inputs are damaged copies of it.
        sparse: Bytes of a file that is one hole; whoever digests them all needs seconds.
    """
    corpus: list[HostileInput] = []
    groups = (not_media, damaged, lying, films, odd_films, pictures, names, special_files)
    for group in groups:
        home = folder / group.__name__
        home.mkdir(parents=True)
        for path, expected in group(home, clip):
            label = os.fsencode(path.name).decode("ascii", "backslashreplace")[:60]
            corpus.append(HostileInput(f"{group.__name__}/{label}", path, expected))
    with (folder / "sparse.mp4").open("wb") as file:
        file.truncate(sparse)
    corpus.append(HostileInput("sparse.mp4", folder / "sparse.mp4", REJECTED))
    return corpus


Inputs = Iterator[tuple[Path, frozenset[Kind]]]


def write(path: Path, content: bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content)
    return path


def not_media(home: Path, clip: Path) -> Inputs:
    """Files that are no video at all, whatever their names say."""
    rng = random.Random(0)
    target = os.fsencode(clip.resolve())
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.write(clip, "inside.mp4")
    contents = {
        "empty.mp4": b"",
        "one_byte.mp4": b"\0",
        "zeros.mp4": bytes(65_536),
        "noise.mp4": rng.randbytes(65_536),
        "text.mp4": b"The quick brown fox; " * 500,
        "page.mp4": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "script.mp4": b"#!/bin/sh\ntouch /tmp/owned\n",
        "error.mp4": b'{"error": "quota exceeded", "code": 403}',
        "archive.mp4": archive.getvalue(),
        "document.mp4": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(500),
        "vector.mp4": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        # These would have FFmpeg open the clip, or the network, in their stead.
        "playlist.mp4": b"#EXTM3U\n#EXTINF:9,\n" + target + b"\n#EXT-X-ENDLIST\n",
        "concat.mp4": b"ffconcat version 1.0\nfile '" + target + b"'\n",
        "session.mp4": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        "signature_only.mp4": struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 512),
        "nested.mp4": struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 512) + _nested(2000),
        "endless_atom.mp4": struct.pack(
            ">I4s4sII4s", 16, b"ftyp", b"isom", 512, 2**32 - 1, b"moov"
        ),
    }
    for name, content in contents.items():
        yield write(home / name, content), REJECTED
    sound = write_sound(home / "sound.m4a", "aac")
    yield sound, REJECTED
    yield write(home / "sound_only.mp4", sound.read_bytes()), REJECTED
    yield write_sound(home / "sound.mkv", "aac"), REJECTED


def _nested(depth: int) -> bytes:
    """Boxes within boxes, each claiming to hold the rest."""
    return b"".join(struct.pack(">I4s", 8 * (depth - i), b"moov") for i in range(depth))


def damaged(home: Path, clip: Path) -> Inputs:
    """Films cut short, with flipped bytes, with holes, with too much."""
    whole = clip.read_bytes()
    index_first = write_film(home / "index_first.mp4", muxer={"movflags": "+faststart"})
    yield index_first, ACCEPTED
    early = index_first.read_bytes()
    for length in (1, 4, 8, 16, 32, 100, 1000):
        yield write(home / f"first_{length}_bytes.mp4", early[:length]), REJECTED
    for percent in (25, 50, 75, 90, 99):
        cut = early[: len(early) * percent // 100]
        yield write(home / f"index_first_{percent}_percent.mp4", cut), REJECTED
        cut = whole[: len(whole) * percent // 100]
        yield write(home / f"clip_{percent}_percent.mp4", cut), DECIDED
    for missing in (1, 16):
        yield write(home / f"last_{missing}_bytes_missing.mp4", early[:-missing]), REJECTED
    for seed in range(8):
        yield write(home / f"flipped_{seed}.mp4", _flipped(early, seed, 1 + seed * 3)), DECIDED
        yield write(home / f"clip_flipped_{seed}.mp4", _flipped(whole, seed, 5)), DECIDED
    start = early.index(b"mdat") + 4
    middle = (start + len(early)) // 2
    hole = early[:middle] + bytes(500) + early[middle + 500 :]
    yield write(home / "hole_in_the_frames.mp4", hole), REJECTED
    yield write(home / "nothing_after_the_index.mp4", early[:start]), REJECTED
    yield write(home / "frames_all_zero.mp4", early[:start] + bytes(len(early) - start)), REJECTED
    yield write(home / "head_zeroed.mp4", bytes(4096) + early[4096:]), REJECTED
    yield write(home / "twice.mp4", early * 2), ACCEPTED
    yield write(home / "twin.mp4", early), ACCEPTED
    yield write(home / "junk_behind.mp4", early + random.Random(1).randbytes(50_000)), ACCEPTED
    yield write(home / "junk_before.mp4", random.Random(2).randbytes(5_000) + early), DECIDED
    for suffix, codec in (
        ("mkv", "libx264"),
        ("ts", "libx264"),
        ("avi", "mpeg4"),
        ("webm", "libvpx"),
    ):
        film = write_film(home / f"whole.{suffix}", codec=codec).read_bytes()
        yield home / f"whole.{suffix}", ACCEPTED
        yield write(home / f"half.{suffix}", film[: len(film) // 2]), DECIDED
        yield write(home / f"flipped.{suffix}", _flipped(film, 3, 10)), DECIDED


def _flipped(content: bytes, seed: int, count: int) -> bytes:
    damaged = bytearray(content)
    rng = random.Random(seed)
    for _ in range(count):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def lying(home: Path, clip: Path) -> Inputs:
    """MP4 files whose headers do not tell the truth."""
    honest = write_film(home / "honest.mp4", muxer={"movflags": "+faststart"}).read_bytes()

    index = honest.index(b"moov")

    def lie(name: str, box: bytes, offset: int, value: int) -> Path:
        """Overwrite 32 bits, ``offset`` bytes after a box's name."""
        at = honest.index(box, index) + 4 + offset
        return write(home / name, honest[:at] + struct.pack(">I", value) + honest[at + 4 :])

    yield home / "honest.mp4", ACCEPTED
    yield lie("film_lasts_ages.mp4", b"mvhd", 16, 0x7FFFFFFF), DECIDED
    yield lie("track_lasts_ages.mp4", b"tkhd", 20, 0x7FFFFFFF), DECIDED
    yield lie("media_lasts_ages.mp4", b"mdhd", 16, 0x7FFFFFFF), DECIDED
    yield lie("no_time_scale.mp4", b"mdhd", 12, 0), DECIDED
    yield lie("huge_time_scale.mp4", b"mdhd", 12, 0xFFFFFFFF), DECIDED
    yield lie("frames_last_no_time.mp4", b"stts", 12, 0), DECIDED
    yield lie("frames_last_ages.mp4", b"stts", 12, 0x00FFFFFF), DECIDED
    yield lie("frames_last_below_zero.mp4", b"stts", 12, 0xFFFFFFFF), DECIDED
    yield lie("promises_a_billion_frames.mp4", b"stsz", 8, 1_000_000_000), REJECTED
    yield lie("frames_of_equal_size.mp4", b"stsz", 4, 40), REJECTED
    yield lie("frames_elsewhere.mp4", b"stco", 8, 0x7FFFFFFF), REJECTED
    yield lie("no_chunks.mp4", b"stco", 4, 0), REJECTED
    yield lie("box_of_no_size.mp4", b"moov", -8, 0), DECIDED
    yield lie("box_beyond_the_end.mp4", b"trak", -8, 0x7FFFFFFF), DECIDED
    yield lie("size_in_header.mp4", b"avc1", 24, 30_000 << 16 | 30_000), DECIDED
    yield lie("unknown_codec.mp4", b"avc1", -4, int.from_bytes(b"zzzz", "big")), REJECTED
    yield lie("no_decoder_set_up.mp4", b"avcC", 0, 0), REJECTED


def films(home: Path, clip: Path) -> Inputs:
    """Honest films of many kinds."""
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("h264.mov", {}),
        ("h264.mkv", {}),
        ("h264.ts", {}),
        ("h264.flv", {}),
        ("h264_444.mp4", {"pix_fmt": "yuv444p"}),
        ("h264_10_bit.mp4", {"pix_fmt": "yuv420p10le"}),
        ("h264_422_10_bit.mkv", {"pix_fmt": "yuv422p10le"}),
        ("h264_grey.mp4", {"pix_fmt": "gray"}),
        ("h264_full_range.mp4", {"pix_fmt": "yuvj420p"}),
        ("h264_rgb.mp4", {"codec": "libx264rgb", "pix_fmt": "rgb24"}),
        ("hevc_10_bit.mp4", X265),
        ("vp8.webm", {"codec": "libvpx"}),
        ("vp9.webm", {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}}),
        (
            "vp9_alpha.webm",
            {"codec": "libvpx-vp9", "pix_fmt": "yuva420p", "options": {"cpu-used": "8"}},
        ),
        ("qtrle_alpha.mov", {"codec": "qtrle", "pix_fmt": "argb"}),
        ("prores_alpha.mov", {"codec": "prores_ks", "pix_fmt": "yuva444p10le"}),
        ("png_alpha.mov", {"codec": "png", "pix_fmt": "rgba"}),
        ("mpeg4.avi", {"codec": "mpeg4"}),
        ("mpeg4_b_frames.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("mpeg2.mpg", {"codec": "mpeg2video"}),
        ("mjpeg.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("ffv1_16_bit.mkv", {"codec": "ffv1", "pix_fmt": "gbrp16le"}),
        ("raw.avi", RAW),
        ("raw.y4m", {"codec": "rawvideo", "container": "yuv4mpegpipe"}),
        ("animation.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
        ("animation.apng", {"codec": "apng", "pix_fmt": "rgb24", "container": "apng"}),
        ("stream.h264", {"container": "h264"}),
        ("interlaced.mp4", {"options": {"x264-params": "tff=1"}}),
        ("interlaced.mpg", {"codec": "mpeg2video", "options": {"flags": "+ildct+ilme"}}),
        ("wide_pixels.mp4", {"aspect": Fraction(2)}),
        ("tall_pixels.mkv", {"aspect": Fraction(16, 15)}),
        ("open_gop.mp4", {"options": {"x264-params": "open-gop=1:keyint=8:bframes=3"}}),
        ("intra_refresh.mp4", {"options": {"x264-params": "intra-refresh=1:keyint=8"}}),
        ("ntsc.mp4", {"fps": Fraction(30_000, 1001)}),
        ("wide.mp4", {"size": (1024, 64)}),
        ("odd.mkv", {"codec": "ffv1", "size": (97, 113)}),
        ("odd_h264.mp4", {"pix_fmt": "yuv444p", "size": (97, 113)}),
    ]
    for name, how in kinds:
        yield write_film(home / name, **how), ACCEPTED
    for degrees in (90, 180, 270):
        yield write_film(home / f"turned_{degrees}.mp4", turn=(degrees, False)), ACCEPTED
    yield write_film(home / "mirrored.mp4", turn=(0, True)), ACCEPTED
    late = [Fraction(t + 100, 25) for t in range(FRAMES)]
    yield write_film(home / "starts_late.mkv", times=late), ACCEPTED
    early = [Fraction(t - 5, 25) for t in range(FRAMES)]
    yield write_film(home / "edit_list.mp4", frames=FRAMES, times=early), ACCEPTED
    rng = random.Random(3)
    uneven = [Fraction(t * 40 + rng.randrange(-15, 16), 1000) for t in range(1, FRAMES + 1)]
    for suffix in ("mp4", "mkv"):
        yield write_film(home / f"variable_rate.{suffix}", times=uneven), ACCEPTED
    yield write(home / "no_suffix", clip.read_bytes()), ACCEPTED
    yield write(home / "film.png", clip.read_bytes()), ACCEPTED


def odd_films(home: Path, clip: Path) -> Inputs:
    """Films that are well-formed, and yet of no use."""
    yield write_film(home / "no_frames.mp4", frames=0), REJECTED
    yield write_film(home / "no_frames.mkv", frames=0), REJECTED
    yield write_film(home / "one_frame.mp4", frames=1), REJECTED
    yield write_film(home / "two_frames.mkv", frames=2), REJECTED
    yield write_film(home / "fifteen_frames.mp4", frames=15), REJECTED
    yield write_film(home / "17x31.mp4", size=(17, 31), pix_fmt="yuv444p"), REJECTED
    yield write_film(home / "1x64.avi", **RAW, size=(1, 64)), REJECTED
    yield write_film(home / "64x1.avi", **RAW, size=(64, 1)), REJECTED
    yield write_film(home / "2x2.mp4", size=(2, 2)), REJECTED
    yield write_film(home / "one_a_second.mp4", fps=Fraction(1)), REJECTED
    yield write_film(home / "thousand_a_second.mp4", fps=Fraction(1000)), REJECTED
    yield write_film(home / "pixels_like_ribbons.mkv", aspect=Fraction(20)), REJECTED
    leap = [Fraction(t, 25) + 3600 * (t > 12) for t in range(FRAMES)]
    yield write_film(home / "an_hour_between_two_frames.mkv", times=leap), REJECTED
    small = write_film(home / "small.h264", container="h264").read_bytes()
    large = write_film(home / "large.h264", container="h264", size=(128, 128)).read_bytes()
    yield write(home / "grows.h264", small + large), REJECTED
    stream = write_film(home / "once.ts").read_bytes()
    yield write(home / "time_starts_again.ts", stream + stream), DECIDED
    huge = b"YUV4MPEG2 W30000 H30000 F25:1 Ip A1:1 C420jpeg\nFRAME\n"
    yield write(home / "30000x30000.y4m", huge + bytes(1000)), REJECTED


def pictures(home: Path, clip: Path) -> Inputs:
    """Still pictures of many kinds, whole and broken."""
    rgb = Image.fromarray(picture_at(0))
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("rgb.png", rgb, {}),
        ("rgba.png", Image.merge("RGBA", (*rgb.split(), rgb.convert("L"))), {}),
        ("grey.png", rgb.convert("L"), {}),
        ("grey_alpha.png", rgb.convert("LA"), {}),
        ("bits.png", rgb.convert("1"), {}),
        ("palette.png", rgb.convert("P"), {}),
        ("grey_16_bit.png", Image.fromarray(picture_at(0)[..., 0].astype(np.uint16) << 8), {}),
        ("rgb.jpg", rgb, {}),
        ("grey.jpg", rgb.convert("L"), {}),
        ("cmyk.jpg", rgb.convert("CMYK"), {}),
        ("progressive.jpg", rgb, {"progressive": True}),
        ("turned.jpg", rgb, {"exif": turned.tobytes()}),
        ("rgb.webp", rgb, {}),
        ("lossless.webp", rgb, {"lossless": True}),
        ("rgb.bmp", rgb, {}),
        ("rgb.tiff", rgb, {}),
        ("still.gif", rgb.convert("P"), {}),
    ]
    for name, image, how in kinds:
        image.save(home / name, **how)
        yield home / name, ACCEPTED
        if name in ("rgb.png", "rgb.jpg", "rgb.webp", "still.gif"):
            content = (home / name).read_bytes()
            for percent in (10, 60):
                cut = content[: len(content) * percent // 100]
                yield write(home / f"cut_{percent}_{name}", cut), REJECTED
            yield write(home / f"flipped_{name}", _flipped(content, 5, 20)), DECIDED
    yield write(home / "picture.mp4", (home / "rgb.png").read_bytes()), ACCEPTED
    rgb.resize((1, 1)).save(home / "1x1.png")
    yield home / "1x1.png", REJECTED
    frames = [Image.fromarray(picture_at(t)) for t in range(FRAMES)]
    frames[0].save(home / "animated.webp", save_all=True, append_images=frames[1:], duration=40)
    yield home / "animated.webp", DECIDED
    yield write(home / "30000x30000.png", _png(30_000, 30_000)), REJECTED
    yield write(home / "0x0.png", _png(0, 0)), REJECTED
    yield write(home / "65535x65535.gif", b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(100)), REJECTED


def _png(width: int, height: int) -> bytes:
    """A PNG whose header promises a size that its few bytes do not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def names(home: Path, clip: Path) -> Inputs:
    """A good clip under names that shells, protocols, patterns and decoders trip over."""
    good = [
        "with space.mp4", " leading space.mp4", "trailing space.mp4 ", 'double"quotes".mp4',
        "single'quote.mp4", "semi;colon.mp4", "$(touch owned).mp4", "`touch owned`.mp4",
        "a&b|c>d<e.mp4", "new\nline.mp4", "tab\tinside.mp4", "-i.mp4", "--help.mp4", "-",
        "%05d.mp4", "%s%n.mp4", "*.mp4", "what?.mp4", "[a-z].mp4", "{a,b}.mp4", "back\\slash.mp4",
        "http:example.mp4", "concat:a|b.mp4", "pipe:0.mp4", "#fragment.mp4", "a=b&c=d.mp4",
        "UPPER.MP4", "two.dots..mp4", ".hidden.mp4", "~.mp4", "nul.mp4", "no suffix at all",
        "e\u0301 combining.mp4", "\u00e9 composed.mp4", "\u65e5\u672c\u8a9e.mp4",
        "\U0001f600.mp4", "right\u202eto left.mp4", "zero\u200bwidth.mp4", "bell\x07.mp4",
        "l" * 251 + ".mp4",
    ]  # fmt: skip
    raw = [b"not \xff\xfe utf8.mp4", b"latin \xe9.mp4", b"cut \xe2\x82.mp4"]
    for name in [*good, *map(os.fsdecode, raw)]:
        os.link(_local(home, clip), home / name)
        yield home / name, ACCEPTED


def _local(home: Path, clip: Path) -> Path:
    """A copy of the clip that can be linked to from ``home``."""
    copy = home / "clip.mp4"
    return copy if copy.exists() else write(copy, clip.read_bytes())


def special_files(home: Path, clip: Path) -> Inputs:
    """Things in a folder that are no files, or cannot be opened."""
    local = _local(home, clip)
    (home / "folder.mp4").mkdir()
    yield home / "folder.mp4", REJECTED
    os.mkfifo(home / "pipe.mp4")
    yield home / "pipe.mp4", REJECTED
    with socket.socket(socket.AF_UNIX) as door:
        try:
            door.bind(str(home / "socket.mp4"))
            yield home / "socket.mp4", REJECTED | UNREADABLE
        except OSError:
            pass  # the folder's name is too long for a socket's
    links = {
        "dangling.mp4": (home / "nowhere", UNREADABLE),
        "loops.mp4": (home / "loops.mp4", UNREADABLE),
        "to_clip.mp4": (local, ACCEPTED),
        "to_folder.mp4": (home / "folder.mp4", REJECTED),
        "endless.mp4": (Path("/dev/zero"), REJECTED),
        "nothing.mp4": (Path("/dev/null"), REJECTED),
    }
    for name, (target, expected) in links.items():
        (home / name).symlink_to(target)
        yield home / name, expected
    yield home / "to_clip.mp4" / "below_a_file.mp4", UNREADABLE
    yield home / "not_there.mp4", UNREADABLE
    forbidden = write(home / "forbidden.mp4", clip.read_bytes())
    forbidden.chmod(0)
    yield forbidden, ACCEPTED | UNREADABLE  # root may read it
