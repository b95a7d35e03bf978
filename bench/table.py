"""Measures all that docs/benchmarks.md shows, prints it, keeps it in bench/benchmarks.json and writes the page.

`python -m bench.table [--only step,epoch] [--device cuda]` is `make bench`. A subject that is measured again
replaces its own rows only. A subject is a module here with ABOUT, what its rows are of, and measure(told).
"""

import argparse
import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from bench import growth, page, store
from bench.turns import Row, Series, Told

SUBJECTS = ("step", "epoch", "balance", "parts", "memory", "solvers", "growth", "startup", "recipe")
"""In the order of the page."""
UNDER = {"startup": "bench.start"}
"""What a subject rests on; it is left out where that is not there."""


def subjects() -> dict[str, Any]:
    """The modules by name."""
    there = [name for name in SUBJECTS if find_spec(UNDER.get(name, "bench.turns")) is not None]
    return {name: import_module(f"bench.{name}") for name in there}


def abouts() -> dict[str, str]:
    """What each subject's rows are of."""
    return {name: module.ABOUT for name, module in subjects().items()}


def run(name: str, module: Any, told: Told) -> None:
    """Measures one subject, prints its rows as they come, and keeps them."""
    about, start = store.facts(told), time.perf_counter()
    found: list[Row | Series] = []
    for its in module.measure(told):
        found.append(its)
        lines = page.table([its]) if isinstance(its, Row) else page.slopes([its])
        print("\n".join(lines[2:] if len(found) > 1 else lines), flush=True)
    kind = "" if told.device.type == "cpu" else f" on {told.device.type}"
    store.keep(name + kind, about, found, time.perf_counter() - start)
    series = [its for its in found if isinstance(its, Series)]
    if series and not kind:
        growth.draw(series)


def main() -> None:
    """Measures what is asked for, or everything."""
    modules = subjects()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(modules), help=f"some of {', '.join(modules)}; with commas")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--clock", default="wall", choices=["wall", "cpu"], help="cpu: of one thread, for a busy machine"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the turns that each row takes by itself")
    parser.add_argument("--page", action="store_true", help="measure nothing: write the page from what was kept")
    asked = parser.parse_args()
    chosen = [] if asked.page else asked.only.split(",")
    if unknown := [name for name in chosen if name not in modules]:
        parser.error(f"--only takes {', '.join(modules)}. Found {', '.join(unknown)}")
    if asked.clock == "cpu":
        torch.set_num_threads(1)
    for name in chosen:
        print(f"\n{name}: {modules[name].ABOUT}\n", flush=True)
        run(name, modules[name], Told(torch.device(asked.device), asked.clock, asked.share))
    page.write(abouts())


if __name__ == "__main__":
    main()
