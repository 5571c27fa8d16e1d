"""`nas spaces`."""

from __future__ import annotations

from typing import Any

import click

from nas.commands.output import say, say_text
from search_space.paths import user_path


@click.command("spaces", short_help="List, show and check search spaces.")
@click.argument("words", nargs=-1, metavar="[NAME|FILE] | check FILE")
@click.option("--data", metavar="NAME", help="Show the space for this data set [digits].")
@click.option("--image-size", type=click.IntRange(1, 1024), metavar="PIXELS", help="Show it for images of this size.")
def command(words: tuple[str, ...], data: str | None, image_size: int | None) -> None:
    """List the search spaces; show the axes, size and cost range of one; or check the file of your own.

    \b
    nas spaces                      the spaces that ship
    nas spaces mlp_family           one of them, for digits
    nas spaces mlp_family --image-size 224
    nas spaces check my_space.yaml  validate a file
    """  # noqa: D301 - click wants the character, which ends paragraphs
    from search_space.space.definition import list_definitions, load_definition

    if not words:
        for name in list_definitions():
            say(f"{name}: {load_definition(name).summary}")
        say("", "Show one with: nas spaces NAME")
        return
    if words[0] == "check" and len(words) == 2:
        definition = load_definition(user_path(words[1]))
        sizes = [scale.image_size for scale in definition.scales]
        for size in sizes:
            _bind(definition, size).check_limits(_bind(definition, size).limits)
        say(f"{words[1]} is valid: the space {definition.name!r}, for images of up to {sizes[-1]} x {sizes[-1]}")
        return
    if len(words) != 1 or words[0] == "check":
        raise click.UsageError("say: nas spaces, nas spaces NAME, or nas spaces check FILE")
    size, channels, classes = _images(data, image_size)
    say_text(describe(_bind(load_definition(words[0]), size, channels, classes)))


def describe(space: Any) -> str:
    """A space for people: its axes, how many architectures it has, and what they cost."""
    from search_space.units import format_count
    from search_space.zoo.scaled import family_points

    least, most = space.cost_range()
    lines = [
        f"{space.name}: {space.definition.summary}",
        "",
        f"for images of {space.in_channels} x {space.image_size} x {space.image_size} in {space.classes} classes",
        f"  architectures  {space.size:,} ({space.size:.1e})",
        f"  parameters     {format_count(least.params)} to {format_count(most.params)}",
        f"  MACs           {format_count(least.macs)} to {format_count(most.macs)}",
        f"  default limit  {space.limits}",
        "",
        "axes of the network",
        *(f"  {axis.name:<14} {_values(axis)}" for axis in space.net_axes),
        "",
        "axes of every stage",
    ]
    owners = {setting: mixer for mixer, own in space.definition.mixers.items() for setting in own}
    for axis in space.stage_axes:
        owner = f"   (with {owners[axis.name]})" if axis.name in owners else ""
        lines.append(f"  {axis.name:<14} {_values(axis)}{owner}")
    lines += ["", "hand-designed families within the default limit"]
    for name, point in family_points(space, space.limits).items():
        width, depth = ("/".join(str(getattr(stage, what)) for stage in point.stages) for what in ("dim", "depth"))
        lines.append(
            f"  {name:<10} patch {point.patch}, width {width}, depth {depth}: "
            f"{format_count(point.deployed.params)} parameters, {format_count(point.deployed.macs)} MACs"
        )
    return "\n".join(lines)


def _values(axis: Any) -> str:
    if axis.step is not None and len(axis.values) > 3:
        step = f" in steps of {axis.step}" if axis.step > 1 else ""
        return f"{axis.values[0]} to {axis.values[-1]}{step}"
    return ", ".join(
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for value in axis.values
    )


def _bind(definition: Any, size: int, channels: int = 3, classes: int = 1000) -> Any:
    from search_space.space import SearchSpace

    return SearchSpace(definition, image_size=size, in_channels=channels, classes=classes)


def _images(data: str | None, image_size: int | None) -> tuple[int, int, int]:
    if image_size is not None and data is None:
        return image_size, 3, 1000 if image_size > 64 else 10
    from runners.data import describe_dataset
    from runners.protocol import DataSpec

    info = describe_dataset(DataSpec(data or "digits", image_size=image_size))
    return info.image_size, info.in_channels, info.classes
