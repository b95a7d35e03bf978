"""Keys below an entry that a YAML gives by its name alone: `data.parts.images.crop=2` over `images: digits`.

To Hydra, `digits` is a word, which a key below it would replace. So the entry is first spelled out: {name: digits}.
"""

import re
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mtl_cli.beneath import CONF
from mtl_cli.cli import folders
from mtl_cli.cli.arguments import Arguments, Override
from mtl_cli.cli.jobs import Call

ENTRY = re.compile(
    r"(data\.parts\.[^.]+|data\.sampling|tasks\.[^.]+\.(?:head|loss)|(?:weighting|aggregation)\.inner)(\..+)?"
)


def spelled_out(call: Call) -> Arguments:
    """The command line with each such entry spelled out before the keys below it."""
    arguments = call.arguments
    below = [override for override in arguments.overrides if (m := ENTRY.fullmatch(override.key)) and m.group(2)]
    if not below:
        return arguments
    stems = dict.fromkeys(ENTRY.sub(r"\1", override.key) for override in below)
    rest = [_named(override) if override.key in stems else override for override in arguments.overrides]
    rest = [override for override in rest if override not in below]
    told = {override.key for override in rest}
    composed = _composed(call, rest)
    names = [
        Override("++", stem, f"{{name: {found}}}")
        for stem in stems
        if f"{stem}.name" not in told and isinstance(found := _select(composed, stem), str)
    ]
    return Arguments(arguments.options, [*names, *rest, *below])


def _named(override: Override) -> Override:
    """`tasks.x.head=mlp` as a name beside which other keys have room."""
    if override.value is None or not re.fullmatch(r"[\w,]+", override.value):
        return override
    return Override("++", f"{override.key}.name", override.value)


def _composed(call: Call, overrides: list[Override]) -> Any:
    """The configuration without the keys in question; None where it does not compose, which Hydra will say."""
    single = Arguments({}, [o for o in overrides if not (call.arguments.sweep and "," in str(o.value))])
    added = folders.added(call.arguments.options.get("--config-dir"))
    lines = [*single.argv(), *([f"hydra.searchpath=['file://{added}']"] if added else [])]
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            return compose(call.primary, overrides=lines)
    except (HydraException, OmegaConfBaseException, ValueError):
        return None


def _select(composed: Any, key: str) -> Any:
    if composed is None:
        return None
    try:
        return OmegaConf.select(composed, key)
    except OmegaConfBaseException:
        return None
