"""Training one architecture."""
