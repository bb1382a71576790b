"""The commands after the study: tune, register, promote, predict, sync. Nothing heavy is imported until one runs."""

from __future__ import annotations

import click

OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
