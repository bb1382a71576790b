"""Show what `mergershift predict` makes of the kinds of files that archives and pipelines hand out.

    python benchmarks/image_kinds.py --model FOLDER --images NOISY.npy          # a Markdown table
    python benchmarks/image_kinds.py --model FOLDER --images NOISY.npy --json now.json --against before.json

Three galaxies, whose probabilities on the model's own grid are the reference, are written in every form. A kind is
right if the probabilities are within 0.02 of the reference where the images show the same light, and if rows are
withheld, flagged or refused where they do not. `SILENT` is a different probability without a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import images_to_accept  # noqa: F401
import images_to_flag  # noqa: F401
import numpy as np
from astropy.table import Table
from image_recipes import KINDS, Array, Kind

from mergershift.cli.main import main as run_mergershift

TOLERANCE = 0.02


@dataclass(frozen=True)
class Outcome:
    """What the command made of a kind."""

    probabilities: list[float]
    words: str
    """Flags of the rows, without repetition."""
    message: str
    """The first line of what was printed, if there is no table."""

    def verdict(self, right: str, reference: list[float]) -> str:
        """Judge the outcome: `right`, what it lacks, or `SILENT` for other numbers without a word."""
        numbers = [value for value in self.probabilities if np.isfinite(value)]
        same = len(numbers) == len(reference) and np.allclose(
            sorted(numbers), sorted(reference), atol=TOLERANCE
        )
        flagged = any(word in self.words for word in right.split("|"))
        if not numbers:
            return "right" if right in ("refused", "withheld") or flagged else "refused"
        if flagged or (right == "same" and same):
            return "right"
        if right != "same" and same:
            return "not flagged"
        return f"wrong, flags: {self.words}" if self.words else "SILENT"


def predict(arguments: list[str], model: Path, folder: Path) -> Outcome:
    """Run the command and read its table."""
    table, printed = folder / "table.ecsv", StringIO()
    table.unlink(missing_ok=True)
    with redirect_stdout(printed), redirect_stderr(printed), suppress(SystemExit):
        run_mergershift(["predict", *arguments, "--model", str(model), "--output", str(table)])
    if not table.exists():
        return Outcome([], "", printed.getvalue().strip().split("\n")[0])
    rows = Table.read(table)
    flags = sorted({text for flag in rows["flag"] if flag for text in str(flag).split("; ")} - {"--"})
    old = ("as is", "converted", "re-binned", "channels selected")
    words = "; ".join(flag for flag in flags if not flag.startswith(old))
    values: Array = np.ma.filled(np.ma.asarray(rows["probability"], float), np.nan)
    return Outcome([float(value) for value in values], words, "")


def outcomes(model: Path, images: Array, only: str) -> Iterator[tuple[Kind, Outcome, str]]:
    """Write every kind, predict on it, and judge the outcome."""
    with TemporaryDirectory() as temporary:
        np.save(Path(temporary) / "reference.npy", images)
        reference = predict([f"{temporary}/reference.npy"], model, Path(temporary)).probabilities
        for number, form in enumerate(found for found in KINDS if only in f"{found.group} {found.name}"):
            folder = Path(temporary) / str(number) / "images"
            folder.mkdir(parents=True)
            with np.errstate(all="ignore"):
                arguments = form.make(folder, images)
            outcome = predict(arguments, model, folder.parent)
            yield form, outcome, outcome.verdict(form.right, reference)


@click.command()
@click.option(
    "--model",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Folder of a two-filter model.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Images (3, 2, 75, 75), npy.",
)
@click.option("--only", default="", help="Only kinds whose group and name contain this.")
@click.option("--json", "written", type=click.Path(path_type=Path), help="Write the verdicts to this file.")
@click.option(
    "--against", type=click.Path(path_type=Path, exists=True), help="Verdicts of an earlier version."
)
def main(model: Path, images: Path, only: str, written: Path | None, against: Path | None) -> None:
    """Print a Markdown table of kinds of files, and what the command makes of them."""
    before = json.loads(against.read_text()) if against else {}
    verdicts: dict[str, str] = {}
    click.echo("| kind | right | before | now |\n|---|---|---|---|")
    for form, outcome, verdict in outcomes(model, np.load(images).astype(float), only):
        name = f"{form.group} {form.name}"
        shown = " ".join("-" if np.isnan(value) else f"{value:.2f}" for value in outcome.probabilities)
        detail = f" ({shown or outcome.message[-90:]}{'; ' + outcome.words if outcome.words else ''})"
        verdicts[name] = verdict + detail
        click.echo(f"| {name} | {form.right} | {before.get(name, '')} | {verdicts[name]} |")
    right = sum(verdict.startswith("right") for verdict in verdicts.values())
    click.echo(
        f"\n{right} of {len(verdicts)} right, {sum(v.startswith('SILENT') for v in verdicts.values())} silently wrong."
    )
    if written:
        written.write_text(json.dumps(verdicts, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
