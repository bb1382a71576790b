"""A registered model predicts what its training did, and loads without pickle (see tracking/test_serving.py)."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from registry.samples import ensemble_of, facts_of, program_of, stamps, write_package

from mergershift.classifier import inference
from mergershift.core.errors import UserError
from mergershift.registry import ModelFacts, RegisteredModel

EARLIER = set(ModelFacts.model_fields) - {"distance_unit", "views", "one_view", "members", "reference"}


@pytest.fixture(scope="module")
def program():
    return program_of(images=400)


@pytest.fixture(scope="module")
def folder(program, tmp_path_factory):
    return write_package(tmp_path_factory.mktemp("package"), facts_of(), program)


def views_of(images):
    turns = [np.rot90(images, number, axes=(2, 3)) for number in range(4)]
    return [np.ascontiguousarray(view) for turn in turns for view in (turn, turn[..., ::-1])]


@pytest.mark.parametrize("network", ["deepmerge", "deepmerge_2020", "resnet18"])
def test_the_exported_program_computes_what_the_classifier_does(network, tmp_path):
    program = program_of(network, images=20)
    package = RegisteredModel.read(write_package(tmp_path, facts_of(network=network), program))
    images = stamps(7, seed=5)
    for count in (1, 2, 7):
        with torch.inference_mode():
            expected = program(torch.from_numpy(images[:count])).numpy()
            answers = package.program(torch.from_numpy(images[:count])).numpy()
        np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-5)


def test_one_view_gives_the_evaluations_probability_and_its_own_temperature(program, folder):
    images = stamps(300, seed=5)
    package = RegisteredModel.read(folder).with_views(1)
    columns = dict(zip(package.facts.columns, package.predict(images).T, strict=True))
    probability = inference.predict(program.classifiers[0], images)
    np.testing.assert_allclose(columns["probability"], probability, atol=1e-6)
    assert np.isnan(columns["probability_scatter"]).all()
    odds = np.log(probability / (1 - probability))
    np.testing.assert_allclose(columns["calibrated_probability"], 1 / (1 + np.exp(-odds / 1.5)), atol=1e-6)
    assert package.facts.threshold == 0.45


def test_the_mean_over_all_views_is_predicted_with_their_scatter(program, folder):
    images = stamps(20, seed=5)
    package = RegisteredModel.read(folder)
    columns = dict(zip(package.facts.columns, package.predict(images).T, strict=True))
    views = np.array([inference.predict(program.classifiers[0], view) for view in views_of(images)])
    mean = views.mean(axis=0)
    np.testing.assert_allclose(columns["probability"], mean, atol=1e-6)
    np.testing.assert_allclose(columns["probability_scatter"], views.std(axis=0), atol=1e-6)
    odds = np.log(mean / (1 - mean))
    np.testing.assert_allclose(columns["calibrated_probability"], 1 / (1 + np.exp(-odds / 1.7)), atol=1e-6)
    for view in views_of(images)[1:]:
        np.testing.assert_allclose(package.predict(view), package.predict(images), atol=1e-5)


def test_an_ensemble_averages_its_networks_and_gives_their_scatter(tmp_path):
    facts, program = ensemble_of(0, 1, 2)
    images = stamps(5, seed=5)
    package = RegisteredModel.read(write_package(tmp_path, facts, program))
    columns = dict(zip(package.facts.columns, package.predict(images).T, strict=True))
    views = np.array(
        [[inference.predict(one, view) for view in views_of(images)] for one in program.classifiers]
    )
    np.testing.assert_allclose(columns["probability"], views.mean(axis=(0, 1)), atol=1e-6)
    np.testing.assert_allclose(columns["probability_scatter"], views.mean(axis=0).std(axis=0), atol=1e-6)
    np.testing.assert_allclose(columns["training_scatter"], views.mean(axis=1).std(axis=0, ddof=1), atol=1e-6)


def test_a_model_of_an_earlier_version_predicts_its_three_columns(tmp_path):
    old = {name: facts_of().model_dump(mode="json")[name] for name in EARLIER}
    (tmp_path / "facts.json").write_text(json.dumps(old))
    facts = ModelFacts.read(tmp_path)
    images = torch.from_numpy(stamps(6, seed=5))

    def three_columns(seen):
        odds = seen.double().mean((1, 2, 3)) + seen[:, 0, 0, 0].double()
        return torch.stack([torch.sigmoid(odds), torch.sigmoid(odds / 1.7), odds.abs()], dim=1)

    package = RegisteredModel(facts, three_columns)
    columns = package.predict(images)
    np.testing.assert_allclose(columns[:, [0, 2, 3]], three_columns(images), rtol=1e-9)
    assert np.isnan(columns[:, 1]).all()
    of_views = np.array([three_columns(torch.from_numpy(view))[:, 0] for view in views_of(images.numpy())])
    mean = package.with_views(8).predict(images)
    np.testing.assert_allclose(mean[:, 0], of_views.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(mean[:, 1], of_views.std(axis=0), rtol=1e-6)


def test_the_row_of_an_image_with_nan_is_nan_and_no_other_row_changes(folder):
    package, images = RegisteredModel.read(folder), stamps(5)
    spoilt = images.astype(">f8")
    spoilt[1, 0, 3, 4], spoilt[3, 1, 0, 0], spoilt[4, 0, 0, 0] = np.nan, -np.inf, 1e300
    columns = package.predict(spoilt)
    assert np.isnan(columns).all(axis=1).tolist() == [False, True, False, True, True]
    np.testing.assert_array_equal(columns[[0, 2]], package.predict(images)[[0, 2]])


def test_held_out_stamps_are_in_the_domain_and_foreign_ones_are_not(folder):
    package, images = RegisteredModel.read(folder), stamps(400, seed=9)
    assert np.mean(package.with_views(1).predict(images)[:, -1] > 1) < 0.03
    noise = np.random.default_rng(0).normal(0, images.std(), (20, *images.shape[1:]))
    for foreign, least in ((noise, 4), (100 * images[:20], 50), (-images[:100], 1)):
        assert package.with_views(1).predict(foreign)[:, -1].min() > least


def test_a_pickle_in_place_of_the_program_is_not_loaded(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "data/model.pt2").unlink()
    (copy / "data/model.pth").write_bytes(pickle.dumps(Trap()))
    (copy / "data/pickle_module_info.txt").write_text("pickle")
    with pytest.raises(UserError, match="without pickle"):
        RegisteredModel.read(copy)
    assert not (tmp_path / "sprung").exists()


def test_a_folder_without_a_model_is_refused_in_two_lines(folder, tmp_path):
    with pytest.raises(UserError, match="not a model of mergershift") as caught:
        RegisteredModel.read(tmp_path)
    assert str(caught.value).count("\n") == 1
    shutil.copytree(folder, tmp_path / "torn")
    (tmp_path / "torn/data/model.pt2").write_bytes(b"x")
    with pytest.raises(UserError, match="without pickle"):
        RegisteredModel.read(tmp_path / "torn")
    for text in ("", "[]", "5", "flavors: [1"):
        (tmp_path / "torn/MLmodel").write_text(text)
        with pytest.raises(UserError, match="without pickle"):
            RegisteredModel.read(tmp_path / "torn")


def test_images_of_another_shape_are_refused(folder):
    with pytest.raises(ValueError, match="expected"):
        RegisteredModel.read(folder).predict(stamps(2)[:, :1])


def test_fingerprints_are_equal_only_for_equal_weights_and_facts(folder, tmp_path):
    weights = folder / "classifier.safetensors"
    fingerprint = facts_of().fingerprint(weights)
    assert fingerprint == facts_of().fingerprint(weights)
    assert fingerprint != facts_of(threshold=0.41).fingerprint(weights)
    assert fingerprint != facts_of(temperature=1.8).fingerprint(weights)
    other = write_package(tmp_path / "other", facts_of(), program_of(seed=1, images=20))
    assert fingerprint != facts_of().fingerprint(other / "classifier.safetensors")
