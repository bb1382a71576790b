"""The configuration in conf/, composed, typed and validated."""

from mergershift.config.composition import Config, compose, compose_selection, meant_by
from mergershift.config.schema import (
    ArchiveConfig,
    LabelFree,
    SelectionConfig,
    SplitConfig,
)
from mergershift.config.targets import Target, instantiate, locate
from mergershift.config.tuning_schema import TuningConfig
from mergershift.config.varied import varied

__all__ = [
    "ArchiveConfig",
    "Config",
    "LabelFree",
    "SelectionConfig",
    "SplitConfig",
    "Target",
    "TuningConfig",
    "compose",
    "compose_selection",
    "instantiate",
    "locate",
    "meant_by",
    "varied",
]
