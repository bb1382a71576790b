"""The mock universe: a physically motivated stand-in for the archive, written under the archive's file names."""

from mergershift.archive.mock.recipe import MOCK_VERSION, RECIPE, Recipe
from mergershift.archive.mock.universe import Universe, render_universe
from mergershift.archive.mock.write import write_archive

__all__ = ["MOCK_VERSION", "RECIPE", "Recipe", "Universe", "render_universe", "write_archive"]
