"""A plug-in in a file of its own: a data set, a sampler, a pruner and a proxy."""

from types import MappingProxyType

from nas import (
    Dataset,
    DatasetInfo,
    DataSpec,
    SamplerSettings,
    Split,
    register_dataset,
    register_proxy,
    register_pruner,
    register_sampler,
)


@register_dataset("stripes")
class Stripes(Dataset):
    """8 x 8 pixels, striped along either axis, with noise."""

    embedded = True
    recipe = MappingProxyType({"epochs": 2, "batch_size": 32})

    def describe(self, spec):
        return DatasetInfo(image_size=8, in_channels=1, classes=2)

    def validation_images(self, spec):
        return 40

    def load_development(self, spec):
        return self._draw(spec, 0, 80), self._draw(spec, 1, 40)

    def load_test(self, spec):
        return self._draw(spec, 2, 40)

    def _draw(self, spec: DataSpec, part: int, count: int) -> Split:
        import torch

        generator = torch.Generator().manual_seed(10 * spec.split_seed + part)
        labels = torch.arange(count) % 2
        rows = torch.tensor([0, 200] * 4).expand(8, 8)
        images = torch.where(labels.view(-1, 1, 1).bool(), rows, rows.T)
        noise = torch.randint(0, 50, (count, 8, 8), generator=generator)
        return Split((images + noise).to(torch.uint8).unsqueeze(1), labels)


@register_sampler("quasi_random")
def quasi_random(settings: SamplerSettings):
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=settings.seed ^ 1)


@register_pruner("patient")
class Patient:
    """Every trial waits after its first epoch, and all are resumed."""

    def __init__(self, epochs):
        self.all_rungs = (1,) if epochs > 1 else ()

    def rungs(self, number):
        return self.all_rungs

    def has_quota(self, passed):
        return True

    def promoted(self, losses, passed, waiting):
        return sorted((n for n in range(len(losses)) if waiting[n]), key=lambda n: losses[n])


@register_proxy("shallow")
def shallow(material):
    """Few blocks."""
    return -float(material.architecture.depth)
