"""Files that take their place together, each whole, once all of them are right."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp


@contextmanager
def aside(final: Path) -> Iterator[Path]:
    """A folder beside `final` to write into; at the end its files take their places in `final`, one atomic move each.

    Where anything is raised, `final` stays as it was.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    for left in final.parent.glob(f".{final.name}.tmp-*"):
        shutil.rmtree(left, ignore_errors=True)  # of an export that was killed
    folder = Path(mkdtemp(prefix=f".{final.name}.tmp-", dir=final.parent))
    try:
        yield folder
        final.mkdir(exist_ok=True)
        for file in sorted(folder.iterdir()):
            file.replace(final / file.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not any(final.parent.iterdir()):
            final.parent.rmdir()
