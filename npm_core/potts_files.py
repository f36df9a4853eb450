"""Potts models that other programs read and write.

Ours (safetensors), npz, CCMpred raw and msgpack, plmc binary, GREMLIN text MRF. Every border
converts: alphabets by letter, and the gauge where a format asks for one. A model can become contact
scores, not the reverse.
"""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from npm_core import alphabet, numbering, potts
from npm_core.alphabet import ALPHABET, GAP, STATES
from npm_core.arrays import Indices
from npm_core.contacts import Centre, ccmpred_matrix, contact_scores
from npm_core.errors import DataError, SettingsError, told_where
from npm_core.files import open_text
from npm_core.formats import check_zipped, format_of, format_within, write
from npm_core.matrices import load_arrays
from npm_core.potts import Potts
from npm_core.score_files import SCORES, ScoreFile, write_scores

_FORMAT = "npm-potts-1"

PLMC_ALPHABET = "-ACDEFGHIKLMNPQRSTVWY"


def read_model(path: Path | str, file_format: str | None = None) -> Potts:
    """Read a Potts model in any format of MODELS.

    Args:
        path: File; raw and MRF may be gzipped.
        file_format: A key of MODELS; told from the suffix (npz: from its arrays) when None.

    Raises:
        DataError: The file is missing, truncated, longer than it says, or holds NaN or infinity,
            or its query a character that is no amino acid.
        SettingsError: The format is unknown or holds scores only.
    """
    try:
        name = file_format or format_within(path, {*MODELS, "npz"})
    except SettingsError as error:
        raise SettingsError(f"{error}. `fit-potts` makes a model of an alignment") from error
    if name not in MODELS:
        raise SettingsError(f"{path}: {name} holds contact scores; a Potts model is needed")
    model = potts.check(MODELS[name][0](Path(path)), str(path))
    with told_where(f"{path}: the query"):
        alphabet.encode(query_of(model) or "")
    return model


def model_format(path: Path | str, file_format: str | None = None) -> str:
    """Format of a Potts model that is to be written here; told from the suffix when None.

    Raises:
        SettingsError: The suffix is not known, or the format that of scores.
    """
    name = file_format or format_of(path, {*MODELS, "npz"}).replace("npz", "npz-model")
    if name not in MODELS:
        raise SettingsError(f"{path}: {name} holds contact scores, not Potts models")
    check_zipped(path, name)
    return name


def write_model(path: Path | str, model: Potts, file_format: str | None = None) -> None:
    """Write a Potts model in any format of MODELS, whole or not at all; see `read_model`."""
    name = model_format(path, file_format)
    potts.check(model, str(path))
    write(path, name, MODELS[name][1], model)


def write_model_scores(
    path: Path | str,
    model: Potts,
    *,
    centre: Centre | None = None,
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
        scores: NDArray = contact_scores(model.couplings, centre=centre or "none")
    elif centre in (None, "mean"):
        scores = ccmpred_matrix(model.couplings)
    else:
        raise SettingsError(
            f"centre {centre} has no .mat file: CCMpred's has the mean subtracted; "
            "write .npy or .npz"
        )
    return write_scores(
        path,
        scores,
        query=query_of(model),
        numbers=numbers_of(model),
        name=model.metadata.get("query_name"),
        file_format=name,
    )


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


def _model_of(fields: NDArray, couplings: NDArray, metadata: dict[str, str], where: str) -> Potts:
    """A model of arrays that a file holds.

    Raises:
        DataError: They are no fields and couplings.
    """
    with told_where(where):
        return Potts(fields, couplings, metadata)


def _write_safetensors(path: Path, model: Potts) -> None:
    """Fields, the couplings of i < j, and the metadata."""
    tensors = {
        "fields": np.ascontiguousarray(model.fields, dtype=np.float32),
        "couplings": potts.upper_couplings(model.couplings).astype(np.float32, copy=False),
    }
    known = {"format": _FORMAT, "alphabet": alphabet.ALPHABET}
    save_file(tensors, path, metadata={**model.metadata, **known})


def _read_safetensors(path: Path) -> Potts:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            found = set(file.keys())
            if metadata.get("format") != _FORMAT or found != {"fields", "couplings"}:
                raise DataError(
                    f"{path}: tensors {sorted(found)} of format {metadata.get('format')!r}, "
                    f"expected fields and couplings of {_FORMAT!r}"
                )
            types = {name: file.get_slice(name).get_dtype() for name in sorted(found)}
            if not set(types.values()) <= {"F16", "F32", "F64"}:
                raise DataError(f"{path}: tensors of types {types}, expected F32")
            fields, upper = file.get_tensor("fields"), file.get_tensor("couplings")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except SafetensorError as error:
        raise DataError(f"{path}: not a whole safetensors file ({error})") from error
    if metadata.get("alphabet") != alphabet.ALPHABET:
        raise DataError(f"{path}: alphabet {metadata.get('alphabet')!r}, not {alphabet.ALPHABET!r}")
    length = len(fields) if fields.ndim else 0
    if upper.shape != (length * (length - 1) // 2, STATES, STATES):
        raise DataError(f"{path}: {upper.shape} couplings for {fields.shape} fields")
    return _model_of(fields, potts.full_couplings(upper, length), metadata, str(path))


def _read_npz_model(path: Path) -> Potts:
    arrays = load_arrays(path)
    if isinstance(arrays, np.ndarray) or not {"fields", "couplings"} <= arrays.keys():
        raise DataError(f"{path}: expected the arrays fields and couplings")
    fields, couplings = (
        array.astype(np.float32) if array.dtype.kind in "fiu" else array
        for array in (arrays["fields"], arrays["couplings"])
    )
    names = ("query", "query_name", "numbers")
    facts = {name: str(arrays[name]) for name in names if name in arrays and str(arrays[name])}
    return _model_of(fields, couplings, facts, str(path))


def _write_npz_model(path: Path, model: Potts) -> None:
    with path.open("wb") as stream:
        np.savez(
            stream,
            fields=model.fields,
            couplings=model.couplings,
            query=np.array(model.metadata.get("query", "")),
            query_name=np.array(model.metadata.get("query_name", "")),
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
    numbers = numbering.checked([residue + 1 for residue in residues], str(path))
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


Reader = Callable[[Path], Potts]
Writer = Callable[[Path, Potts], None]

MODELS: dict[str, tuple[Reader, Writer]] = {
    "safetensors": (_read_safetensors, _write_safetensors),
    "npz-model": (_read_npz_model, _write_npz_model),
    "ccmpred-raw": (_read_ccmpred_raw, _write_ccmpred_raw),
    "ccmpred-msgpack": (_read_ccmpred_msgpack, _write_ccmpred_msgpack),
    "plmc": (_read_plmc, _write_plmc),
    "gremlin": (_read_gremlin, _write_gremlin),
}
"""Formats of Potts models: how to read and to write each."""
