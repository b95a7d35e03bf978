"""Random draws as functions of what they decide, so that none depends on what was drawn before."""

import hashlib

import torch


def seed_of(seed: int, *words: str | int) -> int:
    """A 63-bit seed for the draw that `words` name; the same in every process and after a resume."""
    text = "/".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *words: str | int) -> torch.Generator:
    """A CPU generator for the draw that `words` name."""
    return torch.Generator().manual_seed(seed_of(seed, *words))
