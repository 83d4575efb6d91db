"""Train, val and test, divided by who is seen, so that no person is in two of them."""

from collections.abc import Iterable
from typing import Literal

from infra.digests import digest_bytes

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


def split_of(identity: str, *, seed: int, val: float, test: float) -> Split:
    """The split of one group of identities, named by its least member.

    A digest of (seed, identity) is read as a number in [0, 1): below ``val`` it is val, below
    ``val + test`` it is test, else train. So a clip added tomorrow moves nobody. With few
    identities a split may stay empty; the release's card says so.

    Args:
        identity: Who.
        seed: Another seed, another division.
        val: Share of identities wanted in val, 0..1.
        test: Share wanted in test, 0..1; ``val + test`` is at most 1.
    """
    # 52 of the digest's bits: a float64 holds them exactly, so no machine rounds otherwise.
    number = int(digest_bytes(f"{seed}:{identity}".encode())[:13], 16) / 16**13
    if number < val:
        return "val"
    return "test" if number < val + test else "train"


def assign_splits(
    seen: Iterable[tuple[str, str]], *, seed: int, val: float, test: float
) -> dict[str, Split]:
    """The split of every clip; identities that share a clip are one group, and go together.

    A clip that lies in the source under two names may have two identities. Were they divided,
    the same bytes would be trained on and tested on.

    Args:
        seen: Pairs of (clip id, identity), a clip as often as it has names.
        seed: Another seed, another division.
        val: Share of identities wanted in val, 0..1.
        test: Share wanted in test, 0..1.

    Returns:
        ``{clip: split}``: a pure function of the pairs as a set.
    """
    parent: dict[str, str] = {}

    def least(identity: str) -> str:
        while parent[identity] != identity:
            parent[identity] = parent[parent[identity]]
            identity = parent[identity]
        return identity

    first: dict[str, str] = {}
    for clip, identity in seen:
        parent.setdefault(identity, identity)
        one, other = least(first.setdefault(clip, identity)), least(identity)
        # The lesser name becomes the root: the group's name does not depend on the order.
        parent[max(one, other)] = min(one, other)
    divided = {who: split_of(least(who), seed=seed, val=val, test=test) for who in parent}
    return {clip: divided[identity] for clip, identity in first.items()}
