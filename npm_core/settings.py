"""Settings as frozen dataclasses: a knob is a field with a few words, and a flag."""

import argparse
import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from npm_core.errors import SettingsError, told_where

T = TypeVar("T")


def knob(default: Any, words: str, *, choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field with the words that explain it."""
    return dataclasses.field(default=default, metadata={"help": words, "choices": choices})


def add_flags(
    parser: argparse.ArgumentParser, settings: type, prefix: str = "", *, grouped: bool = True
) -> None:
    """One flag for each knob of a settings class, e.g. `--head-rank` for rank with "head-".

    They are a group of the help, which calls their values by their types; or, not `grouped`, flags
    like the verb's others. A field that is no knob has none.

    A flag that is not given leaves no trace in the parsed arguments, so that `overridden` can
    tell a default from a choice.
    """
    hints = typing.get_type_hints(settings)
    title = (settings.__doc__ or "").splitlines()[0].rstrip(".")
    group = parser.add_argument_group(title) if grouped else parser
    for field in dataclasses.fields(settings):
        if not field.metadata:
            continue
        flag = f"{prefix}{field.name.replace('_', '-')}"
        kind = hints[field.name]
        default = f"--{'' if field.default else 'no-'}{flag}" if kind is bool else field.default
        words = f"{field.metadata['help']} (default: {default})".replace("%", "%%")
        destination = f"{settings.__name__}.{field.name}"
        if kind is bool:
            parser_action: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        else:
            choices = field.metadata["choices"]
            parser_action = {
                "type": kind,
                "choices": choices or None,
                "metavar": kind.__name__.upper() if grouped and not choices else None,
            }
        group.add_argument(
            f"--{flag}", dest=destination, default=argparse.SUPPRESS, help=words, **parser_action
        )


def overridden(base: T, args: argparse.Namespace) -> T:
    """`base` with the fields whose flags were given."""
    prefix = f"{type(base).__name__}."
    given = {
        key.removeprefix(prefix): value
        for key, value in vars(args).items()
        if key.startswith(prefix)
    }
    return dataclasses.replace(base, **given)  # type: ignore[type-var]


def from_mapping(settings: type[T], values: Any, where: str) -> T:
    """Settings from a JSON or YAML mapping.

    Raises:
        SettingsError: It is no mapping, a key is unknown, a value has another type or is none of
            the choices, or the settings refuse it.
    """
    if not isinstance(values, Mapping):
        raise SettingsError(f"{where}: {values!r}, expected settings by name")
    choices = {field.name: field.metadata["choices"] for field in dataclasses.fields(settings)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(settings)
    unknown = sorted(map(str, set(values) - set(hints)))
    if unknown:
        raise SettingsError(f"{where}: unknown {unknown}; known are {sorted(hints)}")
    for name, value in values.items():
        kind = hints[name]
        right = isinstance(value, int | float if kind is float else kind) and not (
            isinstance(value, bool) and kind is not bool
        )
        if not right:
            raise SettingsError(f"{where}: {name} is {value!r}, expected {kind.__name__}")
        if choices[name] and value not in choices[name]:
            known = ", ".join(choices[name])
            raise SettingsError(f"{where}: {name} is {value!r}, expected one of {known}")
    with told_where(where):
        return settings(**values)


MOST = 10**9
"""No number of updates, of rows or of any size is larger."""


def require_positive(settings: object, *names: str) -> None:
    """Raise SettingsError unless each of these fields is a number above zero."""
    require_non_negative(settings, *names)
    for name in names:
        if getattr(settings, name) == 0:
            raise SettingsError(f"{type(settings).__name__}: {name} is 0, expected above 0")


def require_non_negative(settings: object, *names: str) -> None:
    """Raise SettingsError unless each of these fields is a number, zero or above."""
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value <= MOST:
            raise SettingsError(
                f"{type(settings).__name__}: {name} is {value}, expected 0 to {MOST:,}"
            )


def require_share(settings: object, *names: str) -> None:
    """Raise SettingsError unless each of these fields is a number from 0 to 1."""
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value <= 1:
            raise SettingsError(f"{type(settings).__name__}: {name} is {value}, expected 0 to 1")
