"""Everything that is registered keeps the contract of its kind."""

from __future__ import annotations

import pytest
import torch

from nas.registries import REGISTRIES
from nas.testing import (
    CONTRACTS,
    DatasetContract,
    ExporterContract,
    LatencyTargetContract,
    MixerContract,
    ObjectiveContract,
    OpContract,
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


class TestLatencyTargets(LatencyTargetContract):
    names = tuple(REGISTRIES["latency target"])


class TestExporters(ExporterContract):
    names = tuple(REGISTRIES["exporter"])


def test_every_kind_has_a_contract_and_every_contract_is_tested():
    here = {TestDatasets, TestSamplers, TestPruners, TestProxies, TestRunners, TestLatencyTargets, TestExporters}
    in_their_packages = {OpContract, MixerContract, ObjectiveContract}
    assert {test.__base__ for test in here} | in_their_packages == set(CONTRACTS.values())
    assert set(CONTRACTS) == set(REGISTRIES)
