"""How the command line reaches an act: through the running server, or in this process when there is none.

Invariants: acts run in this process only while it holds the lock of the data directory, so there are never two
writers; starting up costs no import of the server's parts while a server answers.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from admin.texts import say
from govmail import datadir
from govmail.errors import MailError
from govmail.wire.control import REPLY_OCTETS, Done, Failure, Frame, Request, decode_frame, encode

if TYPE_CHECKING:
    from admin.actions.context import Actor

CONNECT_SECONDS = 5.0
START_SECONDS = 10.0  # a server that holds the lock opens its socket within this
ANSWER_SECONDS = 900.0  # between two frames; long work sends progress


class Unreachable(MailError):
    """No answer from a server that owns the data directory."""


@dataclass(frozen=True, slots=True)
class Place:
    """A data directory and the configuration in it."""

    config_path: Path

    @property
    def data_dir(self) -> Path:
        return self.config_path.parent


def ask(place: Place, request: Request, data: bytes, handle: Callable[[Frame], None]) -> Done | Failure:
    """Has the act done and calls `handle` for its rows and progress; the last frame comes back.

    Raises Unreachable, BadConfig, or MailError with a text for the operator.
    """
    if not place.config_path.is_file():
        raise MailError(say("no_config", path=place.config_path))
    deadline = time.monotonic() + START_SECONDS
    actor: Actor | None = None
    while True:
        connection = connect(place.data_dir)
        if connection is not None:
            with connection:
                return ask_server(connection, request, data, handle)
        # Imported here: the server's parts cost most of a second, and only a command without a server needs them.
        from admin.cli import alone

        actor = actor or alone.become_owner(place.data_dir)
        try:
            lock = datadir.take_lock(place.data_dir)
        except datadir.DataDirBusy as error:
            # Starting or stopping: its socket is not there yet, or its lock not free yet.
            if time.monotonic() > deadline:
                raise Unreachable(say("unreachable", path=place.data_dir)) from error
            time.sleep(0.1)
            continue
        except OSError as error:
            raise MailError(say("not_yours", path=place.data_dir, reason=os.strerror(error.errno or 0))) from error
        try:
            return asyncio.run(alone.ask_here(place.config_path, actor, request, data, handle))
        finally:
            lock.release()


def connect(data_dir: Path) -> socket.socket | None:
    """A connection to the server of this data directory; None when nobody listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_SECONDS)
    path = datadir.control_socket(data_dir)
    try:
        with datadir.socket_address(path) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except TimeoutError as error:
        connection.close()
        raise Unreachable(say("unreachable", path=data_dir)) from error
    except OSError as error:
        connection.close()
        raise MailError(say("not_yours", path=path, reason=os.strerror(error.errno or 0))) from error
    return connection


def ask_server(connection: socket.socket, request: Request, data: bytes, handle: Callable[[Frame], None]) -> Done | Failure:
    """One request over the control socket. What `handle` raises passes through."""
    connection.settimeout(ANSWER_SECONDS)
    # The input goes out beside the answer coming in: the server answers rows before it has read all of them.
    sender = threading.Thread(target=_send, args=(connection, encode(request) + data), daemon=True)
    sender.start()
    for frame in _frames(connection):
        if isinstance(frame, Done | Failure):
            return frame
        handle(frame)
    raise Unreachable(say("connection_lost"))


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        pass  # the server has refused and closed; its answer says why


def _frames(connection: socket.socket) -> Iterator[Frame]:
    with connection.makefile("rb") as stream:
        while True:
            try:
                line = stream.readline(REPLY_OCTETS)
            except OSError as error:
                raise Unreachable(say("connection_lost")) from error
            if not line:
                return
            yield decode_frame(line)
