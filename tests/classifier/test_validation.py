"""Which validation images a classifier is scored on, with which statistics and on which device."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from images.samples import LABELS, NOISY, relabel, undivided, write_prepared
from numpy.typing import NDArray
from registry.samples import classifier_of
from torch import Tensor
from training.samples import LIGHTER, config_of

from mergershift import evaluation
from mergershift.adaptation.adabn import AdaBN
from mergershift.archive import Domain
from mergershift.classifier import validation
from mergershift.classifier.classifier import Classifier, build_classifier
from mergershift.classifier.inference import activations, predict
from mergershift.classifier.validation import SOURCE_ACCURACY, Validation, _thinned
from mergershift.config import compose
from mergershift.evaluation import ORACLE, best_threshold
from mergershift.evaluation.halves import Half
from mergershift.images import Prepared, prepare


@pytest.fixture(scope="module")
def prepared(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("validating") / "images"
    prepare(sample, "two", compose(["filters=two"]).split, folder)
    return Prepared(folder)


def test_a_method_that_fits_to_a_domain_does_so_on_the_classifiers_device(prepared):
    """The meta device stands for a GPU: it refuses images that have stayed on the CPU."""
    classifier = classifier_of().to("meta")
    own = Validation(compose(["filters=two", "adaptation=adabn"]), prepared).for_source(classifier)
    for tensors in (own.parameters(), own.buffers(), classifier.parameters()):
        assert {tensor.device for tensor in tensors} == {torch.device("meta")}


NETWORK = {"_target_": "networks.samples.Brightness"}
DEEP_MERGE = {"_target_": "mergershift.networks.deepmerge.DeepMerge", "image_size": 8}
LABEL_FREE = [name for name in evaluation.VALIDATORS if name != "importance_weighted_risk"]


@pytest.fixture
def tiny(tmp_path: Path) -> Prepared:
    return write_prepared(tmp_path / "tiny", disjoint=True)


def rows_of(features: NDArray[np.float64] | None) -> list[int]:
    """The rows of the images that `Brightness` computed its features from."""
    assert features is not None
    return np.floor(features[:, 0]).astype(int).tolist()


def test_a_classifier_is_judged_by_validation_images_and_the_domains_own_training_images(
    tiny: Prepared,
) -> None:
    """Each rendering counts once, and no test image does."""
    config = config_of(NETWORK)
    found = Validation(config, tiny).evidence(build_classifier(config))
    assert rows_of(found.source_features) == [4, 5, 22, 23, 24]
    assert found.source_labels.tolist() == [1, 1, 0, 0, 0]
    assert rows_of(found.target_features) == [NOISY + row for row in (4, 5, 22, 23, 24)]
    assert sorted(rows_of(found.source_train_features)) == [0, 1, 16, 17, 18]
    assert sorted(rows_of(found.target_train_features)) == [NOISY + row for row in (2, 3, 19, 20, 21)]


def test_a_sample_of_the_training_images_holds_both_classes(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are ordered by class, so the first ones are all mergers."""
    monkeypatch.setattr(validation, "MOST_TRAINING_IMAGES", 2)
    config = config_of(NETWORK)
    found = Validation(config, tiny).evidence(build_classifier(config))
    for features, offset in ((found.source_train_features, 0), (found.target_train_features, NOISY)):
        rows = [row - offset for row in rows_of(features)]
        assert len(rows) == 2
        assert set(LABELS[rows]) == {0, 1}


def test_labelled_images_are_changed_as_in_training(tiny: Prepared) -> None:
    """The target's images are left unchanged, and the threshold is chosen on the images that are scored."""
    network = NETWORK | {"limit": LIGHTER + 16}
    config = config_of(network, {"_target_": "training.samples.Witness", "lighten": True})
    judged, classifier = Validation(config, tiny), build_classifier(config)
    found = judged.evidence(classifier)
    assert rows_of(found.source_features) == [LIGHTER + row for row in (4, 5, 22, 23, 24)]
    assert sorted(rows_of(found.source_train_features)) == [LIGHTER + row for row in (0, 1, 16, 17, 18)]
    assert rows_of(found.target_features) == [NOISY + row for row in (4, 5, 22, 23, 24)]
    assert sorted(rows_of(found.target_train_features)) == [NOISY + row for row in (2, 3, 19, 20, 21)]
    lowest, highest = (1 / (1 + np.exp(0.1 * (row - 16))) for row in (22.03, 5.03))
    assert lowest < judged.threshold(classifier) < highest


def test_images_are_stretched_once_for_a_training_and_anew_for_another_stretch(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(DEEP_MERGE)
    judged, classifier, calls = Validation(config, tiny), build_classifier(config).eval(), list[Any]()
    images = tiny.images(Domain.PRISTINE, tiny.rows("train", trains="source"))
    stretch_of = Classifier.all_stretched

    def counted(*given: Any) -> Tensor:
        calls.append(given)
        return stretch_of(*given)

    monkeypatch.setattr(Classifier, "all_stretched", counted)
    expected = {}
    for scale in (1.0, 3.0):
        # As in a search, the same module changes in place.
        classifier.stretch.fit(scale * images)
        found = judged.evidence(classifier)
        first, calls[:] = len(calls), []
        assert first
        judged.evidence(copy.deepcopy(classifier))
        assert not calls
        target = tiny.images(Domain.NOISY, tiny.rows("validation", unique=True))
        expected[scale] = activations(classifier, target)[1]
        np.testing.assert_allclose(found.target_logits, expected[scale], rtol=1e-5, atol=1e-6)
        calls.clear()
    assert not np.allclose(expected[1.0], expected[3.0])


def test_each_domain_is_judged_with_the_statistics_fitted_to_it(tiny: Prepared) -> None:
    """The kept network holds the target's statistics; source images pass a copy fitted to their training images."""
    config = config_of(DEEP_MERGE, {"_target_": "mergershift.adaptation.adabn.AdaBN"})
    torch.manual_seed(0)
    classifier = build_classifier(config).eval()
    source_classifier = copy.deepcopy(classifier)
    fitted_to = tiny.images(Domain.PRISTINE, tiny.rows("train", trains="source", unique=True))
    AdaBN().after_training(source_classifier.network, [source_classifier.stretched(fitted_to)])
    own = source_classifier.state_dict()["network.encoder.1.running_mean"]
    assert not torch.equal(own, classifier.state_dict()["network.encoder.1.running_mean"])

    judged = Validation(config, tiny)
    found = judged.evidence(classifier)
    validation_rows = tiny.rows("validation", unique=True)
    for module, domain, rows, features, logits in (
        (source_classifier, Domain.PRISTINE, validation_rows, found.source_features, found.source_logits),
        (classifier, Domain.NOISY, validation_rows, found.target_features, found.target_logits),
        (
            source_classifier,
            Domain.PRISTINE,
            _thinned(np.array([0, 1, 16, 17, 18])),
            found.source_train_features,
            None,
        ),
        (classifier, Domain.NOISY, _thinned(np.array([2, 3, 19, 20, 21])), found.target_train_features, None),
    ):
        assert features is not None
        expected = activations(module, tiny.images(domain, np.array(rows)))
        np.testing.assert_allclose(features, expected[0], rtol=1e-4, atol=1e-5)
        if logits is not None:
            np.testing.assert_allclose(logits, expected[1], rtol=1e-4, atol=1e-5)
    labelled = tiny.labelled(Domain.PRISTINE, validation_rows)
    expected_threshold = best_threshold(labelled.labels.numpy(), predict(source_classifier, labelled.images))
    assert judged.threshold(classifier) == pytest.approx(expected_threshold, rel=1e-4)


@pytest.mark.parametrize(("limit", "expected"), [(16, 1.0), (23.5, (1 + 1 / 3) / 2), (4.5, 0.75), (0, 0.5)])
def test_source_accuracy_is_the_mean_share_of_right_calls(
    tiny: Prepared, limit: float, expected: float
) -> None:
    """Rows 4 and 5 are mergers, 22 to 24 are not; an image fainter than the limit is classified as a merger."""
    tiny = undivided(tiny)
    config = config_of(NETWORK | {"limit": limit})
    found = Validation(config, tiny).metrics(build_classifier(config), [SOURCE_ACCURACY])
    assert found == {SOURCE_ACCURACY: pytest.approx(expected)}


def test_target_labels_affect_the_oracles_score_and_no_other(tiny: Prepared) -> None:
    tiny = undivided(tiny)
    config, names = config_of(NETWORK | {"limit": NOISY + 23.5}), [*LABEL_FREE, SOURCE_ACCURACY, ORACLE]
    classifier = build_classifier(config)
    before = Validation(config, tiny).metrics(classifier, names)
    assert before[ORACLE] == pytest.approx((1 + 1 / 3) / 2)
    relabel(tiny, Domain.NOISY, tiny.rows("validation"))
    after = Validation(config, tiny).metrics(classifier, names)
    assert after[ORACLE] == pytest.approx((0 + 2 / 3) / 2)
    assert after == before | {ORACLE: after[ORACLE]}


@pytest.mark.parametrize("name", LABEL_FREE)
def test_a_metric_named_after_a_validator_is_its_score(tiny: Prepared, name: str) -> None:
    tiny = undivided(tiny)
    config = config_of(NETWORK)
    judged, classifier = Validation(config, tiny), build_classifier(config)
    expected = evaluation.VALIDATORS[name](judged.evidence(classifier))
    assert judged.metrics(classifier, [name]) == {name: expected}


def test_epochs_and_trials_are_chosen_on_other_galaxies_than_methods_are_judged_on(tiny: Prepared) -> None:
    """The five validation images become those of five galaxies: 4 and 5 are mergers, 22 to 24 are not."""
    rows = pd.read_csv(tiny.folder / "rows.csv")
    first = rows.groupby(["galaxy", "camera"])["row"].transform("min")
    rows.loc[rows["split"] == "validation", "galaxy"] = 100 + first
    rows.to_csv(tiny.folder / "rows.csv", index=False)
    config = config_of(NETWORK | {"limit": NOISY + 4.5})
    prepared = Prepared(tiny.folder)
    judged, classifier = Validation(config, prepared), build_classifier(config)
    whole, scores = judged.evidence(classifier), judged.scores(classifier)
    seen = []
    halves: dict[Half, str] = {"choosing": "", "judging": "_judged"}
    for half, suffix in halves.items():
        galaxies = evaluation.half_of(
            half, 100 + np.array([4, 5, 22, 23, 24]), [1, 1, 0, 0, 0], config.split.seed
        )
        mask = np.isin(100 + np.array([4, 5, 22, 23, 24]), galaxies)
        seen.append(mask)
        part = whole.subset(mask, mask)
        for name, validator in evaluation.VALIDATORS.items():
            assert scores[f"{name}{suffix}"] == pytest.approx(validator(part), nan_ok=True), name
    assert (seen[0] ^ seen[1]).all()
    assert {scores[ORACLE], scores[f"{ORACLE}_judged"]} == {0.5, 1.0}
    chosen = judged.metrics(classifier, [*LABEL_FREE, ORACLE])
    assert chosen == {name: scores[name] for name in chosen}


def test_shares_are_those_of_the_validation_labels_and_of_the_rows_trained_on(tiny: Prepared) -> None:
    config = config_of(NETWORK)
    for weights, expected in (("balanced", None), ("none", LABELS[trained_rows(tiny)].mean())):
        training = config.training.model_copy(update={"class_weights": weights})
        own = config.model_copy(update={"training": training})
        found = Validation(own, tiny).evidence(build_classifier(own))
        assert found.class_shares is not None
        np.testing.assert_allclose(found.class_shares, [0.6, 0.4])
        if expected is None:
            assert found.training_shares is None
        else:
            assert found.training_shares is not None
            np.testing.assert_allclose(found.training_shares, [1 - expected, expected])


def trained_rows(prepared: Prepared) -> NDArray[np.int64]:
    return prepared.rows(
        "train", trains="source", unique=config_of(NETWORK).training.training_rows == "unique"
    )
