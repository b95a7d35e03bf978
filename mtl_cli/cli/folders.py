"""Where options stand: the folder `conf`, and the one that the user adds with --config-dir."""

from pathlib import Path

from mtl_cli.options import ConfigError

PACKAGE = Path(__file__).resolve().parent.parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""Inside the package where it was installed, beside it in a checkout."""


def added(config_dir: str | None) -> Path | None:
    """The user's folder of options. Raises: ConfigError: it is not there."""
    if config_dir is None:
        return None
    folder = Path(config_dir).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(f"--config-dir {config_dir} is not there: name a folder of YAMLs (backbone/mine.yaml, ...)")
    return folder


def searched() -> list[Path]:
    """The folders that Hydra composed this configuration from, best first."""
    from hydra.core.hydra_config import HydraConfig  # not at the top: completion has no time for hydra

    return [Path(source.path) for source in HydraConfig.get().runtime.config_sources if source.schema == "file"]
