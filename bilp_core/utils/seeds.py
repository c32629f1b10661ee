"""Seeds that follow from one seed."""

import hashlib


def seeds(purpose: str, seed: int, count: int) -> list[int]:
    """`count` seeds that follow from `seed`; other purposes have others, so that no two share their networks.

    >>> from bilp_core.utils.seeds import seeds
    >>> three = seeds("evaluation", 0, 3)
    >>> three == seeds("evaluation", 0, 5)[:3] and len(set(three)) == 3
    True
    >>> seeds("indicator", 0, 3) == three
    False
    """
    digests = (hashlib.sha256(f"{purpose} {seed} {k}".encode()).digest() for k in range(count))
    return [int.from_bytes(digest[:7], "big") for digest in digests]
