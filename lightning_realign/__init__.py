"""Step-aware reward-guided alignment (ReAlign) for text-to-motion diffusion, as a PyTorch Lightning framework."""

__version__ = "0.1.0"
