"""What networks and training steps cost, before a machine for them is at hand. Nothing here computes or allocates."""
