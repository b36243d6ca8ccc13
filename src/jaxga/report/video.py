"""Videos of what a network does."""

from pathlib import Path

import numpy as np


def write_gif(screens: np.ndarray, path: str | Path, per_second: float = 15.0, seconds: float = 60.0) -> Path:
    """Write screens as an animated GIF. Only every second screen is kept.

    Args:
      screens: ``[n, h, w, 3]``, bytes.
      path: of the file.
      per_second: screens per second, by default 15.
      seconds: longest duration of the video, by default 60.

    >>> import tempfile
    >>> write_gif(np.zeros((4, 8, 8, 3), np.uint8), Path(tempfile.mkdtemp()) / "black.gif").name
    'black.gif'
    """
    from PIL import Image

    kept = screens[: int(per_second * seconds) : 2]
    first, *others = (Image.fromarray(screen) for screen in kept)
    first.save(path, save_all=True, append_images=others, duration=round(2000 / per_second), loop=0)
    return Path(path)
