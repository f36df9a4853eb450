"""Errors say where they are of, and stay what they are."""

import importlib
import pkgutil

import pytest

import npm_core
from npm_core.errors import NpmError, told_where


def every_kind(base):
    return [base, *(kind for below in base.__subclasses__() for kind in every_kind(below))]


def test_an_error_of_any_kind_is_told_where_and_keeps_its_kind():
    for module in pkgutil.iter_modules(npm_core.__path__, "npm_core."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    kinds = every_kind(NpmError)
    assert {"SettingsError", "Refused", "NotInArchive"} < {kind.__name__ for kind in kinds}
    for kind in kinds:
        with pytest.raises(kind) as told, told_where("a.tsv, line 3"):
            raise kind("no such thing")
        assert type(told.value) is kind
        assert str(told.value) == "a.tsv, line 3: no such thing"
