"""Every picture of these tests has the pictures' own style."""

from collections.abc import Iterator

import pytest

from mtl_cli.reporting.plots.style import styled


@pytest.fixture(autouse=True)
def _styled() -> Iterator[None]:
    with styled():
        yield
