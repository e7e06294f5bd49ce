#!/usr/bin/env bash
# `make demo-full`: the main job with every model trained here, the motion VAE and the latent denoiser too.
# Everything goes to runs/demo.
set -euo pipefail
mkdir -p runs/demo
started=$SECONDS
say() { printf '\n[%d:%02d] %s\n' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)) "$*"; }
reward=runs/demo/reward_full generator=runs/demo/diffusion/last.ckpt
guided=(--config configs/demo/guided.yaml --model.init_args.generator.path="$generator"
  --model.init_args.reward.path="$reward/last.ckpt" --trainer.default_root_dir=runs/demo/full)

say "1 of 4. Data: 1,200 synthetic motions with captions, and the attributes by which an oracle judges."
[ -d runs/demo/data ] || realign data synth --out runs/demo/data
say "2 of 4. Training the motion VAE, whose latents the generator denoises."
realign fit --config configs/demo/vae.yaml
say "3 of 4. Training the latent denoiser and, beside it, the reward model (log in runs/demo/reward.log), a thread each."
# Small networks gain little from a second thread, two trainings at once gain almost everything.
OMP_NUM_THREADS=1 realign fit --config configs/demo/reward.yaml --model.init_args.vae=runs/demo/vae/last.ckpt \
  --trainer.default_root_dir="$reward" \
  --seed_everything=23 >runs/demo/reward.log 2>&1 &
training=$!
trap 'kill "$training" 2>/dev/null || true' EXIT
OMP_NUM_THREADS=1 realign fit --config configs/demo/diffusion.yaml
wait "$training" || { tail -n 5 runs/demo/reward.log >&2; exit 1; }
trap - EXIT
say "4 of 4. The test split: real, reconstructed, unguided and guided."
realign test "${guided[@]}"
