"""The contract of every kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nas.testing.contract import Contract, Finding
from nas.testing.datasets import DatasetContract
from nas.testing.proxies import ProxyContract
from nas.testing.pruners import PrunerContract
from nas.testing.runners import RunnerContract
from nas.testing.samplers import SamplerContract

CONTRACTS: Mapping[str, type[Contract]] = {
    "data set": DatasetContract,
    "sampler": SamplerContract,
    "pruner": PrunerContract,
    "proxy": ProxyContract,
    "runner": RunnerContract,
}
"""The contracts by kind, as in `nas.plugins.REGISTRIES`."""


def check(kind: str, name: str) -> Iterator[Finding]:
    """Test every promise of an entry; nothing if its kind has no contract."""
    contract = CONTRACTS.get(kind)
    return iter(()) if contract is None else contract.check(name)
