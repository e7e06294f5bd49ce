"""Motions side by side: an animation (GIF or MP4) or a film strip (PNG)."""

from __future__ import annotations

import importlib
import importlib.util
import io
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lightning_realign.errors import ConfigError
from lightning_realign.files.atomic import save_bytes_atomic
from lightning_realign.report.pictures.clip import ShownMotion, load_clips
from lightning_realign.report.pictures.scene import LIMBS, Panel, plan_views

_HOLD = 0.6  # seconds the last frame stays before an animation starts again
_MAX_FPS = 50.0  # players slow down a GIF whose frames last less than 20 ms
_INK, _FAINT, _RULE = (30, 30, 30), (120, 120, 120), (200, 200, 200)


def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib, so that pictures look the same everywhere."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int, lines: int = 3) -> list[str]:
    """Break a caption to fit `width` pixels, at most `lines` lines."""
    letters = max(8, int(width / font.getlength("abcdefghij ") * 11))
    return textwrap.wrap(text, letters, max_lines=lines, placeholder=" …")


def _centred(
    pen: ImageDraw.ImageDraw, lines: Sequence[str], box: tuple[int, int, int], font: ImageFont.FreeTypeFont
) -> None:
    """Write lines centred between x = box[0] and box[1], from y = box[2] down."""
    left, right, top = box
    for number, line in enumerate(lines):
        x = (left + right - font.getlength(line)) / 2
        pen.text((x, top + number * 1.3 * font.size), line, fill=_INK, font=font)


def _legend(pen: ImageDraw.ImageDraw, x: int, y: int, font: ImageFont.FreeTypeFont) -> None:
    """The colours of the limbs, flush right at x."""
    for side in ("right", "left"):
        x -= int(font.getlength(side)) + 4
        pen.text((x, y), side, fill=_FAINT, font=font)
        x -= int(font.size) + 2
        pen.rectangle((x, y + 3, x + font.size - 3, y + font.size), fill=LIMBS[side])
        x -= 10


def _frame_page(clips: Sequence[ShownMotion], size: int) -> tuple[Image.Image, int]:
    """The page that an animation's frames share, with captions, titles and legend, and the y where the panels begin."""
    width, font, small = size * len(clips), _font(max(11, size // 22)), _font(max(10, size // 28))
    shared = len({clip.text for clip in clips}) == 1
    boxes = [(0, width)] if shared else [(n * size, (n + 1) * size) for n in range(len(clips))]
    captions = [_wrap(clip.text, font, right - left - 16) for clip, (left, right) in zip(clips, boxes, strict=False)]
    rows = max(len(lines) for lines in captions)
    titles = 8 + int(1.3 * font.size * rows) + 4
    top = titles + int(1.5 * small.size)
    foot = int(1.8 * small.size)
    height = top + size + foot
    page = Image.new("RGB", (width, height + height % 2), "white")
    pen = ImageDraw.Draw(page)
    for lines, (left, right) in zip(captions, boxes, strict=True):
        _centred(pen, lines, (left, right, 8), font)
    for number, clip in enumerate(clips):
        _centred(pen, _wrap(clip.title, small, size, 1), (number * size, (number + 1) * size, titles), small)
    _legend(pen, width - 4, top + size + 2, small)
    return page, top


def _panels(clips: Sequence[ShownMotion], size: int, follow: bool | None) -> list[Panel]:
    return [Panel(clip, view, size) for clip, view in zip(clips, plan_views(clips, follow), strict=True)]


def _frames(clips: Sequence[ShownMotion], size: int, fps: float, follow: bool | None) -> Iterator[Image.Image]:
    """The frames of an animation, on one time base. A motion that is over stays in its last pose."""
    page, top = _frame_page(clips, size)
    panels, small = _panels(clips, size, follow), _font(max(10, size // 28))
    seconds = max(clip.seconds for clip in clips)
    for number in range(round(seconds * fps) + 1):
        image = page.copy()
        pen = ImageDraw.Draw(image)
        for column, panel in enumerate(panels):
            image.paste(panel.render(panel.clip.index(number / fps)), (column * size, top))
            if column:
                pen.line((column * size, top, column * size, top + size), fill=_RULE, width=1)
        pen.text((6, top + size + 2), f"{number / fps:.1f} s", fill=_FAINT, font=small)
        yield image


def _durations(count: int, fps: float) -> list[int]:
    """Milliseconds per frame; whole hundredths of a second, as GIF stores them, without drift over the animation."""
    ticks = np.round(np.arange(count + 1) * 100.0 / fps).astype(int)
    durations = [int(step) * 10 for step in np.diff(ticks)]
    durations[-1] += int(_HOLD * 1000)
    return durations


def _gif(frames: Sequence[Image.Image], fps: float) -> bytes:
    """Encode with one palette for all frames, so that nothing flickers."""
    sample = frames[:: max(1, len(frames) // 4)]
    montage = Image.new("RGB", (sample[0].width, sample[0].height * len(sample)))
    for number, frame in enumerate(sample):
        montage.paste(frame, (0, number * frame.height))
    palette = montage.quantize(96, method=Image.Quantize.MEDIANCUT)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    indexed[0].save(
        buffer, "GIF", save_all=True, append_images=indexed[1:], duration=_durations(len(indexed), fps), loop=0
    )
    return buffer.getvalue()


def _ffmpeg() -> str:
    """The ffmpeg program, from the system or from the package imageio-ffmpeg."""
    program = shutil.which("ffmpeg")
    if program is None and importlib.util.find_spec("imageio_ffmpeg") is not None:
        program = str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    if program is None:
        raise ConfigError(
            "out: an .mp4 needs ffmpeg, which is not installed; write a .gif, or `pip install imageio-ffmpeg`"
        )
    return program


def _mp4(frames: Sequence[Image.Image], fps: float, program: str) -> bytes:
    """Encode as H.264 in the pixel format that every player knows."""
    width, height = (side - side % 2 for side in frames[0].size)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "video.mp4"
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-"]
        coding = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
        done = subprocess.run(
            [program, "-loglevel", "error", *source, *coding, str(target)],
            input=b"".join(frame.crop((0, 0, width, height)).tobytes() for frame in frames),
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            reason = " ".join(done.stderr.decode(errors="replace").split()[-20:])
            raise ConfigError(f"out: {program} cannot write an .mp4 ({reason}); write a .gif instead")
        return target.read_bytes()


def render(
    files: Sequence[Path],
    out: Path,
    titles: Sequence[str] | None = None,
    *,
    size: int | None = None,
    follow: bool | None = None,
) -> Path:
    """Show motions side by side: an animation if `out` ends in .gif or .mp4, a film strip if it ends in .png.

    All motions share the camera's distance and the time base; each file says its frame rate, caption and skeleton.

    Args:
        files: prediction files (.npz with joints, text, fps, skeleton).
        out: the file to write, atomically.
        titles: one name per file, above its panel; by default the files' stems.
        size: pixels of a panel's side; by default 320, in a film strip 200.
        follow: whether the camera moves with the bodies; by default only if a path is too long for the frame.

    Returns:
        `out`.

    Raises:
        ConfigError: nothing to show, an unknown suffix, or an .mp4 without ffmpeg.
        DataError: a file cannot be used.
    """
    suffix = out.suffix.lower()
    if suffix not in (".gif", ".mp4", ".png"):
        raise ConfigError(f"out: {out.name!r} ends in {suffix or 'nothing'!r}; choose .gif, .mp4 or .png")
    if suffix == ".png":
        return render_strip(files, out, titles, size=size or 200, follow=follow)
    program = _ffmpeg() if suffix == ".mp4" else ""
    clips = load_clips(files, titles)
    fps = min(max(clip.fps for clip in clips), _MAX_FPS)
    frames = list(_frames(clips, size or 320, fps, follow))
    save_bytes_atomic(out, _gif(frames, fps) if suffix == ".gif" else _mp4(frames, fps, program))
    return out


def render_strip(
    files: Sequence[Path],
    out: Path,
    titles: Sequence[str] | None = None,
    *,
    frames: int = 6,
    size: int = 200,
    follow: bool | None = None,
) -> Path:
    """Show a few moments of each motion as a film strip: one line per file, the same moments in every line.

    Args:
        files: prediction files.
        out: the PNG to write, atomically.
        titles: one name per file; by default the files' stems.
        frames: moments, evenly spaced from the first frame to the last of the longest motion.
        size: pixels of a panel's side.
        follow: as in `render`.

    Returns:
        `out`.

    Raises:
        ConfigError: nothing to show, or fewer than one frame.
        DataError: a file cannot be used.
    """
    if frames < 1:
        raise ConfigError(f"frames is {frames}; ask for at least 1")
    clips = load_clips(files, titles)
    times = np.linspace(0.0, max(clip.seconds for clip in clips), frames)
    font, small = _font(15), _font(12)
    shared = len({clip.text for clip in clips}) == 1
    head = 28 if shared else 0
    image = Image.new("RGB", (size * frames, head + len(clips) * (size + 24)), "white")
    pen = ImageDraw.Draw(image)
    if shared:
        _centred(pen, _wrap(clips[0].text, font, image.width - 16, 1), (0, image.width, 6), font)
    for row, panel in enumerate(_panels(clips, size, follow)):
        top = head + row * (size + 24)
        name = panel.clip.title if shared else f"{panel.clip.title}: {panel.clip.text}"
        pen.text((6, top + 4), _wrap(name, small, image.width - 110, 1)[0], fill=_INK, font=small)
        for column, time in enumerate(times):
            image.paste(panel.render(panel.clip.index(float(time))), (column * size, top + 24))
            if column:
                pen.line((column * size, top + 24, column * size, top + 24 + size), fill=_RULE, width=1)
            pen.text((column * size + 6, top + 28), f"{time:.1f} s", fill=_FAINT, font=small)
    _legend(pen, image.width - 4, head + 4, small)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    save_bytes_atomic(out, buffer.getvalue())
    return out
