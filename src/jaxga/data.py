"""Labelled images: MNIST from its four IDX files, and the small digits of scikit-learn.

jaxga contains no data. `mnist` reads files from a folder, or downloads them once from a public mirror. `digits` are
installed with scikit-learn.
"""

import gzip
import hashlib
import os
import struct
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxga.base import InputError, require

if TYPE_CHECKING:
    from rich.progress import Progress

MIRRORS = "https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"
MNIST_MD5 = {  # of the uncompressed bytes, so that it does not depend on how they were compressed
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
ENDINGS = "", ".gz"


class Images(NamedTuple):
    """Labelled images, pixels from 0 to 1, in three parts that share no image.

    Networks learn from the training images. Validation images are for stop rules and for tuning settings, which makes
    the accuracy on them slightly too high. So use the test images only once, for the final network. They may be
    missing.
    """

    train_images: np.ndarray  # [P, h, w, channels] float32
    train_labels: np.ndarray  # [P] int32
    validation_images: np.ndarray  # [V, h, w, channels] float32
    validation_labels: np.ndarray  # [V] int32
    test_images: np.ndarray | None = None  # [U, h, w, channels] float32
    test_labels: np.ndarray | None = None  # [U] int32


def mnist(folder: str | Path | None = None, verify: bool = True, validation: int = 10_000) -> Images:
    """MNIST (LeCun et al. 1998): 50,000 images of 28 x 28 for training, 10,000 for validation, 10,000 for the test.

    The test images are the official ones. The validation images are the last of the official 60,000 training images. By
    default there are as many as test images, so that both accuracies are equally precise.

    Args:
      folder: the folder with the four IDX files, gzipped or not. By default ``$JAXGA_MNIST``, or if that is not set
        ``~/.cache/jaxga/mnist``. Files that are missing in the latter are downloaded once, 11 MB in all, with a
        progress bar. A download that was interrupted is continued.
      verify: compare checksums, by default True. With False, other images in the same format can be read, such as
        Fashion-MNIST.
      validation: number of training images, the last ones, that become validation images, by default 10,000.

    Raises:
      InputError: if a file is missing or truncated, is no IDX file, or has another checksum; if files do not belong
        together; if no mirror can be reached; or if ``validation`` leaves no image for training or for validation.
    """
    place = Path(folder) if folder else _home()
    if not folder and not os.environ.get("JAXGA_MNIST"):
        download(MIRRORS, MNIST_MD5, place)
    arrays = [read_idx(_find(place, name), MNIST_MD5[name] if verify else None) for name in MNIST_MD5]
    return _parts(validation, *_checked(place, *arrays))


def mnist_at_hand() -> bool:
    """Can `mnist` read its default folder without a download?"""
    return all(any((_home() / f"{name}{end}").exists() for end in ENDINGS) for name in MNIST_MD5)


def _home() -> Path:
    named = os.environ.get("JAXGA_MNIST")
    return Path(named) if named else Path.home() / ".cache" / "jaxga" / "mnist"


def digits() -> Images:
    """Handwritten digits of scikit-learn (UCI), 8 x 8 pixels: 1,438 for training, 180 for validation, 179 for the test.

    Every fifth image is held out. Held-out images of each digit go to validation and test in turn.

    Raises:
      InputError: if scikit-learn is not installed.

    >>> images = digits()
    >>> images.train_images.shape, images.test_labels.shape
    ((1438, 8, 8, 1), (179,))
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError("the digits come with scikit-learn, which is not here: pip install scikit-learn.") from error
    pixels, target = load_digits(return_X_y=True)
    images = np.asarray(pixels, np.float32).reshape(-1, 8, 8, 1) / 16
    labels = np.asarray(target, np.int32)
    learned, held_out = (np.flatnonzero((np.arange(len(labels)) % 5 == 4) == held) for held in (False, True))
    by_digit = held_out[np.argsort(labels[held_out], kind="stable")]
    parts = learned, np.sort(by_digit[::2]), np.sort(by_digit[1::2])
    return Images(*(array[part] for part in parts for array in (images, labels)))


def read_idx(path: Path, md5: str | None = None) -> np.ndarray:
    """The content of an IDX file of bytes, gzipped or not, as uint8 in the shape that the file states.

    Args:
      path: the file.
      md5: expected checksum of the uncompressed file. By default None: it is not checked.

    Raises:
      InputError: if the file is truncated, is no IDX file of bytes, or has another checksum.
    """
    raw = path.read_bytes()
    try:
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError) as error:
        raise InputError(f"{path} is truncated or no gzip file ({error}): fetch it again.") from error
    rank = raw[3] if len(raw) >= 4 else 0
    require(
        raw[:3] == b"\0\0\x08" and rank in (1, 3) and len(raw) >= 4 + 4 * rank,
        f"{path} is no IDX file of bytes (it begins with {raw[:4].hex() or 'nothing'}): fetch it again.",
    )
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    due = 4 + 4 * rank + int(np.prod(shape))
    require(len(raw) == due, f"{path} is truncated: it has {len(raw):,} of {due:,} bytes; fetch it again.")
    found = hashlib.md5(raw).hexdigest()
    require(
        md5 in (None, found),
        f"{path} is not the file of MNIST (MD5 {found}, and {md5} was due): fetch it again, or pass verify=False to "
        "read another set in this format.",
    )
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def download(mirrors: Sequence[str], md5: dict[str, str], folder: Path) -> None:
    """Download gzipped files that are missing in ``folder``, and check them.

    Bytes are written to ``NAME.gz.part``, which a later call continues. A file gets its name ``NAME.gz`` after its
    checksum was found right; otherwise it is deleted.

    Args:
      mirrors: addresses to which ``NAME.gz`` is appended, tried in this order.
      md5: the name of each file without ``.gz``, and the checksum of its uncompressed bytes.
      folder: where the files are written; made if it does not exist.

    Raises:
      InputError: if no mirror returns a file, or a file has another checksum.
    """
    missing = [name for name in md5 if not any((folder / f"{name}{end}").exists() for end in ENDINGS)]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns) as progress:
        for name in missing:
            part = folder / f"{name}.gz.part"
            _fetch([f"{mirror}{name}.gz" for mirror in mirrors], part, progress)
            _accept(part, md5[name])


def _fetch(addresses: Sequence[str], part: Path, progress: "Progress") -> None:
    """Append what is missing in ``part``, from the first address that returns it."""
    reasons = []
    for address in addresses:
        begun = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(address, headers={"Range": f"bytes={begun}-"} if begun else {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                begun = begun if answer.status == 206 else 0
                total = begun + int(answer.headers.get("Content-Length", 0))
                task = progress.add_task(part.name.removesuffix(".gz.part"), total=total, completed=begun)
                with open(part, "ab" if begun else "wb") as file:
                    while block := answer.read(1 << 16):
                        file.write(block)
                        progress.advance(task, len(block))
            if part.stat().st_size >= total:
                return
            reasons.append(f"{address} broke off")
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is already complete
                return
            reasons.append(f"{address} answers {error.code}")
        except OSError as error:
            reasons.append(f"{address}: {getattr(error, 'reason', error)}")
    raise InputError(
        f"{part.with_suffix('').name} cannot be downloaded ({'; '.join(reasons)}): try again when online, or put the "
        "four IDX files of MNIST into a folder and name it (--data, or JAXGA_MNIST)."
    )


def _accept(part: Path, md5: str) -> None:
    """Rename a complete download, or delete it if its checksum is wrong."""
    try:
        found = hashlib.md5(gzip.decompress(part.read_bytes())).hexdigest()
    except (OSError, EOFError) as error:
        found = str(error)
    if found != md5:
        part.unlink()
        raise InputError(
            f"{part.with_suffix('').name} arrived with another checksum ({found}, and {md5} was due), and was thrown "
            "away: try again, or name a folder with the right files (--data, or JAXGA_MNIST)."
        )
    part.replace(part.with_suffix(""))


def _find(folder: Path, name: str) -> Path:
    for end in ENDINGS:
        if (folder / f"{name}{end}").exists():
            return folder / f"{name}{end}"
    raise InputError(
        f"{folder} has no {name}(.gz): name a folder with the four IDX files of MNIST, or none to download."
    )


def _checked(folder: Path, *arrays: np.ndarray) -> list[np.ndarray]:
    """Training images and labels, test images and labels: pixels from 0 to 1 with a channel axis, labels as int32."""
    for images, labels in (arrays[:2], arrays[2:]):
        require(
            images.ndim == 3 and labels.ndim == 1 and len(images) == len(labels),
            f"{folder} has images of shape {images.shape} with labels of shape {labels.shape}: take files that belong "
            "together.",
        )
    return [part[..., None].astype(np.float32) / 255 if part.ndim == 3 else part.astype(np.int32) for part in arrays]


def _parts(validation: int, images: np.ndarray, labels: np.ndarray, *test: np.ndarray) -> Images:
    """Make the last ``validation`` training images the validation images."""
    kept = len(labels) - validation
    require(
        0 < kept < len(labels),
        f"validation is {validation}, and there are {len(labels)} training images to be divided: take from 1 to "
        f"{len(labels) - 1}.",
    )
    return Images(images[:kept], labels[:kept], images[kept:], labels[kept:], *test)
