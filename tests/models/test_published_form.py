"""The state dicts of the published architectures: key counts, parameter totals and shapes that checkpoints have."""

import pytest
import torch

from lightning_realign.models import LatentDenoiser, MotionVAE, StepAwareRewardModel


def totals(module):
    state = module.state_dict()
    return len(state), sum(value.numel() for value in state.values())


def encoder_layer():
    return {
        "self_attn.in_proj_weight": (768, 256),
        "self_attn.in_proj_bias": (768,),
        "self_attn.out_proj.weight": (256, 256),
        "self_attn.out_proj.bias": (256,),
        "linear1.weight": (1024, 256),
        "linear1.bias": (1024,),
        "linear2.weight": (256, 1024),
        "linear2.bias": (256,),
        **{f"norm{i}.{part}": (256,) for i in (1, 2) for part in ("weight", "bias")},
    }


def decoder_layer():
    layer = encoder_layer()
    cross = {key.replace("self_attn", "multihead_attn"): shape for key, shape in layer.items() if "self_attn" in key}
    return {**layer, **cross, "norm3.weight": (256,), "norm3.bias": (256,)}


def skip_stack(layer):
    blocks = [f"{side}_blocks.{i}" for side in ("input", "output") for i in range(4)] + ["middle_block"]
    keys = {f"{block}.{key}": shape for block in blocks for key, shape in layer.items()}
    for i in range(4):
        keys |= {f"linear_blocks.{i}.weight": (256, 512), f"linear_blocks.{i}.bias": (256,)}
    return {**keys, "norm.weight": (256,), "norm.bias": (256,)}


def linear(name, out, inputs):
    return {f"{name}.weight": (out, inputs), f"{name}.bias": (out,)}


def under(prefix, keys):
    return {f"{prefix}.{key}": shape for key, shape in keys.items()}


def reward_keys(features):
    keys = {
        "global_motion_token": (1, 256),
        "global_text_token": (1, 256),
        **under("motion_encoder", skip_stack(encoder_layer())),
        **under("text_encoder", skip_stack(encoder_layer())),
        **under("decoder", skip_stack(decoder_layer())),
        **linear("dist_motion_layer", 512, 256),
        **linear("dist_text_layer", 512, 256),
        **linear("skel_embedding", 256, features),
        **linear("text_embedding", 256, 1024),
        **linear("final_layer", features, 256),
        **linear("time_embedding.linear_1", 256, 512),
        **linear("time_embedding.linear_2", 256, 256),
    }
    for table in ("query_motion_pos_encoder", "query_text_pos_encoder", "query_pos_decoder"):
        keys[f"{table}.pe"] = (500, 1, 256)
    return keys


def vae_keys(latent_tokens, latent_size):
    keys = {
        "global_motion_token": (2 * latent_tokens, 256),
        "query_pos_encoder.pe": (500, 1, 256),
        "query_pos_decoder.pe": (500, 1, 256),
        **under("encoder", skip_stack(encoder_layer())),
        **under("decoder", skip_stack(decoder_layer())),
        **linear("skel_embedding", 256, 263),
        **linear("final_layer", 263, 256),
    }
    if latent_size != 256:
        keys |= {**linear("latent_pre", latent_size, 256), **linear("latent_post", 256, latent_size)}
    return keys


def denoiser_keys(latent_size):
    keys = {
        **linear("time_embedding.linear_1", 256, 768),
        **linear("time_embedding.linear_2", 256, 256),
        **linear("emb_proj.1", 256, 768),
        "query_pos.pe": (500, 1, 256),
        **under("encoder", skip_stack(encoder_layer())),
    }
    if latent_size != 256:
        keys |= {**linear("latent_pre", 256, latent_size), **linear("latent_post", latent_size, 256)}
    return keys


def shapes(module):
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


@pytest.mark.parametrize(("features", "parameters"), [(263, 26_516_487), (251, 26_510_331)])
def test_reward(features, parameters):
    model = StepAwareRewardModel(features, 1024)
    assert totals(model) == (427, parameters)
    assert shapes(model) == reward_keys(features)


def test_reward_shares_its_final_norm():
    model = StepAwareRewardModel(263, 1024)
    assert model.motion_encoder.norm is model.text_encoder.norm
    assert len(list(model.parameters())) == 425


def test_reward_without_step_token_has_no_time_embedding():
    step_aware = shapes(StepAwareRewardModel(263, 1024))
    plain = shapes(StepAwareRewardModel(263, 1024, step_aware=False))
    assert plain == {key: shape for key, shape in step_aware.items() if not key.startswith("time_embedding.")}


@pytest.mark.parametrize(("tokens", "size", "expected"), [(1, 256, (297, 18_032_135)), (16, 32, (301, 18_056_487))])
def test_vae(tokens, size, expected):
    model = MotionVAE(263, latent_tokens=tokens, latent_size=size)
    assert totals(model) == expected
    assert shapes(model) == vae_keys(tokens, size)


@pytest.mark.parametrize(("tokens", "size", "expected"), [(1, 256, (125, 8_221_184)), (16, 32, (129, 8_237_856))])
def test_denoiser(tokens, size, expected):
    model = LatentDenoiser(tokens, size, 768)
    assert totals(model) == expected
    assert shapes(model) == denoiser_keys(size)


def test_stacks_have_the_published_sizes():
    model = MotionVAE(263)
    assert totals(model.encoder) == (118, 7_633_664)
    assert totals(model.decoder) == (172, 10_006_784)


@pytest.mark.parametrize("layer", ["middle_block", "input_blocks.0", "output_blocks.3"])
def test_layers_are_post_norm_with_exact_gelu(layer):
    block = MotionVAE(263).encoder.get_submodule(layer)
    assert not block.norm_first
    assert block.self_attn.num_heads == 4
    assert {block.norm1.eps, block.norm2.eps} == {1e-5}
    x = torch.tensor([-1.5, 0.3, 2.0], dtype=torch.float64)
    exact = x * 0.5 * (1 + torch.erf(x / 2**0.5))
    torch.testing.assert_close(block.activation(x), exact, rtol=0, atol=1e-12)
