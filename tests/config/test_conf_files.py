"""What is wrong with a file in conf/ is said with its name, if the composition reads it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from mergershift.config import compose
from mergershift.config.conf_files import check_files
from mergershift.core.errors import UserError

CONF = Path(__file__).parents[2] / "conf"
BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    shutil.copytree(CONF, tmp_path / "conf")
    return tmp_path / "conf"


@pytest.mark.parametrize(
    ("file", "text", "override", "expected"),
    [
        ("network/deepmerge.yaml", "5\n", "seed=1", "network/deepmerge.yaml: found 5"),
        ("network/deepmerge.yaml", "[1]\n", "seed=1", r"network/deepmerge.yaml: found \[1\]"),
        ("network/deepmerge.yaml", "null\n", "seed=1", "network/deepmerge.yaml: empty"),
        ("network/deepmerge.yaml", "image_size: 75\n", "seed=1", r"network: no _target_(.|\n)*network/deepmerge.yaml"),
        ("network/deepmerge.yaml", "_target_: 5\n", "seed=1", r"network: _target_ is 5(.|\n)*network/deepmerge.yaml"),
        ("network/deepmerge.yaml", "_target_: os.system\n", "seed=1", r"os\.system is refused"),
        ("network/deepmerge.yaml", BOMB, "seed=1", "network/deepmerge.yaml: not YAML .its aliases"),
        ("training/default.yaml", "\x00", "training=demo", "training/default.yaml: not YAML"),
        ("training/demo.yaml", "defaults: [demo]\n", "training=demo", "training/demo.yaml: its defaults lead back"),
        ("training/default.yaml", "defaults: [demo]\n", "training=demo", r"demo.yaml -> .*default.yaml -> .*demo.yaml"),
        ("training/demo.yaml", "defaults: 5\n", "training=demo", "training/demo.yaml: defaults: found 5"),
        ("training/demo.yaml", "defaults: [[1]]\n", "training=demo", "training/demo.yaml: defaults: found"),
        ("config.yaml", "defaults: [config]\n", "seed=1", "config.yaml: its defaults lead back"),
        ("experiment/deepmerge_2020.yaml", "- a\n", "experiment=deepmerge_2020", "deepmerge_2020.yaml: found"),
        ("network/deepmerge_2020.yaml", "- a\n", "experiment=deepmerge_2020", "network/deepmerge_2020.yaml: found"),
    ],
)  # fmt: skip
def test_a_damaged_file_that_is_read_is_named(
    conf: Path, file: str, text: str, override: str, expected: str
) -> None:
    (conf / file).write_text(text)
    before = time.process_time()
    with pytest.raises(UserError, match=expected) as raised:
        compose([override], conf)
    assert str(raised.value).count("\n") == 1
    assert time.process_time() - before < 5


def test_a_damaged_file_that_is_not_read_stops_nothing(conf: Path) -> None:
    for name in ("network/resnet18", "adaptation/mmd", "studies/demo", "experiment/deepmerge_2020"):
        (conf / f"{name}.yaml").write_bytes(b"\xff")
    compose(["seed=1"], conf)
    with pytest.raises(UserError, match=r"resnet18\.yaml: byte 0 is 0xff"):
        compose(["network=resnet18"], conf)


def test_an_interpolated_default_may_be_any_file_of_its_group(conf: Path) -> None:
    (conf / "experiment/own.yaml").write_text("defaults:\n  - override /network: ${oc.env:X}\n")
    check_files(conf, [("experiment", "own")])
    (conf / "network/resnet18.yaml").write_text("5\n")
    with pytest.raises(UserError, match=r"resnet18\.yaml: found 5"):
        check_files(conf, [("experiment", "own")])


@pytest.mark.parametrize(
    "override",
    [
        "", "=5", "=", "  =5", "+=5", "~", "~adaptation", "+x=1", "adaptation=", "adaptation=null", "tuning=null",
        "training.epochs=", "seed='1", "adaptation='mmd", "a=b=c", "--multirun", "adaptation=mmd,coral",
        "training.epochs=range(1,3)", "hydra=null", "hydra.searchpath=[/tmp]", "hydra/launcher=x", "+choices={}",
        "choices.transfer=oracle_x", "+adaptation@x=mmd", "adaptation=../network/deepmerge", "network={}",
        "seed=${seed}",        "training=[]", "adaptation.penalty=null", "network._target_=os.system",
        "seed=\ud800", "training.epochs=\n",
    ],
)  # fmt: skip
def test_an_override_that_means_nothing_is_refused(override: str) -> None:
    with pytest.raises(UserError):
        compose([override], CONF)
