"""SIGTERM and SIGINT as a request to stop at the next step, so that a checkpoint can be saved first."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Set once a signal has come."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.received is not None


@contextmanager
def stop_on_signals() -> Generator[StopRequest]:
    """Collect SIGTERM and SIGINT while the block runs; a second one is not held back.

    Under torchrun it is: the launcher and a signal to the whole group reach a process one after the other.

    Signals can be handled in the main thread only; elsewhere the request is never set.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def receive(number: int, frame: FrameType | None) -> None:
        request.received = signal.Signals(number)
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            signal.signal(number, previous[signal.Signals(number)])

    for number in previous:
        signal.signal(number, receive)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
