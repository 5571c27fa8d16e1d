"""Measurements of a network besides its training: latency, memory, cost of every part."""
