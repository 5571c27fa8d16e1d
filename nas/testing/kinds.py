"""The contract of every kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nas.testing.datasets import DatasetContract
from nas.testing.exporters import ExporterContract
from nas.testing.latency_targets import LatencyTargetContract
from nas.testing.proxies import ProxyContract
from nas.testing.pruners import PrunerContract
from nas.testing.runners import RunnerContract
from nas.testing.samplers import SamplerContract
from results.testing import ObjectiveContract
from search_space.contract import Contract, Finding
from search_space.testing import MixerContract, OpContract

CONTRACTS: Mapping[str, type[Contract]] = {
    "op": OpContract,
    "token mixer": MixerContract,
    "data set": DatasetContract,
    "sampler": SamplerContract,
    "pruner": PrunerContract,
    "proxy": ProxyContract,
    "objective": ObjectiveContract,
    "latency target": LatencyTargetContract,
    "runner": RunnerContract,
    "exporter": ExporterContract,
}
"""The contracts by kind, as in `nas.registries.REGISTRIES`."""


def check(kind: str, name: str) -> Iterator[Finding]:
    """Test every promise of an entry."""
    return CONTRACTS[kind].check(name)
