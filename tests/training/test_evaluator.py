"""The evaluator's training: the objective, its pairs, and a fit that learns and round-trips."""

import lightning as L
import pytest
import torch

from lightning_realign.data import HumanML3DDataModule
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.evaluation.judges import load_evaluator
from lightning_realign.metrics import MatchingDistance, RPrecision
from lightning_realign.models import EvaluatorArchitecture
from lightning_realign.settings.training import OptimiserConfig
from lightning_realign.text.word_vectors import plain_tokens
from lightning_realign.training import EvaluatorTraining
from lightning_realign.training.margin import draw_mismatches, every_mismatch, margin_losses
from tests.helpers.published_evaluators import WORDS, write_glove
from tests.helpers.training_runs import LossRecord, StopAfter, as_trained, trainer

NETWORK = EvaluatorArchitecture(16, 24, 24, 24, 16, 32, dropout=0.0)


def evaluator_module(**settings):
    L.seed_everything(0)
    return EvaluatorTraining(**({"network": NETWORK, "optimiser": OptimiserConfig(3e-3), "pool": 4} | settings))


def test_the_loss_is_its_formula():
    generator = torch.Generator().manual_seed(0)
    text, motion = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    pairs = torch.tensor([[0, 1], [1, 4], [3, 2], [3, 0]])
    positive, negative = margin_losses(text, motion, pairs, margin=2.5)
    near = sum(sum((a - b) ** 2 for a, b in zip(text[i], motion[i], strict=True)) for i in range(5)) / 5
    far = 0.0
    for i, j in pairs.tolist():
        distance = sum((a - b) ** 2 for a, b in zip(text[i].tolist(), motion[j].tolist(), strict=True)) ** 0.5
        far += max(0.0, 2.5 - distance) ** 2 / 4
    assert positive.item() == pytest.approx(near.item(), abs=1e-12)
    assert 0 < negative.item() == pytest.approx(far, abs=1e-12)


def test_equal_embeddings_have_a_finite_gradient():
    text = torch.ones(2, 3, requires_grad=True)
    sum(margin_losses(text, torch.ones(2, 3), torch.tensor([[0, 1], [1, 0]]), 1.0)).backward()
    assert text.grad.isfinite().all()


@pytest.mark.parametrize("captions", [[0, 1, 2, 3], [0, 0, 1, 2, 2, 2], [7, 7, 7, 1]])
def test_mismatches_never_pair_a_caption_with_its_own_text(captions):
    captions = torch.tensor(captions)
    allowed = {(i, j) for i, a in enumerate(captions.tolist()) for j, b in enumerate(captions.tolist()) if a != b}
    assert {tuple(pair) for pair in every_mismatch(captions).tolist()} == allowed
    generator, seen = torch.Generator().manual_seed(0), set()
    for _ in range(200):
        pairs = draw_mismatches(captions, generator)
        assert pairs[:, 0].tolist() == list(range(len(captions)))
        seen |= {tuple(pair) for pair in pairs.tolist()}
    assert seen == allowed


def test_a_batch_of_one_text_has_no_mismatches():
    captions = torch.zeros(4, dtype=torch.int64)
    assert draw_mismatches(captions).shape == every_mismatch(captions).shape == (0, 2)
    _, negative = margin_losses(torch.ones(4, 2), torch.ones(4, 2), draw_mismatches(captions), 10.0)
    assert negative == 0


@pytest.mark.parametrize("mismatches", ["one", "all"])
def test_fit_learns_and_writes_a_self_contained_checkpoint(tmp_path, tiny_data, mismatches):
    module = evaluator_module(mismatches=mismatches, optimiser=OptimiserConfig(1e-2))
    data, record = tiny_data(), LossRecord()
    fitted = trainer(tmp_path, max_epochs=40, check_val_every_n_epoch=20, callbacks=[record], num_sanity_val_steps=1)
    fitted.fit(module, datamodule=data)
    # Embeddings that are all alike, half the margin apart, cost half the squared margin.
    assert sum(record.losses[-9:]) / 9 < 0.85 * 50
    for name in ("train/negative", "val/loss", "val/R@1", "val/R@3_caption", "val/mm_dist"):
        assert fitted.callback_metrics[name].isfinite()
    path = tmp_path / "evaluator.ckpt"
    fitted.save_checkpoint(path)
    evaluator = load_evaluator("guo", path)
    assert (evaluator.skeleton, evaluator.trained_on) == ("humanml3d", data.fingerprint)
    assert torch.equal(evaluator.bundle.normaliser.std, data.normaliser.std)
    batch = next(iter(data.val_dataloader()))
    with torch.no_grad():
        text, motion = module.eval().embeddings(batch)
    assert torch.equal(evaluator.embed_motion(batch.motion, batch.lengths), motion)
    assert torch.equal(evaluator.embed_text(batch.captions), text)
    again = EvaluatorTraining.load_from_checkpoint(path, weights_only=True)
    assert again.reader.vocabulary.words == module.reader.vocabulary.words
    assert torch.equal(again.network.words.weight, module.network.words.weight)


def test_validation_and_test_measure_the_whole_split(tmp_path, tiny_data):
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(evaluator_module(), datamodule=tiny_data())
    fitted.save_checkpoint(tmp_path / "evaluator.ckpt")
    module, data = evaluator_module(), tiny_data(batch_size=5)
    trainer(tmp_path).test(
        module, datamodule=data, ckpt_path=tmp_path / "evaluator.ckpt", verbose=False, weights_only=True
    )
    evaluator = load_evaluator("guo", tmp_path / "evaluator.ckpt")
    precision, distance = RPrecision(4), MatchingDistance()
    for batch in tiny_data(batch_size=3).test_dataloader():
        text, motion = evaluator.embed_text(batch.captions), evaluator.embed_motion(batch.motion, batch.lengths)
        precision.update(text, motion, batch.ids, batch.captions)
        distance.update(text, motion, batch.ids)
    found = module.trainer.callback_metrics
    assert found["test/mm_dist"].item() == pytest.approx(distance.compute().item(), rel=1e-5)
    for name, value in precision.compute().items():
        assert found[f"test/{name}"].item() == pytest.approx(value.item())


def test_resuming_continues_the_run(tmp_path, tiny_data):
    whole, resumed = LossRecord(), LossRecord()
    trainer(tmp_path, callbacks=[whole]).fit(evaluator_module(), datamodule=tiny_data())
    stopped = trainer(tmp_path, limit_val_batches=0, callbacks=[StopAfter(3, tmp_path / "half.ckpt")])
    stopped.fit(evaluator_module(), datamodule=tiny_data())
    trainer(tmp_path, callbacks=[resumed]).fit(
        evaluator_module(), datamodule=tiny_data(), ckpt_path=tmp_path / "half.ckpt", weights_only=True
    )
    assert resumed.losses == whole.losses[3:]


def test_the_vocabulary_is_that_of_the_training_captions(tmp_path, tiny_data):
    data, module = tiny_data(), evaluator_module(least_count=1)
    trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(module, datamodule=data)
    texts = data.caption_tokens("train")
    words = {token.split("/")[0] for text in texts for token in plain_tokens(text)}
    assert set(module.reader.vocabulary.words) == {"sos", "eos", "unk"} | words
    assert module.network.words.weight.requires_grad


def test_given_word_vectors_stay_fixed_and_read_tokens(tmp_path, tiny_data):
    words = [*WORDS, "walks", "runs", "jumps", "quickly", "happily", "forward", "around"]
    vectors = torch.from_numpy(write_glove(tmp_path / "glove", words)).float()
    network = EvaluatorArchitecture(300, 24, 24, 24, 16, 32)
    module = evaluator_module(word_vectors=str(tmp_path / "glove"), network=network)
    fitted = trainer(tmp_path)
    fitted.fit(module, datamodule=tiny_data())
    fitted.save_checkpoint(tmp_path / "evaluator.ckpt")
    assert torch.equal(module.network.words.weight, vectors)
    # The checkpoint holds the vectors too, and says that captions are read by their tokens.
    evaluator = load_evaluator("guo", tmp_path / "evaluator.ckpt")
    assert torch.equal(evaluator.bundle.network.words.weight, vectors)
    tokens = tiny_data().caption_tokens("test")
    with pytest.raises(DataError, match="no word/POS tokens"):
        evaluator.embed_text(list(tokens)[:1])
    evaluator.prepare(tokens)
    assert evaluator.embed_text(list(tokens)).isfinite().all()
    with pytest.raises(ConfigError, match=r"word_size is 16, the word vectors have 300"):
        trainer(tmp_path).fit(evaluator_module(word_vectors=str(tmp_path / "glove")), datamodule=tiny_data())


def test_a_split_that_fills_no_pool_is_one_error(tmp_path, tiny_data):
    with pytest.raises(DataError, match="8 samples do not fill one pool of 32"):
        trainer(tmp_path).fit(evaluator_module(pool=32), datamodule=tiny_data())


def test_nothing_untrained_is_measured(tmp_path, tiny_root):
    with pytest.raises(ConfigError, match=r"random weights|no vocabulary"):
        trainer(tmp_path).test(evaluator_module(), datamodule=HumanML3DDataModule(tiny_root), verbose=False)
    assert as_trained(evaluator_module()).network is None


@pytest.mark.parametrize(
    "setting", [{"margin": 0.0}, {"mismatches": "hard"}, {"pool": 1}, {"least_count": 0}, {"network": {"embedding": 0}}]
)
def test_settings_out_of_range_are_refused(tmp_path, tiny_data, setting):
    with pytest.raises(ConfigError, match=next(iter(setting)) if "network" not in setting else "embedding"):
        trainer(tmp_path).fit(evaluator_module(**setting), datamodule=tiny_data())
