"""Which training family is nearest to a target, by HHsearch or MMseqs2 (paper, C.3, step 1)."""

import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from npm_core import alphabet, ffindex
from npm_core.arrays import Indices
from npm_core.errors import DataError
from npm_core.fasta import count_records, fasta_text
from npm_core.hhsuite import hhalign, hhsearch
from npm_core.mmseqs import easy_search
from npm_core.neighbours import Neighbour
from npm_core.parallel import map_in_order
from npm_core.programs import Programs
from npm_core.progress import track
from npm_core.tables import Family, Target

_NO_COLUMN = re.compile(r"[a-z.\s]")


def _without_hit(target: str) -> Neighbour:
    nothing = np.zeros(0, dtype=np.int32)
    return Neighbour(target, None, None, None, nothing, nothing)


def trains_on(buckets: Mapping[str, int], target: str, family: str) -> bool:
    """Whether a family is outside the bucket of a target, which is called like its family.

    Raises:
        DataError: One of the two is in no bucket.
    """
    for name in (target, family):
        if name not in buckets:
            raise DataError(f"{name} is in no bucket. Were buckets made from these families?")
    return buckets[target] != buckets[family]


def nearest_by_hhsearch(
    targets: Sequence[Target],
    buckets: Mapping[str, int],
    *,
    profiles: Mapping[str, str],
    alignments: Callable[[Collection[str]], Iterator[Family]],
    workers: int,
    scratch: Path,
) -> list[Neighbour]:
    """Nearest families by HHsearch's probability and score, then the alignment to the family (C.3).

    The paper calls HHalign with the sequence and each family's seed alignment; one HHsearch of the
    sequence against all seeds gives the same probabilities, to one decimal. The sequence is then
    aligned to the nearest family's own MSA by HHalign (step 1): its columns are the Potts model's.

    Args:
        targets: With their sequences.
        buckets: Family to bucket; a target is compared to those outside its own.
        profiles: Family to its seed alignment (a3m).
        alignments: Gives the named families' MSAs.
        workers: How many programs run at a time.
        scratch: An empty folder.

    Raises:
        DataError: A nearest family has no MSA, or a target or family is in no bucket.
        ToolError: A program is missing or failed.
    """
    if not profiles or not targets:
        return [_without_hit(target.id) for target in targets]
    order = sorted(profiles)
    database = scratch / "profiles"
    _write_profiles(database, [profiles[family] for family in order])
    deepest = max(count_records(text.encode()) for text in profiles.values())
    queries = [_write_query(scratch / f"query{n}.fasta", t) for n, t in enumerate(targets)]

    with Programs() as programs:

        def search(place: int) -> tuple[str, tuple[float, float]] | None:
            hits = hhsearch(programs, queries[place], database, size=len(order), rows=deepest)
            named = ((order[int(number)], value) for number, value in hits.items())
            target = targets[place].id
            return _best({name: value for name, value in named if trains_on(buckets, target, name)})

        searches = map_in_order(search, range(len(targets)), workers=workers, stop=programs.stop)
        best = list(track(searches, total=len(targets), what="targets searched"))
        templates: dict[str, Path] = {}
        for family in alignments({hit[0] for hit in best if hit is not None}):
            path = scratch / f"family{len(templates)}.a3m"
            rows = map(alphabet.decode, family.residues)
            path.write_text(fasta_text(enumerate(rows)), encoding="ascii")
            templates[family.id] = path

        def align(place: int) -> Neighbour:
            target, hit = targets[place], best[place]
            if hit is None:
                return _without_hit(target.id)
            if hit[0] not in templates:
                raise DataError(f"family {hit[0]} has a profile but no alignment")
            pairs = hhalign(programs, queries[place], templates[hit[0]])
            family, (probability, _) = hit
            return Neighbour(target.id, family, probability, None, *pairs)

        alignments_made = map_in_order(
            align, range(len(targets)), workers=workers, stop=programs.stop
        )
        return list(track(alignments_made, total=len(targets), what="targets aligned"))


def _best(hits: Mapping[str, tuple[float, float]]) -> tuple[str, tuple[float, float]] | None:
    """The most probable hit, of equals that of the higher score, of these the first name."""
    if not hits:
        return None
    return max(sorted(hits.items()), key=lambda hit: hit[1])


def _write_profiles(database: Path, profiles: Sequence[str]) -> None:
    """A database as HHsearch reads it, with entries called 0, 1, ... like their first rows.

    In place of cs219 sequences, which serve HHblits' prefilter, stands anything of the right
    length: HHsearch, which has no prefilter, takes only their lengths.
    """
    named = {str(number): _renamed(text, str(number)) for number, text in enumerate(profiles)}
    lengths = {key: _columns(text) for key, text in named.items()}
    order = sorted(named, key=lambda key: (-lengths[key], key))
    ffindex.write_entries(f"{database}_a3m", ((key, named[key].encode()) for key in order))
    ffindex.write_entries(f"{database}_cs219", ((key, b"A" * lengths[key]) for key in order))


def _renamed(a3m: str, name: str) -> str:
    start = a3m.find(">")
    end = a3m.find("\n", start)
    if start < 0 or end < 0:
        raise DataError(f"profile {name} is no a3m: it starts with {a3m[:20]!r}")
    return f">{name}{a3m[end:]}"


def _columns(a3m: str) -> int:
    first_row = a3m.split(">", 2)[1].partition("\n")[2]
    return len(_NO_COLUMN.sub("", first_row))


def _write_query(path: Path, target: Target) -> Path:
    path.write_text(fasta_text([("query", target.sequence)]), encoding="ascii")
    return path


def nearest_by_mmseqs(
    targets: Sequence[Target],
    *,
    queries: Iterable[tuple[str, str]],
    e_value: float,
    max_memory_gib: float,
    threads: int,
    scratch: Path,
) -> list[Neighbour]:
    """Nearest families by MMseqs2's bit score of target against family query.

    For query-centred families, whose columns are the residues of their query, at a size where
    HHalign against every family is out of reach.

    Args:
        targets: With their sequences; a family called like one is not its neighbour.
        queries: Family and its query, one letter a column, X where the residue is unknown.
        e_value: Hits above it do not count.
        max_memory_gib: GiB of MMseqs2's index; more queries are searched in parts.
        threads: Of MMseqs2.
        scratch: An empty folder.

    Raises:
        ToolError: mmseqs is missing or failed.
    """
    families: list[str] = []

    def sequences() -> Iterator[str]:
        for family, query in queries:
            families.append(family)
            yield query

    hits = easy_search(
        (target.sequence for target in targets),
        sequences(),
        "query,target,bits,qstart,tstart,qaln,taln",
        *("--threads", threads, "-e", e_value),
        max_memory_gib=max_memory_gib,
        scratch=scratch,
    )
    best: dict[str, tuple[float, str, list[str]]] = {}
    for number, hit, bits, *alignment in hits:
        target, family = targets[int(number)].id, families[int(hit)]
        if family != target:
            key = (-float(bits), family, alignment)
            best[target] = min(key, best.get(target, key))
    return [
        Neighbour(target.id, best[target.id][1], None, -best[target.id][0], *_pairs(target, best))
        if target.id in best
        else _without_hit(target.id)
        for target in targets
    ]


def _pairs(
    target: Target, best: Mapping[str, tuple[float, str, list[str]]]
) -> tuple[Indices, Indices]:
    query_start, hit_start, query_row, hit_row = best[target.id][2]
    return paired_positions(query_row, hit_row, int(query_start) - 1, int(hit_start) - 1)


def paired_positions(
    first: str, second: str, first_start: int, second_start: int
) -> tuple[Indices, Indices]:
    """Positions side by side in two aligned rows (`-` is a gap) that start where they say."""
    left = np.array([letter != "-" for letter in first])
    right = np.array([letter != "-" for letter in second])
    both = left & right
    positions = first_start + np.cumsum(left) - 1
    columns = second_start + np.cumsum(right) - 1
    return positions[both].astype(np.int32), columns[both].astype(np.int32)


def scratch_folder(beside: Path) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder next to an output file, where there is room for what makes it."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=f".{beside.name}.", dir=beside.parent)
