"""The official ``.task`` bundle: a zip of nets and metadata, read without unpacking to disk."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from infra.errors import WeightsError

DETECTOR = "face_detector.tflite"
LANDMARKS = "face_landmarks_detector.tflite"
BLENDSHAPES = "face_blendshapes.tflite"
GEOMETRY = "geometry_pipeline_metadata_landmarks.binarypb"

_MEMBERS = (DETECTOR, LANDMARKS, BLENDSHAPES, GEOMETRY)
_LARGEST = 16 << 20  # bytes of a member; the official ones stay below 3 MiB


def read_bundle(path: Path) -> Mapping[str, bytes]:
    """Members of a face landmarker bundle, by file name.

    Raises:
        WeightsError: It is no such bundle, or a damaged one; the message says what is amiss.
    """
    try:
        with ZipFile(path) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
            for name in _MEMBERS:
                if name not in sizes:
                    raise bundle_error(f"{path} has no member {name}")
                if sizes[name] > _LARGEST:
                    raise bundle_error(f"{name} of {path} would take {sizes[name]} bytes")
            return {name: archive.read(name) for name in _MEMBERS}
    except (BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise bundle_error(f"{path} is no whole zip archive ({error})") from error


def bundle_error(words: str) -> WeightsError:
    """What to raise for a bundle that is not the official one."""
    return WeightsError(
        f"bad face landmarker bundle: {words}",
        hint="pull it again: limelight weights pull face_landmarker",
    )
