"""A look at H.264 and HEVC packets that decoders do not take.

Inside a unit of these codecs three zero bytes never follow one another: encoders escape
them. A hole of zeros (an interrupted download, a lost disk block) therefore shows, while
an entropy decoder takes it for a picture in which nothing more happens.
"""

_HOLE = bytes(4)  # three may be the start code that some muxers forget to take out


def length_size(codec: str, extradata: bytes | None) -> int:
    """Bytes of the length before each unit of a packet.

    Args:
        codec: FFmpeg's name of the codec.
        extradata: The stream's decoder configuration (ISO/IEC 14496-15).

    Returns:
        1 to 4, or 0 where units are not prefixed with their lengths, or the codec is another.
    """
    at = {"h264": 4, "hevc": 21}.get(codec)
    if at is None or not extradata or len(extradata) <= at or extradata[0] != 1:
        return 0
    return (extradata[at] & 3) + 1


def has_hole(packet: bytes, prefix: int) -> bool:
    """Whether a packet's units do not fill it, or one of them holds a run of zeros.

    Args:
        packet: Units, each behind its length.
        prefix: Bytes of each length (see :func:`length_size`).
    """
    at = 0
    while at < len(packet):
        start = at + prefix
        size = int.from_bytes(packet[at:start], "big")
        at = start + size
        # Zeros at a unit's end are padding, which the standard allows.
        if size == 0 or at > len(packet) or _HOLE in packet[start:at].rstrip(b"\0"):
            return True
    return False
