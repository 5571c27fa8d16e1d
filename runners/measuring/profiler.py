"""Measures what architectures need where they run: activations, latency, throughput, time of every piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from runners.measuring.device import describe_device, pick_device
from runners.measuring.latency import MIN_PASSES, time_in_turn
from runners.measuring.measurement import Measurement, MeasuringSettings
from runners.measuring.profile import activation_bytes, clear_device_errors, make_images, make_model, time_shares
from search_space.architecture import Architecture
from search_space.errors import RunnerError

BATCH, LONG = 16, 5
"""Images in a batch for the throughput, and how many times `seconds` a few passes may take; both are arbitrary."""


class Profiler:
    """Measures architectures on one device.

    Args:
        settings: How to measure.
        note: Told what is being done.

    Attributes:
        settings: How it measures.
        device: Where it measures.
        where: The same as plain data, with the threads and the dtype.

    Raises:
        RunnerError: If there is no such device.
    """

    def __init__(self, settings: MeasuringSettings, note: Callable[[str], None] = lambda _: None) -> None:
        self.settings, self._note = settings, note
        self.device = pick_device(settings.device)
        self._dtype = getattr(torch, settings.dtype)
        with self._threads():
            self.where: dict[str, Any] = {
                "device": describe_device(self.device),
                "dtype": settings.dtype,
                "threads": torch.get_num_threads(),
            }

    def measure(
        self, names: Sequence[str], architectures: Sequence[Architecture], *, shares: bool = False
    ) -> list[Measurement]:
        """Activations of all architectures; unless the settings say no, latencies and throughputs in turn.

        Args:
            names: What to call them.
            architectures: What to measure.
            shares: Whether the share of every piece in the latency is wanted.

        Raises:
            RunnerError: If there is no room for the weights.
        """
        measured = [Measurement() for _ in architectures]
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

    def latency(self, name: str, architecture: Architecture) -> Measurement:
        """The latency of an architecture, and nothing else."""
        measured = Measurement()
        with self._threads(), self._reason(measured, "latency", "the weights"):
            self._time(self._models([name], [architecture]), 1, [measured], "latency")
        return measured

    def _models(self, names: Sequence[str], architectures: Sequence[Architecture]) -> list[Any]:
        models = []
        for name, architecture in zip(names, architectures, strict=True):
            self._note(f"building {name} ...")
            with clear_device_errors(f"the weights of {name}", self.device):
                models.append(make_model(architecture, self.device, self._dtype))
        return models

    def _quick_batch(self, measured: Sequence[Measurement]) -> int:
        """`BATCH` images, or fewer where `MIN_PASSES` passes of the slowest model would take `LONG` times `seconds`."""
        slowest = max((own.latency["median_ms"] / 1000 for own in measured if own.latency is not None), default=0.0)
        batch = BATCH
        while batch > 1 and batch * slowest * MIN_PASSES > LONG * self.settings.seconds:
            batch //= 2
        return batch

    def _time(self, models: Sequence[Any], batch: int, measured: Sequence[Measurement], what: str) -> None:
        """Time the models that can take such a batch in turn, and enter the timings under the name `what`."""
        self._note(f"{what}, batch {batch} ...")
        ready: list[tuple[Measurement, Callable[[], object]]] = []
        for model, own in zip(models, measured, strict=True):
            with self._reason(own, what, f"a batch of {batch}"), torch.inference_mode():
                images = make_images(model, batch)
                model(images)  # it warms up, too
                ready.append((own, lambda model=model, images=images: model(images)))  # type: ignore[misc]
        with clear_device_errors(f"a batch of {batch} in {self.settings.dtype}", self.device):
            timings = time_in_turn([one for _, one in ready], self.device, self.settings.seconds)
        for (own, _), timing in zip(ready, timings, strict=True):
            lower, upper = timing.quartiles_ms
            entry: dict[str, Any] = {"median_ms": timing.median_ms, "quartiles_ms": [lower, upper]}
            if what == "throughput":
                entry |= {"images_per_s": 1000 * batch / timing.median_ms}
                entry |= {"images_per_s_quartiles": [1000 * batch / upper, 1000 * batch / lower]}
            entry |= {"batch": batch, "passes": timing.passes, "warm_up": timing.warm_up + 1, **self.where}
            setattr(own, what, entry)

    @contextmanager
    def _reason(self, measured: Measurement, what: str, doing: str) -> Iterator[None]:
        """Keep the reason why something cannot be measured, and continue."""
        try:
            with clear_device_errors(f"{doing} in {self.settings.dtype}", self.device):
                yield
        except RunnerError as error:
            measured.reasons[what] = str(error)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """Compute with the number of threads that was asked for."""
        usual = torch.get_num_threads()
        torch.set_num_threads(self.settings.threads or usual)
        try:
            yield
        finally:
            torch.set_num_threads(usual)
