"""Select PDB chains by resolution, length and deposition date, from the archive's index files.

Reads entries.idx and pdb_seqres.txt. Identical protein sequences of one entry become one
candidate, named after its first chain (1abc_A); the others follow in the FASTA header. The audit
has a row for every entry of either file: entry, deposited, resolution, method, status (selected or
dropped), reason, candidates.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from npm_core.cli._arguments import OutputFile
from npm_core.cli._structures import criteria, register_criteria

AUDIT = ("entry", "deposited", "resolution", "method", "status", "reason", "candidates")


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--entries", type=Path, required=True, help="entries.idx")
    parser.add_argument("--seqres", type=Path, required=True, help="pdb_seqres.txt, gzipped or not")
    parser.add_argument(
        "--obsolete", type=Path, help="the archive's obsolete.dat; its entries are dropped"
    )
    parser.add_argument("--hits", type=Path, help="list of search-pdb; other entries are dropped")
    register_criteria(parser)
    parser.add_argument("--output", type=OutputFile, required=True, help="FASTA of the candidates")
    parser.add_argument("--audit", type=OutputFile, required=True, help="tab-separated table")


def run(args: argparse.Namespace) -> None:
    from collections import Counter

    from npm_core.fasta import fasta_text
    from npm_core.files import atomic_path, write_tsv
    from npm_core.pdb_search import read_hits
    from npm_core.pdb_selection import read_entries, read_obsolete, select
    from npm_core.progress import note

    hits = read_hits(args.hits) if args.hits else None
    obsolete = read_obsolete(args.obsolete) if args.obsolete else None
    fates = select(
        read_entries(args.entries), args.seqres, criteria(args), obsolete=obsolete, hits=hits
    )
    reasons: Counter[str] = Counter()
    count = 0
    with atomic_path(args.output) as part, part.open("w", encoding="utf-8") as fasta:

        def audit() -> Iterator[list[object]]:
            nonlocal count
            for fate in fates:
                reasons[fate.reason or "selected"] += 1
                count += len(fate.candidates)
                fasta.write(
                    fasta_text(
                        (f"{candidate.id} chains={','.join(candidate.chains)}", candidate.sequence)
                        for candidate in fate.candidates
                    )
                )
                entry, verdict = fate.index, "dropped" if fate.reason else "selected"
                facts = [entry.deposited, entry.resolution, entry.method] if entry else [None] * 3
                ids = ",".join(candidate.id for candidate in fate.candidates)
                yield [fate.entry, *facts, verdict, fate.reason, ids]

        write_tsv(args.audit, AUDIT, audit())
    listed = "; ".join(f"{number} {reason}" for reason, number in reasons.most_common())
    note(f"{args.output}: {count} candidates; {sum(reasons.values())} entries: {listed or 'none'}")
