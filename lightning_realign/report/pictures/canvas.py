"""Figures without pyplot, so without global state, written atomically as PNG."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_realign.files.atomic import save_bytes_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours that colour-blind readers can tell apart (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as MatplotlibFigure

    figure = MatplotlibFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: Path, dpi: int = 130) -> None:
    """Write the figure, atomically."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    save_bytes_atomic(path, buffer.getvalue())
