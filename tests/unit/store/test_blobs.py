"""Bodies in rows and in files."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from govmail.config import Limits
from govmail.errors import StoreFailed
from govmail.mail.message import Message
from govmail.mail.reading import read
from govmail.store import blobs
from govmail.store.blobs import BlobFiles
from govmail.store.values import BlobRef, NewBlob

LIMITS = Limits(blob_inline_octets=4096)
NOISE = random.Random(1).randbytes(300_000)


def prepare(body: bytes, files: BlobFiles) -> NewBlob:
    message = Message.of(b"\r\n" + body)  # without a header field
    return blobs.prepare(read(message, LIMITS), message, files)


def ref(new: NewBlob) -> BlobRef:
    return BlobRef(1, new.size, new.codec, new.data, new.path)


@pytest.mark.parametrize(
    ("body", "codec", "in_file"),
    [(b"", "raw", False), (b"short", "raw", False), (b"text " * 4000, "zstd", False), (NOISE[:2000], "raw", False),
     (NOISE[:20_000], "raw", True), (NOISE, "raw", True), (b"text " * 80_000, "raw", True)],
)  # fmt: skip
def test_where_a_body_goes(tmp_path: Path, body: bytes, codec: str, in_file: bool) -> None:
    files = BlobFiles(tmp_path)
    new = prepare(body, files)
    assert (new.codec, new.path is not None, new.size) == (codec, in_file, len(body))
    assert b"".join(blobs.stream(ref(new), files)) == body


@pytest.mark.parametrize("body", [b"text " * 4000, NOISE])
def test_any_piece(tmp_path: Path, body: bytes) -> None:
    files = BlobFiles(tmp_path)
    stored = ref(prepare(body, files))
    for offset, length in ((0, 1), (19_990, 30), (len(body) - 3, 100), (len(body) + 5, 10), (7, 12_000)):
        assert blobs.read(stored, offset, length, files) == body[offset : offset + length]
        assert b"".join(blobs.stream(stored, files, offset, length)) == body[offset : offset + length]


def test_files_are_private_and_have_random_names(tmp_path: Path) -> None:
    files = BlobFiles(tmp_path / "blobs")
    paths = {files.write([NOISE])[0] for _ in range(3)}
    assert len(paths) == 3
    assert {path for path, _ in files.paths()} == paths
    for path in paths:
        assert (files.directory / path).stat().st_mode & 0o777 == 0o600
        assert (files.directory / path).parent.stat().st_mode & 0o777 == 0o700


def test_a_spool_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spooled").write_bytes(b"\r\n" + NOISE)
    message = Message.spooled(tmp_path / "spooled")
    reading = read(message, LIMITS)
    os.truncate(tmp_path / "spooled", 1000)
    files = BlobFiles(tmp_path / "blobs")
    with pytest.raises(StoreFailed):
        blobs.prepare(reading, message, files)
    assert list(files.paths()) == []


def test_a_directory_that_takes_nothing_is_a_store_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreFailed):
        prepare(NOISE, BlobFiles(tmp_path / "file"))


def test_a_file_that_is_gone_is_a_store_failure(tmp_path: Path) -> None:
    files = BlobFiles(tmp_path)
    stored = ref(prepare(NOISE, files))
    assert stored.path is not None
    os.truncate(files.directory / stored.path, 1000)
    with pytest.raises(StoreFailed):
        b"".join(blobs.stream(stored, files))
    files.remove(stored.path)
    files.remove(stored.path)
    with pytest.raises(StoreFailed):
        blobs.read(stored, 0, 10, files)


def test_a_damaged_frame_is_a_store_failure(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed):
        blobs.read(BlobRef(1, 100, "zstd", b"no frame", None), 0, 10, BlobFiles(tmp_path))
