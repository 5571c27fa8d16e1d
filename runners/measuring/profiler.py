"""Measures architectures on a device: activations, latency, throughput, and the time of every part."""

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
"""Batch size for the throughput, and how many times `seconds` a few passes may take; both arbitrary."""


class Profiler:
    """Measures architectures on one device.

    Args:
        settings: How to measure.
        notify: Called with a line about each step.

    Attributes:
        settings: As given.
        device: The device it measures on.
        where: The device, the threads and the dtype as plain data.

    Raises:
        RunnerError: If there is no such device.
    """

    def __init__(self, settings: MeasuringSettings, notify: Callable[[str], None] = lambda _: None) -> None:
        self.settings, self._notify = settings, notify
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
        """Measure the activations of all architectures and, unless the settings say otherwise, latencies and
        throughputs in turn.

        Args:
            names: Their names for messages.
            architectures: The architectures to measure.
            shares: Whether to measure the share of every part in the latency.

        Raises:
            RunnerError: If there is no room for the weights.
        """
        measured = [Measurement() for _ in architectures]
        with self._threads():
            models = self._models(names, architectures)
            for name, model, own in zip(names, models, measured, strict=True):
                self._notify(f"activations of {name} ...")
                with self._reason(own, "activation_bytes", "a forward pass in training mode"):
                    own.activations = activation_bytes(model)
            if self.settings.timing:
                self._time(models, 1, measured, "latency")
                self._time(models, self.settings.batch or self._quick_batch(measured), measured, "throughput")
            if self.settings.timing and shares:
                for model, own in zip(models, measured, strict=True):
                    self._notify("time of every part ...")
                    if own.latency is not None:
                        with self._reason(own, "time_share", "a batch of 1"):
                            own.time_shares = time_shares(model, make_images(model, 1), self.settings.seconds / 3)
        return measured

    def latency(self, name: str, architecture: Architecture) -> Measurement:
        """Only the latency of an architecture."""
        measured = Measurement()
        with self._threads(), self._reason(measured, "latency", "the weights"):
            self._time(self._models([name], [architecture]), 1, [measured], "latency")
        return measured

    def _models(self, names: Sequence[str], architectures: Sequence[Architecture]) -> list[Any]:
        models = []
        for name, architecture in zip(names, architectures, strict=True):
            self._notify(f"building {name} ...")
            with clear_device_errors(f"the weights of {name}", self.device):
                models.append(make_model(architecture, self.device, self._dtype))
        return models

    def _quick_batch(self, measured: Sequence[Measurement]) -> int:
        """`BATCH` images, or fewer if `MIN_PASSES` passes of the slowest model would take `LONG` times `seconds`."""
        slowest = max((own.latency["median_ms"] / 1000 for own in measured if own.latency is not None), default=0.0)
        batch = BATCH
        while batch > 1 and batch * slowest * MIN_PASSES > LONG * self.settings.seconds:
            batch //= 2
        return batch

    def _time(self, models: Sequence[Any], batch: int, measured: Sequence[Measurement], what: str) -> None:
        """Time the models that can process such a batch in turn, and record the timings under the name `what`."""
        self._notify(f"{what}, batch {batch} ...")
        ready: list[tuple[Measurement, Callable[[], object]]] = []
        for model, own in zip(models, measured, strict=True):
            with self._reason(own, what, f"a batch of {batch}"), torch.inference_mode():
                images = make_images(model, batch)
                model(images)  # also warms up
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
        """Record why something cannot be measured, and continue."""
        try:
            with clear_device_errors(f"{doing} in {self.settings.dtype}", self.device):
                yield
        except RunnerError as error:
            measured.reasons[what] = str(error)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """Use the configured number of threads."""
        usual = torch.get_num_threads()
        torch.set_num_threads(self.settings.threads or usual)
        try:
            yield
        finally:
            torch.set_num_threads(usual)
