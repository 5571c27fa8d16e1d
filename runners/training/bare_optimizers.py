"""torch's optimisers without its compiler.

The methods of torch's optimisers import `torch._dynamo` when they are first called, to keep the compiler out of them.
That takes 1.5 CPU seconds in every process, as long as five trainings on digits. Nothing here compiles an optimiser, so
the functions below the decorators are called directly.
"""

from __future__ import annotations

import inspect

import torch
from torch.optim import Optimizer


class Bare:
    """The methods of an optimiser without their decorators; a base class to name first."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)


class AdamW(Bare, torch.optim.AdamW):
    """torch's AdamW."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class SGD(Bare, torch.optim.SGD):
    """torch's SGD."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))
