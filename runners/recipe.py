"""How a model is trained: all settings of the training loop in one place, and which values they may have.

Everything beyond plain training (mixing, random augmentation, averaged weights, a teacher, ...) is off by default.
Stochastic depth is not here: its rate belongs to the architecture (the axis `drop_path` of a space), since how much of
it helps depends on the depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from typing import Any, Literal

from runners.recipe_rules import Rule

BEFORE_INGREDIENTS = frozenset(
    {"epochs", "batch_size", "lr", "weight_decay", "warmup", "final_lr", "label_smoothing", "clip_norm", "precision"}
)
"""Fields that are always stored; others only if they differ from their default, so that older studies compare equal."""


def _setting(
    default: Any, summary: str, metavar: str, kind: type, least: float = 0, most: float = 1, **more: Any
) -> Any:
    """A field of a recipe with its rule; `more` are further fields of the rule."""
    rule = Rule(summary, metavar, kind, least, most, **more)
    return field(metadata={"rule": rule}) if default is MISSING else field(default=default, metadata={"rule": rule})


@dataclass(frozen=True)
class Teacher:
    """A trained model that a training learns from.

    Attributes:
        path: The folder of an exported bundle.
        sha256: Digest of its architecture and weights: what identifies it, wherever it is.
    """

    path: str
    sha256: str


@dataclass(frozen=True)
class Recipe:
    """Settings of the training loop; `RULES` says what each means, and which values it may have.

    An object is not checked by itself: `runners.recipe_files.make_recipe` makes one from settings of users.
    """

    epochs: int = _setting(MISSING, "Epochs of a full training", "E", int, 1, 100_000, unit="epochs")
    batch_size: int = _setting(64, "Images in a training step", "B", int, 1, 1_000_000, unit="images")
    lr: float = _setting(3e-3, "Peak learning rate", "LR", float, 0, 1e9, above=True)
    weight_decay: float = _setting(
        0.05,
        "Weight decay of the weights of linear maps; biases, norms, positions and tokens have none",
        "X",
        float,
        0,
        10,
    )
    warmup: float = _setting(0.1, "Share of all steps over which the learning rate grows linearly", "SHARE", float)
    final_lr: float = _setting(0.01, "Last learning rate, as a share of the peak", "SHARE", float)
    label_smoothing: float = _setting(0.1, "Mass taken from the true class", "SHARE", float, 0, 0.99)
    clip_norm: float = _setting(1.0, "Largest norm of the gradient; 0 for no limit", "X", float, 0, 1e9)
    precision: Literal["auto", "bf16", "fp32"] = _setting(
        "auto",
        "Precision of a training; auto is bf16 where it is faster",
        "NAME",
        str,
        choices=("auto", "bf16", "fp32"),
    )
    optimizer: Literal["adamw", "sgd", "lion"] = _setting(
        "adamw",
        "Optimiser; sgd (with Nesterov momentum) and lion need other learning rates and weight decay",
        "NAME",
        str,
        choices=("adamw", "sgd", "lion"),
    )
    schedule: Literal["cosine", "linear", "constant"] = _setting(
        "cosine", "Learning rate after the warm-up", "NAME", str, choices=("cosine", "linear", "constant")
    )
    mixup: float = _setting(0.0, "Alpha of mixup, which blends pairs of images; 0 for none", "ALPHA", float, 0, 100)
    cutmix: float = _setting(
        0.0, "Alpha of CutMix, which pastes a box of another image; 0 for none", "ALPHA", float, 0, 100
    )
    rand_augment: int = _setting(
        0, "Magnitude of RandAugment, two random operations an image; 0 for none", "M", int, 0, 30
    )
    trivial_augment: bool = _setting(False, "Whether to use TrivialAugment, one random operation an image", "", bool)
    erasing: float = _setting(0.0, "Share of images of which a random box is erased", "SHARE", float)
    crop: float = _setting(
        1.0,
        "Smallest share of an image that a random resized crop keeps; 1 for no crop",
        "SHARE",
        float,
        0,
        1,
        above=True,
    )
    repeats: int = _setting(
        1, "Times that an image is in a batch, augmented anew (repeated augmentation)", "R", int, 1, 16
    )
    ema: float = _setting(
        0.0,
        "Decay of the moving average of weights that is validated and kept; 0 for none",
        "DECAY",
        float,
        0,
        0.999999,
    )
    patience: int = _setting(
        0,
        "Epochs without a better validation NLL after which a training ends; 0 to never end early",
        "E",
        int,
        0,
        100_000,
    )
    teacher: Teacher | None = _setting(  # noqa: RUF009 (a dataclass field)
        None, "Exported bundle whose model is a teacher: its outputs are learned along with the labels", "FOLDER", str
    )
    distillation: Literal["soft", "hard"] = _setting(
        "soft",
        "What is learned from a teacher: its probabilities, or its best class",
        "NAME",
        str,
        choices=("soft", "hard"),
    )
    teacher_weight: float = _setting(0.5, "Weight of the teacher in the loss", "SHARE", float, 0, 1, above=True)
    temperature: float = _setting(3.0, "Temperature of soft distillation", "T", float, 0, 1000, above=True)
    class_weights: Literal["none", "balanced"] = _setting(
        "none",
        "Weights of the classes in the loss; balanced gives every class the same share, however few images it has",
        "NAME",
        str,
        choices=("none", "balanced"),
    )

    def to_dict(self) -> dict[str, Any]:
        """Plain data that identifies a training: the fields of the first version, and what differs from the defaults.

        A teacher is identified by its content, not by its path.
        """
        plain = {
            name: value for name, value in asdict(self).items() if name in BEFORE_INGREDIENTS or value != DEFAULTS[name]
        }
        if self.teacher is not None:
            plain["teacher"] = self.teacher.sha256
        return plain

    @property
    def mixes(self) -> bool:
        """Whether labels are shares of classes."""
        return self.mixup > 0 or self.cutmix > 0


_FIELDS: Mapping[str, Field[Any]] = {each.name: each for each in fields(Recipe)}
DEFAULTS: Mapping[str, Any] = {name: each.default for name, each in _FIELDS.items() if each.default is not MISSING}
"""The defaults of all fields but `epochs`."""
RULES: Mapping[str, Rule] = {name: each.metadata["rule"] for name, each in _FIELDS.items()}
"""What every setting means, and its allowed values."""
Recipe.__doc__ = f"{Recipe.__doc__}\n    Attributes:\n" + "".join(
    f"        {name}: {rule.summary}.\n" for name, rule in RULES.items()
)
