"""Whether somebody answers on a socket."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from pgmagic.server import sockets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def listener(base: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(base / sockets.SOCKET_NAME))
        listening.listen(1)
        yield listening


def test_missing_socket_does_not_answer(base: Path) -> None:
    assert not sockets.answers(base)


def test_socket_of_a_dead_server_does_not_answer(base: Path, listener: socket.socket) -> None:
    listener.close()
    assert not sockets.answers(base)


def test_server_that_dies_after_accepting_does_not_answer(base: Path, listener: socket.socket) -> None:
    threading.Thread(target=lambda: listener.accept()[0].close()).start()
    assert not sockets.answers(base)


def test_slow_server_counts_as_alive(base: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "ANSWER_SECONDS", 0.1)
    assert sockets.answers(base)


@pytest.mark.parametrize(
    ("name", "fitting"), [("a" * 20, True), ("a" * 120, False), ("é" * 55, False), ("with,comma", False)]
)
def test_folder_fits_if_it_can_be_the_host_of_a_connection(base: Path, name: str, fitting: bool) -> None:
    assert sockets.fits(base / name) is fitting
