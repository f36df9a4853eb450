"""What the documentation names is there."""

import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
NAMES = re.findall(r"`([a-z0-9_.]+\.[A-Za-z0-9_]+)`", (DOCS / "equations.md").read_text())


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"module.name"}))
def test_an_equation_is_computed_where_the_table_says(name):
    module, _, thing = name.rpartition(".")
    assert callable(getattr(importlib.import_module(f"npm_core.{module}"), thing))


def test_every_row_of_the_equations_names_a_function():
    rows = (DOCS / "equations.md").read_text().split("|---|---|---|\n")[1].splitlines()
    assert len(rows) > 20
    for row in rows:
        assert re.search(r"`[a-z0-9_.]+\.[A-Za-z0-9_]+`", row.split("|")[3]), row
