"""Contact scores that other programs read and write.

CCMpred .mat, npy and npz, EVcouplings CSV, CASP RR.
"""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npm_core import numbering
from npm_core.arrays import Float64, Indices
from npm_core.errors import DataError, SettingsError, told_where
from npm_core.files import open_text
from npm_core.formats import SUFFIXES, format_of, format_within, suffix_of, write
from npm_core.matrices import read_matrix, read_name, read_numbers, read_sequence
from npm_core.precision import MIN_SEPARATION

ROUNDING = 1e-4
"""Share of the largest score by which [i, j] may differ from [j, i]; in CCMpred's files 1e-6 do."""

_RR_WORDS = ("PFRMAT", "TARGET", "AUTHOR", "REMARK", "METHOD", "MODEL", "RMODE")
_LETTERS = re.compile(r"[A-Za-z*.-]+")


@dataclass(frozen=True, eq=False)
class ScoreFile:
    """Contact scores as a file holds them.

    Attributes:
        scores: (L, L) float64, symmetric, zero diagonal.
        query: Letters of the protein, None if the file does not say.
        numbers: (L,) of the residues; 1 to L if the file does not say.
        name: Of the protein, None if the file does not say.
    """

    scores: Float64
    query: str | None
    numbers: Indices
    name: str | None = None

    def __post_init__(self) -> None:
        length = len(self.scores)
        for what, found in (("a sequence", self.query), ("numbers", self.numbers)):
            if found is not None and len(found) != length:
                raise DataError(f"{what} of {len(found)} for {length} residues")

    def whole(self) -> tuple["ScoreFile", NDArray[np.bool_]]:
        """With the residues in between that have no scores: zero, and X; and which have some."""
        places = self.numbers - self.numbers[0]
        scored = np.zeros(places[-1] + 1, dtype=bool)
        scored[places] = True
        scores = np.zeros((len(scored), len(scored)))
        scores[np.ix_(places, places)] = self.scores
        letters = np.full(len(scored), "X")
        letters[places] = list(self.query or "X")
        query = "".join(letters) if self.query else None
        numbers = numbering.from_one(len(scored)) + self.numbers[0] - 1
        return ScoreFile(scores, query, numbers, self.name), scored


def read_scores(path: Path | str, file_format: str | None = None) -> ScoreFile:
    """Read contact scores in any format of SCORES.

    Raises:
        DataError: The file is missing, truncated or not finite, or a pair is missing or twice.
        SettingsError: The format is unknown or holds a model.
    """
    name = file_format or format_within(path)
    if name not in SCORES:
        raise SettingsError(
            f"{path}: {name} holds a Potts model, not contact scores; run `score` first"
        )
    found = SCORES[name][0](Path(path))
    if not np.isfinite(found.scores).all():
        raise DataError(f"{path}: the scores hold NaN or infinity")
    if not _is_symmetric(found.scores):
        raise DataError(f"{path}: the scores are not symmetric")
    return found


def read_pair_scores(path: Path | str) -> ScoreFile:
    """Scores of which only i < j is read: other formats by their suffix, else any matrix.

    Raises:
        DataError: As `read_scores` or `read_matrix`; the matrix is neither symmetric nor zero
            below its diagonal, so that i < j may not be what is meant; or all scores are equal.
        SettingsError: The file holds a model.
    """
    name = format_within(path) if suffix_of(path) in SUFFIXES else "mat"
    found = _read_matrix(Path(path)) if name in MATRICES else read_scores(path, name)
    upper = found.scores[np.triu_indices(len(found.scores), k=1)]
    if np.tril(found.scores, -1).any() and not _is_symmetric(found.scores):
        problem = "is not symmetric" if upper.any() else "has its lower triangle only"
        raise DataError(
            f"{path}: the matrix m of scores {problem}, but m[i, j] is read for i < j only; "
            "write (m + m.T) / 2"
        )
    if len(upper) > 1 and (upper == upper[0]).all():
        raise DataError(f"{path}: all {len(upper)} scores are equal; they rank no pair first")
    return found


def _is_symmetric(scores: Float64) -> bool:
    """Whether a matrix is, up to ROUNDING; NaN may be where NaN is."""
    largest = np.abs(scores[np.isfinite(scores)]).max(initial=0)
    return np.allclose(scores, scores.T, rtol=0, atol=ROUNDING * largest, equal_nan=True)


def write_scores(
    path: Path | str,
    scores: NDArray,
    *,
    query: str | None = None,
    numbers: Indices | None = None,
    name: str | None = None,
    file_format: str | None = None,
) -> ScoreFile:
    """Write contact scores in any format of SCORES, whole or not at all.

    Args:
        path: File.
        scores: (L, L), symmetric.
        query: Letters of the protein, where the format has a place for them.
        numbers: (L,) of its residues, likewise; 1 to L when None.
        name: Of the protein, likewise.
        file_format: A key of SCORES; told from the suffix when None.

    Returns:
        What was written.
    """
    kind = file_format or format_of(path, SCORES)
    if kind not in SCORES:
        raise SettingsError(f"{path}: {kind} holds Potts models, not contact scores")
    if not np.isfinite(scores).all():
        raise DataError(f"{path}: the scores hold NaN or infinity")
    numbers = numbering.from_one(len(scores)) if numbers is None else numbers
    with told_where(str(path)):
        file = ScoreFile(np.asarray(scores, dtype=np.float64), query, numbers, name)

    def writer(part: Path, file: ScoreFile) -> None:
        with told_where(str(path)):
            SCORES[kind][1](part, file)

    write(path, kind, writer, file)
    return file


def _read_matrix(path: Path) -> ScoreFile:
    scores = read_matrix(path)
    numbers = read_numbers(path)
    if numbers is None:
        numbers = numbering.from_one(len(scores))
    query = read_sequence(path)
    with told_where(str(path)):
        return ScoreFile(scores, query, numbers, read_name(path))


def _write_mat(path: Path, file: ScoreFile) -> None:
    np.savetxt(path, file.scores, fmt="%.20e", delimiter="\t")


def _write_npy(path: Path, file: ScoreFile) -> None:
    with path.open("wb") as stream:
        np.save(stream, file.scores)


def _write_npz(path: Path, file: ScoreFile) -> None:
    texts = {"sequence": file.query, "query_name": file.name}
    arrays: dict[str, Any] = {key: np.array(text) for key, text in texts.items() if text}
    with path.open("wb") as stream:
        np.savez_compressed(stream, scores=file.scores, numbers=file.numbers, **arrays)


def _ranked_pairs(scores: Float64) -> list[tuple[int, int]]:
    """Pairs i < j from the highest score to the lowest, ties by position."""
    i, j = np.triu_indices(len(scores), k=1)
    order = np.argsort(-scores[i, j], kind="stable")
    return list(zip(i[order].tolist(), j[order].tolist(), strict=True))


def _from_pairs(pairs: dict[tuple[int, int], float], numbers: Indices, path: Path) -> Float64:
    """(L, L) from scores of every pair of residues of these numbers."""
    length = len(numbers)
    scores = np.zeros((length, length))
    if len(pairs) != length * (length - 1) // 2 or length == 0:
        raise DataError(f"{path}: {len(pairs)} pairs of {length} positions; some are missing")
    place = {number: position for position, number in enumerate(numbers.tolist())}
    for (i, j), score in pairs.items():
        scores[place[i], place[j]] = scores[place[j], place[i]] = score
    return scores


def _add_pair(pairs: dict[tuple[int, int], float], i: int, j: int, score: float, at: str) -> None:
    if not 1 <= i < j:
        raise DataError(f"{at}: pair {i}, {j}; expected 1 <= i < j")
    if (i, j) in pairs:
        raise DataError(f"{at}: pair {i}, {j} occurs twice")
    pairs[i, j] = score


def _read_evcouplings(path: Path) -> ScoreFile:
    """CouplingScores.csv: columns i, A_i, j, A_j and the score cn; i and j are residue numbers."""
    pairs: dict[tuple[int, int], float] = {}
    letters: dict[int, str] = {}
    with open_text(path) as stream:
        table = csv.DictReader(stream)
        missing = {"i", "A_i", "j", "A_j", "cn"} - set(table.fieldnames or [])
        if missing:
            raise DataError(f"{path}: columns {sorted(missing)} are missing")
        for row in table:
            at = f"{path}, line {table.line_num}"
            try:
                i, j, score = int(row["i"]), int(row["j"]), float(row["cn"])
            except (TypeError, ValueError) as error:
                raise DataError(f"{at}: {error}") from error
            _add_pair(pairs, i, j, score, at)
            for place, column in ((i, "A_i"), (j, "A_j")):
                letter = row[column] or ""
                if len(letter) != 1 or not _LETTERS.fullmatch(letter):
                    raise DataError(f"{at}: {column} is {letter!r}, expected one letter")
                letters[place] = letter
    numbers = numbering.checked(sorted(letters), str(path))
    scores = _from_pairs(pairs, numbers, path)
    return ScoreFile(scores, _known("".join(letters[i] for i in numbers.tolist())), numbers)


def _write_evcouplings(path: Path, file: ScoreFile) -> None:
    query = file.query or "X" * len(file.scores)
    with path.open("w", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["i", "A_i", "j", "A_j", "cn"])
        for i, j in _ranked_pairs(file.scores):
            first, second = file.numbers[i], file.numbers[j]
            table.writerow([first, query[i], second, query[j], repr(float(file.scores[i, j]))])


def _read_rr(path: Path) -> ScoreFile:
    """CASP RR: lines of the sequence, then `i j 0 8 p`, positions from 1, up to END.

    A file lists only some pairs: the others rank last, one below the lowest p. An X in between that
    none of them names is a residue without a score, as `_write_rr` shows it. A line of the sequence
    may read END; so END ends a file only after a pair, or as its last line.
    """
    name = None
    pairs: dict[tuple[int, int], float] = {}
    query = ""
    with open_text(path) as stream:
        lines = stream.read().rstrip().splitlines()
    started = False
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields or (fields[0] in _RR_WORDS and (len(fields) > 1 or not started)):
            started = started or fields[:1] == ["MODEL"]
            name = fields[1] if fields[:1] == ["TARGET"] and len(fields) > 1 else name
            continue
        if fields[0] in ("END", "ENDMDL") and (pairs or number == len(lines)):
            break
        if len(fields) == 1 and not pairs and _LETTERS.fullmatch(fields[0]):
            query += fields[0]
            continue
        at = f"{path}, line {number}"
        try:
            i, j, _, _, score = fields
            _add_pair(pairs, int(i), int(j), float(score), at)
        except ValueError as error:
            raise DataError(f"{at}: expected 'i j 0 8 p', found {line[:40]!r}") from error
        if int(j) > len(query):
            raise DataError(
                f"{at}: pair {i}, {j} of a sequence of {len(query)} letters; "
                "RR needs the whole sequence before its pairs"
            )
    if not pairs:
        raise DataError(f"{path}: no pairs; nothing is ranked")
    scores = np.full((len(query), len(query)), min(pairs.values()) - 1)
    np.fill_diagonal(scores, 0.0)
    i, j = np.array(list(pairs)).T - 1
    scores[i, j] = scores[j, i] = list(pairs.values())
    kept = _shown(query, {place for pair in pairs for place in pair})
    letters = "".join(query[number - 1] for number in kept)
    return ScoreFile(scores[np.ix_(kept - 1, kept - 1)], _known(letters), kept, name)


def _shown(query: str, paired: set[int]) -> Indices:
    """Numbers of the residues that an RR file scores: all but X between letters, without a pair.

    Those at the ends are letters that nobody knew: `ScoreFile.whole` puts none there.
    """
    start, end = len(query) - len(query.lstrip("X")), len(query.rstrip("X"))
    shown = [
        number
        for number, letter in enumerate(query, start=1)
        if letter != "X" or number in paired or not start < number <= end
    ]
    return np.array(shown, dtype=np.int32)


def _known(query: str) -> str | None:
    """None for the X that stand in a file for letters that nobody knew."""
    return query if query.strip("X") else None


def casp_rr(
    scores: NDArray, query: str | None, *, target: str | None = None, method: str | None = None
) -> str:
    """CASP's RR format: pairs `i j 0 8 p`, 1-based, the strongest first.

    RR wants p of 0 to 1. Ours rank pairs and are no probabilities: p is the score over the largest
    one listed. Listed are pairs at least MIN_SEPARATION apart whose score is above zero.

    Args:
        scores: (L, L).
        query: L letters; X for each when None, as a reader takes L from them.
        target: Name of the protein, of which the first word is written.
        method: What made the scores.
    """
    length = len(scores)
    i, j = np.triu_indices(length, k=MIN_SEPARATION)
    values = np.asarray(scores[i, j], dtype=np.float64)
    order = np.argsort(-values, kind="stable")[: np.count_nonzero(values > 0)]
    shares = values[order] / values[order[:1]]
    letters = query or "X" * length
    lines = [
        "PFRMAT RR",
        *(f"TARGET {word}" for word in (target or "").split()[:1]),
        "REMARK p ranks the pairs: the score over the largest one, not a probability",
        *([f"METHOD {method}"] if method else []),
        "MODEL 1",
        *(letters[start : start + 50] for start in range(0, length, 50)),
        *(
            f"{a} {b} 0 8 {p:.9g}"
            for a, b, p in zip(i[order] + 1, j[order] + 1, shares, strict=True)
        ),
        "END",
    ]
    return "\n".join(lines) + "\n"


def _write_rr(path: Path, file: ScoreFile) -> None:
    whole, _ = file.whole()
    far = whole.scores[np.triu_indices(len(whole.scores), k=MIN_SEPARATION)]
    if far.size and far.max() <= 0:
        raise DataError("no score is above zero, and CASP RR lists no others; are these distances?")
    path.write_text(casp_rr(whole.scores, whole.query, target=whole.name), encoding="utf-8")


SCORES: dict[str, tuple[Callable[[Path], ScoreFile], Callable[[Path, ScoreFile], None]]] = {
    "mat": (_read_matrix, _write_mat),
    "npy": (_read_matrix, _write_npy),
    "npz": (_read_matrix, _write_npz),
    "evcouplings": (_read_evcouplings, _write_evcouplings),
    "rr": (_read_rr, _write_rr),
}
"""Formats of contact scores."""

MATRICES = ("mat", "npy", "npz")
"""Those of them that hold scores as a matrix."""
