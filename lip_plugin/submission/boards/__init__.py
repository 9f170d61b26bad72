"""The boards that a bundle can be made for; ``registry`` has them by name."""

from lip_plugin.submission.boards.board import Board as Board
from lip_plugin.submission.boards.board import Refusal as Refusal
from lip_plugin.submission.boards.board import foreign_refusals as foreign_refusals
