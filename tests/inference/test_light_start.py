"""Generating starts quickly: it loads neither Lightning nor the libraries of measuring, drawing and other encoders."""

import subprocess
import sys

HEAVY = ("lightning", "torchmetrics", "wandb", "matplotlib", "scipy", "sentence_transformers", "transformers", "roma")


def test_generating_loads_no_heavy_library(tmp_path):
    code = (
        "import sys\n"
        "from lightning_realign import Pipeline\n"
        'pipeline = Pipeline.from_pretrained("synthetic/generator", device="cpu")\n'
        'pipeline.generate("a person walks forward", seconds=1.0)\n'
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout.strip() == "[]"
