import json
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.fetch import Patience
from npm_core.files import read_tsv
from npm_core.pdb_archive import Archive, NotInArchive
from npm_core.pdb_search import question, read_hits, search
from npm_core.pdb_selection import Criteria
from npm_core.source_lock import SourceLock

HITS = ["2ABC_1", "1ABC_1", "1ABC_2", "pdb_00012abc_1", "3ABC_1"]


class Service(ThreadingHTTPServer):
    """Answers as the RCSB Search API does; `faults` are answers to give first."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.hits, self.faults, self.asked = list(HITS), [], []
        self.url = f"http://127.0.0.1:{self.server_port}/rcsbsearch/v2/query"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.asked.append(body)
        if server.faults:
            status, headers, answer = server.faults.pop(0)
            return self.answer(status, answer, headers)
        page = body["request_options"]["paginate"]
        found = server.hits[page["start"] : page["start"] + page["rows"]]
        if not server.hits:
            return self.answer(204, "")
        return self.answer(200, {"total_count": len(set(server.hits)), "result_set": found})

    def answer(self, status, answer, headers=()):
        data = b"" if status == 204 else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    with Service() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def ask(service, tmp_path):
    def run(attempts=8, **knobs):
        knobs = {"rows": 2, "lock": SourceLock(tmp_path / "lock.tsv")} | knobs
        patience = Patience(attempts, first_wait=0.01)
        return search(service.url, Criteria(), tmp_path / "hits", patience=patience, **knobs)

    return run


def test_the_question_is_the_papers():
    body = question(Criteria(2.5, 40, date(2020, 5, 1), ("X-RAY DIFFRACTION",)))
    terms = [node["parameters"] for node in body["query"]["nodes"]]
    assert {term["attribute"]: (term["operator"], term["value"]) for term in terms} == {
        "exptl.method": ("in", ["X-RAY DIFFRACTION"]),
        "rcsb_entry_info.resolution_combined": ("less", 2.5),
        "rcsb_accession_info.deposit_date": ("less", "2020-05-01"),
        "entity_poly.rcsb_entity_polymer_type": ("exact_match", "Protein"),
        "entity_poly.rcsb_sample_sequence_length": ("greater", 40),
    }
    assert body["return_type"] == "polymer_entity"
    assert len(question(Criteria())["query"]["nodes"]) == 4


def test_all_pages_are_read_and_the_list_is_sorted(service, ask, tmp_path):
    assert ask() == 5
    starts = [body["request_options"]["paginate"]["start"] for body in service.asked]
    assert starts == [0, 2, 4]
    assert (tmp_path / "hits").read_text().split() == sorted(HITS)
    assert read_hits(tmp_path / "hits") == {"1abc", "2abc", "3abc", "pdb_00012abc"}
    (tmp_path / "hits").write_text("1ABC_1\n2ABC\n")
    with pytest.raises(DataError, match=r"hits, line 2: '' is no PDB id"):
        read_hits(tmp_path / "hits")


def test_a_hit_on_two_pages_counts_once_and_what_is_lost_by_it_is_missed(service, ask, tmp_path):
    # Entries of one day have no order: one may come twice, and another not at all.
    service.hits = ["1ABC_1", "2ABC_1", "2ABC_1"]
    assert ask(rows=3, lock=None) == 2
    service.faults = [
        (200, {}, {"total_count": 4, "result_set": ["1ABC_1", "2ABC_1"]}),
        (200, {}, {"total_count": 4, "result_set": ["2ABC_1", "3ABC_1"]}),
    ]
    with pytest.raises(DataError, match="3 different entities, 4 were announced"):
        ask(rows=2)


def test_no_hits_are_an_error(service, ask, tmp_path):
    service.hits = []
    with pytest.raises(DataError, match="nothing in the archive meets the criteria"):
        ask()
    assert not (tmp_path / "hits").exists()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again(service, ask, status):
    service.faults = [(status, {"Retry-After": "0"}, "busy")]
    assert ask() == 5
    assert len(service.asked) == 4


def test_a_service_that_stays_busy_is_given_up(service, ask):
    service.faults = [(503, {}, "busy")] * 2
    with pytest.raises(DataError, match="HTTP status 503"):
        ask(attempts=2)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((400, {}, {"message": "no such attribute"}), "400 Bad Request.*no such attribute"),
        ((200, {}, {"hits": []}), "not an answer of the Search API"),
        ((200, {}, {"total_count": 1, "result_set": [{"identifier": "1ABC_1"}]}), "a list of ids"),
        ((200, {}, {"total_count": 1, "result_set": ["nonsense"]}), "no PDB id"),
        ((200, {}, {"total_count": 3, "result_set": ["1ABC_1", "2ABC_1"]}), "archive changed"),
    ],
)
def test_another_answer_is_an_error(service, ask, tmp_path, answer, message):
    service.faults = [answer]
    with pytest.raises(DataError, match=message):
        ask()
    assert not (tmp_path / "hits").exists()


def test_the_first_answer_is_frozen(service, ask, tmp_path):
    ask()
    (entry,) = read_tsv(tmp_path / "lock.tsv")
    assert len(entry["sha256"]) == 64
    asked = len(service.asked)
    service.hits.append("4ABC_1")
    assert ask() == 5
    assert len(service.asked) == asked
    (tmp_path / "hits").unlink()
    with pytest.raises(DataError, match="the archive has changed since"):
        ask()


def test_the_selection_keeps_what_the_search_found(service, tmp_path):
    header = "IDCODE, HEADER, ACCESSION DATE, COMPOUND, SOURCE, AUTHOR LIST, RESOLUTION, METHOD\n"
    lines = [f"{name}\tX\t01/01/10\tY\tZ\tA\t2.0\t\n" for name in ("1ABC", "2ABC", "9ABC")]
    (tmp_path / "entries.idx").write_text(header + "".join(lines))
    (tmp_path / "seqres").write_text(
        "".join(f">{n}abc_A mol:protein length:50\n{'MKVLA' * 10}\n" for n in (1, 2, 9))
    )
    arguments = ["--url", service.url, "--lock", str(tmp_path / "lock.tsv")]
    assert main(["search-pdb", *arguments, "--output", str(tmp_path / "hits")]) == 0
    arguments = ["--entries", str(tmp_path / "entries.idx"), "--seqres", str(tmp_path / "seqres")]
    arguments += ["--hits", str(tmp_path / "hits"), "--output", str(tmp_path / "out.fasta")]
    assert main(["select-structures", *arguments, "--audit", str(tmp_path / "audit")]) == 0
    rows = [line.split("\t") for line in (tmp_path / "audit").read_text().splitlines()[1:]]
    assert {row[0]: row[5] for row in rows} == {
        "1abc": "",
        "2abc": "",
        "9abc": "not found by the search",
    }


def test_another_question_has_an_answer_of_its_own_on_record(service, ask, tmp_path):
    ask()
    service.hits.append("4ABC_1")
    lock = SourceLock(tmp_path / "lock.tsv")
    assert search(service.url, Criteria(min_length=50), tmp_path / "other", lock=lock) == 6
    assert len(list(read_tsv(tmp_path / "lock.tsv"))) == 2


def test_an_archive_may_lack_some_entries_but_not_all(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "1abc.cif").write_text("data_1ABC\n")
    archive = Archive(f"{folder.as_uri()}/{{id}}.cif", tmp_path / "cache", None)
    for entry in ("2abc", "3abc"):
        with pytest.raises(NotInArchive):
            archive.fetch(entry)
    # Both may be obsolete.
    archive.check()
    with pytest.raises(NotInArchive):
        archive.fetch("4abc")
    with pytest.raises(DataError, match="none of 3 entries is there"):
        archive.check()
    archive.fetch("1abc")
    archive.check()
    assert (archive.found, archive.absent) == ({"1abc"}, {"2abc", "3abc", "4abc"})
