"""What `nas profile` and `nas compare` measure alike, and the options that say how."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from search_space.architecture import Architecture
from search_space.errors import ConfigError, RunnerError

Command = TypeVar("Command", bound=Callable[..., Any])
BATCH, LONG = 16, 5
DTYPES = ("float32", "bfloat16", "float16")


def measuring_options(function: Command) -> Command:
    """The fields of `Settings` as flags."""
    for option in (
        click.option(
            "--seconds",
            type=click.FloatRange(min=0, min_open=True),
            default=3.0,
            metavar="S",
            help="Time for each timing; a few passes are made in any case [3].",
        ),
        click.option(
            "--timing/--no-timing", default=True, help="Whether to measure latency and throughput [--timing]."
        ),
        click.option("--closed-form", is_flag=True, help="Measure nothing and build no model: counts alone."),
        click.option(
            "--threads", type=click.IntRange(1, 1024), metavar="N", help="CPU threads of torch [as many as it takes]."
        ),
        click.option(
            "--batch",
            type=click.IntRange(1, 2**31 - 1),
            metavar="N",
            help="Images in a batch for the throughput [16, fewer where that would take long].",
        ),
        click.option(
            "--dtype",
            type=click.Choice(DTYPES),
            default="float32",
            help="What weights and images are cast to; no autocast [float32].",
        ),
        click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, ... [auto]."),
    ):
        function = option(function)
    return function


@dataclass(frozen=True)
class Settings:
    """How to measure; the fields are the flags."""

    device: str
    dtype: str
    batch: int | None
    threads: int | None
    timing: bool
    seconds: float
    closed_form: bool = False


@dataclass
class Measured:
    """What was measured of an architecture.

    Attributes:
        activations: Bytes that autograd keeps for one image, by piece of the breakdown; None if that cannot be had.
        latency: Wall time of a batch of one, as plain data; None if it was not measured.
        throughput: Images a second in larger batches, as plain data; None if it was not measured.
        time_shares: Share of every piece in the latency; empty if it was not measured.
        reasons: Why something is missing that was asked for, by name.
    """

    activations: Mapping[str, int] | None = None
    latency: dict[str, Any] | None = None
    throughput: dict[str, Any] | None = None
    time_shares: Mapping[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def activation_bytes(self) -> int | None:
        """All of the activations."""
        return None if self.activations is None else sum(self.activations.values())


class Bench:
    """Where measurements are made.

    Args:
        settings: How to measure.
        note: Told what is being done.

    Raises:
        RunnerError: If there is no such device.
    """

    def __init__(self, settings: Settings, note: Callable[[str], None]) -> None:
        if not math.isfinite(settings.seconds):
            raise ConfigError(f"--seconds is {settings.seconds}; allowed: a number of seconds")
        self.settings, self._note = settings, note
        self.where: dict[str, Any] | None = None
        if settings.closed_form:
            return
        import torch

        from runners.measuring.device import describe_device, pick_device

        self.device = pick_device(settings.device)
        self._dtype = getattr(torch, settings.dtype)
        with self._threads():
            self.where = {
                "device": describe_device(self.device),
                "dtype": settings.dtype,
                "threads": torch.get_num_threads(),
            }

    def measure(
        self, names: Sequence[str], architectures: Sequence[Architecture], *, shares: bool = False
    ) -> list[Measured]:
        """Activations of all architectures, and unless `settings` say no, latencies and throughputs in turn.

        Args:
            names: What to call them.
            architectures: What to measure.
            shares: Whether the share of every piece in the latency is wanted.

        Raises:
            RunnerError: If the weights find no room.
        """
        measured = [Measured() for _ in architectures]
        if self.settings.closed_form:
            return measured
        from runners.measuring.profile import activation_bytes, make_images, time_shares

        with self._threads():
            models = self._models(names, architectures)
            for name, model, own in zip(names, models, measured, strict=True):
                self._note(f"activations of {name} ...")
                with self._reason(own, "activation_bytes", "a forward pass in training mode"):
                    own.activations = activation_bytes(model)
            if self.settings.timing:
                self._time(models, 1, measured, "latency")
                self._time(models, self.settings.batch or self._quick_batch(measured), measured, "throughput")
            if self.settings.timing and shares:
                for model, own in zip(models, measured, strict=True):
                    self._note("time of every piece ...")
                    if own.latency is not None:
                        with self._reason(own, "time_share", "a batch of 1"):
                            own.time_shares = time_shares(model, make_images(model, 1), self.settings.seconds / 3)
        return measured

    def latency(self, name: str, architecture: Architecture) -> Measured:
        """The latency alone."""
        measured = Measured()
        with self._threads(), self._reason(measured, "latency", "the weights"):
            self._time(self._models([name], [architecture]), 1, [measured], "latency")
        return measured

    def _models(self, names: Sequence[str], architectures: Sequence[Architecture]) -> list[Any]:
        from runners.measuring.profile import failing_clearly, make_model

        models = []
        for name, architecture in zip(names, architectures, strict=True):
            self._note(f"building {name} ...")
            with failing_clearly(f"the weights of {name}", self.device):
                models.append(make_model(architecture, self.device, self._dtype))
        return models

    def _quick_batch(self, measured: Sequence[Measured]) -> int:
        """BATCH images, or fewer where a few passes of all models would take many times `seconds`."""
        from runners.measuring.latency import MIN_PASSES

        slowest = max((own.latency["median_ms"] / 1000 for own in measured if own.latency is not None), default=0.0)
        batch = BATCH
        while batch > 1 and batch * slowest * MIN_PASSES > LONG * self.settings.seconds:
            batch //= 2
        return batch

    def _time(self, models: Sequence[Any], batch: int, measured: Sequence[Measured], what: str) -> None:
        """Time those models in turn that can take such a batch, and enter what comes out under the name `what`."""
        import torch

        from runners.measuring.latency import time_in_turn
        from runners.measuring.profile import failing_clearly, make_images

        self._note(f"{what}, batch {batch} ...")
        ready: list[tuple[Measured, Callable[[], object]]] = []
        for model, own in zip(models, measured, strict=True):
            with self._reason(own, what, f"a batch of {batch}"), torch.inference_mode():
                images = make_images(model, batch)
                model(images)  # warms up, too
                ready.append((own, lambda model=model, images=images: model(images)))  # type: ignore[misc]
        with failing_clearly(f"a batch of {batch} in {self.settings.dtype}", self.device):
            timings = time_in_turn([one for _, one in ready], self.device, self.settings.seconds)
        for (own, _), timing in zip(ready, timings, strict=True):
            lower, upper = timing.quartiles_ms
            entry: dict[str, Any] = {"median_ms": timing.median_ms, "quartiles_ms": [lower, upper]}
            if what == "throughput":
                entry |= {"images_per_s": 1000 * batch / timing.median_ms}
                entry |= {"images_per_s_quartiles": [1000 * batch / upper, 1000 * batch / lower]}
            entry |= {"batch": batch, "passes": timing.passes, "warm_up": timing.warm_up + 1, **(self.where or {})}
            setattr(own, what, entry)

    @contextmanager
    def _reason(self, measured: Measured, what: str, doing: str) -> Iterator[None]:
        """Keep the reason why something cannot be measured, and go on."""
        from runners.measuring.profile import failing_clearly

        try:
            with failing_clearly(f"{doing} in {self.settings.dtype}", self.device):
                yield
        except RunnerError as error:
            measured.reasons[what] = str(error)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """The number of threads that was asked for, for a while."""
        import torch

        usual = torch.get_num_threads()
        torch.set_num_threads(self.settings.threads or usual)
        try:
            yield
        finally:
            torch.set_num_threads(usual)
