"""The RCSB Search API as a way to select PDB entries: one question, its whole answer, frozen."""

import hashlib
import json
from pathlib import Path
from typing import Any

import requests

from npm_core import __version__
from npm_core.errors import DataError, told_where
from npm_core.fetch import PATIENT, RETRIED, Patience, Transient, retry_after
from npm_core.files import open_text, write_text
from npm_core.pdb_selection import Criteria, entry_id
from npm_core.progress import note
from npm_core.provenance import file_digest
from npm_core.source_lock import SourceLock

PAGE = 10_000
"""Hits of one answer; the service gives no more."""


def question(criteria: Criteria, *, start: int = 0, rows: int = PAGE) -> dict[str, Any]:
    """The body of one request (RCSB Search API, version 2).

    Polymer entities are asked for, not entries: of an entry, "protein" and "longer than 40" may
    hold for different chains.
    """

    def term(attribute: str, operator: str, value: object) -> dict[str, Any]:
        return {
            "type": "terminal",
            "service": "text",
            "parameters": {"attribute": attribute, "operator": operator, "value": value},
        }

    nodes = [
        term("rcsb_entry_info.resolution_combined", "less", criteria.max_resolution),
        term("rcsb_accession_info.deposit_date", "less", str(criteria.deposited_before)),
        term("entity_poly.rcsb_entity_polymer_type", "exact_match", "Protein"),
        term("entity_poly.rcsb_sample_sequence_length", "greater", criteria.min_length),
    ]
    if criteria.methods:
        nodes.insert(0, term("exptl.method", "in", list(criteria.methods)))
    return {
        "query": {"type": "group", "logical_operator": "and", "nodes": nodes},
        "return_type": "polymer_entity",
        "request_options": {
            "results_content_type": ["experimental"],
            "results_verbosity": "compact",
            "paginate": {"start": start, "rows": rows},
            "sort": [{"sort_by": "rcsb_accession_info.deposit_date", "direction": "asc"}],
        },
    }


def search(
    url: str,
    criteria: Criteria,
    output: Path | str,
    *,
    lock: SourceLock | None,
    rows: int = PAGE,
    patience: Patience = PATIENT,
) -> int:
    """Write the ids of all polymer entities that meet the criteria, sorted, one a line.

    The archive changes: the first answer's sha256 is recorded, and from then on the list is this
    one. It is not asked for again where `output` still has it.

    Args:
        url: Of the service.
        criteria: What to ask for.
        output: List to write.
        lock: Of the sources; the digest stands under the URL and a digest of the question.
        rows: Hits of one answer.
        patience: How long it is asked.

    Returns:
        The number of entities.

    Raises:
        DataError: Nothing meets the criteria, the answer is incomplete or none, or it is not the
            one on record.
    """
    body = json.dumps(question(criteria), sort_keys=True)
    key = f"{url}#{hashlib.sha256(body.encode()).hexdigest()[:16]}"
    expected = lock.digest([key]) if lock is not None else None
    output = Path(output)
    if expected is not None and output.is_file() and file_digest(output) == expected:
        return len(output.read_text(encoding="ascii").splitlines())
    found: set[str] = set()
    total, start = 1, 0
    while start < total:
        try:
            page = patience.retrying(url)(
                _ask, url, question(criteria, start=start, rows=rows), patience.timeout
            )
        except Transient as error:
            raise DataError(f"{url}: {error}") from error
        if start and page["total_count"] != total:
            raise DataError(
                f"{url}: {page['total_count']} hits on the page from {start}, {total} before: the "
                "archive changed meanwhile; run again"
            )
        total = page["total_count"]
        found.update(page["result_set"])
        start += rows
        note(f"{url}: {len(found)} of {total} entities")
    if len(found) != total:
        raise DataError(f"{url}: {len(found)} different entities, {total} were announced")
    for name in found:
        entry_id(name.rpartition("_")[0])
    text = "".join(f"{name}\n" for name in sorted(found))
    digest = hashlib.sha256(text.encode()).hexdigest()
    if expected is not None and digest != expected:
        raise DataError(
            f"{url}: the answer has sha256 {digest}, the lock file {expected}: the archive has "
            f"changed since. Put the old list back at {output}, or delete its entry there"
        )
    write_text(output, text)
    if lock is not None:
        lock.record(key, digest, len(text))
    return len(found)


def _ask(url: str, body: dict[str, Any], timeout: float) -> dict[str, Any]:
    """One page of hits: total_count and result_set."""
    headers = {"User-Agent": f"neural-potts-model/{__version__}"}
    try:
        response = requests.post(url, json=body, headers=headers, timeout=timeout)
    except requests.RequestException as error:
        raise Transient(f"no answer ({type(error).__name__})") from error
    if response.status_code in RETRIED:
        reason = f"HTTP status {response.status_code} {response.reason}"
        raise Transient(reason, retry_after(response))
    if response.status_code == 204:
        raise DataError(f"{url}: nothing in the archive meets the criteria (HTTP status 204)")
    if response.status_code != 200:
        said = " ".join(response.text.split())[:300]
        raise DataError(f"{url}: HTTP status {response.status_code} {response.reason}: {said}")
    try:
        page = response.json()
        total, hits = page["total_count"], page["result_set"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{url}: not an answer of the Search API ({error!r})") from error
    if not (isinstance(total, int) and all(isinstance(hit, str) for hit in hits)):
        raise DataError(f"{url}: expected a count and a list of ids, found {str(page)[:100]}")
    return {"total_count": total, "result_set": hits}


def read_hits(path: Path | str) -> set[str]:
    """Entries, as `pdb_selection.entry_id` writes them, of a list that `search` wrote.

    Raises:
        DataError: A line is no polymer entity.
    """
    entries = set()
    with open_text(path) as stream:
        for number, line in enumerate(stream, start=1):
            if name := line.strip():
                with told_where(f"{path}, line {number}"):
                    entries.add(entry_id(name.rpartition("_")[0]))
    return entries
