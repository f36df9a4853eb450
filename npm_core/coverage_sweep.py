"""Depth of a sample of alignments by the coverage that HHfilter demands (paper, Figure 7)."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from npm_core import ffindex
from npm_core.errors import DataError, SettingsError
from npm_core.fasta import count_records
from npm_core.hhsuite import FilterSettings, hhfilter
from npm_core.parallel import map_in_order
from npm_core.programs import Programs, require, version
from npm_core.progress import note, track
from npm_core.provenance import provenance
from npm_core.tables import write_depths


def sample(prefixes: Sequence[Path | str], count: int, *, seed: int) -> list[tuple[str, str]]:
    """(prefix, key) of alignments drawn at random from several ffindexes, the smallest hash first.

    The draw depends on the keys and the seed alone, so it survives another sharding.

    Raises:
        DataError: An ffindex is damaged, or together they hold fewer than one alignment.
    """
    ranked = (
        (sha256(f"{seed} {entry.key}".encode()).digest(), str(prefix), entry.key)
        for prefix in prefixes
        for entry in ffindex.read_index(prefix)
    )
    chosen = heapq.nsmallest(count, ranked)
    if not chosen:
        raise DataError(f"no alignment in {len(prefixes)} ffindexes, first {prefixes[0]}")
    return [(prefix, key) for _, prefix, key in chosen]


def sweep(
    prefixes: Sequence[Path | str],
    output: Path | str,
    *,
    coverages: Sequence[int],
    alignments: int,
    settings: FilterSettings,
    seed: int,
    workers: int,
) -> int:
    """Write the depth of each sampled alignment after HHfilter at each coverage.

    Args:
        prefixes: ffindexes of A3M texts, whose keys are unique together.
        output: Table to write, in the order of the files; it does not depend on `workers`.
        coverages: Per cent of the query.
        alignments: Size of the sample; all of them where there are fewer.
        settings: HHfilter's; its coverage is replaced.
        seed: Of the sample.
        workers: Calls of HHfilter at a time.

    Returns:
        The number of alignments.

    Raises:
        DataError: There is no alignment, or an ffindex is damaged.
        SettingsError: No coverage is given, or one is no per cent.
        ToolError: HHfilter is missing or failed.
    """
    filters = [replace(settings, coverage=coverage) for coverage in coverages]
    if not filters or alignments < 1:
        raise SettingsError(f"{alignments} alignments at {len(filters)} coverages; at least 1 each")
    chosen = sample(prefixes, alignments, seed=seed)

    def texts() -> Iterator[tuple[str, bytes]]:
        for prefix in dict.fromkeys(prefix for prefix, _ in chosen):
            wanted = {key for place, key in chosen if place == prefix}
            yield from ffindex.read_entries(prefix, only=wanted)

    def depths(programs: Programs, name: str, a3m: bytes) -> list[tuple[str, int, int]]:
        rows = []
        for one in filters:
            finished = hhfilter(programs, a3m, one)
            kept = require(finished, f"{name}: hhfilter -cov {one.coverage}")
            depth = count_records(kept)
            rows.append((name, one.coverage, depth))
        return rows

    facts = provenance(
        hhfilter=version("hhfilter", "-h"), filter=vars(settings), seed=seed, sampled=len(chosen)
    )
    with Programs() as programs:
        found = map_in_order(
            lambda entry: depths(programs, *entry), texts(), workers=workers, stop=programs.stop
        )
        listed = track(found, total=len(chosen), what="alignments filtered")
        write_depths(output, (row for rows in listed for row in rows), facts)
    note(f"{output}: {len(chosen)} alignments at {len(filters)} coverages")
    return len(chosen)
