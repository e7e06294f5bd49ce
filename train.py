"""Train, validate, test and predict: `python train.py fit --config configs/reward/synthetic.yaml`."""

from lightning_realign.cli.train import main

if __name__ == "__main__":
    main()
