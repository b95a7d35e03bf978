"""mtl: one model for several prediction tasks, from a YAML configuration."""

__version__ = "0.1.0"
