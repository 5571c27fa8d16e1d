"""Searching from Python."""

from __future__ import annotations

import pytest

import nas
from nas.config import SearchConfig
from runners.synthetic import synthetic
from search_space.errors import ConfigError, RunnerError


def test_a_config_or_single_settings(settings):
    config = SearchConfig.make(**settings, finalists=0)
    report = nas.search(config, evaluator=synthetic)
    assert report.evaluated == 6
    assert nas.search(evaluator=synthetic, **settings, finalists=0) == report
    with pytest.raises(TypeError, match="not both"):
        nas.search(config, budget=3)


def test_callbacks(settings):
    started, seen = [], []
    nas.search(
        evaluator=synthetic,
        on_start=lambda search, new: started.append((search.budget.spent, new)),
        on_change=lambda search: seen.append(search.budget.spent),
        **settings,
    )
    assert started == [(0, True)]
    assert seen == sorted(seen)
    assert seen[-1] == 6
    nas.search(evaluator=synthetic, on_start=lambda search, new: started.append((search.budget.spent, new)), **settings)
    assert started[1] == (6, False)


def test_a_wrong_setting_writes_nothing(settings, tmp_path):
    with pytest.raises(ConfigError, match="no setting 'samplers'"):
        nas.search(**settings, samplers="tpe")
    assert list(tmp_path.iterdir()) == []


def test_the_package_names_what_it_offers():
    assert nas.__all__ == sorted(nas.__all__)
    assert set(nas.__all__) == set(nas._MODULES)
    for name in nas.__all__:
        assert getattr(nas, name).__name__ == name
        assert getattr(nas, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = nas.serach


def test_a_fraction_of_a_gpu_that_is_too_small_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("runners.measuring.device.gpu_count", lambda: 1)
    monkeypatch.setattr("runners.measuring.device.gpu_memory", lambda: 8 * 2**30)

    with pytest.raises(RunnerError, match=r"--gpus-per-trial is 0.05, which leaves a trial 0.4 GiB, but .* allowed: "):
        nas.search(gpus_per_trial=0.05, out=tmp_path / "study")

    assert not (tmp_path / "study").exists()
