"""`nas spaces`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from nas.commands.options import Command, Subcommands, import_option, typed_size
from nas.commands.output import say, say_text
from search_space.paths import user_path
from search_space.size import Size, mean_side, shown

if TYPE_CHECKING:
    from search_space.space import SearchSpace
    from search_space.space.definition import SpaceDefinition


class _Spaces(Subcommands):
    """The commands of `nas spaces`; any other word is the name or file of a space to show."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word in self.commands or word.startswith("-"):
            return super().resolve_command(ctx, args)
        return "show", self.commands["show"], args


def _image_options(function: Command) -> Command:
    """``--data`` and ``--image-size``: the images that a space is bound to; and ``--import`` for its token mixers."""
    function = import_option(function)
    function = click.option(
        "--image-size",
        callback=typed_size,
        metavar="PIXELS",
        help="Side of the images, or HEIGHTxWIDTH [that of --data].",
    )(function)
    return click.option("--data", metavar="NAME", help="Data set whose images the space is for.")(function)


@click.group(
    "spaces",
    cls=_Spaces,
    invoke_without_command=True,
    subcommand_metavar="[NAME|FILE | COMMAND ...]",
    short_help="List, show and check search spaces.",
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List the search spaces, show the axes, size and cost range of one, or check a file of your own.

    \b
    nas spaces                            the spaces that ship
    nas spaces mlp_family                 one of them, for digits; short for nas spaces show
    nas spaces mlp_family --image-size 224
    nas spaces check my_space.yaml        validate a file of your own
    """  # noqa: D301 (click reads the backspace)
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_spaces)


@command.command("list", short_help="List the spaces that ship.")
def list_spaces() -> None:
    """List the search spaces that ship.

    Example: nas spaces list
    """
    from search_space.space.definition import list_definitions, load_definition

    for name in list_definitions():
        say(f"{name}: {load_definition(name).summary}")
    say("", "Show one with: nas spaces NAME")


@command.command("show", short_help="Show the axes, size and cost range of a space.")
@click.argument("space", metavar="NAME|FILE")
@_image_options
def show(space: str, data: str | None, image_size: Size | None) -> None:
    """Show the axes of a search space, how many architectures it has, what they cost, and the families in it.

    \b
    nas spaces show mlp_family                       for digits
    nas spaces show my_space.yaml --image-size 224
    """  # noqa: D301 (click reads the backspace)
    from search_space.space.definition import load_definition

    say_text(describe(_bound(load_definition(space), *_images(data or ("" if image_size else "digits"), image_size))))


@command.command("check", short_help="Validate the file of a space.")
@click.argument("file", metavar="FILE")
@_image_options
def check(file: str, data: str | None, image_size: Size | None) -> None:
    """Validate the file of a search space, for all image sizes of its scales or for the images given.

    A mistake is reported with its line, and exit code 2.

    \b
    nas spaces check my_space.yaml
    nas spaces check my_space.yaml --data fashion_mnist
    """  # noqa: D301 (click reads the backspace)
    from search_space.space.definition import load_definition

    definition = load_definition(user_path(file))
    if data is None and image_size is None:
        images: list[tuple[Size, int, int]] = [(scale.image_size, 3, 1000) for scale in definition.scales]
        words = f"images of up to {shown(images[-1][0])}"
    else:
        size, channels, classes = _images(data or "", image_size)
        images, words = [(size, channels, classes)], f"images of {channels} x {shown(size)} in {classes} classes"
    for each in images:
        space = _bound(definition, *each)
        space.check_limits(space.limits)
    say(f"{file} is valid: the space {definition.name!r}, for {words}")


def describe(space: SearchSpace) -> str:
    """A space as text: its axes, how many architectures it has, and what they cost."""
    return "\n".join(_lines(space))


def _lines(space: SearchSpace) -> Iterator[str]:
    from search_space.units import format_count
    from search_space.zoo.scaled import family_points

    least, most = space.cost_range()
    yield from (f"{space.name}: {space.definition.summary}", "")
    yield f"for images of {space.in_channels} x {shown(space.image_size)} in {space.classes} classes"
    yield f"  architectures  {space.size:,} ({space.size:.1e})"
    yield f"  parameters     {format_count(least.params)} to {format_count(most.params)}"
    yield f"  MACs           {format_count(least.macs)} to {format_count(most.macs)}"
    yield f"  default limit  {space.limits}"
    yield from ("", "axes of the network")
    yield from (f"  {axis.name:<14} {_values(axis)}" for axis in space.net_axes)
    yield from ("", "axes of every stage")
    owners = {setting: mixer for mixer, own in space.definition.mixers.items() for setting in own}
    for axis in space.stage_axes:
        owner = f"   (with {owners[axis.name]})" if axis.name in owners else ""
        yield f"  {axis.name:<14} {_values(axis)}{owner}"
    yield from ("", "hand-designed families within the default limit")
    for name, point in family_points(space, space.limits).items():
        width, depth = ("/".join(str(getattr(stage, what)) for stage in point.stages) for what in ("dim", "depth"))
        yield (
            f"  {name:<10} patch {point.patch}, width {width}, depth {depth}: "
            f"{format_count(point.deployed.params)} parameters, {format_count(point.deployed.macs)} MACs"
        )


def _values(axis: Any) -> str:
    if axis.step is not None and len(axis.values) > 3:
        step = f" in steps of {axis.step}" if axis.step > 1 else ""
        return f"{axis.values[0]} to {axis.values[-1]}{step}"
    return ", ".join(
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for value in axis.values
    )


def _bound(definition: SpaceDefinition, image_size: Size, channels: int, classes: int) -> SearchSpace:
    from search_space.space import SearchSpace

    return SearchSpace(definition, image_size=image_size, in_channels=channels, classes=classes)


def _images(data: str, image_size: Size | None) -> tuple[Size, int, int]:
    """Size, channels and classes of the images of a data set; without one, of typical images of that size."""
    if not data and image_size is not None:
        return image_size, 3, 1000 if mean_side(image_size) > 64 else 10
    from runners.data import describe_dataset
    from runners.protocol import DataSpec

    info = describe_dataset(DataSpec(data, image_size=image_size))
    return info.image_size, info.in_channels, info.classes
