#!/usr/bin/env bash
# `make demo`: motions to look at from the weights that come with the package, then the main job on the embedded default:
# a reward model is trained on the shipped VAE's latents (Algorithm 1) and guides the shipped generator (Algorithm 2)
# over the test split. Everything goes to runs/demo.
set -euo pipefail
mkdir -p runs/demo
started=$SECONDS
say() { printf '\n[%d:%02d] %s\n' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)) "$*"; }

say "1 of 5. A dozen prompts, with the weights that come with the package: without guidance, then with it, same noise."
realign generate --prompts configs/demo/prompts.txt --out runs/demo/motions/unguided --unguided >runs/demo/files.txt
realign generate --prompts configs/demo/prompts.txt --out runs/demo/motions/guided >>runs/demo/files.txt
realign view runs/demo/motions --out runs/demo/view.html
say "2 of 5. Data: 1,200 synthetic motions with captions, and the attributes by which an oracle judges."
[ -d runs/demo/data ] || realign data synth --out runs/demo/data
say "3 of 5. Training a reward model that scores noisy latents against their text, at every noise level (Algorithm 1)."
realign fit --config configs/demo/reward.yaml
say "4 of 5. The test split: real, reconstructed, unguided, and guided by the reward just trained (Algorithm 2)."
realign test --config configs/demo/guided.yaml
say "5 of 5. Where to look, and what to try next:
  runs/demo/view.html           open it in a browser: every prompt without and with guidance, side by side
  runs/demo/guided/logs         every figure of the table, and more
  source .venv/bin/activate     then, in this folder:
  realign generate \"a person waves with the left hand\" --out motions     your own prompt, guided
  realign export motions/*.npz --out bvh                                 for Blender
  make demo-full                                                         the same, with every model trained here"
