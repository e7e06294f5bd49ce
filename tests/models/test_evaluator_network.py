"""The evaluator's network: published names and shapes, and embeddings that depend on their own sample alone."""

import pytest
import torch
from torch.nn import functional as F

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.models import MotionTextEvaluator
from lightning_realign.models.evaluator import NUM_TAGS

SMALL = {
    "word_size": 6,
    "movement_hidden": 7,
    "movement_size": 8,
    "motion_hidden": 9,
    "text_hidden": 5,
    "embedding": 10,
    "max_frames": 28,
}


def gru(width):
    sides = ("l0", "l0_reverse")
    weights = {f"gru.weight_{kind}_{side}": (3 * width, width) for kind in ("ih", "hh") for side in sides}
    return weights | {f"gru.bias_{kind}_{side}": (3 * width,) for kind in ("ih", "hh") for side in sides}


def output_net(hidden, width):
    return {
        "output_net.0.weight": (hidden, 2 * hidden),
        "output_net.0.bias": (hidden,),
        "output_net.1.weight": (hidden,),
        "output_net.1.bias": (hidden,),
        "output_net.3.weight": (width, hidden),
        "output_net.3.bias": (width,),
    }


@pytest.mark.parametrize("features, channels", [(263, 259), (251, 247)])
def test_state_dict_is_that_of_the_published_checkpoints(features, channels):
    network = MotionTextEvaluator(features, 3)
    shapes = {
        name: {key: tuple(value.shape) for key, value in getattr(network, name).state_dict().items()}
        for name in ("movement_encoder", "motion_encoder", "text_encoder")
    }
    assert shapes["movement_encoder"] == {
        "main.0.weight": (512, channels, 4),
        "main.0.bias": (512,),
        "main.3.weight": (512, 512, 4),
        "main.3.bias": (512,),
        "out_net.weight": (512, 512),
        "out_net.bias": (512,),
    }
    assert shapes["motion_encoder"] == {
        "hidden": (2, 1, 1024),
        "input_emb.weight": (1024, 512),
        "input_emb.bias": (1024,),
        **gru(1024),
        **output_net(1024, 512),
    }
    assert shapes["text_encoder"] == {
        "hidden": (2, 1, 512),
        "pos_emb.weight": (300, 15),
        "pos_emb.bias": (300,),
        "input_emb.weight": (512, 300),
        "input_emb.bias": (512,),
        **gru(512),
        **output_net(512, 512),
    }
    count = {name: sum(value.numel() for value in getattr(network, name).parameters()) for name in shapes}
    assert (count["motion_encoder"], count["text_encoder"]) == (15_747_584, 4_100_288)
    assert [len(shapes[name]) for name in ("motion_encoder", "text_encoder")] == [17, 19]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return MotionTextEvaluator(12, 20, **SMALL).double().eval()


def motions(lengths, size, fill=0.0):
    batch = torch.full((len(lengths), size, 12), fill, dtype=torch.float64)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(length)
        batch[row, :length] = torch.randn(length, 12, generator=generator, dtype=torch.float64)
    return batch, torch.tensor(lengths)


def alone_padded_to_the_longest(network, length):
    """The published way, on one motion at a time: contacts dropped, zeros up to the longest motion, length // 4."""
    motion, _ = motions([length], SMALL["max_frames"])
    snippets = network.movement_encoder(motion[..., :-4])[:, : length // 4]
    gru_input = network.motion_encoder.input_emb(snippets)
    _, last = network.motion_encoder.gru(gru_input, network.motion_encoder.hidden)
    return network.motion_encoder.output_net(torch.cat((last[0], last[1]), dim=-1))


@pytest.mark.parametrize("lengths", [(4,), (28, 5, 12, 27, 8), (5, 28, 28, 4), (9, 10, 11)])
@pytest.mark.parametrize("size, fill", [(28, 0.0), (28, float("nan")), (40, 1e6)])
def test_motions_are_read_as_published_whatever_the_batch_order_and_padding(network, lengths, size, fill):
    found = network.embed_motion(*motions(lengths, size, fill))
    expected = torch.cat([alone_padded_to_the_longest(network, length) for length in lengths])
    assert torch.allclose(found, expected, atol=1e-12, rtol=0)


def test_contacts_are_not_seen_and_everything_else_is(network):
    batch, lengths = motions((12, 10), 12)
    before = network.embed_motion(batch, lengths)
    batch[:, :, -4:] = 5.0
    assert torch.equal(network.embed_motion(batch, lengths), before)
    # The last snippet of 10 frames is the second one, and reads the two frames after its own.
    batch[1, 9, 0] += 1.0
    assert not torch.allclose(network.embed_motion(batch, lengths)[1], before[1])


def test_captions_are_read_whatever_the_batch_order_and_padding(network):
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(20, (4, 9), generator=generator)
    tags = torch.randint(NUM_TAGS, (4, 9), generator=generator)
    lengths = torch.tensor([3, 9, 1, 6])
    together = network.embed_text(words, tags, lengths)
    for row, length in enumerate(lengths.tolist()):
        encoder = network.text_encoder
        vectors = network.words.weight[words[row, :length]]
        spoken = F.one_hot(tags[row, :length], 15).double()
        inputs = encoder.input_emb(vectors + encoder.pos_emb(spoken))[None]
        last = encoder.gru(inputs, encoder.hidden)[1]
        expected = encoder.output_net(last.transpose(0, 1).reshape(1, -1))[0]
        assert torch.allclose(together[row], expected, atol=1e-12, rtol=0)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(
        network.embed_text(words[order], tags[order], lengths[order]), together[order], atol=1e-12, rtol=0
    )


@pytest.mark.parametrize(
    "shape, lengths, message",
    [
        ((2, 8, 11), (8, 8), "use the evaluator of their skeleton"),
        ((2, 8, 12), (8, 3), "3 to 8 frames"),
        ((1, 40, 12), (29,), "4 to 28"),
        ((1, 8, 12), (9,), "in a batch of 8"),
    ],
)
def test_motions_that_do_not_fit_are_refused(network, shape, lengths, message):
    with pytest.raises(FeatureSpecError, match=message):
        network.embed_motion(torch.zeros(shape, dtype=torch.float64), torch.tensor(lengths))


@pytest.mark.parametrize("setting", [{"motion_hidden": 0}, {"dropout": 1.0}, {"max_frames": 3}])
def test_sizes_out_of_range_are_refused(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        MotionTextEvaluator(12, 20, **(SMALL | setting))
