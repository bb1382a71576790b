"""A pipeline whose cells are short shell commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from checkouts import commit

DVC_YAML = """
vars: [conf/study.yaml]
stages:
  code:
    cmd: mkdir -p outputs/code && cp src/code.txt outputs/code/code.txt
    deps: [src/code.txt]
    outs: [outputs/code]
  note:
    cmd: mkdir -p outputs && cp src/code.txt outputs/note.txt
    deps: [src/code.txt]
    outs: [{outputs/note.txt: {cache: false}}]
  aside:
    cmd: mkdir -p outputs && cp src/code.txt outputs/aside.txt
    deps: [src/code.txt]
    outs: [outputs/aside.txt]
  train:
    matrix: {cell: "${cells}"}
    cmd: sh src/train.sh ${item.cell}
    deps: ["conf/${item.cell}.txt", outputs/code, outputs/note.txt, src]
    outs: ["outputs/cells/${item.cell}/train/result.txt"]
  evaluate:
    matrix: {cell: "${cells}"}
    cmd: mkdir -p outputs/cells/${item.cell}/evaluation &&
      cp outputs/cells/${item.cell}/train/result.txt outputs/cells/${item.cell}/evaluation/metrics.json
    deps: ["outputs/cells/${item.cell}/train"]
    outs: ["outputs/cells/${item.cell}/evaluation"]
  summary:
    cmd: cat outputs/cells/*/evaluation/metrics.json > outputs/summary.txt
    deps: [outputs/cells]
    outs: [outputs/summary.txt]
"""
# Every call adds a line to $RUNS/<cell>. On request it waits for another cell, or for a long time, or trains.
TRAIN = """
set -e
pwd >> "$RUNS/$1"
echo "$CUDA_VISIBLE_DEVICES" >> "$RUNS/devices"
if [ -f "$RUNS/wait for" ]; then
  for i in $(seq 200); do [ -f "$RUNS/$(cat "$RUNS/wait for")" ] && break; sleep 0.1; done
fi
if [ -f "$RUNS/sleep" ]; then sleep 300; fi
if [ -f "$RUNS/training.py" ]; then python "$RUNS/training.py" "$1"; fi
if grep -q deadly "conf/$1.txt"; then kill -9 $$; fi
if grep -q broken "conf/$1.txt"; then echo "$1 is broken" >&2; exit 3; fi
mkdir -p "outputs/cells/$1/train"
cat outputs/code/code.txt outputs/note.txt "conf/$1.txt" > "outputs/cells/$1/train/result.txt"
ls src >> "outputs/cells/$1/train/result.txt"
"""
# Like a training it ends with DVC, or on a signal, and then takes a moment to save how far it has come.
TRAINING = """
import os, sys, time
from mergershift.core.processes import STOP_SIGNALS, end_with_starter, interrupted_by

def note(what):
    open(os.path.join(os.environ["RUNS"], f"{sys.argv[1]} {what}"), "a").close()

end_with_starter()
with interrupted_by(*STOP_SIGNALS):
    try:
        note("trains")
        time.sleep(300)
    except KeyboardInterrupt:
        time.sleep(1)
        note("saved")
"""


@dataclass(frozen=True)
class RunCounter:
    """Counts how often a cell of the shell pipeline was run: its file in the folder has a line per call."""

    folder: Path

    def __call__(self, cell: str) -> int:
        path = self.folder / cell
        return len(path.read_text().splitlines()) if path.exists() else 0

    def train(self) -> None:
        """Let the cells train until they are interrupted."""
        (self.folder / "training.py").write_text(TRAINING)

    def has(self, cell: str, what: str) -> bool:
        """Whether the training of a cell "trains" or has "saved" since."""
        return (self.folder / f"{cell} {what}").exists()


def write_shell_project(folder: Path) -> Path:
    """Write a checkout with this pipeline and commit it."""
    for name, text in {
        ".gitignore": "/outputs/\n/state/\n",
        ".dvc/config": '[core]\n    analytics = false\n[cache]\n    type = "hardlink,symlink,copy"\n',
        ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
        "dvc.yaml": DVC_YAML,
        "conf/study.yaml": "cells: [a, b, c]\n",
        **{f"conf/{cell}.txt": f"{cell} as committed\n" for cell in "abc"},
        "src/code.txt": "code as committed\n",
        "src/old.txt": "",
        "src/train.sh": TRAIN,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    commit(folder)
    return folder
