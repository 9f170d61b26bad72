"""Trainable layers and their parametrisations."""
