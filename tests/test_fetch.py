import errno
import gzip
import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tenacity
from waiting import PATIENCE

from npm_core.cli import main
from npm_core.errors import DataError, OutputError, SettingsError
from npm_core.fetch import Absent, Patience, Transient, _Waits, download, is_url
from npm_core.files import read_tsv
from npm_core.source_lock import SourceLock

BODY = bytes(range(256)) * 40
DIGEST = hashlib.sha256(BODY).hexdigest()

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers each request by the next of its script, then always as a good server does."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.ranges: list[str | None] = []
        self.body = BODY
        self.etag: str | None = '"v1"'
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.ranges.append(self.headers.get("Range"))
                self.close_connection = True
                (server.script.pop(0) if server.script else server.well)(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/file"

    def well(self, handler: BaseHTTPRequestHandler, send: int | None = None) -> None:
        wanted = handler.headers.get("Range", "")
        honoured = wanted and handler.headers.get("If-Range") == self.etag
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if honoured else 0
        handler.send_response(206 if honoured else 200)
        if honoured:
            end, size = len(self.body) - 1, len(self.body)
            handler.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(len(self.body) - start))
        handler.end_headers()
        handler.wfile.write(self.body[start:][:send])

    def truncated(self, after: int) -> Answer:
        return lambda handler: self.well(handler, send=after)

    def stalled(self, after: int, freed: threading.Event) -> Answer:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            self.well(handler, send=after)
            handler.wfile.flush()
            if not freed.wait(PATIENCE):
                self.ranges.append("nobody gave up the stalled download")

        return answer


def says(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


@pytest.fixture
def fetch(tmp_path):
    def run(*urls, name="file", attempts=4, timeout=60.0, **knobs):
        output = tmp_path / "out" / name
        knobs = {"lock": SourceLock(tmp_path / "lock.tsv")} | knobs
        download(urls, output, patience=Patience(attempts, timeout, first_wait=0.001), **knobs)
        return output.read_bytes()

    return run


def test_fetches_from_a_server_and_records_the_digest(server, fetch, tmp_path):
    assert fetch(server.url) == BODY
    (entry,) = read_tsv(tmp_path / "lock.tsv")
    assert entry == {"url": server.url, "bytes": str(len(BODY)), "sha256": DIGEST}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"file", ".file.lock"}


def test_fetches_a_file_url_with_blanks_in_its_name(fetch, tmp_path):
    (tmp_path / "a file").write_bytes(BODY)
    assert fetch((tmp_path / "a file").as_uri()) == BODY


def test_does_not_ask_again_for_a_file_that_has_the_recorded_digest(server, fetch):
    fetch(server.url)
    fetch(server.url)
    assert len(server.ranges) == 1


def test_resumes_a_truncated_download_where_it_broke_off(server, fetch):
    server.script = [server.truncated(1000), server.truncated(500)]
    assert fetch(server.url) == BODY
    assert server.ranges == [None, "bytes=1000-", "bytes=1500-"]


def test_resumes_what_an_earlier_run_left(server, fetch):
    server.script = [server.truncated(1000)]
    with pytest.raises(DataError, match="broke off after 1000 bytes"):
        fetch(server.url, attempts=1)
    assert fetch(server.url) == BODY
    assert server.ranges[-1] == "bytes=1000-"


def test_what_came_whole_before_is_not_asked_for_again(server, fetch, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".file.part").write_bytes(BODY)
    state = {"url": server.url, "validator": '"v1"', "size": len(BODY)}
    (tmp_path / "out" / ".file.part.json").write_text(json.dumps(state))
    assert fetch(server.url) == BODY
    assert server.ranges == []


def test_a_file_that_is_not_the_recorded_one_is_fetched_again(server, fetch, tmp_path):
    fetch(server.url)
    (tmp_path / "out" / "file").write_bytes(b"changed by hand")
    assert fetch(server.url) == BODY


def test_resumes_after_a_stall(server, fetch):
    freed = threading.Event()
    server.script = [server.stalled(700, freed)]
    try:
        assert fetch(server.url, timeout=2.0) == BODY
    finally:
        freed.set()
    assert server.ranges == [None, "bytes=700-"]


def test_starts_again_when_the_file_changed_during_the_download(server, fetch):
    def change(handler):
        server.truncated(1000)(handler)
        server.body, server.etag = b"another" * 500, '"v2"'

    server.script = [change]
    assert fetch(server.url) == b"another" * 500


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_bytes_of_the_old_file_never_begin_the_new_one(server, fetch, monkeypatch):
    server.script = [server.truncated(1000)]
    with pytest.raises(DataError):
        fetch(server.url, attempts=1)
    server.body, server.etag = b"another" * 2000, '"v2"'
    with monkeypatch.context() as patched:
        patched.setattr("npm_core.fetch._chunks", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(server.url)
    assert fetch(server.url) == server.body


def test_bytes_of_a_copied_mirror_are_not_continued_by_a_server(
    server, fetch, tmp_path, monkeypatch
):
    def copy_a_little(source: Path, part: Path) -> None:
        part.write_bytes(b"copy" * 300)
        raise KeyboardInterrupt

    (tmp_path / "mirror").write_bytes(b"copy" * 3000)
    server.script = [server.truncated(1000)]
    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfile", copy_a_little)
        with pytest.raises(KeyboardInterrupt):
            fetch(server.url, (tmp_path / "mirror").as_uri(), attempts=1)
    assert fetch(server.url) == BODY


def test_a_download_that_is_stopped_waits_for_nothing_and_can_go_on(server, fetch, tmp_path):
    patience = Patience()

    def busy(handler):
        patience.stopped.set()
        says(503, Retry_After="300")(handler)

    server.script = [busy]
    with pytest.raises(DataError, match="HTTP status 503"):
        download([server.url], tmp_path / "file", lock=None, patience=patience)
    assert server.ranges == [None]
    patience.stopped.clear()
    server.script = [lambda handler: (patience.stopped.set(), server.well(handler))]
    with pytest.raises(DataError, match="stopped"):
        download([server.url], tmp_path / "file", lock=None, patience=patience)
    download([server.url], tmp_path / "file", lock=None)
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_download_that_is_stopped_while_it_waits_asks_no_more(server, tmp_path):
    class StoppedByTheFirstWait(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            self.set()
            return super().wait(timeout)

    server.script = [says(503, Retry_After="300")]
    patience = Patience(stopped=StoppedByTheFirstWait())
    with pytest.raises(DataError, match="stopped"):
        download([server.url], tmp_path / "file", lock=None, patience=patience)
    assert server.ranges == [None]


@pytest.mark.parametrize(
    "wrong",
    [
        {"Content_Range": f"bytes 900-{len(BODY) - 1}/{len(BODY)}", "ETag": '"v1"'},
        {"Content_Range": "bytes 1000-1099/1100", "ETag": '"v1"'},
        {"Content_Range": f"bytes 1000-{len(BODY) - 1}/{len(BODY)}", "ETag": '"v2"'},
        {"Content_Range": "nonsense", "ETag": '"v1"'},
        {"ETag": '"v1"'},
    ],
    ids=["offset", "size", "etag", "nonsense", "none"],
)
def test_a_206_with_the_wrong_range_starts_again_from_the_beginning(server, fetch, wrong):
    server.script = [server.truncated(1000), says(206, b"x" * (len(BODY) - 1000), **wrong)]
    assert fetch(server.url) == BODY
    assert server.ranges == [None, "bytes=1000-", None]


def test_more_bytes_than_were_announced_are_not_the_file(server, fetch):
    whole = {"Content_Range": f"bytes 1000-{len(BODY) - 1}/{len(BODY)}", "ETag": '"v1"'}
    server.script = [server.truncated(1000), says(206, BODY[1000:] + b"more", **whole)]
    assert fetch(server.url) == BODY
    assert server.ranges == [None, "bytes=1000-", None]


def test_a_206_that_nobody_asked_for_is_not_taken_for_the_file(server, fetch):
    server.script = [says(206, BODY[:50], Content_Range="bytes 0-49/50", ETag='"v1"')]
    assert fetch(server.url) == BODY


def test_a_416_starts_again_from_the_beginning(server, fetch):
    server.script = [server.truncated(1000), says(416)]
    assert fetch(server.url) == BODY
    assert server.ranges == [None, "bytes=1000-", None]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(server, fetch, status):
    server.script = [says(status, Retry_After="0"), says(status)]
    assert fetch(server.url) == BODY


def test_a_server_that_stays_busy_is_given_up_with_its_status(server, fetch):
    server.script = [says(503, Retry_After="0")] * 4
    with pytest.raises(DataError, match="HTTP status 503"):
        fetch(server.url)


def test_a_missing_file_is_not_asked_for_again(server, fetch):
    server.script = [says(404)]
    with pytest.raises(DataError, match="HTTP status 404"):
        fetch(server.url)
    assert len(server.ranges) == 1


@pytest.mark.parametrize(("statuses", "expected"), [((404, 410), Absent), ((404, 403), DataError)])
def test_a_file_is_absent_when_every_mirror_says_so(server, fetch, tmp_path, statuses, expected):
    server.script = [says(status) for status in statuses]
    missing = (tmp_path / "missing").as_uri()
    with pytest.raises(DataError) as caught:
        fetch(server.url, f"{server.url}/other", missing)
    assert caught.type is expected


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_an_etag_that_promises_equal_bytes_nothing_is_resumed(server, fetch, etag):
    server.etag = etag
    server.script = [server.truncated(1000)]
    assert fetch(server.url) == BODY
    assert server.ranges == [None, None]


def test_a_mirror_serves_when_the_first_place_does_not(server, fetch, tmp_path):
    (tmp_path / "copy").write_bytes(BODY)
    server.script = [says(404)]
    assert fetch(server.url, (tmp_path / "copy").as_uri()) == BODY
    assert [entry["url"] for entry in read_tsv(tmp_path / "lock.tsv")] == [server.url]


def test_bytes_of_one_mirror_are_not_continued_by_another(server, fetch):
    other = f"{server.url}/other"
    server.script = [server.truncated(1000)]
    assert fetch(server.url, other, attempts=1) == BODY
    assert server.ranges == [None, None]


def test_a_digest_other_than_the_recorded_one_is_refused(server, fetch, tmp_path):
    fetch(server.url)
    server.body = b"another"
    with pytest.raises(DataError, match="the lock file has"):
        fetch(server.url, name="again")
    assert not (tmp_path / "out" / "again").exists()


def test_after_a_refusal_the_file_is_fetched_anew(server, fetch):
    fetch(server.url)
    server.body = b"another"
    with pytest.raises(DataError, match="the lock file has"):
        fetch(server.url, name="again")
    server.body = BODY
    assert fetch(server.url, name="again") == BODY


@pytest.mark.parametrize(("asked", "wait"), [(7.0, 7.0), (0.0, 0.0), (9999.0, 300.0)])
def test_a_server_says_when_it_wants_to_be_asked_again(asked, wait):
    error = Transient("busy", asked)
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.set_exception((Transient, error, None))
    assert _Waits(1000.0)(state) == wait


def test_a_digest_on_record_stays_and_mirrors_have_one(tmp_path, server, fetch):
    lock = SourceLock(tmp_path / "lock.tsv")
    lock.record(server.url, DIGEST, len(BODY))
    lock.record(server.url, DIGEST, len(BODY))
    with pytest.raises(DataError, match="another run recorded sha256"):
        lock.record(server.url, "0" * 64, len(BODY))
    lock.record(f"{server.url}/other", "0" * 64, len(BODY))
    assert len(list(read_tsv(tmp_path / "lock.tsv"))) == 2
    with pytest.raises(DataError, match="are mirrors, but differ"):
        fetch(server.url, f"{server.url}/other")
    assert server.ranges == []


def test_a_mirror_with_the_recorded_digest_serves_for_one_that_changed(server, fetch, tmp_path):
    fetch(server.url)
    server.body = b"another"
    (tmp_path / "copy").write_bytes(BODY)
    assert fetch(server.url, (tmp_path / "copy").as_uri(), name="again") == BODY


@pytest.mark.parametrize("body", [gzip.compress(BODY)[:-9], b"<html>busy</html>"])
def test_damaged_gzip_data_is_no_file(server, fetch, tmp_path, body):
    server.body = body
    server.url += ".gz"
    with pytest.raises(DataError, match="gzip"):
        fetch(server.url, name="file.gz")
    assert not (tmp_path / "out" / "file.gz").exists()
    assert not (tmp_path / "lock.tsv").exists()


def test_a_gzip_file_that_ends_early_without_a_length_is_fetched_again(server, fetch):
    whole = gzip.compress(BODY)

    def lengthless(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(whole[:-9])

    server.body, server.script = whole, [lengthless]
    assert fetch(server.url) == whole


def test_a_chunked_answer_is_read_to_its_end(server, fetch):
    def chunked(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for part in (BODY[:3000], BODY[3000:]):
            handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    server.script = [chunked]
    assert fetch(server.url) == BODY


def test_a_chunked_answer_that_breaks_off_is_fetched_again(server, fetch):
    def broken(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(f"{len(BODY):x}\r\n".encode() + BODY[:2000])

    server.script = [broken]
    assert fetch(server.url) == BODY


def test_an_encoding_nobody_asked_for_is_refused(server, fetch):
    server.script = [says(200, gzip.compress(BODY), Content_Encoding="gzip")]
    with pytest.raises(DataError, match="encoding 'gzip'"):
        fetch(server.url)


def test_the_old_file_survives_a_failed_download(server, fetch, tmp_path):
    fetch(server.url)
    (tmp_path / "lock.tsv").unlink()
    server.script = [says(404)]
    with pytest.raises(DataError):
        fetch(server.url)
    assert (tmp_path / "out" / "file").read_bytes() == BODY


def test_two_writers_of_one_lock_file_lose_no_entry(fetch, tmp_path):
    places = [tmp_path / f"source{number}" for number in range(12)]
    for place in places:
        place.write_bytes(place.name.encode())
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda place: fetch(place.as_uri(), name=place.name), places):
            pass
    urls = [entry["url"] for entry in read_tsv(tmp_path / "lock.tsv")]
    assert sorted(urls) == sorted(place.as_uri() for place in places)


def test_a_lock_file_is_read_on_from_where_another_wrote(tmp_path):
    first, second = (SourceLock(tmp_path / "lock.tsv") for _ in range(2))
    for number in range(3):
        first.record(f"a{number}", DIGEST, 1)
        assert second.digest([f"a{number}"]) == DIGEST
        second.record(f"b{number}", DIGEST, 1)
        assert first.digest([f"b{number}"]) == DIGEST
    names = [entry["url"] for entry in read_tsv(tmp_path / "lock.tsv")]
    assert names == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_threads_that_share_a_lock_file_each_see_all_of_it(tmp_path):
    for name in ("a", "b", "c"):
        SourceLock(tmp_path / "lock.tsv").record(name, DIGEST, 1)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(100):
                lock = SourceLock(tmp_path / "lock.tsv")
                found = pool.map(lambda _, lock=lock: lock.digest(["c"]), range(8))
                assert set(found) == {DIGEST}
    finally:
        sys.setswitchinterval(interval)


def test_a_line_that_was_deleted_meanwhile_is_no_longer_on_record(tmp_path):
    lock = SourceLock(tmp_path / "lock.tsv")
    for name in "ab":
        lock.record(name, DIGEST, 1)
    (tmp_path / "lock.tsv").write_text(HEADER + f"b\t1\t{DIGEST}\n")
    assert (lock.digest(["a"]), lock.digest(["b"])) == (None, DIGEST)


HEADER = "url\tbytes\tsha256\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n  "a": {"bytes": 1}\n}\n', "not a lock file"),
        (HEADER + f"a\t1\t{DIGEST[1:]}\n", "not a lock file"),
        (HEADER + HEADER, "not a lock file"),
        (HEADER + f"a\t1\t{DIGEST}\r\n", "not a lock file"),
        (HEADER + f"a\t1\t{DIGEST[:20]}", "not a whole line"),
        ('{"a": 1', "not a whole line"),
        (HEADER + f"a\t1\t{DIGEST}\na\t1\t{'0' * 64}\n", "two lines on a differ"),
    ],
)
def test_a_damaged_lock_file_is_an_error_and_not_an_empty_one(fetch, tmp_path, text, message):
    (tmp_path / "source").write_bytes(BODY)
    (tmp_path / "lock.tsv").write_bytes(text.encode())
    with pytest.raises(DataError, match=message):
        fetch((tmp_path / "source").as_uri())
    assert (tmp_path / "lock.tsv").read_bytes() == text.encode()
    assert not (tmp_path / "out" / "file").exists()


def test_on_a_full_disk_the_lock_file_stays_as_it_was(tmp_path, monkeypatch):
    lock = SourceLock(tmp_path / "lock.tsv")
    lock.record("a", DIGEST, 1)
    before = (tmp_path / "lock.tsv").read_bytes()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        lock.record("b", DIGEST, 1)
    assert (tmp_path / "lock.tsv").read_bytes() == before
    monkeypatch.undo()
    lock.record("b", DIGEST, 1)
    assert SourceLock(tmp_path / "lock.tsv").digest(["b"]) == DIGEST


@pytest.mark.parametrize("url", ["ftp://a.b/c", "/plain/path", "file://host/x", "http:///x"])
def test_other_kinds_of_url_are_refused(fetch, url):
    with pytest.raises(SettingsError, match="expected http"):
        fetch(url)


@pytest.mark.parametrize(
    ("place", "expected"),
    [("https://a/b", True), ("file:///a", True), ("results/a.gz", False), ("a:b", False)],
)
def test_tells_urls_from_paths(place, expected):
    assert is_url(place) is expected


def test_the_verb_takes_mirrors_behind_one_flag_and_reports_what_failed(tmp_path, capsys):
    missing, copy = tmp_path / "missing", tmp_path / "copy"
    copy.write_bytes(BODY)
    output = tmp_path / "out"
    places = [missing.as_uri(), copy.as_uri()]
    assert main(["fetch", "--url", *places, "--output", str(output)]) == 0
    assert output.read_bytes() == BODY
    assert main(["fetch", "--url", places[0], "--output", str(tmp_path / "no")]) == 2
    assert "No such file" in capsys.readouterr().err
