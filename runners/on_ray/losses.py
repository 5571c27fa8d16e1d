"""Messages about a cluster: where an evaluation ran, why a worker was lost, what trials wait for."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError

from runners.on_ray.connection import first_words
from runners.protocol import Cause, EpochResult, Measured, Outcome

LONGEST = 500
ANSWER_TIMEOUT_S = 2.0
HEAD = "node:__internal_head__"
"""The resource that marks the head node of a Ray cluster."""
_FACT = re.compile(r"(\w+): (\S+)")


def node_name() -> str:
    """The node of this process: its host name and address."""
    return f"{socket.gethostname().partition('.')[0]} ({ray.util.get_node_ip_address()})"


def located(
    epochs: Sequence[EpochResult], outcome: Outcome | None, node: str
) -> tuple[list[EpochResult], Outcome | None]:
    """The results with the node added to every device; unchanged if `node` is empty."""

    def on_node(measured: Measured) -> Measured:
        return replace(measured, device=f"{measured.device} on {node}") if measured.device else measured

    if not node:
        return list(epochs), outcome
    epochs = [replace(epoch, measured=epoch.measured and on_node(epoch.measured)) for epoch in epochs]
    return epochs, outcome and replace(outcome, measured=on_node(outcome.measured))


def loss(error: RayError, address: str) -> tuple[Cause, str]:
    """Why a worker was lost: the cause and a message.

    This distinguishes a worker that died (out of memory, a crash), a node that failed, and a node that was preempted. A
    node's workers may be reported lost before the node itself, so the node is contacted.

    Args:
        error: What a call of the worker raised.
        address: The address of its node.
    """
    if not isinstance(error, RayActorError):
        return Cause.WORKER_LOST, first_words(error)
    cause, words = describe_loss(error)
    if cause == Cause.WORKER_LOST and address and not _node_answers(address):
        cause, words = Cause.NODE_LOST, f"the node on {address} was lost: it no longer answers"
    return cause, words[:LONGEST]


def describe_loss(error: RayActorError) -> tuple[Cause, str]:
    """What happened to a worker: the cause and a message."""
    lines = [line.strip() for line in error.error_msg.splitlines()[1:]]
    facts = {match[1]: match[2] for line in lines if (match := _FACT.fullmatch(line))}
    reason = " ".join(line for line in lines if line and not _FACT.fullmatch(line)) or first_words(error)
    where = f" on {facts['ip']}" if "ip" in facts else ""
    if error.preempted:
        return Cause.NODE_LOST, f"the node{where} was preempted by its cloud: {reason}"
    if isinstance(error, ActorUnavailableError):
        return Cause.WORKER_LOST, f"the connection to the worker process was lost: {reason}"
    if "its node has died" in reason:
        return Cause.NODE_LOST, f"the node{where} was lost: {reason}"
    return Cause.WORKER_LOST, f"the worker process{where} died: {reason}"


def _node_answers(address: str) -> bool:
    """Whether a node answers; Ray itself takes many seconds to notice a lost node."""
    ports = [node["NodeManagerPort"] for node in ray.nodes() if node["Alive"] and node["NodeManagerAddress"] == address]
    if ray.util.client.ray.is_connected():  # this machine may not reach the nodes, but the head of the cluster does
        ask = ray.remote(num_cpus=0, max_retries=0, resources={HEAD: 0.001})(_all_answer)
        with suppress(RayError):  # the head is busy
            return bool(ray.get(ask.remote(address, ports), timeout=10 * ANSWER_TIMEOUT_S))
        return bool(ports)
    return _all_answer(address, ports)


def _all_answer(address: str, ports: Sequence[int]) -> bool:
    """Whether something listens on all of these ports; False without ports."""
    try:
        for port in ports:
            socket.create_connection((address, port), timeout=ANSWER_TIMEOUT_S).close()
    except OSError:
        return False
    return bool(ports)


def waiting(demand: Mapping[str, float]) -> str:
    """A message that trials are waiting: what one of them requires, and what the cluster has."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    kinds = ("CPU", "GPU")
    total = {kind: sum(node["Resources"].get(kind, 0.0) for node in nodes) for kind in kinds}
    largest = {kind: max((node["Resources"].get(kind, 0.0) for node in nodes), default=0.0) for kind in kinds}
    return (
        f"no trial can run for lack of resources: a trial requires {_amounts(demand)}, and the cluster has "
        f"{_amounts(total)} on {len(nodes)} node{'' if len(nodes) == 1 else 's'}, at most {_amounts(largest)} on one, "
        "some of it perhaps in use; waiting until there is room"
    )


def _amounts(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {kind}{'' if amount == 1 else 's'}" for kind, amount in resources.items())
