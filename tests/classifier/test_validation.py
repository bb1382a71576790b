"""Validation images meet a classifier where it is."""

import pytest
import torch
from registry.samples import classifier_of

from mergershift.classifier.validation import Validation
from mergershift.config import compose
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
        assert {each.device for each in tensors} == {torch.device("meta")}
