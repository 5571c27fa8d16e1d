"""Training-free proxies: numbers that are hoped to rank architectures as trainings would, one file each.

To add one, write a function of `Material` in a file of its own, register it and import the file here. No fixed proxy
may steer a search: what one is worth differs from data set to data set, and `nas proxies` shows it.
"""

from runners.measuring.proxies import entropy, grad_norm, l2, naswot, size, snip, synflow, zico
from runners.measuring.proxies.base import PROXIES, find_proxies, register_proxy
from runners.measuring.proxies.scoring import evaluate, score

__all__ = [
    "PROXIES",
    "entropy",
    "evaluate",
    "find_proxies",
    "grad_norm",
    "l2",
    "naswot",
    "register_proxy",
    "score",
    "size",
    "snip",
    "synflow",
    "zico",
]
