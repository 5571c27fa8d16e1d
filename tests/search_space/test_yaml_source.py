from __future__ import annotations

from pathlib import Path

import pytest

from search_space.errors import ConfigError, NasError, SpaceError
from search_space.yaml_source import Source, read_yaml, read_yaml_file

TEXT = """\
# A comment.
name: café
list:
  - 1
  - {deep: [1.5, true, null]}

last: |
  two
  lines
"""


@pytest.fixture
def source() -> Source:
    return read_yaml(TEXT, "a.yaml", SpaceError)


def test_reads_plain_data(source: Source) -> None:
    assert source.data == {"name": "café", "list": [1, {"deep": [1.5, True, None]}], "last": "two\nlines\n"}
    assert source.at(("list", 1, "deep", 0)) == 1.5
    assert source.at(()) is source.data


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ((), "a.yaml:2"),
        (("name",), "a.yaml:2: name"),
        (("list",), "a.yaml:3: list"),
        (("list", 0), "a.yaml:4: list.0"),
        (("list", 1, "deep", 2), "a.yaml:5: list.1.deep.2"),
        (("last",), "a.yaml:7: last"),
        (("list", 1, "missing"), "a.yaml:5: list.1.missing"),
        (("missing", "below"), "a.yaml:2: missing.below"),
    ],
)
def test_knows_the_line_of_every_key(source: Source, path: tuple[str | int, ...], where: str) -> None:
    assert source.where(path) == where


def test_fails_with_the_error_it_was_given(source: Source) -> None:
    error = source.fail(("list",), "is too long")
    assert type(error) is SpaceError
    assert str(error) == "a.yaml:3: list is too long"
    assert str(source.fail((), "is empty")) == "a.yaml:2: is empty"


def test_keys_checks_known_and_required_ones(source: Source) -> None:
    assert list(source.keys((), ["name", "list", "last", "more"], ["name"])) == ["name", "list", "last"]
    with pytest.raises(
        SpaceError, match=r"^a.yaml:7: last is an unknown key; allowed: name, list, lost; did.*'lost'\?"
    ):
        source.keys((), ["name", "list", "lost"])
    with pytest.raises(SpaceError, match=r"^a.yaml:2: lacks the key 'more'"):
        source.keys((), ["name", "list", "last", "more"], ["more"])
    with pytest.raises(SpaceError, match=r"^a.yaml:3: list is \[1, \{'deep': .*; allowed: a mapping"):
        source.keys(("list",), [])


def test_typed_checks_the_type_and_takes_no_bool_for_a_number(source: Source) -> None:
    assert source.typed(("list", 0), int, "a number") == 1
    assert source.typed(("list", 1, "deep", 0), (int, float), "a number") == 1.5
    assert source.typed(("list", 1, "deep", 1), bool, "a switch") is True
    with pytest.raises(SpaceError, match=r"^a.yaml:5: list.1.deep.1 is True; allowed: a number"):
        source.typed(("list", 1, "deep", 1), (int, float), "a number")
    with pytest.raises(SpaceError, match=r"^a.yaml:2: name is 'café'; allowed: a number"):
        source.typed(("name",), int, "a number")


def test_long_values_are_shown_shortened() -> None:
    source = read_yaml(f"text: {'x' * 500}", "a.yaml", SpaceError)
    with pytest.raises(SpaceError) as caught:
        source.typed(("text",), int, "a number")
    assert len(str(caught.value)) < 120


def test_convert_places_errors_at_the_key(source: Source) -> None:
    def refuse(value: object) -> None:
        raise ConfigError(f"{value} will not do")

    assert source.convert(("list", 0), lambda value: value + 1) == 2
    with pytest.raises(SpaceError, match=r"^a.yaml:4: list.0 is not usable: 1 will not do"):
        source.convert(("list", 0), refuse)


FAULTS = {
    "duplicate key": ("a: 1\nb: 2\na: 3\n", "a.yaml:3: the key 'a' is given twice"),
    "duplicate key inside": ("a:\n  b: 1\n  b: 2\n", "a.yaml:3: the key 'b' is given twice"),
    "duplicate key in quotes": ("a: 1\n'a': 3\n", "a.yaml:2: the key 'a' is given twice"),
    "alias": ("a: &x [1]\nb: *x\n", "a.yaml:2: aliases (*x) are not supported"),
    "alias to itself": ("a: &x\n  b: *x\n", "a.yaml:2: aliases (*x) are not supported"),
    "merge": ("a: &x {c: 1}\nb:\n  <<: *x\n", "a.yaml:3: aliases (*x) are not supported"),
    "list as a key": ("a: 1\n? [b]\n: 2\n", "a.yaml:2: a key must be a plain word"),
    "not closed": ("a: 1\nb: [1, 2\n", "a.yaml:3: not valid YAML: "),
    "tabs": ("a:\n\tb: 1\n", "a.yaml:2: not valid YAML: found character '\\t'"),
    "two colons": ("a: b: c\n", "a.yaml:1: not valid YAML: mapping values are not allowed here"),
    "two documents": ("a: 1\n---\nb: 2\n", "a.yaml:2: not valid YAML: but found another document"),
    "control character": ("a: \x00\n", "a.yaml: not valid YAML: special characters are not allowed"),
    "python object": ("a: !!python/object:os.system {}\n", "a.yaml:1: tags (!!python/object:os.system) are not"),
    "python call": ("a: 1\nb: !!python/name:os.system\n", "a.yaml:2: tags (!!python/name:os.system) are not"),
    "unknown tag": ("a: 1\nb: !what 3\n", "a.yaml:2: tags (!what) are not supported"),
    "tag that a text does not fit": ("a: 1\nb: !!timestamp never\n", "a.yaml:2: tags (!!timestamp) are not supported"),
    "no date": ("a: 1\nb: 2020-13-45\n", "a.yaml:2: '2020-13-45' looks like a number or a date, but is neither"),
    "a number of 10,000 digits": (f"a: {'9' * 10_000}\n", "a.yaml:1: '9999999"),
    "a number of 5,000 hexadecimal digits": (f"a: 0x{'f' * 5000}\n", "a.yaml:1: a whole number of 20,000 bits is too"),
    "escape sequence in a key": ('"\\e[2J": 1\n"\\e[2J": 2\n', "a.yaml:2: the key '\\x1b[2J' is given twice"),
    "long alias": ("a: *" + "x" * 9000, "a.yaml:1: aliases (*'xxxxx"),
    "long tag handle": (f"a: !{'x' * 9000}!y 1\n", 'a.yaml:1: not valid YAML: "found undefined tag handle'),
    "too long": ("# " + "x" * 2**18, "a.yaml is not read: it has more than 262,144 characters"),
    "deep": ("[" * 45 + "]" * 45, "a.yaml:1: nested deeper than 40 levels"),
    "too many in a list": ("a:\n" + "- 1\n" * 60_000, "a.yaml:9999: more than 10,000 values"),
    "too many on one line": (f"a: [{'1,' * 120_000}]", "a.yaml:1: more than 10,000 values"),
    "too many empty ones": (f"a: [{'[],' * 80_000}]", "a.yaml:1: more than 10,000 values"),
    "too many keys": ("".join(f"{number}: 1\n" for number in range(20_000)), "a.yaml:5000: more than 10,000 values"),
    "very deep": ("[" * 1100 + "]" * 1100, "a.yaml:1: nested deeper than 40 levels"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_refuses_what_is_not_plain_yaml(name: str) -> None:
    text, message = FAULTS[name]
    with pytest.raises(SpaceError) as caught:
        read_yaml(text, "a.yaml", SpaceError)
    assert str(caught.value).startswith(message)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("key", ["\\e[31m\\n", "k" * 5000])
def test_a_foreign_key_cannot_write_to_the_terminal_or_fill_it(key: str) -> None:
    source = read_yaml(f'? "{key}"\n: 1\n', "a.yaml", SpaceError)
    with pytest.raises(SpaceError, match="is an unknown key; allowed: a, b") as caught:
        source.keys((), ["a", "b"])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_a_file_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    endless = tmp_path / "endless.yaml"
    with endless.open("wb") as file:
        file.truncate(2**40)  # a terabyte of holes
    with pytest.raises(SpaceError, match="more than 262,144 characters"):
        read_yaml_file(endless, SpaceError)


def test_a_name_that_no_file_can_have() -> None:
    with pytest.raises(SpaceError, match="cannot be read: no file has such a name") as caught:
        read_yaml_file(Path("a\0b.yaml"), SpaceError)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_an_empty_text_is_not_a_mapping(text: str) -> None:
    source = read_yaml(text, "a.yaml", SpaceError)
    assert source.data is None
    with pytest.raises(SpaceError, match=r"^a\.yaml is empty; allowed: a mapping"):
        source.keys((), ["a"])


def test_nesting_up_to_the_limit_is_read() -> None:
    assert read_yaml("[" * 39 + "]" * 39, "a.yaml", SpaceError).data


NUMBERS = {
    "0": 0, "-12": -12, "+7": 7, "1_000": 1000, "0x1F": 31, "0b101": 5, "017": 15, "1.5": 1.5, "1.": 1.0, ".5": 0.5,
    "1e-6": 1e-6, "1.5E+3": 1500.0, "2e5": 2e5, "-.inf": float("-inf"), "1e999": float("inf"),
}  # fmt: skip
TEXTS = (
    "1:30",
    "1:59:59",
    "-1:30:00.5",
    "1:59" + ":59" * 80_000,
    "1" + ":59" * 2000 + ".5",
    "1:2",
    "e5",
    "1e",
    "50k",
    ".e5",
)


@pytest.mark.parametrize("text", NUMBERS)
def test_what_is_a_number(text: str) -> None:
    value = read_yaml(f"a: {text}", "a.yaml", SpaceError).data["a"]
    assert (value, type(value)) == (NUMBERS[text], type(NUMBERS[text]))


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_what_is_a_text_though_yaml_1_1_has_numbers_in_base_60(text: str) -> None:
    assert read_yaml(f"a: {text}", "a.yaml", SpaceError).data == {"a": text}


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(TEXT, encoding="utf-8")
    source = read_yaml_file(path, SpaceError)
    assert source.data["name"] == "café"
    assert source.where(("list",)) == f"{path}:3: list"


@pytest.mark.parametrize("error", [SpaceError, ConfigError])
def test_files_that_cannot_be_read(tmp_path: Path, error: type[NasError]) -> None:
    missing, latin = tmp_path / "missing.yaml", tmp_path / "latin.yaml"
    latin.write_bytes("name: café\n".encode("latin-1"))
    for path, message in (
        (missing, f"{missing} cannot be read: No such file or directory"),
        (latin, f"{latin} is not a text file in UTF-8"),
        (tmp_path, f"{tmp_path} cannot be read: Is a directory"),
    ):
        with pytest.raises(error) as caught:
            read_yaml_file(path, error)
        assert str(caught.value) == message
