"""A type in words: what a person may write for a parameter."""

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import Meta

PLAIN = {bool: "true or false", int: "whole number", float: "number", str: "text", NoneType: "null", Any: "anything"}


def words(hint: Any) -> str:
    """The words for an annotation, with its range: `Annotated[int, Meta(ge=1)]` is a whole number of at least 1."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = [meta for meta in inner[1:] if isinstance(meta, Meta)]
        title = next((meta.title for meta in limits if meta.title), words(inner[0]))
        return " ".join(filter(None, (title, _range(limits))))
    if origin is Literal:
        return " or ".join(map(str, inner))
    parts = [words(part) for part in inner]
    if origin in (Union, UnionType):
        return ", or ".join(parts)
    if origin is dict:
        return f"keys, each with {parts[1]}"
    return {list: "list: " + " ".join(parts), tuple: f"[{', '.join(parts)}]"}.get(
        origin or hint, PLAIN.get(hint, "a name, or keys and values")
    )


def _range(limits: list[Meta]) -> str:
    low = next(((m.ge, "at least") for m in limits if m.ge is not None), None)
    low = next(((m.gt, "above") for m in limits if m.gt is not None), low)
    high = next(((m.le, "at most") for m in limits if m.le is not None), None)
    high = next(((m.lt, "below") for m in limits if m.lt is not None), high)
    return " and ".join(f"{word} {bound}" for bound, word in filter(None, (low, high)))
