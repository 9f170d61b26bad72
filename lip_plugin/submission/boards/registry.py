"""Boards by name."""

from __future__ import annotations

from lip_plugin.errors import ConfigError, close_matches
from lip_plugin.submission.boards.board import Board
from lip_plugin.submission.boards.own import OwnBoard
from lip_plugin.submission.boards.robustbench import RobustBenchBoard
from lip_plugin.submission.boards.sok import SokBoard

BOARDS: tuple[Board, ...] = (OwnBoard(), RobustBenchBoard(), SokBoard())


def get_board(name: str) -> Board:
    """Raises ConfigError."""
    named = {board.name: board for board in BOARDS}
    if name not in named:
        raise ConfigError(f"no board {name!r}; known: {', '.join(named)}.{close_matches(name, named)}")
    return named[name]
