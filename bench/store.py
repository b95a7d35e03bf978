"""Measured figures as they are kept, with the machine that they are of."""

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench.turns import Row, Series, Told

RECORDS = Path(__file__).parents[1] / "bench" / "benchmarks.json"
CPUINFO = Path("/proc/cpuinfo")
Record = dict[str, Any]
"""Of one subject: facts, rows, series."""


def facts(told: Told) -> Record:
    """The machine, what is installed, and how busy it is now."""
    return {
        "device": torch.cuda.get_device_name(told.device) if told.device.type == "cuda" else _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "clock": told.clock,
        "share": told.share,
        "torch": torch.__version__,
        "torchjd": version("torchjd"),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _cpu() -> str:
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def kept() -> dict[str, Record]:
    """All that was measured."""
    found: dict[str, Record] = json.loads(RECORDS.read_text(encoding="utf-8")) if RECORDS.is_file() else {}
    return found


def keep(subject: str, about: Record, found: list[Row | Series], seconds: float) -> None:
    """Replaces the figures of one subject, on that kind of device."""
    rows, series = ([its._asdict() for its in found if isinstance(its, kind)] for kind in (Row, Series))
    records = kept()
    records[subject] = {"facts": {**about, "seconds": round(seconds)}, "rows": rows, "series": series}
    RECORDS.write_text(json.dumps(rounded(records), indent=1) + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """Numbers to five digits: more than was measured."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(its) for key, its in value.items()}
    return [rounded(its) for its in value] if isinstance(value, list) else value
