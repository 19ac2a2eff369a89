"""What the blob service promises of headers, conditions, hashes, ranges, blocks and lists.

Each rule was compared, request by request, with Azurite 3.35.0 and Storage's REST reference.
"""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from azure.storage.blob import generate_account_sas

LONG_AGO, FAR_AWAY = "Wed, 01 Jan 2020 00:00:00 GMT", "Wed, 01 Jan 2120 00:00:00 GMT"
BLOB = {"x-ms-blob-type": "BlockBlob"}


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def id_(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def ask(account, container, http):
    """A request below the test's container, signed for everything: method, place, headers."""
    until = datetime.now(UTC) + timedelta(hours=1)
    signature = generate_account_sas(account[0], account[1], "sco", "rwdlac", until)

    def asked(method, place="", headers=None, content=b""):
        separator = "&" if "?" in place else "?"
        url = f"/{container.container_name}{place}{separator}{signature}"
        return http.request(method, url, headers=headers, content=content)

    return asked


@pytest.fixture
def blob(ask):
    """A blob ``/b`` with ``hello world`` and every content header."""
    headers = BLOB | {
        "x-ms-blob-content-type": "text/plain",
        "x-ms-blob-content-encoding": "own",
        "x-ms-blob-content-language": "en",
        "x-ms-blob-content-disposition": "inline",
        "x-ms-blob-cache-control": "no-cache",
        "x-ms-meta-made": "here",
    }
    return ask("PUT", "/b", headers, b"hello world")


def told(answer):
    return answer.status_code, answer.headers.get("x-ms-error-code")


def test_content_headers_hash_and_ids_come_back(ask, blob):
    answer = ask("HEAD", "/b", {"x-ms-client-request-id": "mine", "x-ms-version": "2021-08-06"})

    assert blob.headers["Content-MD5"] == md5(b"hello world")
    assert blob.headers["x-ms-request-server-encrypted"] == "true"
    assert {name: answer.headers[name] for name in (
        "Content-Type", "Content-Encoding", "Content-Language", "Content-Disposition",
        "Cache-Control", "Content-MD5", "x-ms-meta-made", "x-ms-access-tier",
        "x-ms-client-request-id", "x-ms-version",
    )} == {
        "Content-Type": "text/plain", "Content-Encoding": "own", "Content-Language": "en",
        "Content-Disposition": "inline", "Cache-Control": "no-cache",
        "Content-MD5": md5(b"hello world"), "x-ms-meta-made": "here", "x-ms-access-tier": "Hot",
        "x-ms-client-request-id": "mine", "x-ms-version": "2021-08-06",
    }  # fmt: skip


READS = [
    ("If-Match", "own", 200), ("If-Match", '"0x1"', 412), ("If-Match", "*", 200),
    ("If-None-Match", "own", 304), ("If-None-Match", '"0x1"', 200), ("If-None-Match", "*", 400),
    ("If-Modified-Since", LONG_AGO, 200), ("If-Modified-Since", FAR_AWAY, 304),
    ("If-Unmodified-Since", LONG_AGO, 412), ("If-Unmodified-Since", FAR_AWAY, 200),
    ("If-Modified-Since", "yesterday", 400),
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("header", "value", "status"), READS)
def test_a_read_keeps_its_condition(ask, blob, method, header, value, status):
    value = blob.headers["ETag"] if value == "own" else value

    assert ask(method, "/b", {header: value}).status_code == status


WRITES = [
    ({"If-Match": "own"}, 201), ({"If-Match": '"0x1"'}, 412), ({"If-None-Match": "own"}, 412),
    ({"If-None-Match": "*"}, 409), ({"If-None-Match": '"0x1"'}, 201),
    ({"If-Modified-Since": LONG_AGO}, 201), ({"If-Modified-Since": FAR_AWAY}, 412),
    ({"If-Unmodified-Since": LONG_AGO}, 412), ({"If-Unmodified-Since": FAR_AWAY}, 201),
    ({"If-Match": '"0x1","0x2"'}, 400), ({"If-Match": "*", "If-None-Match": '"0x1"'}, 400),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "status"), WRITES)
def test_a_write_keeps_its_condition_and_else_changes_nothing(ask, blob, headers, status):
    own = blob.headers["ETag"]
    sent = {name: own if value == "own" else value for name, value in headers.items()}
    answer = ask("PUT", "/b", BLOB | sent, b"changed")

    assert answer.status_code == status
    assert ask("GET", "/b").content == (b"changed" if status == 201 else b"hello world")


@pytest.mark.parametrize("call", ["metadata", "properties", "content"])
def test_every_change_moves_the_etag(ask, blob, call):
    before = blob.headers["ETag"]
    query, headers, content = {
        "metadata": ("?comp=metadata", {"x-ms-meta-b": "2"}, b""),
        "properties": ("?comp=properties", {"x-ms-blob-content-type": "a/b"}, b""),
        "content": ("", BLOB, b"hello world"),
    }[call]
    changed = ask("PUT", f"/b{query}", headers, content)
    stale = ask("PUT", f"/b{query}", headers | {"If-Match": before}, content)

    assert changed.headers["ETag"] == ask("HEAD", "/b").headers["ETag"] != before
    assert told(stale) == (412, "ConditionNotMet")


def test_properties_that_are_not_sent_are_cleared(ask, blob):
    ask("PUT", "/b?comp=properties", {"x-ms-blob-content-type": "a/b"})
    answer = ask("HEAD", "/b")

    assert answer.headers["Content-Type"] == "a/b"
    assert "Content-Language" not in answer.headers and "Content-MD5" not in answer.headers
    assert answer.headers["x-ms-meta-made"] == "here"


HASHES = [
    ({"Content-MD5": md5(b"abc")}, (201, None)),
    ({"Content-MD5": md5(b"x")}, (400, "Md5Mismatch")),
    ({"x-ms-blob-content-md5": md5(b"x")}, (400, "Md5Mismatch")),
    ({"Content-MD5": "zzz"}, (400, "InvalidMd5")),
]


@pytest.mark.parametrize(("headers", "expected"), HASHES)
def test_a_hash_is_checked_before_anything_is_kept(ask, headers, expected):
    assert told(ask("PUT", "/h", BLOB | headers, b"abc")) == expected
    assert ask("HEAD", "/h").status_code == (200 if expected[0] == 201 else 404)


RANGES = [
    ("bytes=2-4", 206, b"llo", "bytes 2-4/11"), ("bytes=6-", 206, b"world", "bytes 6-10/11"),
    ("bytes=6-100", 206, b"world", "bytes 6-10/11"), ("bytes=100-200", 416, None, "bytes */11"),
    ("bytes=11-", 416, None, "bytes */11"), ("bytes=4-2", 200, b"hello world", None),
    ("bytes=-3", 200, b"hello world", None), ("bytes=0-1,3-4", 200, b"hello world", None),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "status", "content", "place"), RANGES)
def test_a_range_is_one_of_two_forms_or_the_whole(ask, blob, asked, status, content, place):
    answer = ask("GET", "/b", {"Range": asked, "Accept-Encoding": "identity"})

    assert (answer.status_code, answer.headers.get("Content-Range")) == (status, place)
    assert content is None or answer.content == content


def test_a_range_tells_its_hash_and_the_blobs(ask, blob):
    headers = {"x-ms-range": "bytes=2-4", "x-ms-range-get-content-md5": "true"}
    answer = ask("GET", "/b", headers)

    assert answer.headers["Content-MD5"] == md5(b"llo")
    assert answer.headers["x-ms-blob-content-md5"] == md5(b"hello world")


def block_list(*blocks: tuple[str, str]) -> bytes:
    rows = "".join(f"<{kind}>{id_(name)}</{kind}>" for kind, name in blocks)
    return f"<BlockList>{rows}</BlockList>".encode()


def stage(ask, name, content):
    return ask("PUT", f"/s?comp=block&blockid={id_(name)}", {}, content)


def commit(ask, *blocks):
    return ask("PUT", "/s?comp=blocklist", {}, block_list(*blocks))


def test_a_block_list_takes_blocks_from_where_it_says(ask):
    stage(ask, "b1", b"one"), stage(ask, "b2", b"two")
    assert told(commit(ask, ("Committed", "b1"))) == (400, "InvalidBlockList")
    assert commit(ask, ("Latest", "b2"), ("Uncommitted", "b1")).status_code == 201
    assert ask("GET", "/s").content == b"twoone"

    stage(ask, "b1", b"ONE"), stage(ask, "b4", b"four")
    assert commit(ask, ("Committed", "b1"), ("Latest", "b4"), ("Latest", "b2")).status_code == 201
    assert ask("GET", "/s").content == b"onefourtwo"


def test_the_blocks_of_a_blob_are_listed(ask):
    stage(ask, "b1", b"one"), stage(ask, "b2", b"two")
    before = ask("GET", "/s?comp=blocklist&blocklisttype=all")
    commit(ask, ("Latest", "b2"))
    after = ElementTree.fromstring(ask("GET", "/s?comp=blocklist&blocklisttype=all").content)

    assert before.content.count(b"<Size>3</Size>") == 2
    assert [one.text for one in after.iterfind("CommittedBlocks/Block/Name")] == [id_("b2")]
    assert not list(after.iterfind("UncommittedBlocks/Block"))


BAD_IDS = [
    ("$$$", "InvalidQueryParameterValue"),
    (id_("x" * 65), "OutOfRangeInput"),
    (id_("longer"), "InvalidBlobOrBlock"),
    ("", "MissingRequiredQueryParameter"),
]


@pytest.mark.parametrize(("bad", "code"), BAD_IDS)
def test_a_block_wants_an_id_like_the_others(ask, bad, code):
    stage(ask, "b1", b"one")

    assert told(ask("PUT", f"/s?comp=block&blockid={bad}", {}, b"x")) == (400, code)


@pytest.mark.parametrize(
    ("query", "code"),
    [("maxresults=0", "OutOfRangeQueryParameterValue"),
     ("maxresults=many", "InvalidQueryParameterValue"),
     ("include=nosuch", "InvalidQueryParameterValue")],
)  # fmt: skip
def test_a_list_refuses_what_it_does_not_know(ask, query, code):
    assert told(ask("GET", f"?restype=container&comp=list&{query}")) == (400, code)


def test_metadata_is_listed_where_it_is_asked_for(ask, blob):
    plain = ask("GET", "?restype=container&comp=list").content
    full = ask("GET", "?restype=container&comp=list&include=metadata").content

    assert b"<made>" not in plain and b"<made>here</made>" in full
    assert b"<Content-MD5>" in plain and b"<AccessTier>Hot</AccessTier>" in plain


NOT_EMULATED = [
    ("PUT", "/c", {"x-ms-copy-source": "https://x/y"}, "Put Blob with the header x-ms-copy-source"),
    ("PUT", "/c", {"x-ms-access-tier": "Cool"}, "x-ms-access-tier 'Cool'"),
    ("GET", "/b?versionid=1", {}, "Get Blob with the query parameter versionid"),
    ("GET", "?restype=container&comp=list&include=uncommittedblobs", {}, "uncommittedblobs"),
]


@pytest.mark.parametrize(("method", "place", "headers", "what"), NOT_EMULATED)
def test_what_is_not_emulated_is_said_with_its_parameter(ask, blob, method, place, headers, what):
    answer = ask(method, place, BLOB | headers)

    assert told(answer) == (501, "NotEmulated")
    assert what in answer.text


def test_a_container_has_metadata_and_an_etag_of_its_own(ask, blob):
    before = ask("HEAD", "?restype=container").headers
    changed = ask("PUT", "?restype=container&comp=metadata", {"x-ms-meta-kind": "box"})
    after = ask("HEAD", "?restype=container").headers

    assert changed.status_code == 200
    assert before["ETag"] != after["ETag"] and after["x-ms-meta-kind"] == "box"
    ask("PUT", "/another", BLOB)
    assert ask("HEAD", "?restype=container").headers["ETag"] == after["ETag"]


def test_the_rest_is_refused_by_its_own_code(ask, blob):
    assert told(ask("PUT", "/n", {}, b"x")) == (400, "MissingRequiredHeader")
    assert told(ask("PUT", "/b?comp=metadata", {"x-ms-meta-a-b": "1"})) == (400, "InvalidMetadata")
    assert told(ask("DELETE", "/b", {"x-ms-delete-snapshots": "all"})) == (
        400, "InvalidHeaderValue",
    )  # fmt: skip
    assert ask("DELETE", "/b", {"x-ms-delete-snapshots": "only"}).status_code == 202
    assert ask("HEAD", "/b").status_code == 200
    assert told(ask("GET", "/b?snapshot=2020-01-01T00:00:00.0000000Z")) == (404, "BlobNotFound")
    assert told(ask("DELETE", "/b", {"x-ms-lease-id": "1"}))[0] == 412
