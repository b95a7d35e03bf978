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


def seed_passes(seed: int, device: torch.device) -> None:
    """Seeds torch's own draws, such as dropout's, on the CPU and on that device.

    torch.manual_seed seeds every device that there might be; where none was begun, that takes a hundred times as long.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
