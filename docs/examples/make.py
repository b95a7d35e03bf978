"""Makes the tables of docs/own-data.md: flats that are made up, with labels missing as in real life.

`.venv/bin/python docs/examples/make.py`
"""

import csv
from datetime import date, timedelta
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
DISTRICTS = {"Altstadt": 1.5, "Hafen": 1.2, "Nordend": 0.9, "Südpark": 1.1, "Weiher": 0.7}
HEATING = {"gas": 0.0, "district heating": 0.2, "heat pump": 0.5, "oil": -0.4}
CONDITIONS = ("poor", "fair", "good")
EXTRAS = {"balcony": 0.4, "garden": 1.0, "garage": 0.6, "lift": 0.3}
UNKNOWN = {"rent": 0.25, "condition": 0.4, "quickly": 0.3, "extras": 0.1}
"""The share of flats whose label nobody wrote down."""


def flat(draw: np.random.Generator) -> dict[str, str]:
    """One flat with all its labels."""
    district, heating = draw.choice(list(DISTRICTS)), draw.choice(list(HEATING), p=[0.5, 0.25, 0.15, 0.1])
    size = float(np.clip(draw.lognormal(4.2, 0.4), 18, 220))
    rooms = max(1, round(size / 28 + draw.normal(0, 0.5)))
    built = date(1900, 1, 1) + timedelta(days=int(draw.integers(0, 45_000)))
    new = (built.year - 1960) / 40
    state = new + HEATING[heating] + draw.normal(0, 0.4)
    comfort = DISTRICTS[district] + 0.3 * state
    rent = 250 + 9.5 * size * (0.55 + 0.35 * comfort) + draw.normal(0, 60)
    bargain = comfort - (rent - 250) / (9.5 * size)
    extras = [name for name, bar in EXTRAS.items() if comfort - 1 + draw.normal(0, 0.7) > bar]
    return {
        "listed": str(date(2025, 1, 1) + timedelta(days=int(draw.integers(0, 365)))),
        "district": "" if draw.random() < 0.03 else district,
        "size_m2": "" if draw.random() < 0.05 else f"{size:.1f}",
        "rooms": str(rooms),
        "built": str(built),
        "heating": heating,
        "rent": f"{rent:.0f}",
        "condition": CONDITIONS[int(np.digitize(state, [-0.4, 0.5]))],
        "quickly": "yes" if bargain + draw.normal(0, 0.15) > 0.2 else "no",
        "extras": ", ".join(extras) or "none",
    }


def main() -> None:
    """Writes flats.csv, with labels, and new-flats.csv, without."""
    draw = np.random.default_rng(5)
    rows = [flat(draw) for _ in range(600)]
    for row in rows[:592]:
        for label, share in UNKNOWN.items():
            row[label] = "" if draw.random() < share else row[label]
    labels = set(UNKNOWN)
    new = [{name: cell for name, cell in row.items() if name not in labels} for row in rows[592:]]
    for name, table in (("flats.csv", rows[:592]), ("new-flats.csv", new)):
        with (HERE / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)


if __name__ == "__main__":
    main()
