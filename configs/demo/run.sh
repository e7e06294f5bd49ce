#!/usr/bin/env bash
# The main job on the embedded default (`make demo`): synthetic data, a VAE, a denoiser, a reward model, then guided and
# unguided generation for the whole test split, a table and a picture. Everything goes to runs/demo; about 17 minutes
# on two cores.
set -euo pipefail
quiet=(--trainer.enable_progress_bar=false)
mkdir -p runs/demo
started=$SECONDS
say() { printf '\n[%3d s] %s\n' "$((SECONDS - started))" "$*"; }

say "synthetic motions and captions"
[ -d runs/demo/data ] || python -m lightning_realign data synth --out runs/demo/data

say "training: the motion VAE"
python train.py fit --config configs/demo/vae.yaml
say "training: the latent denoiser beside the reward model on its latents (log in runs/demo/reward.log), one thread each"
# Small networks gain little from a second thread, two trainings at once gain almost everything.
OMP_NUM_THREADS=1 python train.py fit --config configs/demo/reward.yaml "${quiet[@]}" >runs/demo/reward.log 2>&1 &
reward=$!
trap 'kill "$reward" 2>/dev/null || true' EXIT
OMP_NUM_THREADS=1 python train.py fit --config configs/demo/diffusion.yaml
wait "$reward" || { tail -n 5 runs/demo/reward.log >&2; exit 1; }
trap - EXIT

say "the test split: real, reconstructed, unguided and guided, ten replications"
python train.py test --config configs/demo/guided.yaml
say "guided and unguided motions of the test split"
python train.py predict --config configs/demo/guided.yaml
python train.py predict --config configs/demo/guided.yaml \
  --model.init_args.guidance.mu=0 --model.init_args.guidance.eta=0 --trainer.default_root_dir=runs/demo/unguided
say "a picture of one pair"
python -m lightning_realign compare --unguided runs/demo/unguided/motions --guided runs/demo/guided/motions \
  --data runs/demo/data --out runs/demo/compare.gif
say "done: runs/demo/guided/logs/*/table-test.json, runs/demo/compare.gif"
