"""Boxes and arrows as SVG text: the same bytes from the same calls, on any machine.

Shared parts are blue, a task's own in the task's colour and with its letter, frozen ones grey with a broken edge.
The colours are Okabe and Ito's, which the colour-blind tell apart; a white ground makes them legible in dark mode.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple
from xml.sax.saxutils import escape

Owner = Literal["shared", "A", "B", "C", "frozen", "plain"]
COLOURS: dict[Owner, tuple[str, str]] = {
    "shared": ("#d3e6f4", "#0072b2"),
    "A": ("#fde7bd", "#c97f00"),
    "B": ("#c8ebdf", "#00805d"),
    "C": ("#f3d9e8", "#a8487d"),
    "frozen": ("#ececec", "#777777"),
    "plain": ("#ffffff", "#444444"),
}
"""Fill and edge."""
COLUMN, ROW, MARGIN = 100, 46, 12
WIDE, HIGH, DOT = 84, 30, 11
SIZE, SMALL = 13, 11
HEAD = 6.0
LETTER = 0.56
"""How wide a letter is on average, in font sizes; of the widest common fonts."""


class Place(NamedTuple):
    """A box or a dot: its centre, and half its width and height, in pixels."""

    x: float
    y: float
    half: float
    tall: float


class Picture:
    """Columns from left to right, rows from top to bottom; as large as what is drawn. Lines lie below boxes."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._lines: list[str] = []
        self._boxes: list[str] = []
        self._points: list[tuple[float, float]] = []
        self.boxes: list[Place] = []
        self.notes: list[Place] = []
        self.texts: list[tuple[Place, float]] = []

    def box(
        self, column: float, row: float, text: str, owner: Owner = "shared", wide: float = 1, high: float = 1
    ) -> Place:
        """A box with its centre there."""
        x, y = self._at(column, row)
        place = Place(x, y, wide * WIDE / 2, high * HIGH / 2)
        fill, edge = COLOURS[owner]
        dash = ' stroke-dasharray="4 3"' if owner == "frozen" else ""
        self._boxes.append(
            f'<rect x="{_n(x - place.half)}" y="{_n(y - place.tall)}" width="{_n(2 * place.half)}" '
            f'height="{_n(2 * place.tall)}" rx="5" fill="{fill}" stroke="{edge}" stroke-width="1.5"{dash}/>'
        )
        self._text(place, text, SIZE, "#222")
        self.boxes.append(place)
        return place

    def dot(self, column: float, row: float, text: str, owner: Owner = "shared") -> Place:
        """A small circle: an operation."""
        x, y = self._at(column, row)
        fill, edge = COLOURS[owner]
        self._boxes.append(
            f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{DOT}" fill="{fill}" stroke="{edge}" stroke-width="1.5"/>'
        )
        place = Place(x, y, DOT, DOT)
        self._text(place, text, SIZE, "#222")
        self.boxes.append(place)
        return place

    def arrow(
        self, start: Place, end: Place, owner: Owner = "plain", dashed: bool = False, faint: bool = False
    ) -> None:
        """From the right of one to the left of the other; from below or above where they stand over one another."""
        if abs(start.x - end.x) < 1:
            sign = 1 if end.y > start.y else -1
            points = ((start.x, start.y + sign * start.tall), (end.x, end.y - sign * end.tall))
        else:
            sign = 1 if end.x > start.x else -1
            points = ((start.x + sign * start.half, start.y), (end.x - sign * end.half, end.y))
        self._line(points, owner, dashed, faint, headed=True)

    def bend(self, start: Place, end: Place, owner: Owner = "plain", dashed: bool = False) -> None:
        """From the right of one, then up or down into the other."""
        sign = 1 if end.y > start.y else -1
        side = 1 if end.x > start.x else -1
        points = ((start.x + side * start.half, start.y), (end.x, start.y), (end.x, end.y - sign * end.tall))
        self._line(points, owner, dashed, faint=False, headed=True)

    def rise(self, start: Place, end: Place, owner: Owner = "plain") -> None:
        """From the top or bottom of one, then along into the left of the other."""
        sign = 1 if end.y > start.y else -1
        points = ((start.x, start.y + sign * start.tall), (start.x, end.y), (end.x - end.half, end.y))
        self._line(points, owner, dashed=False, faint=False, headed=True)

    def around(self, start: Place, end: Place, row: float, owner: Owner = "plain", dashed: bool = False) -> None:
        """From the top or bottom of one, along a row, into the other."""
        _, y = self._at(0, row)
        sign = 1 if y > start.y else -1
        points = ((start.x, start.y + sign * start.tall), (start.x, y), (end.x, y), (end.x, end.y + sign * end.tall))
        self._line(points, owner, dashed, faint=False, headed=True)

    def tie(self, first: Place, second: Place, owner: Owner = "shared") -> None:
        """A broken line between two: a penalty on how far they are apart."""
        sign = 1 if second.y > first.y else -1
        self._line(
            ((first.x, first.y + sign * first.tall), (second.x, second.y - sign * second.tall)),
            owner,
            dashed=True,
            faint=False,
            headed=False,
        )

    def note(self, column: float, row: float, text: str, anchor: Literal["start", "middle", "end"] = "middle") -> None:
        """Words beside the drawing."""
        x, y = self._at(column, row)
        half = len(text) * SMALL * LETTER / 2
        centre = {"start": x + half, "middle": x, "end": x - half}[anchor]
        self.notes.append(Place(centre, y, half, SMALL / 2))
        self._text(self.notes[-1], text, SMALL, "#444", x, anchor)

    def svg(self) -> str:
        """The file."""
        left, top = (min(c) - MARGIN for c in zip(*self._corners(), strict=True))
        right, bottom = (max(c) + MARGIN for c in zip(*self._corners(), strict=True))
        x, y, width, height = (_n(v) for v in (left, top, right - left, bottom - top))
        return "\n".join(
            [
                (
                    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{x} {y} {width} {height}" width="{width}" '
                    f'height="{height}" font-family="Helvetica, Arial, sans-serif">'
                ),
                f"<title>{escape(self._title)}</title>",
                f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="#fff"/>',
                *self._lines,
                *self._boxes,
                "</svg>\n",
            ]
        )

    def _corners(self) -> list[tuple[float, float]]:
        """Points between which everything lies."""
        places = [*self.boxes, *(Place(p.x, p.y, wide / 2, p.tall) for p, wide in self.texts)]
        return [*self._points, *((p.x + s * p.half, p.y + s * p.tall) for p in places for s in (-1, 1))]

    def _at(self, column: float, row: float) -> tuple[float, float]:
        return column * COLUMN, row * ROW

    def _text(
        self, place: Place, text: str, size: int, colour: str, x: float | None = None, anchor: str = "middle"
    ) -> None:
        self.texts.append((place, len(text) * size * LETTER))
        self._boxes.append(
            f'<text x="{_n(place.x if x is None else x)}" y="{_n(place.y + 0.35 * size)}" font-size="{size}" '
            f'fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def _line(
        self, points: Sequence[tuple[float, float]], owner: Owner, dashed: bool, faint: bool, headed: bool
    ) -> None:
        self._points += points
        colour = "#c8c8c8" if faint else COLOURS[owner][1]
        (x0, y0), (x1, y1) = points[-2], points[-1]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        tail = (x1 - HEAD * ux, y1 - HEAD * uy) if headed else (x1, y1)
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in (*points[:-1], tail))
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self._lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>')
        if headed:
            wing = HEAD * 0.6
            corners = ((x1, y1), (tail[0] - wing * uy, tail[1] + wing * ux), (tail[0] + wing * uy, tail[1] - wing * ux))
            path = " ".join(f"{_n(x)},{_n(y)}" for x, y in corners)
            self._lines.append(f'<polygon points="{path}" fill="{colour}"/>')


def _n(value: float) -> str:
    """A number as short as it goes."""
    return f"{value:.1f}".removesuffix(".0")
