"""Where what a run begins with lies: published files and their mirrors, and the user's own data."""

from pathlib import Path
from typing import Any

from places import Places
from snakemake.exceptions import WorkflowError

from npm_core.fetch import is_url
from npm_core.local_data import read_local_families


class Sources:
    """The places that settings name: URLs, or paths relative to the working directory."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.places = config["sources"]

    def addresses(self, name: str) -> list[str]:
        """The URL of a source, then its mirrors."""
        return [address(place) for place in self.places[name]]

    def published(self) -> list[str]:
        """Names of the sources that are fetched as they are: those with a list of places."""
        return [name for name, places in self.places.items() if isinstance(places, list)]

    def structure_template(self) -> str:
        """URL of an entry's mmCIF file, with its {id} and {middle} to be filled in."""
        return address(self.places["structures"])

    def files(self, name: str) -> list[str]:
        """Those places of a source that are files here, or that rule `generate_universe` makes."""
        return [
            place
            for place in self.places[name]
            if self._is_generated(place, name) or Path(place).exists()
        ]

    def structure_files(self) -> list[str | Path]:
        """What stands for all structures: their folder, or the table of the generated universe."""
        template = self.places["structures"]
        if self._is_generated(template, "structures"):
            return ["results/universe/truth/families.tsv"]
        folder = Path(template.partition("{")[0] + "x").parent
        return [] if is_url(template) or not folder.is_dir() else [folder]

    def _is_generated(self, place: str, name: str) -> bool:
        """Whether a place is in the generated universe, which no other source may read."""
        if not place.startswith("results/universe/"):
            return False
        if self.config["source"] != "demo":
            raise WorkflowError(
                f"source is {self.config['source']}, but sources.{name} is still {place}, of the "
                "demo's generated universe. Name the real places, or ask for what does not need "
                "them"
            )
        return True

    def missing_tables(self, places: Places) -> list[str]:
        """The user's tables and sequences that are not there, each with its setting.

        Where results of others stand Snakemake would take these for made from them.
        """
        local = self.config["local"]
        if not places.imported:
            return []
        named = [*places.experiments(), *(["sequences"] if places.pretrained_trunks() else [])]
        return [
            f"local.{name} is {local[name]}: no such file in {Path.cwd()}"
            for name in named
            if not Path(local[name]).is_file()
        ]

    def own_files(self, experiment: str, clan: str | None = None) -> list[Path]:
        """The files that the table of an experiment names, or of its families of one clan."""
        table = self.config["local"][experiment]
        families = read_local_families(table)
        clans = sorted({family.clan for family in families} - {""})
        if clan not in (None, *clans):
            raise WorkflowError(
                f"pfam_clan.clans names {clan}, but {table} has no family of it; its column clan "
                f"has {', '.join(clans) or 'nothing'}"
            )
        return [
            path
            for family in families
            if clan in (None, family.clan)
            for path in (family.alignment, family.structure, family.columns)
            if path is not None
        ]


def address(place: str) -> str:
    """A configured place as a URL: a path is relative to the working directory."""
    if is_url(place):
        return place
    # Braces stay as they are: the place may be a template.
    return Path(place).resolve().as_uri().replace("%7B", "{").replace("%7D", "}")
