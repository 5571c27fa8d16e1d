"""The promises of a pruner."""

from __future__ import annotations

import random

from nas.strategy.pruners import make_pruner
from search_space.contract import Contract, holds

EPOCHS = (1, 2, 3, 4, 5, 8, 20, 61)
TRIALS = 12


class PrunerContract(Contract):
    """A pruner names rungs within the training, and resumes the best of the trials that wait at one."""

    def test_rungs_lie_within_the_training(self, name: str) -> None:
        """Its rungs are epochs before the last one, in order, and all of them are in `all_rungs`."""
        for epochs in EPOCHS:
            pruner = make_pruner(name, epochs)
            for number in range(TRIALS):
                rungs = tuple(pruner.rungs(number))
                where = f"for {epochs} epochs, the rungs of trial {number} are {rungs}"
                holds(list(rungs) == sorted(set(rungs)), f"{where}, which is not in order")
                holds(all(1 <= rung < epochs for rung in rungs), f"{where}, beyond the training")
                holds(set(rungs) <= set(pruner.all_rungs), f"{where}, and all_rungs is {tuple(pruner.all_rungs)}")

    def test_the_best_that_wait_are_resumed(self, name: str) -> None:
        """Only waiting trials are resumed, the best first, and none before a better one that also waits."""
        for losses, passed, waiting in _situations():
            found = make_pruner(name, 8).promoted(losses, passed, waiting)
            holds(len(set(found)) == len(found), f"it resumes a trial twice: {found}")
            holds(all(waiting[n] for n in found), f"it resumes trials that do not wait: {found}")
            holds(found == sorted(found, key=losses.__getitem__), f"the best are not first: {found} of {losses}")
            kept = [n for n in range(len(losses)) if waiting[n] and n not in found]
            holds(
                all(losses[one] <= losses[other] for one in found for other in kept),
                f"it resumes {found} and passes over better ones among {kept}; the losses are {losses}",
            )

    def test_no_quota_means_that_none_is_resumed(self, name: str) -> None:
        """If it has no quota, it resumes no trial."""
        for losses, passed, waiting in _situations():
            pruner = make_pruner(name, 8)
            if not pruner.has_quota(passed):
                found = pruner.promoted(losses, passed, waiting)
                holds(not found, f"it has no quota left and resumes {found}")

    def test_decisions_repeat(self, name: str) -> None:
        """It decides by its arguments alone."""
        for losses, passed, waiting in _situations():
            first, second = (make_pruner(name, 8) for _ in range(2))
            found = [first.promoted(losses, passed, waiting) for _ in range(2)]
            found.append(second.promoted(losses, passed, waiting))
            holds(found[0] == found[1] == found[2], f"asked three times, it resumes {found}")


def _situations() -> list[tuple[list[float], list[bool], list[bool]]]:
    """Losses of trials at a rung, which of them have passed it and which wait; the rest were pruned."""
    rng, found = random.Random(0), []
    for _ in range(50):
        losses = [rng.random() for _ in range(rng.randrange(30))]
        passed = [rng.random() < 0.1 for _ in losses]
        waiting = [not gone and rng.random() < 0.9 for gone in passed]
        found.append((losses, passed, waiting))
    return found
