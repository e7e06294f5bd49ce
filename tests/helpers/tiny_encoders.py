"""Folders of tiny text encoders as the Hugging Face Hub has them: CLIP and DistilBERT, with weights by the rule."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.fixed_weights import fixed_state

WORDS = ("a", "person", "man", "walks", "walk", "turns", "left", "slowly", "s")
START, END = "<|startoftext|>", "<|endoftext|>"
CLIP_SIZES = {"width": 32, "layers": 2, "heads": 4, "embedding": 24}


def clip_merges() -> list[tuple[str, str]]:
    """Pairs that join a word's letters from the left; the last letter carries the mark of a word's end."""
    merges = []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts = [parts[0] + parts[1], *parts[2:]]
    return list(dict.fromkeys(merges))


def clip_vocabulary() -> list[str]:
    """All bytes, all bytes at a word's end, the merged parts, start and end: CLIP's order."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in shown] + [chr(256 + n) for n in range(256 - len(shown))]
    return [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in clip_merges()), START, END]


def clip_config(width: int, layers: int, heads: int, embedding: int) -> dict[str, object]:
    text = {
        "model_type": "clip_text_model",
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "projection_dim": embedding,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": 77,
        "vocab_size": len(clip_vocabulary()),
        "hidden_act": "quick_gelu",
        "bos_token_id": 0,
        "eos_token_id": 2,  # as the published file says, which is not the tokenizer's
    }
    return {"model_type": "clip", "projection_dim": embedding, "text_config": text, "vision_config": {}}


def write_clip(folder: Path, width: int, layers: int, heads: int, embedding: int) -> Path:
    """A CLIP model; of the image half only one weight is there."""
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    folder.mkdir(parents=True, exist_ok=True)
    config = clip_config(width, layers, heads, embedding)
    shapes = CLIPTextModelWithProjection(CLIPTextConfig(**config["text_config"])).state_dict()
    state = fixed_state({key: tuple(value.shape) for key, value in shapes.items()})
    state |= {"vision_model.post_layernorm.weight": torch.ones(8), "logit_scale": torch.zeros(())}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    merges = "\n".join(" ".join(pair) for pair in clip_merges())
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    vocabulary = {token: index for index, token in enumerate(clip_vocabulary())}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def write_distilbert(folder: Path) -> Path:
    """A DistilBERT model that was saved under a masked language model, as published; it reads 32 tokens."""
    from safetensors.torch import save_file
    from transformers import DistilBertConfig, DistilBertModel

    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    config = DistilBertConfig(
        vocab_size=len(words), dim=24, n_layers=2, n_heads=2, hidden_dim=48, max_position_embeddings=32
    )
    shapes = {f"distilbert.{key}": tuple(value.shape) for key, value in DistilBertModel(config).state_dict().items()}
    save_file(
        fixed_state(shapes | {"vocab_projector.bias": (len(words),)}), folder / "model.safetensors", {"format": "pt"}
    )
    config.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": True, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder
