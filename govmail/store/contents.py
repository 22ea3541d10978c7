"""Contents: what a message is, stored once however many mailboxes hold it.

Invariants
- Equal octets have one content: reuse happens inside the storing transaction and locks the row, so `store.collect` and a
  delivery never pass each other.
- Everything slow is outside the transaction: reading and compressing in `mail.reading`, writing files in `prepare`.
- `content` holds only what lists need; header, structure and text lie in tables of their own under the same key.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select, true
from sqlalchemy.dialects.postgresql import insert as upsert

from govmail.errors import StoreFailed
from govmail.mail.content import FIELDS as HEADER_FIELDS
from govmail.mail.message import Message
from govmail.mail.reading import Reading
from govmail.store.blobs import BlobFiles, decompress
from govmail.store.blobs import prepare as prepare_blob
from govmail.store.schema import blob, content, content_gone, content_header, content_parts, content_text
from govmail.store.sql import BIG, Prepared, PreparedRows, as_rows, as_set, field, one_of, rows_in
from govmail.store.values import ContentRow, NewBlob, NewContent, TextRow

# A file body alone: no row comes back when the same file is stored twice (again after an unknown outcome).
_INSERT_FILE = Prepared(
    upsert(blob).on_conflict_do_nothing(index_elements=[blob.c.path]).returning(blob.c.blob_id), ["size", "codec", "path"]
)
_INSERT_BLOBS = PreparedRows(lambda rows: insert(blob).values(rows).returning(blob.c.blob_id), ["size", "codec", "data"])
_NO_BLOB = 0
_DELETE_BLOB = Prepared(delete(blob).where(blob.c.blob_id == bindparam("of")))
# SQLite reads PostgreSQL's ON CONFLICT; the clause locks the row that is there already.
_UPSERT = PreparedRows(
    lambda rows: (
        upsert(content)
        .values(rows)
        .on_conflict_do_update(index_elements=[content.c.digest], set_={"touched": bindparam("now")})
        .returning(content.c.digest, content.c.content_id, content.c.blob_id)
    ),
    ["digest", "size", "header_size", "sent_date", "envelope", "bodystructure", "preview", "blob_id", "touched",
     "subject", "sender", "recipient", "cc"],
)
_INSERT_HEADERS = PreparedRows(lambda rows: insert(content_header).values(rows), ["content_id", "header"])
_INSERT_PARTS = PreparedRows(lambda rows: insert(content_parts).values(rows), ["content_id", "parts", "body"])
_INSERT_TEXTS = PreparedRows(lambda rows: insert(content_text).values(rows), ["content_id", "text", "complete"])

_ROWS = Prepared(
    select(
        content.c.content_id,
        content.c.size,
        content.c.header_size,
        content.c.sent_date,
        content.c.envelope,
        content.c.bodystructure,
        content.c.preview,
        content.c.blob_id,
    ).where(one_of(content.c.content_id, "ids"))
)
_FORMS = Prepared(
    select(content.c.content_id, content.c.envelope, content.c.bodystructure).where(one_of(content.c.content_id, "ids"))
)
_PREVIEWS = Prepared(select(content.c.content_id, content.c.preview).where(one_of(content.c.content_id, "ids")))
_DIGESTS = Prepared(select(content.c.content_id, content.c.digest).where(one_of(content.c.content_id, "ids")))
_BODIES = Prepared(select(content.c.content_id, content.c.blob_id).where(one_of(content.c.content_id, "ids")))
_BY_DIGEST = Prepared(
    select(content.c.content_id).where(content.c.digest >= bindparam("low"), content.c.digest <= bindparam("high"))
)
_HEADERS = Prepared(
    select(content_header.c.content_id, content_header.c.header).where(one_of(content_header.c.content_id, "ids"))
)
_PARTS = Prepared(
    select(content_parts.c.content_id, content_parts.c.parts, content_parts.c.body).where(
        one_of(content_parts.c.content_id, "ids")
    )
)
_TEXTS = Prepared(
    select(content_text.c.content_id, content_text.c.text, content_text.c.complete).where(
        one_of(content_text.c.content_id, "ids")
    )
)

_gone = rows_in("rows")
_NOTE_GONE = Prepared(
    upsert(content_gone)
    .from_select(["content_id", "since"], select(field(_gone, 0, BIG), field(_gone, 1, BIG)).where(true()))
    .on_conflict_do_nothing(index_elements=[content_gone.c.content_id])
)

FIELDS = dict(zip(("subject", "sender", "recipient", "cc"), HEADER_FIELDS, strict=True))
"""Columns of `content`, and the fields they hold."""

TEXT_OCTETS = 64 * 1024 * 1024  # what one decompressed text may be: far above Limits.text_octets


def prepare(reading: Reading, message: Message, files: BlobFiles) -> NewContent:
    """Make a message that was read ready to be stored. `message`: octets with that body at their end.

    Writes and syncs a file if the body is large: blocks then; raises StoreFailed.
    """
    return NewContent(
        digest=reading.digest,
        size=reading.size,
        header=reading.header,
        sent_date=reading.sent_date,
        envelope=reading.envelope,
        bodystructure=reading.bodystructure,
        body_form=reading.body_form,
        parts=reading.parts,
        preview=reading.preview,
        text=reading.text,
        text_complete=reading.text_complete,
        fields=reading.fields,
        blob=prepare_blob(reading, message, files),
    )


def store(conn: Connection, new: NewContent, *, now: int) -> int:
    """The content's id; the row is made unless equal octets are stored already, and is touched and locked either way."""
    return store_all(conn, [new], now=now)[0]


def store_all(conn: Connection, news: Sequence[NewContent], *, now: int) -> list[int]:
    """`store` for several contents in as many statements as for one; their ids in the same order."""
    unique = list({new.digest: new for new in news}.values())
    blob_ids = _insert_blobs(conn, [new.blob for new in unique])
    rows = [
        (new.digest, new.size, len(new.header), new.sent_date, new.envelope, new.bodystructure, new.preview, blob_id, now, *new.fields)
        for new, blob_id in zip(unique, blob_ids, strict=True)
    ]
    found = {bytes(digest): (content_id, blob_id) for digest, content_id, blob_id in _UPSERT.rows(conn, rows, now=now)}
    fresh = []
    for new, blob_id in zip(unique, blob_ids, strict=True):
        content_id, stored = found[new.digest]
        if stored == blob_id:
            fresh.append((content_id, new))
        elif blob_id != _NO_BLOB:  # stored before: our body is not needed; a file of it becomes an orphan
            _DELETE_BLOB.run(conn, {"of": blob_id})
        if stored == _NO_BLOB:
            raise StoreFailed(private=f"the file {new.blob.path} belongs to another content")
    if fresh:
        _INSERT_HEADERS.run(conn, [(content_id, new.header) for content_id, new in fresh])
        _INSERT_PARTS.run(conn, [(content_id, new.parts, new.body_form) for content_id, new in fresh])
        _INSERT_TEXTS.run(conn, [(content_id, new.text, new.text_complete) for content_id, new in fresh])
    return [found[new.digest][0] for new in news]


def _insert_blobs(conn: Connection, blobs: Sequence[NewBlob]) -> list[int]:
    inline = [(one.size, one.codec, one.data) for one in blobs if one.path is None]
    # Ids are given in the order of the rows; the order in which RETURNING names them is promised by nobody.
    given = iter(sorted(row[0] for row in _INSERT_BLOBS.rows(conn, inline)))
    ids = []
    for one in blobs:
        if one.path is None:
            ids.append(next(given))
        else:
            row = _INSERT_FILE.first(conn, {"size": one.size, "codec": one.codec, "path": one.path})
            ids.append(_NO_BLOB if row is None else row[0])
    return ids


def note_gone(conn: Connection, content_ids: Collection[int], *, now: int) -> None:
    """Messages of these contents were removed: `store.collect` is to look whether any is left."""
    if content_ids:
        _NOTE_GONE.run(conn, {"rows": as_rows((content_id, now) for content_id in sorted(set(content_ids)))})


def envelopes(conn: Connection, content_ids: Collection[int]) -> dict[int, ContentRow]:
    """What lists need, by content id; unknown ids are missing in the answer."""
    return {row[0]: ContentRow(*row) for row in _ROWS.rows(conn, {"ids": as_set(content_ids)})}


def forms(conn: Connection, content_ids: Collection[int]) -> dict[int, tuple[int, bytes, bytes]]:
    """(content id, ENVELOPE, BODYSTRUCTURE) by content id."""
    return {row[0]: row for row in _FORMS.rows(conn, {"ids": as_set(content_ids)})}


def previews(conn: Connection, content_ids: Collection[int]) -> dict[int, str]:
    return dict(_PREVIEWS.rows(conn, {"ids": as_set(content_ids)}))


def bodies(conn: Connection, content_ids: Collection[int]) -> dict[int, int]:
    """Blob ids by content id."""
    return dict(_BODIES.rows(conn, {"ids": as_set(content_ids)}))


EMAIL_ID_OCTETS = 20  # of the digest: equal contents have equal ids, and nobody makes two that differ


def email_ids(conn: Connection, content_ids: Collection[int]) -> dict[int, str]:
    """EMAILID (RFC 8474 §5.1) by content id: made from the octets, so it is the same wherever they lie, for ever."""
    return {row[0]: "M" + row[1][:EMAIL_ID_OCTETS].hex() for row in _DIGESTS.rows(conn, {"ids": as_set(content_ids)})}


def with_email_id(conn: Connection, email_id: str) -> set[int]:
    """Ids of the contents with this EMAILID."""
    try:
        digest = bytes.fromhex(email_id[1:])
    except ValueError:
        return set()
    if "M" + digest.hex() != email_id or len(digest) != EMAIL_ID_OCTETS:
        return set()
    rest = 32 - EMAIL_ID_OCTETS
    return {row[0] for row in _BY_DIGEST.rows(conn, {"low": digest + bytes(rest), "high": digest + b"\xff" * rest})}


def headers(conn: Connection, content_ids: Collection[int]) -> dict[int, bytes]:
    """Raw headers with their empty line."""
    return dict(_HEADERS.rows(conn, {"ids": as_set(content_ids)}))


def parts(conn: Connection, content_ids: Collection[int]) -> dict[int, tuple[bytes, bytes]]:
    """(mail.mime.dump() of the parts, BODY form)."""
    return {row[0]: (row[1], row[2]) for row in _PARTS.rows(conn, {"ids": as_set(content_ids)})}


def texts(conn: Connection, content_ids: Collection[int]) -> dict[int, TextRow]:
    """Folded texts. Decompresses: ask for a few dozen at a time."""
    return {
        row[0]: TextRow(decompress(row[1], TEXT_OCTETS).decode("utf-8"), bool(row[2]))
        for row in _TEXTS.rows(conn, {"ids": as_set(content_ids)})
    }
