"""HH-suite databases, made of sequences as UniClust30 is: clustered, aligned, translated."""

import tempfile
from pathlib import Path

from npm_core import ffindex
from npm_core.errors import ToolError
from npm_core.hhsuite import data_file
from npm_core.mmseqs import COVERAGE, IDENTITY, MAX_MEMORY_GIB, copy_fasta, split_memory
from npm_core.programs import Programs, program, require


def build_database(
    fasta: Path | str,
    prefix: Path | str,
    *,
    threads: int = 1,
    identity: float = IDENTITY,
    coverage: float = COVERAGE,
    max_memory_gib: float = MAX_MEMORY_GIB,
) -> tuple[int, int]:
    """Cluster sequences and write an HH-suite database of the clusters, as UniClust30 is made.

    The same sequences give the same bytes, whatever `threads` is: entries are written by
    decreasing length of their cs219 sequence, then by name.

    Args:
        fasta: Sequences, gzipped or not.
        prefix: Where PREFIX_a3m and PREFIX_cs219 go, each as .ffdata and .ffindex.
        threads: For MMseqs2 and cstranslate.
        identity: Smallest sequence identity within a cluster.
        coverage: Smallest share of both sequences that an alignment covers.
        max_memory_gib: GiB of MMseqs2's index; it decides the clusters (`mmseqs.split_memory`).

    Returns:
        The numbers of sequences and of clusters.

    Raises:
        DataError: The FASTA file holds no sequence.
        ToolError: A program is missing or failed.
    """
    prefix = Path(prefix)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    mmseqs, cstranslate = program("mmseqs"), program("cstranslate")
    data_files = [str(data_file("cs219.lib")), str(data_file("context_data.lib"))]
    with (
        tempfile.TemporaryDirectory(prefix=f".{prefix.name}.", dir=prefix.parent) as folder,
        Programs() as programs,
    ):
        work = Path(folder)
        sequences = copy_fasta(fasta, work / "sequences.fasta")

        def run(*argv: str) -> None:
            finished = programs.run(argv, cwd=work, env={"OMP_NUM_THREADS": str(threads)})
            require(finished, f"{prefix}: {Path(argv[0]).name} {argv[1]}")

        run(mmseqs, "createdb", "sequences.fasta", "sequences", "--dbtype", "1", "-v", "1")
        run(
            *(mmseqs, "cluster", "sequences", "clusters", "tmp", "-v", "1"),
            *("--min-seq-id", str(identity), "-c", str(coverage), "--threads", str(threads)),
            *split_memory(max_memory_gib),
        )
        run(
            *(mmseqs, "result2msa", "sequences", "sequences", "clusters", "raw_a3m", "-v", "1"),
            *("--msa-format-mode", "5", "--threads", str(threads)),
        )
        # An MMseqs2 database is an ffindex under other names, with its index in another order.
        (work / "raw_a3m").rename(work / "raw_a3m.ffdata")
        (work / "raw_a3m.index").rename(work / "raw_a3m.ffindex")
        clusters = dict(ffindex.read_entries(work / "raw_a3m"))
        ffindex.write_entries(work / "in_a3m", clusters.items())
        run(
            *(cstranslate, "-i", "in_a3m", "-o", "out_cs219", "-A", data_files[0]),
            *("-D", data_files[1], "-x", "0.3", "-c", "4", "-f", "-I", "a3m", "-b"),
        )
        translated = dict(ffindex.read_entries(work / "out_cs219"))
    if translated.keys() != clusters.keys():
        lost = sorted(clusters.keys() ^ translated.keys())
        raise ToolError(f"{prefix}: cstranslate lost {len(lost)} entries, first {lost[0]}")
    order = sorted(translated, key=lambda key: (-len(translated[key]), key))
    for part, texts in (("a3m", clusters), ("cs219", translated)):
        ffindex.write_entries(f"{prefix}_{part}", ((key, texts[key]) for key in order))
    return sequences, len(clusters)
