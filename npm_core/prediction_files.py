"""The files of one prediction: scores, Potts model, CASP RR and contact map."""

from collections.abc import Sequence
from pathlib import Path

from npm_core import alphabet
from npm_core.contact_map import draw_contact_map
from npm_core.files import file_stem, write_text
from npm_core.numbering import as_text, residue_numbers
from npm_core.potts import Potts
from npm_core.potts_files import write_model
from npm_core.predict import Windows, potts_model, window_scores
from npm_core.score_files import casp_rr, write_scores


def write_prediction(
    folder: Path,
    name: str,
    sequence: str,
    windows: Windows,
    *,
    formats: Sequence[str],
    metadata: dict[str, str],
) -> list[Path]:
    """Write what was asked for of one sequence.

    Args:
        folder: Of the files.
        name: Of the sequence; residues count from FIRST where it ends in a /FIRST-LAST
            that fits (`residue_numbers`).
        sequence: Its letters, upper case.
        windows: From `predict_windows`.
        formats: "scores" (npz, array scores (L, L)), "potts" (safetensors, h and J),
            "rr" (CASP RR) and "png" (contact map).
        metadata: Provenance.

    Returns:
        The files written.
    """
    stem, numbers = file_stem(name), residue_numbers(name, sequence)
    written = []
    if "potts" in formats:
        predicted = potts_model(windows)
        written.append(folder / f"{stem}.potts.safetensors")
        letters = alphabet.decode(alphabet.encode(sequence)).replace("-", "X")
        facts = {
            **metadata,
            "query": letters,
            "query_name": name,
            "numbers": as_text(numbers),
        }
        write_model(written[-1], Potts(predicted.fields, predicted.couplings, facts))
    if set(formats) - {"potts"}:
        scores = window_scores(windows)
    if "scores" in formats:
        written.append(folder / f"{stem}.scores.npz")
        write_scores(written[-1], scores, query=sequence, numbers=numbers, name=name)
    if "rr" in formats:
        written.append(folder / f"{stem}.rr")
        text = casp_rr(scores, sequence, target=name, method="Neural Potts Model")
        write_text(written[-1], text)
    if "png" in formats:
        written.append(folder / f"{stem}.png")
        draw_contact_map(written[-1], name, scores, first=int(numbers[0]))
    return written
