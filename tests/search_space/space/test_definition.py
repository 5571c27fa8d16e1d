"""Search-space files: their content, and how their errors are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_space.errors import SpaceError
from search_space.ops import MIXERS
from search_space.space import list_spaces
from search_space.space.definition import Scale, list_definitions, load_definition, parse_definition

TEXT = """\
name: tiny
summary: A space.
net:
  patch: [2, 4]
  pooling: [gap, class_token]
  position: [none]
  norm: [layernorm, none]
  layer_scale: [none, 0.1]
  drop_path: [0, 0.5]
  stages: {from: 1, to: 2}
stage:
  downsample: [none, conv2]
  mixer:
    attention: {heads: [1, 4]}
    mlp: {token_hidden: [C/2], token_norm: [channel, token]}
    gating: {expansion: [6]}
    permute: {weighted: [true]}
    linear: {}
    none: {}
  channel_ratio: [0, 1]
  order: [token_first]
scales:
  - image_size: 8
    tokens: [4, 16]
    dim: {from: 4, to: 10, step: 4}
    depth: [2, 1]
    max_params: 2k
  - {image_size: 32, tokens: [4, 64], dim: [16], depth: [1], max_params: 1.5M}
"""


def test_reads_every_key() -> None:
    definition = parse_definition(TEXT)
    assert (definition.name, definition.summary) == ("tiny", "A space.")
    assert definition.net == {
        "patch": (2, 4),
        "pooling": ("gap", "class_token"),
        "position": ("none",),
        "norm": ("layernorm", "none"),
        "layer_scale": (None, 0.1),
        "drop_path": (0.0, 0.5),
        "stages": (1, 2),
    }
    assert definition.stage == {
        "downsample": ("none", "conv2"),
        "channel_ratio": (0, 1),
        "order": ("token_first",),
    }
    assert definition.mixers == {
        "attention": {"heads": (1, 4)},
        "mlp": {"token_hidden": ("C/2",), "token_norm": ("channel", "token")},
        "gating": {"expansion": (6,)},
        "permute": {"weighted": (True,)},
        "linear": {},
        "none": {},
    }
    assert definition.scales == (
        Scale(8, (4, 16), (4, 8), (1, 2), 2_000),
        Scale(32, (4, 64), (16,), (1,), 1_500_000),
    )


def test_the_summary_may_be_left_out() -> None:
    assert parse_definition(TEXT.replace("summary: A space.\n", "")).summary == ""


@pytest.mark.parametrize(("image_size", "scale"), [(1, 8), (8, 8), (9, 32), (32, 32)])
def test_the_first_scale_that_is_large_enough_holds(image_size: int, scale: int) -> None:
    assert parse_definition(TEXT).scale(image_size).image_size == scale


def test_images_may_be_too_large() -> None:
    with pytest.raises(SpaceError, match="33 x 33 are larger than the space 'tiny' allows; allowed: up to 32"):
        parse_definition(TEXT).scale(33)


@pytest.mark.parametrize("name", list_spaces())
def test_shipped_spaces_can_be_read_and_are_named_like_their_files(name: str) -> None:
    definition = load_definition(name)
    assert definition.name == name
    assert definition.summary


def test_the_shipped_space_names_the_mixers_of_the_family() -> None:
    assert "mlp_family" in list_definitions()
    family = {"attention", "mlp", "linear", "gating", "permute", "repmlp", "none"}
    assert set(load_definition("mlp_family").mixers) == family <= {*MIXERS, "none"}


@pytest.mark.parametrize("ending", ["yaml", "yml", "txt"])
def test_a_space_is_loaded_by_path(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"tiny.{ending}"
    path.write_text(TEXT, encoding="utf-8")
    assert load_definition(path) == load_definition(str(path)) == parse_definition(TEXT)


def test_errors_of_a_file_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TEXT.replace("pooling: [gap, class_token]", "pooling: [gap, token]"), encoding="utf-8")
    with pytest.raises(SpaceError) as caught:
        load_definition(path)
    assert str(caught.value) == f"{path}:5: net.pooling.1 is 'token'; allowed: gap, class_token"


def test_a_name_that_is_no_space_gets_the_nearest() -> None:
    with pytest.raises(
        SpaceError, match=r"no search space 'mlp_famly'; allowed: .*mlp_family.*did you mean 'mlp_family'"
    ):
        load_definition("mlp_famly")
    with pytest.raises(SpaceError, match=r"missing\.yaml cannot be read: No such file"):
        load_definition("missing.yaml")


def test_a_name_too_long_for_a_file_is_no_space() -> None:
    with pytest.raises(SpaceError, match="search space"):
        load_definition("x" * 300)


def replaced(before: str, after: str) -> str:
    assert TEXT.count(before) == 1, before
    return TEXT.replace(before, after)


FAULTS: dict[str, tuple[str, str, str]] = {
    "unknown key": ("summary: A space.", "sumary: A space.", ":2: sumary is an unknown key; allowed: name, summary"),
    "nearest key": ("summary: A space.", "sumary: A space.", "did you mean 'summary'?"),
    "no name": ("name: tiny\n", "", ":1: lacks the key 'name'"),
    "number as name": ("name: tiny", "name: 3", ":1: name is 3; allowed: a word"),
    "path as name": ("name: tiny", "name: ../tiny", ":1: name is '../tiny'; allowed: letters, digits"),
    "empty name": ("name: tiny", "name: ''", ":1: name is ''; allowed: letters"),
    "list as summary": ("summary: A space.", "summary: [A]", ":2: summary is ['A']; allowed: a sentence"),
    "net is a list": (
        TEXT[TEXT.index("net:") : TEXT.index("stage:")],
        "net: []\n",
        ":3: net is []; allowed: a mapping",
    ),
    "unknown axis": ("  patch: [2, 4]", "  patches: [2, 4]", ":4: net.patches is an unknown key; allowed: patch"),
    "missing axis": ("  patch: [2, 4]\n", "", ":3: net lacks the key 'patch'"),
    "no list": ("patch: [2, 4]", "patch: 2", ":4: net.patch is 2; allowed: a list of sides of a patch in pixels"),
    "empty list": ("patch: [2, 4]", "patch: []", ":4: net.patch is []; allowed: a list of"),
    "zero patch": ("patch: [2, 4]", "patch: [2, 0]", ":4: net.patch.1 is 0; allowed: sides of a patch"),
    "fraction as patch": ("patch: [2, 4]", "patch: [2, 2.5]", ":4: net.patch.1 is 2.5; allowed"),
    "switch as patch": ("patch: [2, 4]", "patch: [true]", ":4: net.patch.0 is True; allowed"),
    "list in a list": ("patch: [2, 4]", "patch: [[2]]", ":4: net.patch.0 is [2]; allowed"),
    "mapping in a list": ("patch: [2, 4]", "patch: [{a: 2}]", ":4: net.patch.0 is {'a': 2}; allowed"),
    "twice": ("patch: [2, 4]", "patch: [2, 4, 2]", ":4: net.patch.2 names 2 twice"),
    "pooling": ("[gap, class_token]", "[gap, max]", ":5: net.pooling.1 is 'max'; allowed: gap, class_token"),
    "position": ("position: [none]", "position: [sine]", ":6: net.position.0 is 'sine'; allowed: none, learned"),
    "norm": ("[layernorm, none]", "[layernorm, rms]", ":7: net.norm.1 is 'rms'; allowed: layernorm, affine, batchnorm"),
    "layer_scale 0": ("[none, 0.1]", "[none, 0.0]", ":8: net.layer_scale.1 is 0.0; allowed: none, numbers in (0, 1)"),
    "layer_scale null": ("[none, 0.1]", "[null]", ":8: net.layer_scale.0 is None; allowed: none, numbers"),
    "layer_scale nan": ("[none, 0.1]", "[.nan]", ":8: net.layer_scale.0 is nan; allowed"),
    "drop_path 1": ("[0, 0.5]", "[0, 1]", ":9: net.drop_path.1 is 1; allowed: rates in [0, 1)"),
    "drop_path text": ("[0, 0.5]", "[little]", ":9: net.drop_path.0 is 'little'; allowed: rates"),
    "drop_path twice": ("[0, 0.5]", "[0, 0.0]", ":9: net.drop_path.1 names 0.0 twice"),
    "stages 0": (
        "stages: {from: 1, to: 2}",
        "stages: [0]",
        ":10: net.stages.0 is 0; allowed: whole numbers from 1 to 8",
    ),
    "stages 9": (
        "stages: {from: 1, to: 2}",
        "stages: [9]",
        ":10: net.stages.0 is 9; allowed: whole numbers from 1 to 8",
    ),
    "range to 9": ("{from: 1, to: 2}", "{from: 1, to: 9}", ":10: net.stages is 9; allowed: whole numbers from 1 to 8"),
    "range backwards": (
        "{from: 1, to: 2}",
        "{from: 2, to: 1}",
        ":10: net.stages is {'from': 2, 'to': 1}; allowed: from",
    ),
    "range without end": ("{from: 1, to: 2}", "{from: 1}", ":10: net.stages lacks the key 'to'"),
    "range of fractions": ("{from: 1, to: 2}", "{from: 1, to: 2.5}", ":10: net.stages.to is 2.5; allowed: a whole"),
    "range misspelt": ("{from: 1, to: 2}", "{from: 1, to: 2, steps: 1}", ":10: net.stages.steps is an unknown key"),
    "range with step 0": ("step: 4", "step: 0", ":25: scales.0.dim is {'from': 4, 'to': 10, 'step': 0}; allowed: from"),
    "range too long": ("to: 10, step: 4", "to: 9000", "1,000 values at most"),
    "range of words": (
        "position: [none]",
        "position: {from: 1, to: 2}",
        ":6: net.position is 1; allowed: none, learned",
    ),
    "downsample": ("[none, conv2]", "[none, conv1]", ":12: stage.downsample.1 is 'conv1'; allowed: none, conv2"),
    "missing stage axis": ("  order: [token_first]\n", "", ":11: stage lacks the key 'order'"),
    "unknown stage axis": ("  order: [token", "  orders: [token", ":21: stage.orders is an unknown key"),
    "order": ("[token_first]", "[first]", ":21: stage.order.0 is 'first'; allowed: token_first, channel_first"),
    "channel_ratio": ("[0, 1]", "[0, -1]", ":20: stage.channel_ratio.1 is -1; allowed: whole numbers from 0"),
    "unknown mixer": (
        "    linear: {}",
        "    linar: {}",
        ":18: stage.mixer.linar is an unknown key; allowed: attention",
    ),
    "nearest mixer": ("    linear: {}", "    linar: {}", "did you mean 'linear'?"),
    "mixer twice": ("    linear: {}", "    none: {}", ":19: the key 'none' is given twice"),
    "mixer without settings": ("{heads: [1, 4]}", "{}", ":14: stage.mixer.attention lacks the key 'heads'"),
    "mixer of null": ("    linear: {}", "    linear:", ":18: stage.mixer.linear is None; allowed: a mapping"),
    "settings of another": ("linear: {}", "linear: {heads: [1]}", ":18: stage.mixer.linear.heads is an unknown key"),
    "settings of none": ("    none: {}", "    none: {heads: [1]}", ":19: stage.mixer.none.heads is an unknown key"),
    "heads": (
        "{heads: [1, 4]}",
        "{heads: [1, 0]}",
        ":14: stage.mixer.attention.heads.1 is 0; allowed: whole numbers from 1",
    ),
    "token_hidden": (
        "[C/2]",
        "[C/2, 2D]",
        ":15: stage.mixer.mlp.token_hidden.1 is '2D'; allowed: multiples of C or N",
    ),
    "token_hidden number": ("[C/2]", "[16]", ":15: stage.mixer.mlp.token_hidden.0 is 16; allowed"),
    "token_norm": ("[channel, token]", "[channel, both]", ":15: stage.mixer.mlp.token_norm.1 is 'both'; allowed"),
    "expansion": ("{expansion: [6]}", "{expansion: [six]}", ":16: stage.mixer.gating.expansion.0 is 'six'; allowed"),
    "weighted": ("[true]", "[maybe]", ":17: stage.mixer.permute.weighted.0 is 'maybe'; allowed: true, false"),
    "weighted 1": ("[true]", "[1]", ":17: stage.mixer.permute.weighted.0 is 1; allowed: true, false"),
    "no mixers": (
        TEXT[TEXT.index("    attention:") : TEXT.index("  channel_ratio:")],
        "    {}\n",
        "at least one token mixer",
    ),
    "mixer list": (
        TEXT[TEXT.index("    attention:") : TEXT.index("  channel_ratio:")],
        "    [mlp]\n",
        "allowed: a mapping",
    ),
    "no scales": (TEXT[TEXT.index("scales:") :], "scales: []\n", ":22: scales must name at least one scale"),
    "scales is a mapping": (
        TEXT[TEXT.index("scales:") :],
        "scales: {}\n",
        ":22: scales is {}; allowed: a list of scales",
    ),
    "scale is a word": (
        TEXT[TEXT.index("scales:") :],
        "scales:\n  - small\n",
        ":23: scales.0 is 'small'; allowed: a mapping",
    ),
    "scales not growing": ("image_size: 32", "image_size: 8", "in ascending order of image_size"),
    "missing key of a scale": ("    depth: [2, 1]\n", "", ":23: scales.0 lacks the key 'depth'"),
    "unknown key of a scale": ("    depth: [2, 1]", "    depths: [2, 1]", ":26: scales.0.depths is an unknown key"),
    "image_size": (
        "image_size: 8",
        "image_size: small",
        ":23: scales.0.image_size is 'small'; allowed: a whole number",
    ),
    "one number of tokens": ("[4, 16]", "[4]", ":24: scales.0.tokens is [4]; allowed: the fewest and the most"),
    "tokens backwards": ("[4, 16]", "[16, 4]", ":24: scales.0.tokens is [16, 4]; allowed: the fewest and the most"),
    "depth": ("depth: [2, 1]", "depth: [2, 0]", ":26: scales.0.depth.1 is 0; allowed: whole numbers from 1"),
    "max_params": ("max_params: 2k", "max_params: lots", ":27: scales.0.max_params is not usable: the limit is 'lots'"),
    "max_params 0": ("max_params: 2k", "max_params: 0", ":27: scales.0.max_params is not usable"),
    "max_params list": ("max_params: 2k", "max_params: [2]", ":27: scales.0.max_params is not usable"),
    "alias": ("pooling: [gap, class_token]", "pooling: *all", ":5: aliases (*all) are not supported"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_line_and_key(name: str) -> None:
    before, after, fragment = FAULTS[name]
    with pytest.raises(SpaceError) as caught:
        parse_definition(replaced(before, after), name="tiny.yaml")
    assert str(caught.value).startswith("tiny.yaml:")
    assert fragment in str(caught.value)


def mangled() -> list[str]:
    """TEXT cut off at every line, and with every line left out or doubled."""
    lines = TEXT.splitlines(keepends=True)
    texts: set[str] = set()
    for index in range(len(lines)):
        texts |= {"".join(lines[:index]), "".join(lines[:index] + lines[index + 1 :])}
        texts.add("".join(lines[: index + 1] + lines[index:]))
    return sorted(texts)


@pytest.mark.parametrize("text", mangled(), ids=lambda text: f"{len(text)}")
def test_a_mangled_file_is_refused_or_read_but_never_crashes(text: str) -> None:
    try:
        assert parse_definition(text).scales
    except SpaceError as error:
        assert str(error).startswith("<text>")  # noqa: PT017
