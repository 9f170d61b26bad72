"""Submission bundles: everything that a board, or anybody who doubts the figures, needs of a certified model."""
