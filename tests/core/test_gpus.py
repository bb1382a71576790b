"""Processes are spread over the GPUs that `nvidia-smi -L` lists or that CUDA_VISIBLE_DEVICES names."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergershift.core.gpus import VISIBLE, spread

FIRST, SECOND = "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f", "GPU-b8ea3855-276c-c9cb-b366-c6fa655957c5"
SLICES = ("MIG-c7384736-a75d-5afc-978f-d2f1294409fd", "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d")
TWO = f"GPU 0: NVIDIA A100-SXM4-40GB (UUID: {FIRST})\nGPU 1: NVIDIA A100-SXM4-40GB (UUID: {SECOND})\n"
PARTITIONED = (
    f"GPU 0: NVIDIA A100-SXM4-40GB (UUID: {FIRST})\n"
    f"  MIG 3g.20gb     Device  0: (UUID: {SLICES[0]})\n"
    f"  MIG 3g.20gb     Device  1: (UUID: {SLICES[1]})\n"
    f"GPU 1: NVIDIA A100-SXM4-40GB (UUID: {SECOND})\n"
)


def machine(folder: Path, listing: str, code: int = 0) -> dict[str, str]:
    """Environment of a machine whose nvidia-smi prints this list."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n[ \"$1\" = -L ] || exit 6\n/bin/cat <<'E'\n{listing}E\nexit {code}\n")
    program.chmod(0o755)
    return {"PATH": str(folder)}


def seen(variables: tuple[object, ...]) -> list[object]:
    return [entry.get(VISIBLE) for entry in variables if isinstance(entry, dict)]


def test_processes_take_turns_and_sharing_is_said(tmp_path: Path) -> None:
    result = spread("gpu", 3, machine(tmp_path, TWO))
    assert seen(result.variables) == [FIRST, SECOND, FIRST]
    assert result.note == (
        "GPU 0 for process 1, 3, GPU 1 for process 2; processes on the same GPU share its memory"
    )
    assert "share" not in spread("gpu", 2, machine(tmp_path, TWO)).note


def test_trainings_of_several_processes_get_different_gpus_each(tmp_path: Path) -> None:
    three = machine(tmp_path, TWO) | {VISIBLE: "0,1,2"}
    result = spread("auto", 2, three, each=2)
    assert seen(result.variables) == ["0,1", "2,0"]
    assert result.note == (
        "GPU 0 for process 1, 2, GPU 1 for process 1, GPU 2 for process 2; "
        "processes on the same GPU share its memory"
    )
    assert spread("gpu", 2, three, each=4).variables == ({}, {}), "the training names the GPUs that it lacks"
    four = three | {VISIBLE: "0,1,2,3"}
    assert seen(spread("gpu", 2, four, each=2).variables) == ["0,1", "2,3"]
    assert "share" not in spread("gpu", 2, four, each=2).note


def test_parts_of_a_partitioned_gpu_are_used_in_place_of_it(tmp_path: Path) -> None:
    result = spread("auto", 3, machine(tmp_path, PARTITIONED))
    assert seen(result.variables) == [*SLICES, SECOND]
    assert result.note.startswith("GPU 0 MIG 0 for process 1, GPU 0 MIG 1 for process 2, GPU 1")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2,3", ["2", "3", "2"]),
        (f"{SECOND}, {SLICES[0]}", [SECOND, SLICES[0], SECOND]),
        ("1", ["1", "1", "1"]),
        ("0,-1,1", ["0", "0", "0"]),
        ("", [None] * 3),
        ("-1", [None] * 3),
    ],
)
def test_only_gpus_that_the_user_or_the_scheduler_made_visible_are_used(
    tmp_path: Path, value: str, expected: list[str | None]
) -> None:
    assert seen(spread("gpu", 3, machine(tmp_path, TWO) | {VISIBLE: value}).variables) == expected


def test_nothing_changes_for_one_process_on_a_cpu_and_without_nvidia_smi(tmp_path: Path) -> None:
    assert spread("cpu", 3, machine(tmp_path, TWO)).variables == ({}, {}, {})
    assert spread("gpu", 1, machine(tmp_path, TWO)).variables == ({},)
    broken = machine(tmp_path, "NVIDIA-SMI has failed because it couldn't communicate with the driver.\n", 9)
    for environment in ({"PATH": str(tmp_path / "nowhere")}, broken):
        assert spread("gpu", 2, environment).variables == ({}, {})
        assert "first one" in spread("gpu", 2, environment).note
        assert spread("auto", 2, environment).note == ""
