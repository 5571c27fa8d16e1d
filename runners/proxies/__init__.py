"""Training-free proxies: numbers that should rank architectures as trainings would, one file each.

To add one, write a function of `Material` in a file of its own, register it and import the file here. Their names are
available without torch: a proxy imports torch when it is computed. No fixed proxy may steer a search: how well one
works differs between data sets, and `nas proxies` shows it.
"""

from runners.proxies import entropy, grad_norm, l2, naswot, size, snip, synflow, zico
from runners.proxies.base import PROXIES, Proxy, find_proxies, register_proxy

__all__ = [
    "PROXIES",
    "Proxy",
    "entropy",
    "find_proxies",
    "grad_norm",
    "l2",
    "naswot",
    "register_proxy",
    "size",
    "snip",
    "synflow",
    "zico",
]
