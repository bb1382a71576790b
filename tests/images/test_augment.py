"""Tests of the dihedral augmentation and the stretch."""

import copy

import astropy.visualization
import numpy as np
import pytest
import torch

from mergershift.images import Stretch, dihedral


def test_dihedral_draws_all_eight_symmetries_evenly():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    turned = dihedral(image, torch.zeros(4000, dtype=torch.long), torch.Generator().manual_seed(1))
    kinds, counts = np.unique(turned.flatten(1).numpy(), axis=0, return_counts=True)
    square = image[0, 0].numpy()
    expected = {tuple(np.rot90(side, k).ravel()) for side in (square, square[:, ::-1]) for k in range(4)}
    assert {tuple(kind) for kind in kinds} == expected
    assert counts.min() > 400


def test_dihedral_applies_the_same_symmetry_to_all_filters():
    image = torch.rand(1, 1, 7, 7).expand(16, 3, 7, 7)
    turned = dihedral(image, torch.arange(16), torch.Generator().manual_seed(2))
    assert torch.equal(turned[:, 0], turned[:, 1])
    assert torch.equal(turned[:, 0], turned[:, 2])


@pytest.mark.parametrize("softening", [None, 0.1, 10.0])
def test_a_fitted_stretch_standardises_the_images_it_was_fitted_to(softening):
    images = torch.randn(300, 2, 9, 9) * torch.tensor([3.0, 0.5]).view(1, 2, 1, 1) + 7
    stretch = Stretch(2, softening)
    stretch.fit(images)
    out = stretch(images)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(2), atol=1e-3, rtol=0)


@pytest.mark.parametrize("softening", [0.1, 10.0])
def test_asinh_stretch_is_astropys_up_to_scale(softening):
    values = torch.linspace(-5, 100, 50).view(1, 1, 5, 10)
    ours = Stretch(1, softening)(values).flatten().numpy()
    reference = astropy.visualization.AsinhStretch(a=softening / 100)(
        values.flatten().numpy() / 100, clip=False
    )
    np.testing.assert_allclose(ours / ours.max(), reference, rtol=2e-5, atol=1e-6)


def test_stretches_are_equal_if_they_give_the_same_values():
    stretch = Stretch(2, 0.1)
    stretch.fit(torch.randn(30, 2, 5, 5))
    same, softer, unfitted = copy.deepcopy(stretch), copy.deepcopy(stretch), Stretch(2, 0.1)
    softer.softening = 0.2
    assert stretch.equals(same)
    assert not any(stretch.equals(other) for other in (softer, unfitted))
    same.std[0, 1] *= 2
    assert not stretch.equals(same)
