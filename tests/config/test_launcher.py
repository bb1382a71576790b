"""conf/launcher/: what jobs ask a cluster for."""

from pathlib import Path

import pytest

from mergershift.config import compose
from mergershift.config.launcher import LauncherConfig, read_launcher
from mergershift.core.errors import UserError

BASE = "hours: 1\nmemory: 1G\ncpus: 1\nparallel: 2\nrequeues: 0\n"


def write(project: Path, text: str, name: str = "mine") -> None:
    (project / f"conf/launcher/{name}.yaml").write_text(text)


def test_the_file_of_the_repository_is_valid_and_concerns_no_training(project):
    before = compose().digest()
    assert read_launcher("slurm").requeues == 5
    write(project, BASE, "slurm")
    assert read_launcher("slurm") == LauncherConfig(hours=1, memory="1G", cpus=1, parallel=2, requeues=0)
    assert compose().digest() == before


def test_an_unknown_name_is_answered_with_the_nearest(project):
    with pytest.raises(UserError, match=r"conf/launcher/ has no 'slrum'[.]\nNearest: 'slurm'[.]"):
        read_launcher("slrum")
    with pytest.raises(UserError, match=r"has no '[.][.]/trainer/cpu'"):
        read_launcher("../trainer/cpu")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("partion: gpu", "partion: not a known entry"),
        ("hours: 4:00:00", "hours: found 14400, expected a value less than or equal to 8760"),
        ("hours: soon", "hours: found 'soon', expected a valid number"),
        ("memory: 16", "memory: found 16, expected a number with its unit, such as 8G"),
        ("memory: 0G", "memory: found 0G, expected a number with its unit"),
        ("cpus: 0", "cpus: found 0, expected a value greater than or equal to 1"),
        ("gpus: true", "gpus: found True, expected a valid integer"),
        ("partition: 'a b'", "partition: found 'a b', string should match"),
        ("setup: module load cuda", "setup: found 'module load cuda', expected a valid tuple"),
        ("extra: {mem: 8G}", "extra: mem has an entry of its own: set `memory`"),
        ("extra: {cpus_per_task: 8}", "extra: cpus_per_task has an entry of its own: set `cpus`"),
        ("extra: {array: 1-3}", "extra: array is set by mergershift"),
        ("extra: {--qos: high}", "extra: found '--qos', expected the long name"),
        ("extra: {exclusive: false}", "extra: exclusive: found false, expected a value or true"),
        ('extra: {comment: "a\\n#SBATCH --wrap=b"}', "extra: comment: found several lines, expected one"),
    ],
)
def test_bad_values_are_named(project, line, fault):
    key = line.partition(":")[0]
    kept = "".join(text for text in BASE.splitlines(True) if not text.startswith(f"{key}:"))
    write(project, f"{kept}{line}\n")
    with pytest.raises(UserError) as error:
        read_launcher("mine")
    assert f"mine.yaml: {fault}" in str(error.value)
    assert str(error.value).count("\n") == 1
