"""Assignment of PDB chains to training or test sequences, and their clusters (paper, C.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from npm_core.errors import DataError
from npm_core.fasta import read_fasta
from npm_core.files import require_file
from npm_core.mmseqs import MAX_MEMORY_GIB, easy_cluster, easy_search
from npm_core.pdb_selection import entry_of
from npm_core.queries import Query
from npm_core.settings import knob, require_positive, require_share

Split = Literal["train", "test"]

BOTH = "hits training and test sequences"
NEITHER = "hits neither training nor test sequences"


@dataclass(frozen=True)
class AssignmentSettings:
    """How chains are searched and clustered (paper, C.4).

    The identity of a hit is over its aligned columns. The coverage in a cluster and the number of
    hits are MMseqs2's defaults; the paper names none.

    Attributes:
        max_memory_gib: GiB of MMseqs2's index; a larger split is searched in parts.
        threads: Of MMseqs2.
    """

    identity: float = knob(0.5, "least share of identical residues of a hit")
    coverage: float = knob(0.8, "least share of the training or test sequence that a hit aligns")
    cluster_identity: float = knob(0.5, "least share of identical residues in a cluster")
    cluster_coverage: float = knob(0.8, "least share of both sequences aligned in a cluster")
    unit: str = knob(
        "entry",
        "assign all chains of an entry together, or each chain by itself",
        choices=("entry", "chain"),
    )
    max_hits: int = knob(300, "hits of a chain that pass the prefilter")
    max_memory_gib: float = MAX_MEMORY_GIB
    threads: int = 1

    def __post_init__(self) -> None:
        require_share(self, "identity", "coverage", "cluster_identity", "cluster_coverage")
        require_positive(self, "max_hits")


@dataclass(frozen=True)
class Hits:
    """The sequences of one split that a chain hits.

    Attributes:
        count: How many.
        best: Id of the one of highest identity, then coverage; empty without a hit.
        identity: Its share of identical residues; 0 without a hit.
    """

    count: int = 0
    best: str = ""
    identity: float = 0.0


@dataclass(frozen=True)
class Assignment:
    """What became of one candidate.

    Attributes:
        id: The candidate.
        unit: The entry or chain that was assigned as a whole.
        hits: Its own hits in each split.
        split: None when it was discarded.
        reason: Why it was discarded; empty when it was not.
        representative: Id of its cluster's representative; empty when it was discarded.
    """

    id: str
    unit: str
    hits: Mapping[Split, Hits]
    split: Split | None
    reason: str
    representative: str = ""

    @property
    def fate(self) -> str:
        """What it is in its split: "representative" or "member" of its cluster; or "discarded"."""
        if self.split is None:
            return "discarded"
        return "representative" if self.id == self.representative else "member"


def assign(
    candidates: Sequence[Query],
    sequences: Mapping[Split, Path],
    settings: AssignmentSettings,
    *,
    scratch: Path,
) -> list[Assignment]:
    """Assign each candidate to the split whose sequences its unit hits, and cluster the splits.

    Training and test sequences are searched separately: in one search the limit on hits could
    hide the smaller split behind the larger. A unit that hits both or neither is discarded.

    Args:
        candidates: Ids like "1abc_A".
        sequences: FASTA of the training and of the test sequences; may be empty.
        settings: Thresholds.
        scratch: Folder for MMseqs2's files.

    Returns:
        One assignment a candidate, in their order.

    Raises:
        ToolError: mmseqs is missing or failed.
        DataError: A FASTA file is unreadable, or a pipe.
    """
    found = {
        split: search(candidates, path, settings, scratch=scratch)
        for split, path in sequences.items()
    }
    names = [candidate.id for candidate in candidates]
    units = {name: name if settings.unit == "chain" else entry_of(name) for name in names}
    reached: dict[str, set[Split]] = {}
    for name, unit in units.items():
        reached.setdefault(unit, set()).update(split for split in found if name in found[split])
    representatives: dict[str, str] = {}
    for split in found:
        own = [item for item in candidates if reached[units[item.id]] == {split}]
        representatives |= cluster(own, settings, scratch=scratch)
    assignments = []
    for name, unit in units.items():
        splits = reached[unit]
        only = next(iter(splits)) if len(splits) == 1 else None
        reason = "" if only else BOTH if splits else NEITHER
        hits = {split: found[split].get(name, Hits()) for split in found}
        assignments.append(
            Assignment(name, unit, hits, only, reason, representatives.get(name, ""))
        )
    return assignments


def search(
    candidates: Sequence[Query], sequences: Path, settings: AssignmentSettings, *, scratch: Path
) -> dict[str, Hits]:
    """Hits of each candidate that has any; the thresholds are applied to MMseqs2's counts again.

    Args:
        candidates: Searched with.
        sequences: FASTA, gzipped or not; ids are any text, MMseqs2 sees numbers.
        settings: identity, coverage, max_hits, max_memory_gib and threads are used.
        scratch: As `assign`.

    Raises:
        ToolError: As `assign`.
        DataError: As `assign`, or the file is a pipe.
    """
    require_file(sequences, "names are read when the search has ended")
    hits = easy_search(
        (candidate.sequence for candidate in candidates),
        (sequence.upper() for _, sequence in read_fasta(sequences)),
        "query,target,nident,alnlen,tstart,tend,tlen",
        *("--min-seq-id", settings.identity, "-c", settings.coverage, "--cov-mode", 1),
        # Without the alignment's path (-a) MMseqs2 writes nident as 0.
        *("--max-seqs", settings.max_hits, "--threads", settings.threads, "-a"),
        max_memory_gib=settings.max_memory_gib,
        scratch=scratch,
    )
    best: dict[int, tuple[float, float, int]] = {}
    counts: dict[int, int] = {}
    for hit in hits:
        query, target, same, aligned, start, end, length = map(int, hit)
        identity, coverage = same / aligned, (end - start + 1) / length
        if identity < settings.identity or coverage < settings.coverage:
            continue
        counts[query] = counts.get(query, 0) + 1
        rank = (identity, coverage, -target)
        best[query] = max(rank, best.get(query, rank))
    names = _names(sequences, {-rank[2] for rank in best.values()})
    return {
        candidates[query].id: Hits(counts[query], names[-rank[2]], rank[0])
        for query, rank in sorted(best.items())
    }


def cluster(
    candidates: Sequence[Query], settings: AssignmentSettings, *, scratch: Path
) -> dict[str, str]:
    """Representative of each candidate's cluster.

    Args:
        candidates: Of one split.
        settings: cluster_identity, cluster_coverage, max_memory_gib and threads are used.
        scratch: As `assign`.
    """
    if len(candidates) < 2:
        return {candidate.id: candidate.id for candidate in candidates}
    clusters = easy_cluster(
        (candidate.sequence for candidate in candidates),
        *("--min-seq-id", settings.cluster_identity, "-c", settings.cluster_coverage),
        *("--threads", settings.threads),
        max_memory_gib=settings.max_memory_gib,
        scratch=scratch,
    )
    representatives = {
        candidates[member].id: candidates[representative].id for representative, member in clusters
    }
    missing = [item.id for item in candidates if item.id not in representatives]
    if missing:
        raise DataError(f"mmseqs left {len(missing)} chains without a cluster, first {missing[0]}")
    return representatives


def _names(path: Path, wanted: set[int]) -> dict[int, str]:
    """Ids of a few of a FASTA file's records; 30 million ids would not fit beside MMseqs2."""
    if not wanted:
        return {}
    return {
        number: header.split(maxsplit=1)[0]
        for number, (header, _) in enumerate(read_fasta(path))
        if number in wanted
    }
