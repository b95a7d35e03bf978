"""Every test computes on one thread and keeps its runs, caches and data to itself."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.shortcuts import SHORTCUTS

# Before any test imports torch, here or in a process of its own: tests share the cores.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

settings.register_profile("mtl", deadline=None, derandomize=True)
settings.load_profile("mtl")


def pytest_configure(config: pytest.Config) -> None:
    """Remembers where real data lies before each test's own folder hides it."""
    config.stash[REAL_DATA] = os.environ.get("MTL_DATA")


REAL_DATA = pytest.StashKey[str | None]()
FIRST = {f"test_{name}.py" for name in ("processes", "resume", "many", "pictures", "restart", "columns")}
"""Modules whose tests share something that takes long to make."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts those in front, where one worker keeps them: at the end each takes tests over from the others."""
    items.sort(key=lambda item: item.path.name not in FIRST)


@pytest.fixture(scope="session", autouse=True)
def _shortcuts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for where, name, instead in SHORTCUTS:
            patch.setattr(where, name, instead)
        yield


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("runs", "cache", "data"):
        monkeypatch.setenv(f"MTL_{name.upper()}", str(tmp_path / name))


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Hydra sets up logging for its whole process; the next test shall not notice."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    for logger in root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def real_data(request: pytest.FixtureRequest) -> Path:
    """The folder that MTL_DATA named when the tests began; a test that asks for it is skipped without one."""
    folder = request.config.stash[REAL_DATA]
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: set MTL_DATA to a folder of data sets")
    return Path(folder)
