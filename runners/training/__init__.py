"""The training of one architecture."""
