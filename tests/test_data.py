"""Images are read as they are, and what is wrong with a file is said in one sentence. Downloads come from loopback."""

import gzip
import hashlib
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

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
    images = data.mnist(folder, verify=False)
    assert images.train_images.shape == (5, 28, 28, 1)
    assert images.train_images.dtype == np.float32
    np.testing.assert_array_equal(images.train_images[..., 0], PIXELS.astype(np.float32) / 255)
    assert images.train_labels.tolist() == LABELS.tolist()
    assert images.validation_labels.tolist() == [3, 1]


def test_the_folder_may_be_named_by_the_environment(folder, monkeypatch):
    monkeypatch.setenv("JAXGA_MNIST", str(folder))
    assert data.mnist_at_hand()
    assert len(data.mnist(verify=False).train_labels) == 5
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
        data.mnist(folder, verify=False)
    assert (folder / name).read_bytes() == content


def test_a_missing_file_and_another_checksum(folder):
    with pytest.raises(jaxga.InputError, match=r"train-images-idx3-ubyte.* is not the file of MNIST .*verify=False"):
        data.mnist(folder)
    (folder / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(jaxga.InputError, match=r"has no t10k-images-idx3-ubyte"):
        data.mnist(folder, verify=False)


def test_digits_are_all_there_once():
    images = data.digits()
    assert images.train_images.shape == (1438, 8, 8, 1)
    assert images.validation_images.shape == (359, 8, 8, 1)
    assert 0 == images.train_images.min() < images.train_images.max() == 1
    counts = np.bincount(images.train_labels) + np.bincount(images.validation_labels)
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as the UCI repository says


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
