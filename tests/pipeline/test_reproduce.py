"""The published experiment, with a short training on a small archive."""

import json

import pytest
from archive.samples import LARGER, write_sample

from mergershift.pipeline.reproduce import reproduce

pytestmark = pytest.mark.system


def test_one_command_prints_the_published_scores_next_to_ours(archive, capsys, monkeypatch):
    arguments = ["training.epochs=1", "trainer.threads=1"]
    reproduce("deepmerge_2020", arguments)
    out = capsys.readouterr().out
    for text in ("0.793", "0.756", "1114", "pristine", "noisy", "images of unknown provenance"):
        assert text in out
    cells = sorted((archive / "outputs/runs").iterdir())
    assert len(cells) == 2, "one training on pristine labels, one on noisy ones"
    for cell in cells:
        config = (cell / "train/config.yaml").read_text()
        assert "published_leaky" in config
        results = json.loads((cell / "evaluation/metrics.json").read_text())
        every, unique = (results["source"][rows]["images"]["value"] for rows in ("all_rows", "unique"))
        assert every > unique, "copies of mergers only count for the comparison with published scores"

    with monkeypatch.context() as patch:
        patch.setattr("mergershift.pipeline.reproduce.train_step", lambda *_: pytest.fail("trained again"))
        reproduce("deepmerge_2020", arguments)

    before = [json.loads((cell / "train/run.json").read_text()) for cell in cells]
    write_sample(archive / "data", LARGER, ("two",), seed=7)
    reproduce("deepmerge_2020", arguments)
    after = [json.loads((cell / "train/run.json").read_text()) for cell in cells]
    for old, new in zip(before, after, strict=True):
        assert old["trained"]["data_hash"] != new["trained"]["data_hash"], "another archive is noticed"
        assert old["run_id"] != new["run_id"]
