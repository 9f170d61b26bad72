"""Further processes of a command that share its work: as it was started, without a voice, and gone when it is.

They are joined to the first one by a pair of sockets each, which nobody else can reach and which end with either side.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import IO, TYPE_CHECKING, Any

from lip_plugin.cli import place
from lip_plugin.cli.ending import EXIT_DEFECT
from lip_plugin.errors import LostProcessError

if TYPE_CHECKING:
    from lip_plugin.ranks import Ranks

_GONE = 5.0
"""Seconds that a process may take to be gone when its socket is, before it is killed."""


@contextmanager
def further_processes(count: int) -> Generator[Ranks]:
    """This process and ``count`` others that run the same command; they have ended when the block has.

    Raises LostProcessError, inside the block and wherever that is, where one of them is killed.
    """
    from lip_plugin.ranks import Ranks

    if count == 0:
        yield Ranks()
        return
    with ExitStack() as held:
        others = _ToOthers()
        held.callback(others.end)
        held.enter_context(others.minded())
        for rank in range(1, count + 1):
            file = held.enter_context(tempfile.TemporaryFile())
            others.others.append(_started(rank, count + 1, file))
        yield Ranks(0, count + 1, others)


def own_ranks() -> Ranks:
    """Of a further process."""
    from lip_plugin.ranks import Ranks

    own = place.own()
    return Ranks(own.rank, own.world, _ToFirst(own.rank, Connection(own.descriptor)))


@dataclass(frozen=True)
class _ToFirst:
    """The way from a further process to all others."""

    rank: int
    first: Connection

    def gather(self, value: Any) -> list[Any]:
        try:
            self.first.send_bytes(pickle.dumps(value))
            values = [pickle.loads(part) for part in pickle.loads(self.first.recv_bytes())]
        except (EOFError, OSError):
            place.leave()  # nobody is left to work for
        values[self.rank] = value
        return values

    def is_awaited(self) -> bool:
        return True  # the first one has no other work than theirs


@dataclass(frozen=True, eq=False)
class _Other:
    """A further process as the first one sees it; ``said`` is what it writes to stderr."""

    name: str
    process: subprocess.Popen[bytes]
    socket: Connection
    said: IO[bytes]

    @property
    def is_killed(self) -> bool:
        return (self.process.poll() or 0) < 0

    def end(self) -> None:
        """It goes by itself when its socket is closed, in whatever library it is, unless that never lets go."""
        self.socket.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_GONE)
        self.process.kill()
        self.process.wait()

    def loss(self) -> LostProcessError:
        """How it has ended, in one line; what a defect has written stands above it."""
        self.end()
        code = self.process.returncode
        if code < 0:
            killed = signal.Signals(-code).name
            why = ", perhaps for want of memory: fewer --jobs take less" if killed == "SIGKILL" else ""
            return LostProcessError(f"{self.name} was ended by {killed}{why}", 128 - code)
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        if code == EXIT_DEFECT:
            print(*lines, sep="\n", file=sys.stderr)
        last = f": {lines[-1].removeprefix('lip: ')}" if lines else ""
        return LostProcessError(f"{self.name} has ended with code {code}{last}", code or EXIT_DEFECT)


def _started(rank: int, world: int, said: IO[bytes]) -> _Other:
    """Raises OSError."""
    ours, theirs = Pipe()
    with theirs:
        command, environment = place.Place(rank, world, theirs.fileno()).again()
        process = subprocess.Popen(
            command,
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
    return _Other(f"process {rank + 1} of {world}", process, ours, said)


@dataclass(eq=False)
class _ToOthers:
    """The way from the first process to all others."""

    others: list[_Other] = field(default_factory=list[_Other])
    is_over: bool = False
    lost: LostProcessError | None = None

    def gather(self, value: Any) -> list[Any]:
        if self.lost is not None:
            raise self.lost
        missing, said = {other.socket: other for other in self.others}, dict[_Other, bytes]()
        while missing:
            for socket in wait(missing):
                assert isinstance(socket, Connection)
                other = missing.pop(socket)
                try:
                    said[other] = socket.recv_bytes()
                except (EOFError, OSError):
                    raise self._loss(other) from None
        parts = [pickle.dumps(value), *(said[other] for other in self.others)]
        everything = pickle.dumps(parts)
        for other in self.others:
            try:
                other.socket.send_bytes(everything)
            except OSError:
                raise self._loss(other) from None
        return [value, *(pickle.loads(part) for part in parts[1:])]

    def is_awaited(self) -> bool:
        return len(wait([other.socket for other in self.others], 0)) == len(self.others)

    @contextmanager
    def minded(self) -> Generator[None]:
        """Notice at once where one is killed, also while this process is at work of its own."""
        before = signal.getsignal(signal.SIGCHLD)

        def look(number: int, frame: Any) -> None:
            if callable(before):
                before(number, frame)
            killed = [other for other in self.others if other.is_killed]
            if killed and not self.is_over:
                raise self._loss(killed[0])

        signal.signal(signal.SIGCHLD, look)
        try:
            yield
        finally:
            if signal.getsignal(signal.SIGCHLD) is look:  # data loaders put theirs in front
                signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)

    def _loss(self, other: _Other) -> LostProcessError:
        """Of the first one that is gone: it is the same whoever asks, and how often."""
        if self.lost is None:
            self.lost = other.loss()
        return self.lost

    def end(self) -> None:
        """What they had to say they have said."""
        self.is_over = True
        for other in self.others:
            other.socket.close()
        for other in self.others:
            other.end()
