"""Models as files.

- `entry`: what a checkpoint says of itself, and how it is read.
- `reward`, `vae`, `diffusion`, `evaluator`: the checkpoints of each kind, as bundles of networks.
- `folder`, `hub`, `card`: models as folders and as repositories of the Hugging Face Hub.
- `convert`: other projects' files as safetensors. `published`: what the readers of such files share.
"""
