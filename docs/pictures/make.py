"""Makes the README's pictures: python docs/pictures/make.py, a minute on two idle cores.

They are those of a run of the defaults, in 128 colours.
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

from mtl_cli.__main__ import main

NAMES = ("curves", "worst-digit")

with tempfile.TemporaryDirectory() as folder:
    if main(["train", "device.threads=1", "tensorboard=false", f"run_dir={folder}/run"]) != 0:
        sys.exit("the run failed")
    for name in NAMES:
        with Image.open(f"{folder}/run/plots/{name}.png") as picture:
            reduced = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
            reduced.save(Path(__file__).parent / f"{name}.png", optimize=True)
