#!/usr/bin/env bash
# Trains the weights that come with the package and writes lightning_realign/weights/synthetic (`make weights`).
# The judges come first, since the demo's table asks them. No seed is shared with the reward.
set -euo pipefail
demo=(--trainer.accelerator=cpu --data.init_args.root=runs/demo/data)
realign fit --config configs/evaluator/guo_synthetic.yaml "${demo[@]}" --seed_everything=21 \
  --trainer.default_root_dir=runs/weights/guo
realign fit --config configs/reward/tmr_synthetic.yaml "${demo[@]}" --seed_everything=22 \
  --trainer.default_root_dir=runs/weights/tmr
python -m experiments.weights guo tmr
bash configs/demo/full.sh
python -m experiments.weights generator reward
