"""Networks built from architectures."""
