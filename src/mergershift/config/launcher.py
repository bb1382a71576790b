"""conf/launcher/: what jobs ask a cluster for. No training's configuration includes it, since it changes no result."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, StringConstraints, field_validator

from mergershift.config.schema import Section
from mergershift.core.checkout import root
from mergershift.core.errors import UserError, nearest
from mergershift.core.yaml_files import read_yaml

OWN_KEYS = {
    "account": "account",
    "cpus-per-task": "cpus",
    "gpus": "gpus",
    "gpus-per-node": "gpus",
    "mem": "memory",
    "partition": "partition",
    "time": "hours",
}
"""Options of sbatch that have an entry of their own."""
TAKEN = (
    *("array", "clusters", "error", "gpus-per-task", "job-name", "nodes", "no-requeue", "ntasks"),
    *("ntasks-per-node", "open-mode", "output", "parsable", "quiet", "requeue", "signal", "test-only"),
    *("wait", "wrap"),
)
"""Options of sbatch that the launcher sets itself, or that would keep it from following its jobs."""

Line = Annotated[str, StringConstraints(strict=True, min_length=1, pattern=r"^[^\n]*$")]
Word = Annotated[str, StringConstraints(strict=True, pattern=r"^\S+$")]


class LauncherConfig(Section):
    """Resources of each job on a SLURM cluster, and how many run at a time."""

    partition: Word | None = None
    account: Word | None = None
    hours: float = Field(ge=0.1, le=24 * 365)
    """Time limit. In hours, since YAML reads 4:00:00 as the number 14400."""
    gpus: int = Field(default=0, ge=0, strict=True)
    memory: str
    """With its unit: 8G."""
    cpus: int = Field(ge=1, strict=True)
    parallel: int = Field(ge=1, strict=True)
    requeues: int = Field(ge=0, strict=True)
    extra: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr] = Field(default_factory=dict)
    """Further options of sbatch by their long names; True for one without a value."""
    setup: tuple[Line, ...] = ()
    """Lines of shell that a job runs before its command."""

    @field_validator("memory", mode="before")
    @classmethod
    def _has_unit(cls, memory: object) -> str:
        text = str(memory)
        if not (text[:-1].isdecimal() and text[-1:] in "KMGT" and int(text[:-1])):
            raise ValueError(f"found {text}, expected a number with its unit, such as 8G")
        return text

    @field_validator("extra")
    @classmethod
    def _are_options(cls, extra: dict[str, bool | int | float | str]) -> dict[str, bool | int | float | str]:
        for name, value in extra.items():
            option = name.replace("_", "-")
            if option in OWN_KEYS:
                raise ValueError(f"{name} has an entry of its own: set `{OWN_KEYS[option]}`")
            if option in TAKEN:
                raise ValueError(f"{name} is set by mergershift")
            if len(option) < 2 or option.startswith("-") or not option.replace("-", "").isalnum():
                raise ValueError(
                    f"found {name!r}, expected the long name of an option of sbatch, without hyphens"
                )
            if value is False:
                raise ValueError(
                    f"{name}: found false, expected a value or true; leave out what is not wanted"
                )
            if "\n" in str(value):
                raise ValueError(f"{name}: found several lines, expected one")
        return extra


def read_launcher(name: str) -> LauncherConfig:
    """Read conf/launcher/`name`.yaml; raises UserError if there is no such file or if a value in it is not valid."""
    folder = root() / "conf" / "launcher"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        others = f"Nearest: {nearest(name, known)}." if known else "Copy that of mergershift's repository."
        raise UserError(f"--on {name}: conf/launcher/ has no '{name}'.\n{others}")
    return read_yaml(
        folder / f"{name}.yaml", LauncherConfig, "Fix the file; conf/launcher/slurm.yaml is a model."
    )
