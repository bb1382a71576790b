import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mergershift.core.errors import UserError
from mergershift.networks.deepmerge_2020 import DeepMerge2020, WidthNorm


def keras_counts(network: nn.Module) -> tuple[int, int]:
    """Count trainable and non-trainable parameters; PyTorch's counter of batches has no equivalent in Keras."""
    running = [buffer for name, buffer in network.named_buffers() if not name.endswith("num_batches_tracked")]
    trainable = sum(parameter.numel() for parameter in network.parameters())
    return trainable, sum(buffer.numel() for buffer in running)


def test_published_number_of_parameters() -> None:
    trainable, running = keras_counts(DeepMerge2020(channels=2))
    assert trainable + running == 174_801
    assert running == 260
    assert trainable == 174_541


def test_a_third_filter_only_enlarges_the_first_convolution() -> None:
    assert sum(keras_counts(DeepMerge2020(channels=3))) == 174_801 + 8 * 25


def test_output_equals_the_formula_written_out() -> None:
    torch.manual_seed(0)
    network = DeepMerge2020(channels=2).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -1, 1)
    images = torch.randn(3, 2, 75, 75)
    state = network.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        # Keras' axis=-1 amounts to broadcasting over the last axis.
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return (x - mean) / (variance + 1e-3).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    x = images
    for block, padding in enumerate((2, 1, 1)):
        name = f"encoder.{5 * block}"
        x = functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)
        x = functional.max_pool2d(norm(x.relu(), f"encoder.{5 * block + 2}.norm"), 2)
    features = x.flatten(1)
    hidden = (features @ state["hidden.0.weight"].T + state["hidden.0.bias"]).softmax(1)
    hidden = (hidden @ state["hidden.2.weight"].T + state["hidden.2.bias"]).softmax(1)
    probability = (hidden @ state["output.weight"].T + state["output.bias"]).sigmoid()[:, 0]

    activations = network(images)
    torch.testing.assert_close(activations.features, features)
    torch.testing.assert_close(activations.logits.softmax(1)[:, 1], probability)


def test_running_statistics_move_by_a_hundredth() -> None:
    norm = WidthNorm(3)
    images = torch.randn(4, 2, 5, 3) * torch.tensor([1.0, 2.0, 3.0]) + torch.tensor([0.0, 5.0, -5.0])
    normalised = norm(images)
    columns = images.movedim(3, 0).flatten(1)
    torch.testing.assert_close(norm.norm.running_mean, 0.01 * columns.mean(1))
    torch.testing.assert_close(norm.norm.running_var, 0.99 + 0.01 * columns.var(1))
    torch.testing.assert_close(normalised.movedim(3, 0).flatten(1).mean(1), torch.zeros(3), atol=1e-5, rtol=0)


def test_cross_entropy_of_the_two_logits_is_the_binary_cross_entropy() -> None:
    logits = DeepMerge2020(channels=2).eval()(torch.randn(6, 2, 75, 75)).logits
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    binary = functional.binary_cross_entropy_with_logits(logits[:, 1], labels.float())
    torch.testing.assert_close(functional.cross_entropy(logits, labels), binary)
    assert torch.equal(logits[:, 0], torch.zeros(6))


def test_glorot_uniform_weights_and_zero_biases() -> None:
    for layer in DeepMerge2020(channels=2).modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_out, fan_in = layer.weight[:, 0].numel(), layer.weight[0].numel()
            limit = (6 / (fan_in + fan_out)) ** 0.5
            assert 0.9 * limit < layer.weight.abs().max() <= limit
            assert layer.bias is not None
            assert not layer.bias.any()


def test_regularisation_is_the_l2_penalty_of_both_softmax_layers() -> None:
    network = DeepMerge2020(channels=2)
    first, second = (network.get_parameter(f"hidden.{place}.weight") for place in (0, 2))
    expected = 1e-4 * (first.square().sum() + second.square().sum())
    torch.testing.assert_close(network.regularisation(), expected)
    network.regularisation().backward()
    touched = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert touched == {"hidden.0.weight", "hidden.2.weight"}


def test_a_negative_penalty_raises_a_user_error() -> None:
    with pytest.raises(UserError, match="weight_penalty is -1"):
        DeepMerge2020(channels=2, weight_penalty=-1)
