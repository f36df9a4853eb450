"""How much of a family a search finds: the truth of the universe against its alignments."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from npm_core.errors import DataError
from npm_core.ffindex import read_entries

_ACCESSION = re.compile(r"A0A0X0[A-Z]{3}[0-9]")


@dataclass(frozen=True)
class Recall:
    """What one alignment holds of its query's family.

    Attributes:
        query: Accession.
        family: Pfam accession.
        members: Members of the family.
        found: Members among the rows.
        clan: Rows of other families of the query's clan.
        strangers: Rows of other families and decoys.
    """

    query: str
    family: str
    members: int
    found: int
    clan: int
    strangers: int

    @property
    def recall(self) -> float:
        return self.found / self.members


def family_recall(truth: Path, alignments: Iterable[Path | str]) -> Iterator[Recall]:
    """The recall of each alignment in FFindex shards whose query belongs to a family.

    Rows and keys are recognised by the accession in their names, in UniProt's, UniRef's and
    Pfam's form alike. Decoys have no family and are passed over as queries.

    Args:
        truth: Folder of members.tsv and families.tsv.
        alignments: Prefixes of FFindex shards of A3M alignments.

    Raises:
        DataError: A key names no sequence of the universe, or a file of the truth is missing.
    """
    try:
        members = pd.read_csv(truth / "members.tsv", sep="\t")
        families = pd.read_csv(truth / "families.tsv", sep="\t", keep_default_na=False)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: no such file; --truth is the folder truth/") from error
    family_of = dict(zip(members["sequence"], members["family"], strict=True))
    clan_of = dict(zip(families["family"], families["clan"], strict=True))
    depth_of = members["family"].value_counts().to_dict()
    for prefix in alignments:
        for key, text in read_entries(prefix):
            query = _accession(key)
            if query is None:
                raise DataError(f"{prefix}: {key} is no sequence of the universe")
            if query not in family_of:
                continue
            names = (line for line in text.decode().splitlines() if line.startswith(">"))
            rows = {accession for name in names if (accession := _accession(name)) is not None}
            rows.add(query)
            home = family_of[query]
            others = [family_of.get(row) for row in rows if family_of.get(row) != home]
            kin = sum(
                other is not None and clan_of[home] != "" and clan_of[other] == clan_of[home]
                for other in others
            )
            yield Recall(
                query, home, depth_of[home], len(rows) - len(others), kin, len(others) - kin
            )


def _accession(name: str) -> str | None:
    found = _ACCESSION.search(name)
    return found.group() if found else None


def recall_table(recalls: Iterable[Recall]) -> pd.DataFrame:
    """One row a family: queries, members, and means over its queries of recall and foreign rows."""
    rows = pd.DataFrame(
        [
            {
                "family": item.family,
                "members": item.members,
                "recall": item.recall,
                "clan_rows": item.clan,
                "stranger_rows": item.strangers,
            }
            for item in recalls
        ],
        columns=["family", "members", "recall", "clan_rows", "stranger_rows"],
    )
    grouped = rows.groupby("family", as_index=False)
    table = grouped.mean()
    table.insert(1, "queries", grouped.size()["size"])
    return table
