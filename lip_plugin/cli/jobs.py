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


class FurtherProcesses:
    """Of this command: started as soon as they may be needed, since they take seconds to begin, and joined when it is
    known how many are. They have ended when the block has.

    Inside it, and wherever that is, LostProcessError is raised where one of them is killed.
    """

    def __init__(self) -> None:
        self._held = ExitStack()
        self._others = _ToOthers()

    def __enter__(self) -> FurtherProcesses:
        self._held.callback(self._others.end)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._held.close()
        lost = self._others.lost
        if not (error is None or lost is None or error is lost):  # an import makes another error of it
            raise lost from error

    def start(self, count: int) -> None:
        """So that there are so many, or more. Raises OSError."""
        present = len(self._others.others)
        if present == 0 and count > 0:
            self._held.enter_context(self._others.minded())
        for rank in range(present + 1, count + 1):
            said = self._held.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  the stack closes it
            self._others.others.append(_started(rank, said))

    def joined(self, count: int) -> Ranks:
        """This process and so many others. Raises OSError."""
        from lip_plugin.ranks import Ranks

        self.start(count)
        self._others.keep(count)
        return Ranks(0, count + 1, self._others) if count else Ranks()


def own_ranks() -> Ranks:
    """Of a further process, once the first one knows how many there are."""
    import lip_plugin.cli.task  # pyright: ignore[reportUnusedImport]  # noqa: F401  it takes as long
    from lip_plugin.ranks import Ranks

    own = place.own()
    first = Connection(own.descriptor)
    try:
        world: int = first.recv()
    except (EOFError, OSError):
        place.leave()
    return Ranks(own.rank, world, _ToFirst(own.rank, first))


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

    rank: int
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
        code, name = self.process.returncode, f"process {self.rank + 1}"
        if code < 0:
            killed = signal.Signals(-code).name
            why = ", perhaps for want of memory: fewer --jobs take less" if killed == "SIGKILL" else ""
            return LostProcessError(f"{name} was ended by {killed}{why}", 128 - code)
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        if code == EXIT_DEFECT:
            print(*lines, sep="\n", file=sys.stderr)
        last = f": {lines[-1].removeprefix('lip: ')}" if lines else ""
        return LostProcessError(f"{name} has ended with code {code}{last}", code or EXIT_DEFECT)


def _started(rank: int, said: IO[bytes]) -> _Other:
    """Raises OSError."""
    ours, theirs = Pipe()
    with theirs:
        command, environment = place.Place(rank, theirs.fileno()).again()
        process = subprocess.Popen(
            command,
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
    return _Other(rank, process, ours, said)


@dataclass(eq=False)
class _ToOthers:
    """The way from the first process to all others."""

    others: list[_Other] = field(default_factory=list[_Other])
    let_go: list[_Other] = field(default_factory=list[_Other])
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

    def keep(self, count: int) -> None:
        """Let the others go, and tell these how many there are."""
        for other in self.others[count:]:
            other.socket.close()
        self.let_go, self.others = self.others[count:], self.others[:count]
        for other in self.others:
            try:
                other.socket.send(count + 1)
            except OSError:
                raise self._loss(other) from None

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
        for other in (*self.let_go, *self.others):
            other.end()
