"""The promises of every kind of plug-in, as tests that its author can run.

With pytest, subclass the contract of a kind and name the entries::

    from nas.testing import PrunerContract


    class TestMine(PrunerContract):
        names = ("mine",)

Without pytest, ``nas check-plugin FILE`` runs the contracts of everything that a file registers.
"""

from nas.testing.datasets import DatasetContract
from nas.testing.exporters import ExporterContract
from nas.testing.kinds import CONTRACTS, check
from nas.testing.latency_targets import LatencyTargetContract
from nas.testing.proxies import ProxyContract
from nas.testing.pruners import PrunerContract
from nas.testing.runners import RunnerContract
from nas.testing.samplers import SamplerContract
from results.testing import ObjectiveContract
from search_space.contract import Contract, Finding
from search_space.testing import MixerContract, OpContract

__all__ = [
    "CONTRACTS",
    "Contract",
    "DatasetContract",
    "ExporterContract",
    "Finding",
    "LatencyTargetContract",
    "MixerContract",
    "ObjectiveContract",
    "OpContract",
    "ProxyContract",
    "PrunerContract",
    "RunnerContract",
    "SamplerContract",
    "check",
]
