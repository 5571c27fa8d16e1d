"""Everything that is registered keeps the contract of its kind."""

from __future__ import annotations

import pytest
import torch

from nas.plugins import REGISTRIES
from nas.testing import (
    CONTRACTS,
    DatasetContract,
    ProxyContract,
    PrunerContract,
    RunnerContract,
    SamplerContract,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class TestDatasets(DatasetContract):
    names = tuple(REGISTRIES["data set"])


class TestSamplers(SamplerContract):
    names = tuple(REGISTRIES["sampler"])


class TestPruners(PrunerContract):
    names = tuple(REGISTRIES["pruner"])


class TestProxies(ProxyContract):
    names = tuple(REGISTRIES["proxy"])


@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.xdist_group("ray")
class TestRunners(RunnerContract):
    names = tuple(REGISTRIES["runner"])


def test_every_kind_with_a_contract_is_tested_here():
    tested = {TestDatasets, TestSamplers, TestPruners, TestProxies, TestRunners}
    assert {test.__base__ for test in tested} == set(CONTRACTS.values())
