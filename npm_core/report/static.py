"""The figures of a page as files for a paper: SVG and PDF, and their numbers as Parquet."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import vl_convert

from npm_core.files import atomic_path
from npm_core.report.figures import contact_map
from npm_core.report.page import Page, table_rows
from npm_core.report.protein_cards import map_datasets, unpack

WRITERS = {
    "svg": lambda spec: vl_convert.vegalite_to_svg(spec).encode(),
    "pdf": vl_convert.vegalite_to_pdf,
}


def write_figures(page: Page, folder: Path, formats: list[str]) -> int:
    """Write every figure and contact map of a page, and return the number of files."""
    files = {
        f"{name}.{kind}": WRITERS[kind](spec)
        for name, spec in specifications(page)
        for kind in formats
        if kind in WRITERS
    }
    if "parquet" in formats:
        files |= {f"{figure.id}.parquet": figure.parquet() for figure in page.figures}
    for name, content in files.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    return len(files)


def specifications(page: Page) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and complete Vega-Lite specification of each figure, black on white."""
    for figure in page.figures:
        names = list(figure.table.columns)
        values = [dict(zip(names, row, strict=True)) for row in table_rows(figure.table)]
        yield figure.id, _on_white(figure.spec(), {"table": values})
    for number, example in enumerate(page.examples, start=1):
        card = unpack(page.cards[example.id])
        spec = contact_map(["npm", "potts"])
        for parameter in spec["params"]:
            length = card["length"]
            parameter["value"] = length if parameter["name"] == "length" else spec["width"] / length
        spec["title"] = example.id
        datasets = map_datasets(
            card,
            condition=example.condition,
            range_name=page.metric["range"],
            cutoff=page.metric["cutoff"],
            lower="npm",
            upper="potts",
        )
        yield f"figure-6-{number}", _on_white(spec, datasets)


def _on_white(spec: dict[str, Any], datasets: dict[str, Any]) -> dict[str, Any]:
    spec = json.loads(json.dumps(spec).replace('"currentColor"', '"black"'))
    spec["config"] |= {"background": "white", "font": "sans-serif"}
    spec["datasets"] = {**spec.get("datasets", {}), **datasets}
    return spec
