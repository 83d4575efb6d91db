"""Protocol buffers, read without their schemas: the fields of a message by number."""

from collections.abc import Iterator
from typing import Any

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of the encoding


def fields(message: bytes | memoryview) -> Iterator[tuple[int, Any]]:
    """Fields of an encoded message, in order.

    Args:
        message: Its bytes; of a ``memoryview`` nothing is copied.

    Yields:
        A field's number, and its value: an int where it is encoded as a varint, else the raw
        bytes, a part of ``message`` (a string, a message, packed numbers, or 4 or 8 bytes).

    Raises:
        ValueError: It ends within a field, or is no message.
        IndexError: It ends within a number.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"unknown wire type {wire}")
        if at + length > len(message):
            raise ValueError("it ends within a field")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: bytes | memoryview, at: int) -> tuple[int, int]:
    """The number that starts at byte ``at``, seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
