"""Pfam-like families rebuilt without Pfam's servers: profile HMMs against protein sequences."""

import hashlib
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from pyhmmer import __version__ as pyhmmer_version
from pyhmmer.easel import Alphabet, DigitalSequenceBlock, SequenceFile
from pyhmmer.plan7 import HMM, HMMFile, Pipeline

from npm_core.errors import DataError, SettingsError, ToolError
from npm_core.fasta import fasta_records, fasta_text
from npm_core.files import open_text, require_file
from npm_core.ledger import Row
from npm_core.programs import Programs, program
from npm_core.progress import note
from npm_core.queries import Query
from npm_core.shard import Engine, Found, Shard

NO_PROFILE = "the profiles have none for this family"
NO_CUTOFF = "its profile has no gathering cut-off"
NO_HIT = "no sequence reaches the gathering cut-off"


def blast_sequences(databases: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Distinct sequences of BLAST databases, in order, each under its first name.

    A name is the first word of the title up to a `|`: titles such as `B0RED7|GO:0006200,...` hold
    annotations. A sequence that was there before is left out; a name with a second, different
    sequence is an error, for rows of alignments are called by it.

    Args:
        databases: Prefixes, e.g. "/usr/share/metastudent-data/dataset_201401/BPO/goasp.fasta".

    Raises:
        DataError: A name has two sequences.
        ToolError: blastdbcmd is missing or failed.
    """
    names: dict[str, bytes] = {}
    seen: set[bytes] = set()
    for database in databases:
        argv = [program("blastdbcmd"), "-db", database, "-entry", "all", "-outfmt", "%f"]
        # A file takes what blastdbcmd complains of: a pipe nobody reads would fill up and stop it.
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as complaints,
            subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=complaints, text=True, encoding="utf-8"
            ) as process,
        ):
            assert process.stdout is not None
            for title, sequence in fasta_records(process.stdout, database):
                name = title.split()[0].split("|")[0]
                digest = hashlib.sha256(sequence.encode()).digest()[:16]
                if names.setdefault(name, digest) != digest:
                    raise DataError(f"{database}: {name} has two sequences")
                if digest not in seen:
                    seen.add(digest)
                    yield name, sequence
            if process.wait():
                complaints.seek(0)
                raise ToolError(f"blastdbcmd of {database}: {complaints.read().strip()[-300:]}")


def read_profiles(path: Path | str, families: Collection[str]) -> dict[str, HMM]:
    """Profiles of the named families by accession without version.

    Args:
        path: HMMER3 profiles, pressed (.h3m) or as text.
        families: Accessions; those the file has no profile for are absent from the result.

    Raises:
        DataError: The file cannot be read, or none of the families has a profile in it.
    """
    wanted = set(families)
    found: dict[str, HMM] = {}
    try:
        with HMMFile(str(path)) as profiles:
            for profile in profiles:
                accession = str(profile.accession or profile.name).split(".")[0]
                if accession in wanted:
                    found[accession] = profile
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a file of HMMER3 profiles ({error})") from error
    if not found:
        raise DataError(
            f"{path}: none of {len(wanted)} families has a profile; expected accessions "
            f"like {min(wanted, default='PF00001')}"
        )
    return found


def digital_sequences(path: Path | str) -> DigitalSequenceBlock:
    """Sequences of a FASTA file, gzipped or not, as HMMER searches them, all in memory.

    Raises:
        DataError: The file is missing, a pipe, empty or holds letters of no amino acid.
    """
    require_file(path, "it is read twice")
    with open_text(path) as _:  # tells a missing or damaged file from a malformed one
        pass
    try:
        with SequenceFile(
            str(path), format="fasta", digital=True, alphabet=Alphabet.amino()
        ) as file:
            block: Any = file.read_block()
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a FASTA file of proteins ({error})") from error
    if not len(block):
        raise DataError(f"{path}: no sequences to search")
    return block


def search_family(profile: HMM, sequences: DigitalSequenceBlock) -> list[tuple[str, str]]:
    """Domains of a family among sequences, as Pfam aligns them.

    hmmsearch with the family's own gathering cut-offs, of sequence and of domain; each domain that
    passes is a row, called NAME/FIRST-LAST.

    Args:
        profile: With gathering cut-offs.
        sequences: To search.

    Returns:
        (name, a3m): upper case letters and `-` are the profile's match columns, lower case letters
        inserts. The best hits come first; empty without a hit.
    """
    alphabet = Alphabet.amino()
    pipeline: Any = Pipeline(alphabet, bit_cutoffs="gathering")
    hits = pipeline.search_hmm(profile, sequences)
    if not any(domain.included for hit in hits.included for domain in hit.domains):
        return []
    aligned = hits.to_msa(alphabet, trim=True, all_consensus_cols=True)
    return [
        (str(name), row.replace(".", ""))
        for name, row in zip(aligned.names, aligned.alignment, strict=True)
    ]


def _found(family: str, profile: HMM | None, sequences: DigitalSequenceBlock) -> Found:
    if profile is None:
        return Found(Row(family, "skipped", NO_PROFILE))
    if not profile.cutoffs.gathering_available():
        return Found(Row(family, "skipped", NO_CUTOFF))
    started = time.monotonic()
    rows = search_family(profile, sequences)
    seconds = time.monotonic() - started
    if not rows:
        return Found(Row(family, "skipped", NO_HIT, seconds=seconds))
    return Found(Row(family, "ok", depth=len(rows), seconds=seconds), fasta_text(rows))


def search_families(
    families: Sequence[str],
    profiles: Path | str,
    sequences: Path | str,
    output: Path | str,
    ledger: Path | str,
    *,
    shard: int,
    shards: int,
    workers: int,
    scratch: Path | str,
) -> list[Row]:
    """Rebuild one shard of a clan's families; a killed shard goes on where it was.

    Args:
        families: Accessions of the whole clan; every `shards`-th from `shard` on is searched.
        profiles: HMMER3 profiles.
        sequences: FASTA file.
        output: Prefix of the FFindex of A3M texts by accession, in the order of `families`.
        ledger: The ledger to write, one row a family.
        shard, shards: Which part, 0-based, of how many.
        workers: Families at a time.
        scratch: Folder of the journal.

    Raises:
        SettingsError: There is no such shard.
        DataError: Profiles or sequences are unusable.
    """
    if not 0 <= shard < shards:
        raise SettingsError(f"shard {shard} was asked for; shards are 0 to {shards - 1}")
    mine = families[shard::shards]
    known = read_profiles(profiles, mine) if mine else {}
    block = digital_sequences(sequences)
    stat = Path(sequences).stat()
    name = f"{len(block)} sequences by pyhmmer {pyhmmer_version}"
    note(f"{len(known)} profiles for {len(mine)} families against {name}")

    def search(queries: Sequence[Query], _: Programs, _folder: Path) -> list[Found]:
        return [_found(query.id, known.get(query.id), block) for query in queries]

    signature = f"pyhmmer {pyhmmer_version} gathering {stat.st_size}:{stat.st_mtime_ns}"
    engine = Engine(name, search, signature, workers=workers)
    # A profile's consensus stands for it in the journal.
    wanted = [Query(one, known[one].consensus or "" if one in known else "") for one in mine]
    where = f"shard {shard} of {shards}"
    return Shard(wanted, Path(output), Path(ledger), Path(scratch), 0.0, where).run(engine)
