"""Of which domains a training has seen images."""

from __future__ import annotations

import pytest
from cells.samples import CONF, config_of, penalty_of

from mergershift.cells.domains import domains_seen
from mergershift.config import compose
from mergershift.core.errors import UserError


@pytest.mark.parametrize(
    ("method", "domains"),
    [
        ("source_only", ("pristine",)),
        ("noise_injection", ("pristine",)),
        ("fisher", ("pristine",)),
        ("mmd", ("pristine", "noisy")),
        ("mmd_fisher_entropy", ("pristine", "noisy")),
        ("adabn", ("pristine", "noisy")),
        ("shot", ("pristine", "noisy")),
        ("ada_match", ("pristine", "noisy")),
        ("realism", ("pristine",)),
    ],
)
def test_a_method_that_adapts_has_seen_the_target(method: str, domains: tuple[str, ...]) -> None:
    assert domains_seen(config_of(penalty=penalty_of(method)).dump()) == domains


def test_what_is_trained_on_the_target_has_seen_that_alone() -> None:
    transfer = config_of().transfer.model_copy(update={"labelled": "oracle_target"})
    assert domains_seen(config_of(transfer=transfer).dump()) == ("noisy",)


def test_a_network_that_was_pre_trained_has_seen_both() -> None:
    pretraining = compose(["experiment=pretrained"], CONF).pretraining
    assert domains_seen(config_of(pretraining=pretraining).dump()) == ("pristine", "noisy")


def test_a_method_that_does_not_exist_is_reported() -> None:
    with pytest.raises(UserError, match="Gone"):
        domains_seen(config_of(penalty={"_target_": "mergershift.adaptation.mmd.Gone"}).dump())
