"""Files of Potts models and contact scores that other programs read and write.

Models: ours (safetensors), npz, CCMpred raw and msgpack, plmc binary, GREMLIN text MRF. Contact
scores: CCMpred .mat, npy and npz, EVcouplings CSV, CASP RR. Every border converts: alphabets by
letter, and the gauge where a format asks for one. Models can become scores, not the reverse.
Text formats are gzipped where the name ends in .gz.
"""

import csv
import io
import re
import shutil
import struct
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from npm_core import numbering, potts
from npm_core.alphabet import ALPHABET, GAP, STATES
from npm_core.arrays import Float64, Indices
from npm_core.errors import DataError, SettingsError
from npm_core.files import atomic_path, open_binary, open_gzip, open_text
from npm_core.matrices import load_arrays, read_matrix, read_numbers, read_sequence
from npm_core.potts import Potts

T = TypeVar("T")

PLMC_ALPHABET = "-ACDEFGHIKLMNPQRSTVWY"

RR_SEPARATION = 6
"""CASP RR lists no pairs closer along the chain."""

ROUNDING = 1e-4
"""Share of the largest score by which [i, j] may differ from [j, i]; in CCMpred's files 1e-6 do."""

_RR_WORDS = ("PFRMAT", "TARGET", "AUTHOR", "REMARK", "METHOD", "MODEL", "RMODE")
_RR_SEQUENCE = re.compile(r"[A-Za-z*.-]+")


class ScoreFile(NamedTuple):
    """Contact scores as a file holds them.

    Attributes:
        scores: (L, L) float64, symmetric, zero diagonal.
        query: Letters of the protein, None if the file does not say.
        numbers: (L,) of the residues; 1 to L if the file does not say.
    """

    scores: Float64
    query: str | None
    numbers: Indices

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
        return ScoreFile(scores, query, numbers), scored


def read_model(path: Path | str, file_format: str | None = None) -> Potts:
    """Read a Potts model in any format of MODELS.

    Args:
        path: File; raw and MRF may be gzipped.
        file_format: A key of MODELS; told from the suffix (npz: from its arrays) when None.

    Raises:
        DataError: The file is missing, truncated, longer than it says, or holds NaN or infinity.
        SettingsError: The format is unknown or holds scores only.
    """
    try:
        name = file_format or format_within(path, {*MODELS, "npz"})
    except SettingsError as error:
        raise SettingsError(f"{error}. `fit-potts` makes a model of an alignment") from error
    if name not in MODELS:
        raise SettingsError(f"{path}: {name} holds contact scores; a Potts model is needed")
    return potts.check(MODELS[name][0](Path(path)), str(path))


def model_format(path: Path | str, file_format: str | None = None) -> str:
    """Format of a Potts model that is to be written here; told from the suffix when None.

    Raises:
        SettingsError: The suffix is not known, or the format that of scores.
    """
    name = file_format or format_of(path, {*MODELS, "npz"}).replace("npz", "npz-model")
    if name not in MODELS:
        raise SettingsError(f"{path}: {name} holds contact scores, not Potts models")
    _check_zipped(path, name)
    return name


def write_model(path: Path | str, model: Potts, file_format: str | None = None) -> None:
    """Write a Potts model in any format of MODELS, whole or not at all; see `read_model`."""
    name = model_format(path, file_format)
    potts.check(model, str(path))
    _write(path, name, MODELS[name][1], model)


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
    name = format_within(path) if _suffix(path) in SUFFIXES else "mat"
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
    file_format: str | None = None,
) -> ScoreFile:
    """Write contact scores in any format of SCORES, whole or not at all.

    Args:
        path: File.
        scores: (L, L), symmetric.
        query: Letters of the protein, where the format has a place for them.
        numbers: (L,) of its residues, likewise; 1 to L when None.
        file_format: A key of SCORES; told from the suffix when None.

    Returns:
        What was written.
    """
    name = file_format or format_of(path, SCORES)
    if name not in SCORES:
        raise SettingsError(f"{path}: {name} holds Potts models, not contact scores")
    if not np.isfinite(scores).all():
        raise DataError(f"{path}: the scores hold NaN or infinity")
    numbers = numbering.from_one(len(scores)) if numbers is None else numbers
    file = ScoreFile(np.asarray(scores, dtype=np.float64), query, numbers)
    try:
        _write(path, name, SCORES[name][1], file)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return file


def write_model_scores(
    path: Path | str,
    model: Potts,
    *,
    centre: potts.Centre | None = None,
    file_format: str | None = None,
) -> ScoreFile:
    """Write the contact scores of a model: the paper's (C.2), or as mat the matrix of CCMpred.

    Args:
        path: File.
        model: The Potts model.
        centre: What leaves each J_ij first; None for what the format means.
        file_format: A key of SCORES; told from the suffix when None.

    Returns:
        What was written.

    Raises:
        SettingsError: As `write_scores`, or mat was asked for with a centre that is not CCMpred's.
    """
    name = file_format or format_of(path, SCORES)
    if name != "mat":
        scores: NDArray = potts.contact_scores(model.couplings, centre=centre or "none")
    elif centre in (None, "mean"):
        scores = potts.ccmpred_matrix(model.couplings)
    else:
        raise SettingsError(
            f"centre {centre} has no .mat file: CCMpred's has the mean subtracted; "
            "write .npy or .npz"
        )
    numbers = numbers_of(model)
    return write_scores(path, scores, query=query_of(model), numbers=numbers, file_format=name)


def _write(path: Path | str, name: str, writer: Callable[[Path, T], None], content: T) -> None:
    """Write whole or not at all, and gzipped where the name says so."""
    _check_zipped(path, name)
    if not _is_zipped(path):
        with atomic_path(path) as temporary:
            writer(temporary, content)
        return
    with open_gzip(path) as packed, NamedTemporaryFile(dir=Path(path).parent) as plain:
        writer(Path(plain.name), content)
        shutil.copyfileobj(plain, packed)


def _is_zipped(path: Path | str) -> bool:
    return Path(path).name.endswith(".gz")


def _check_zipped(path: Path | str, name: str) -> None:
    if _is_zipped(path) and name not in TEXT:
        raise SettingsError(
            f"{path}: {name} is not read gzipped; write it without .gz, or one of {', '.join(TEXT)}"
        )


def format_of(path: Path | str, wanted: Collection[str] | None = None) -> str:
    """Format of a file by its suffix; an .npz is one of scores.

    Args:
        path: File.
        wanted: Formats whose suffixes the error lists; all when None.

    Raises:
        SettingsError: The suffix is not known.
    """
    suffix = _suffix(path)
    if suffix not in SUFFIXES:
        known = [end for end, name in SUFFIXES.items() if wanted is None or name in wanted]
        raise SettingsError(
            f"{path}: cannot tell the format from the name; its suffix is none of "
            f"{', '.join(known)}"
        )
    return SUFFIXES[suffix]


def _suffix(path: Path | str) -> str:
    return Path(Path(path).name.removesuffix(".gz")).suffix.lstrip(".").lower()


def format_within(path: Path | str, wanted: Collection[str] | None = None) -> str:
    """Format of a file to be read: as `format_of`, but an .npz with couplings is a model."""
    name = format_of(path, wanted)
    return "npz-model" if name == "npz" and "couplings" in _npz_names(Path(path)) else name


def query_of(model: Potts) -> str | None:
    """Letters of the query stored with a model, if they fit its length."""
    query = model.metadata.get("query", "")
    return query if len(query) == model.length else None


def numbers_of(model: Potts) -> Indices:
    """Residue numbers stored with a model, if they fit its length; else 1 to L."""
    text = model.metadata.get("numbers")
    numbers = numbering.from_one(model.length)
    found = numbers if text is None else numbering.from_text(text, "the model's metadata")
    return found if len(found) == model.length else numbers


def _npz_names(path: Path) -> list[str]:
    try:
        with open_binary(path) as stream, zipfile.ZipFile(stream) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{path}: not a whole npz file ({error})") from error


def _read_npz_model(path: Path) -> Potts:
    arrays = load_arrays(path)
    if isinstance(arrays, np.ndarray) or not {"fields", "couplings"} <= arrays.keys():
        raise DataError(f"{path}: expected the arrays fields and couplings")
    fields, couplings = (
        array.astype(np.float32) if array.dtype.kind in "fiu" else array
        for array in (arrays["fields"], arrays["couplings"])
    )
    names = ("query", "numbers")
    facts = {name: str(arrays[name]) for name in names if name in arrays and str(arrays[name])}
    return potts.from_arrays(fields, couplings, facts, str(path))


def _write_npz_model(path: Path, model: Potts) -> None:
    with path.open("wb") as stream:
        np.savez(
            stream,
            fields=model.fields,
            couplings=model.couplings,
            query=np.array(model.metadata.get("query", "")),
            numbers=np.array(numbering.as_text(numbers_of(model))),
        )


def _gap_zero(model: Potts) -> NDArray[np.float32]:
    """(L, 20) fields relative to the gap's: the same distribution, as CCMpred writes it."""
    return (model.fields - model.fields[:, GAP:])[:, :GAP]


def _with_gap(fields: NDArray) -> NDArray[np.float32]:
    return np.pad(fields, ((0, 0), (0, 1))).astype(np.float32)


def _read_ccmpred_raw(path: Path) -> Potts:
    """L lines of 20 fields, then `# i j` and a 21 x 21 block for each pair i < j."""
    with open_text(path) as stream:
        text = stream.read()
    head, mark, tail = text.partition("#")
    fields = _numbers(head, GAP, path, "fields")
    length = len(fields)
    if length == 0:
        raise DataError(f"{path}: no fields; not a CCMpred raw file")
    blocks = mark + tail
    meta = blocks.find("#>META>")
    blocks = blocks if meta < 0 else blocks[:meta]
    marks = [line.split() for line in blocks.splitlines() if line.startswith("#")]
    pairs = [["#", str(i), str(j)] for i in range(length) for j in range(i + 1, length)]
    if marks != pairs:
        raise DataError(
            f"{path}: {len(marks)} pair headers for {length} positions, expected {len(pairs)} "
            "in order; the file is truncated or damaged"
        )
    upper = _numbers(blocks, STATES, path, "couplings")
    if len(upper) != STATES * len(pairs):
        raise DataError(
            f"{path}: {len(upper)} lines of couplings, expected {STATES * len(pairs)}; truncated?"
        )
    return Potts(_with_gap(fields), potts.full_couplings(upper.reshape(-1, STATES, STATES), length))


def _numbers(text: str, columns: int, path: Path, what: str) -> NDArray[np.float32]:
    """(n, columns) of the lines of `text` that are not comments."""
    if not any(line.strip() and not line.startswith("#") for line in text.splitlines()):
        return np.zeros((0, columns), dtype=np.float32)
    try:
        found = np.loadtxt(io.StringIO(text), dtype=np.float32, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: the {what} are not lines of numbers ({error})") from error
    if found.shape[1] != columns:
        raise DataError(f"{path}: {what} of {found.shape[1]} numbers a line, expected {columns}")
    return found


def _write_ccmpred_raw(path: Path, model: Potts) -> None:
    with path.open("w") as stream:
        np.savetxt(stream, _gap_zero(model), fmt="%.9g", delimiter="\t")
        for i in range(model.length):
            for j in range(i + 1, model.length):
                stream.write(f"# {i} {j}\n")
                np.savetxt(stream, model.couplings[i, j], fmt="%.9g", delimiter="\t")


def _read_ccmpred_msgpack(path: Path) -> Potts:
    import msgpack

    try:
        content = msgpack.unpackb(path.read_bytes(), raw=False)
        kind, length = content["format"], content["ncol"]
        if not isinstance(length, int) or length < 1:
            raise DataError(f"{path}: ncol is {length!r}, expected a number of positions")
        fields = np.asarray(content["x_single"], dtype=np.float32).reshape(length, GAP)
        pairs = content["x_pair"]
        upper = np.empty((length * (length - 1) // 2, STATES, STATES), dtype=np.float32)
        order = [(i, j) for i in range(length) for j in range(i + 1, length)]
        for at, (i, j) in enumerate(order):
            entry = pairs[f"{i}/{j}"]
            if (entry["i"], entry["j"]) != (i, j):
                raise DataError(f"{path}: pair {i}/{j} says it is {entry['i']}/{entry['j']}")
            upper[at] = np.asarray(entry["x"], dtype=np.float32).reshape(STATES, STATES)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise DataError(f"{path}: not a whole CCMpred msgpack file ({error!r})") from error
    if kind != "ccm-1" or len(pairs) != len(order):
        raise DataError(f"{path}: format {kind!r} with {len(pairs)} pairs, expected ccm-1")
    return Potts(_with_gap(fields), potts.full_couplings(upper, length))


def _write_ccmpred_msgpack(path: Path, model: Potts) -> None:
    import msgpack

    pairs = {
        f"{i}/{j}": {"i": i, "j": j, "x": model.couplings[i, j].ravel().tolist()}
        for i in range(model.length)
        for j in range(i + 1, model.length)
    }
    content = {
        "format": "ccm-1",
        "ncol": model.length,
        "x_single": _gap_zero(model).ravel().tolist(),
        "x_pair": pairs,
    }
    path.write_bytes(msgpack.packb(content))


def _read_plmc(path: Path) -> Potts:
    """plmc's binary, version 2, float32: header, alphabet, weights, target, f, h, f_ij, J_ij."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    if len(data) < 40:
        raise DataError(f"{path}: {len(data)} bytes are no plmc file")
    length, states, valid, invalid, _ = struct.unpack("<5i", data[:20])
    if not (0 < length < 100_000 and 1 < states <= STATES and valid >= 0 and invalid >= 0):
        raise DataError(f"{path}: length {length} and {states} states; not a float32 plmc file")
    pairs = length * (length - 1) // 2
    front = 40 + states + 4 * (valid + invalid) + length + 4 * length
    expected = front + 8 * length * states + 8 * pairs * states**2
    if len(data) != expected:
        raise DataError(
            f"{path}: {len(data)} bytes, a float32 plmc file of length {length} has {expected}"
        )
    letters = data[40 : 40 + states].decode("latin-1")
    if len(set(letters)) != states or not set(letters) <= set(ALPHABET):
        raise DataError(f"{path}: alphabet {letters!r}; expected letters of {ALPHABET}")
    place = [ALPHABET.index(letter) for letter in letters]
    target = data[front - 5 * length : front - 4 * length].decode("latin-1")
    index = np.frombuffer(data, dtype="<i4", count=length, offset=front - 4 * length)
    values = np.frombuffer(data, dtype="<f4", offset=front)
    fields = np.zeros((length, STATES), dtype=np.float32)
    fields[:, place] = values[length * states : 2 * length * states].reshape(length, states)
    upper = np.zeros((pairs, STATES, STATES), dtype=np.float32)
    found = values[2 * length * states + pairs * states**2 :].reshape(pairs, states, states)
    upper[np.ix_(range(pairs), place, place)] = found
    facts = {"query": target, "numbers": numbering.as_text(numbering.checked(index, str(path)))}
    return Potts(fields, potts.full_couplings(upper, length), facts)


def _write_plmc(path: Path, model: Potts) -> None:
    """As `_read_plmc`; frequencies, which a model does not hold, are written as zeros."""
    place = [ALPHABET.index(letter) for letter in PLMC_ALPHABET]
    length = model.length
    query = query_of(model) or "-" * length
    fields = model.fields[:, place]
    upper = potts.upper_couplings(model.couplings)[:, place][:, :, place]
    with path.open("wb") as stream:
        stream.write(struct.pack("<5i", length, STATES, 0, 0, 0))
        stream.write(struct.pack("<5f", 0, 0, 0, 0, 0))
        stream.write(PLMC_ALPHABET.encode() + query.encode())
        stream.write(numbers_of(model).astype("<i4").tobytes())
        stream.write(np.zeros_like(fields).tobytes() + fields.astype("<f4").tobytes())
        stream.write(bytes(upper.nbytes) + upper.astype("<f4").tobytes())


def _read_gremlin(path: Path) -> Potts:
    """Lines `V[i]` with 21 fields and `W[i][j]` with 441 couplings, residues from 0.

    GREMLIN leaves out gappy columns, whose numbers do not occur.
    """
    singles: dict[int, NDArray] = {}
    pairs: dict[tuple[int, int], NDArray] = {}
    with open_text(path) as stream:
        for number, line in enumerate(stream, start=1):
            tag, _, rest = line.strip().partition(" ")
            if not tag:
                continue
            try:
                indices = [int(part) for part in tag[2:-1].split("][")]
                values = np.array(rest.split(), dtype=np.float32)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: not an MRF line ({error})") from error
            if tag[:2] == "V[" and len(indices) == 1 and len(values) == STATES:
                singles[indices[0]] = values
            elif tag[:2] == "W[" and len(indices) == 2 and len(values) == STATES**2:
                pairs[indices[0], indices[1]] = values.reshape(STATES, STATES)
            else:
                raise DataError(
                    f"{path}, line {number}: {tag} with {len(values)} numbers; expected V[i] with "
                    f"{STATES} or W[i][j] with {STATES**2}"
                )
    length, residues = len(singles), sorted(singles)
    order = [(i, j) for n, i in enumerate(residues) for j in residues[n + 1 :]]
    if length == 0 or sorted(pairs) != order:
        raise DataError(f"{path}: {len(pairs)} pairs for {length} positions; truncated?")
    upper = np.stack([pairs[pair] for pair in order]) if order else np.zeros((0, STATES, STATES))
    fields = np.stack([singles[i] for i in residues])
    numbers = numbering.checked(np.array(residues, dtype=np.int32) + 1, str(path))
    facts = {"numbers": numbering.as_text(numbers)}
    return Potts(fields, potts.full_couplings(upper.astype(np.float32), length), facts)


def _write_gremlin(path: Path, model: Potts) -> None:
    def text(values: NDArray) -> str:
        return " ".join(f"{value:.9g}" for value in values.ravel())

    residues = numbers_of(model) - 1
    with path.open("w") as stream:
        for i in range(model.length):
            stream.write(f"V[{residues[i]}] {text(model.fields[i])}\n")
        for i in range(model.length):
            for j in range(i + 1, model.length):
                tag = f"W[{residues[i]}][{residues[j]}]"
                stream.write(f"{tag} {text(model.couplings[i, j])}\n")


def _read_matrix(path: Path) -> ScoreFile:
    scores = read_matrix(path)
    numbers = read_numbers(path)
    if numbers is None:
        numbers = numbering.from_one(len(scores))
    query = read_sequence(path)
    for what, found in (("a sequence", query), ("numbers", numbers)):
        if found is not None and len(found) != len(scores):
            raise DataError(f"{path}: {what} of {len(found)} for {len(scores)} residues")
    return ScoreFile(scores, query, numbers)


def _write_mat(path: Path, file: ScoreFile) -> None:
    np.savetxt(path, file.scores, fmt="%.20e", delimiter="\t")


def _write_npy(path: Path, file: ScoreFile) -> None:
    with path.open("wb") as stream:
        np.save(stream, file.scores)


def _write_npz(path: Path, file: ScoreFile) -> None:
    arrays: dict[str, Any] = {"sequence": np.array(file.query)} if file.query else {}
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
            letters[i], letters[j] = row["A_i"], row["A_j"]
    numbers = numbering.checked(np.array(sorted(letters), dtype=np.int32), str(path))
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

    A file lists only some pairs: the others rank last, one below the lowest p. A line of the
    sequence may read END; so END ends a file only after a pair, or as its last line.
    """
    pairs: dict[tuple[int, int], float] = {}
    query = ""
    with open_text(path) as stream:
        lines = stream.read().rstrip().splitlines()
    started = False
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields or (fields[0] in _RR_WORDS and (len(fields) > 1 or not started)):
            started = started or fields[:1] == ["MODEL"]
            continue
        if fields[0] in ("END", "ENDMDL") and (pairs or number == len(lines)):
            break
        if len(fields) == 1 and not pairs and _RR_SEQUENCE.fullmatch(fields[0]):
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
    return ScoreFile(scores, _known(query), numbering.from_one(len(query)))


def _known(query: str) -> str | None:
    """None for the X that stand in a file for letters that nobody knew."""
    return query if query.strip("X") else None


def casp_rr(
    scores: NDArray, query: str | None, *, target: str | None = None, method: str | None = None
) -> str:
    """CASP's RR format: pairs `i j 0 8 p`, 1-based, the strongest first.

    RR wants p of 0 to 1. Ours rank pairs and are no probabilities: p is the score over the largest
    one listed. Listed are pairs at least RR_SEPARATION apart whose score is above zero.

    Args:
        scores: (L, L).
        query: L letters; X for each when None, as a reader takes L from them.
        target: Name of the protein, without blanks.
        method: What made the scores.
    """
    length = len(scores)
    i, j = np.triu_indices(length, k=RR_SEPARATION)
    values = np.asarray(scores[i, j], dtype=np.float64)
    order = np.argsort(-values, kind="stable")[: np.count_nonzero(values > 0)]
    shares = values[order] / values[order[:1]]
    letters = query or "X" * length
    lines = [
        "PFRMAT RR",
        *([f"TARGET {target}"] if target else []),
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
    far = whole.scores[np.triu_indices(len(whole.scores), k=RR_SEPARATION)]
    if far.size and far.max() < 0:
        raise DataError("no score is above zero, and CASP RR lists no others; are these distances?")
    path.write_text(casp_rr(whole.scores, whole.query), encoding="utf-8")


Reader = Callable[[Path], Potts]
Writer = Callable[[Path, Potts], None]

MODELS: dict[str, tuple[Reader, Writer]] = {
    "safetensors": (potts.load, potts.write),
    "npz-model": (_read_npz_model, _write_npz_model),
    "ccmpred-raw": (_read_ccmpred_raw, _write_ccmpred_raw),
    "ccmpred-msgpack": (_read_ccmpred_msgpack, _write_ccmpred_msgpack),
    "plmc": (_read_plmc, _write_plmc),
    "gremlin": (_read_gremlin, _write_gremlin),
}
"""Formats of Potts models: how to read and to write each."""

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

TEXT = ("ccmpred-raw", "gremlin", "mat", "evcouplings", "rr")
"""Formats of either kind that may be gzipped."""

SUFFIXES = {
    "safetensors": "safetensors",
    "npz": "npz",
    "npy": "npy",
    "raw": "ccmpred-raw",
    "msgpack": "ccmpred-msgpack",
    "braw": "ccmpred-msgpack",
    "params": "plmc",
    "plmc": "plmc",
    "mrf": "gremlin",
    "mat": "mat",
    "csv": "evcouplings",
    "rr": "rr",
}
