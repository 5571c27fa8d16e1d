"""The best architecture as a bundle of files."""
