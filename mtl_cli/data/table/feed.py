"""The bytes of a file as text's, whatever they were: compressed, in another encoding, or coming down a pipe."""

import codecs
import gzip
import io
from typing import BinaryIO, cast

from mtl_cli.options import ConfigError

GZIP = b"\x1f\x8b"
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""Stands where bytes are not of the encoding."""
PIECE = 1 << 20


class Feed(io.RawIOBase):
    """UTF-8, read on until it is told to stop: Arrow reads ahead in a thread of its own, which then comes to an end.

    Args:
        encoding: of the text, of which what is not of it becomes `UNKNOWN`; None: bytes are handed on as they are.
    Raises: ConfigError: no such encoding.
    """

    def __init__(self, file: BinaryIO, encoding: str | None) -> None:
        super().__init__()
        whole = io.BufferedReader(cast("io.RawIOBase", file), PIECE)
        packed = whole.peek(2)[:2] == GZIP
        self._file = cast("BinaryIO", gzip.GzipFile(fileobj=whole) if packed else whole)
        self._decoder = None if encoding is None else _decoder(encoding)
        self._rest = b""
        self._stopped = False

    def readable(self) -> bool:
        """Always."""
        return True

    def stop(self) -> None:
        """From now on the file is at its end."""
        self._stopped = True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer
        """Fills some of `buffer`; 0 at the end."""
        ended = False
        while not self._rest and not ended:
            piece = b"" if self._stopped else self._file.read(PIECE)
            ended = not piece
            self._rest = piece if self._decoder is None else self._decoder.decode(piece, final=ended).encode()
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    """A mark at the start stays: whoever reads knows it."""
    try:
        "a".encode(encoding)
    except (LookupError, UnicodeError):
        raise ConfigError(f"encoding={encoding} is not known: take utf-8, latin-1, cp1252, utf-16 or such") from None
    unicode = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
    return codecs.getincrementaldecoder("utf-8" if unicode else encoding)("replace")
