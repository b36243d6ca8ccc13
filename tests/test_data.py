"""Images are read as they are, and what is wrong with a file is said in one sentence. Downloads come from loopback."""

import gzip
import hashlib
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from sklearn.datasets import load_digits

import jaxga
from jaxga import data

PIXELS = np.arange(5 * 28 * 28, dtype=np.uint8).reshape(5, 28, 28)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    """Four small IDX files, two of them gzipped."""
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(PIXELS[:2]))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[:2])))
    return tmp_path


def test_reads_idx_files_gzipped_or_not(folder):
    """The last training images are for validation, the other two files are the test; all in the order of the files."""
    images = data.mnist(folder, verify=False, validation=2)
    assert images.train_images.shape == (3, 28, 28, 1)
    pixels = PIXELS.astype(np.float32)[..., None] / 255
    for found, due in zip(images[::2], (pixels[:3], pixels[3:], pixels[:2]), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, due)
    assert [labels.tolist() for labels in images[1::2]] == [[3, 1, 4], [1, 5], [3, 1]]


@pytest.mark.parametrize("validation", [-1, 0, 5, 10_000])
def test_refuses_to_leave_nothing_to_learn_from_or_to_validate_on(folder, validation):
    with pytest.raises(jaxga.InputError, match=f"validation is {validation}, and there are 5 training images.*1 to 4"):
        data.mnist(folder, verify=False, validation=validation)


@pytest.mark.skipif(not data.mnist_at_hand(), reason="the files of MNIST are not here")
def test_mnist_is_divided_into_three_parts():
    """How often each digit occurs in the official files: 60,000 to learn from and 10,000 for the test."""
    images = data.mnist()
    assert [part.shape for part in images[::2]] == [(number, 28, 28, 1) for number in (50_000, 10_000, 10_000)]
    train, validation, test = map(np.bincount, images[1::2])
    assert (train + validation).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert test.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert min(train.min(), validation.min()) > 900
    assert images.train_labels[:5].tolist() == [5, 0, 4, 1, 9]  # the first image is a 5
    assert images.validation_labels[-5:].tolist() == [8, 3, 5, 6, 8]  # and the last one an 8
    assert images.test_labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_the_folder_may_be_named_by_the_environment(folder, monkeypatch):
    monkeypatch.setenv("JAXGA_MNIST", str(folder))
    assert data.mnist_at_hand()
    assert len(data.mnist(verify=False, validation=1).train_labels) == 4
    monkeypatch.setenv("JAXGA_MNIST", str(folder / "nowhere"))
    assert not data.mnist_at_hand()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-labels-idx1-ubyte", idx(LABELS)[:-2], "is truncated: it has 11 of 13 bytes"),
        ("train-labels-idx1-ubyte", b"<html>not here</html>", "is no IDX file of bytes"),
        ("train-labels-idx1-ubyte", b"", "is no IDX file of bytes"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS))[:-20], "is truncated or no gzip file"),
        ("train-images-idx3-ubyte.gz", b"nonsense", "is truncated or no gzip file"),
        ("train-labels-idx1-ubyte", idx(LABELS[:4]), "take files that belong"),
        ("train-labels-idx1-ubyte", idx(PIXELS), "take files that belong"),
    ],
)
def test_a_wrong_file_is_named_and_left_alone(folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(jaxga.InputError, match=message):
        data.mnist(folder, verify=False, validation=1)
    assert (folder / name).read_bytes() == content


def test_a_missing_file_and_another_checksum(folder):
    with pytest.raises(jaxga.InputError, match=r"train-images-idx3-ubyte.* is not the file of MNIST .*verify=False"):
        data.mnist(folder)
    (folder / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(jaxga.InputError, match=r"has no t10k-images-idx3-ubyte"):
        data.mnist(folder, verify=False)


def test_digits_are_all_there_once():
    images = data.digits()
    assert [part.shape for part in images[::2]] == [(number, 8, 8, 1) for number in (1438, 180, 179)]
    assert 0 == images.train_images.min() < images.train_images.max() == 1
    counts = np.array([np.bincount(labels) for labels in images[1::2]])
    every = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as the UCI repository says
    assert counts.sum(axis=0).tolist() == every
    assert (counts > 0).all()
    assert (abs(counts[1] - counts[2]) <= 1).all()  # of every digit as many for validation as for the test


def test_digits_share_no_image_and_stay_in_their_order():
    """Images 4, 9, ... are held out; half of each digit's are for validation. All 1,797 images differ."""
    pixels, labels = load_digits(return_X_y=True)
    number = {image.tobytes(): index for index, image in enumerate(pixels.astype(np.float32) / 16)}
    images = data.digits()
    found = [[number[image.tobytes()] for image in part] for part in images[::2]]
    for indices, answers in zip(found, images[1::2], strict=True):
        assert indices == sorted(indices)
        np.testing.assert_array_equal(answers, labels[indices])
    train, validation, test = found
    assert train == [index for index in range(1797) if index % 5 != 4]
    assert sorted(validation + test) == list(range(4, 1797, 5))
    assert (validation[0], test[0]) == (4, 9)


class Mirror:
    """A server on loopback that knows one file, answers ranges, and may break off after some bytes."""

    def __init__(self, content, breaks_after=None):
        self.requests, mirror = [], self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
                mirror.requests.append(begin)
                if begin >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206 if begin else 200)
                self.send_header("Content-Length", str(len(content) - begin))
                self.end_headers()
                self.wfile.write(content[begin:][: breaks_after if len(mirror.requests) == 1 else None])

            def log_message(self, *arguments):
                del arguments

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_port}/"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


RAW = idx(np.random.default_rng(0).integers(0, 256, (300, 28, 28), np.uint8))
PACKED = gzip.compress(RAW)
SUMS = {"images": hashlib.md5(RAW).hexdigest()}


@pytest.fixture
def mirror(request):
    server = Mirror(PACKED, request.param)
    yield server
    server.close()


@pytest.mark.parametrize("mirror", [None], indirect=True)
def test_downloads_once(mirror, tmp_path):
    data.download([mirror.address], SUMS, tmp_path / "new")
    data.download([mirror.address], SUMS, tmp_path / "new")
    assert mirror.requests == [0]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["images.gz"]
    assert data.read_idx(tmp_path / "new" / "images.gz", SUMS["images"]).shape == (300, 28, 28)


@pytest.mark.parametrize("mirror", [50_000], indirect=True)
def test_a_broken_download_goes_on_where_it_broke(mirror, tmp_path):
    with pytest.raises(jaxga.InputError, match=r"images.gz cannot be downloaded .* broke off.*try again"):
        data.download([mirror.address], SUMS, tmp_path)
    assert (tmp_path / "images.gz.part").stat().st_size == 50_000
    data.download([mirror.address], SUMS, tmp_path)
    assert mirror.requests == [0, 50_000]
    assert (tmp_path / "images.gz").read_bytes() == PACKED


@pytest.mark.parametrize("mirror", [None], indirect=True)
def test_another_checksum_is_thrown_away(mirror, tmp_path):
    with pytest.raises(jaxga.InputError, match=r"images.gz arrived with another checksum .*thrown away: try again"):
        data.download([mirror.address], {"images": "0" * 32}, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mirror", [None], indirect=True)
def test_the_next_mirror_helps_out_and_offline_is_one_sentence(mirror, tmp_path):
    nobody = "http://127.0.0.1:9/"
    with pytest.raises(
        jaxga.InputError, match=r"cannot be downloaded \(http://127.0.0.1:9/images.gz: .*put the four IDX"
    ):
        data.download([nobody], SUMS, tmp_path)
    data.download([nobody, mirror.address], SUMS, tmp_path)
    assert (tmp_path / "images.gz").exists()


@pytest.mark.parametrize("mirror", [None], indirect=True)
def test_a_part_that_is_whole_already_is_taken(mirror, tmp_path):
    (tmp_path / "images.gz.part").write_bytes(PACKED)
    data.download([mirror.address], SUMS, tmp_path)
    assert mirror.requests == [len(PACKED)]
    assert (tmp_path / "images.gz").read_bytes() == PACKED
