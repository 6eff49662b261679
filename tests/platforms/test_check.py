"""A check says exactly what is missing, and leaves a bucket as it found it; a role's credentials last a whole run."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import platforms
from mc_sink.platforms import Platform, check
from mc_sink.platforms.check_report import judged
from mc_sink.platforms.check_rows import report_rows
from mc_sink.platforms.probe_requests import BODY, gather
from mc_sink.sandbox.admin import unique_name
from mc_sink.storage import Probes
from mc_sink.target import parse_target
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Body, Reset, Status
from tests.servers.rules import GRANTED, NOT_IMPLEMENTED, WRITER, Rules
from tests.servers.wire import Reply
from tests.support.canary import found_in, tell
from tests.support.frames import numbers
from tests.support.keyrings import installed
from tests.support.small_deliveries import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mc_sink.sandbox.admin import Admin, Credentials, Writer
    from tests.conftest import Recorded
    from tests.servers.operations import Request
    from tests.servers.strike import Incoming

THREE = ("s3:PutObject", "s3:PutObjectAcl", "s3:ListBucket")
ROLE = "arn:aws:iam::123456789012:role/deliver"
ELSEWHERE = Body(301, b"<Error><Code>PermanentRedirect</Code></Error>", (("x-amz-bucket-region", "eu-west-3"),))
JUDGED = ("x-amz-checksum", "x-amz-mp", "if-none", "content-md5")
ALLOWED = {"List", "Put", "PutAcl", "Create", "Part", "Abort"}


@pytest.fixture(autouse=True)
def no_keyring() -> Iterator[None]:
    """Have no keyring at all."""
    with installed():
        yield


def platform_of(credentials: Credentials, url: str, **more: Any) -> Platform:
    """Make a platform that isn't saved."""
    return Platform(
        name="acme", access_key_id=credentials.key, secret_access_key=credentials.secret, endpoint=url, **more
    )


def who_may(server: Admin, bucket: str, *actions: str) -> Credentials:
    """Make a user with exactly these permissions."""
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resources}
    return server.create_user(unique_name("user"), {"Version": "2012-10-17", "Statement": [statement]})


def state_of(server: Admin | FaultServer, bucket: str) -> tuple[object, object]:
    """Give all that anybody can see of a bucket, and what is pending."""
    return server.listing(bucket), server.pending_uploads(bucket)


@pytest.mark.parametrize("missing", THREE)
def test_the_missing_permission_is_named_and_no_other(seaweed: Admin, missing: str) -> None:
    """With each of the three taken away on a real server: that one, with the statement that grants it."""
    bucket = seaweed.create_bucket(unique_name("bucket"))
    user = who_may(seaweed, bucket, *(one for one in THREE if one != missing))
    report = check(platform_of(user, seaweed.url), f"s3://{bucket}/p/")
    assert (report.status, report.missing) == ("Failing", (missing,))
    assert missing in report.reason
    assert missing in json.loads(report[missing].fix)["Action"]
    assert state_of(seaweed, bucket) == ({}, [])


def test_with_all_three_nothing_is_missing_and_nothing_is_left(recorded: Recorded) -> None:
    """The bucket is listed the same before and after; what only an object tells is open, and the reason says how."""
    writer, server = recorded.writer, recorded.server
    with server.client() as s3:
        s3.put_object(Bucket=writer.bucket, Key="p/there.csv", Body=b"other")
    before = state_of(server, writer.bucket)
    report = check(platform_of(writer.credentials, writer.url), writer.target("p/"))
    assert (report.status, report.missing, report.left) == ("Unverified", (), ())
    assert report.reason.startswith("objects, uploads not known")
    assert 'leaving="an object"' in report.reason
    assert report["checksums"].verdict == "yes"
    assert state_of(server, writer.bucket) == before
    assert set(recorded.proxy.log.ops()) <= ALLOWED
    assert not [one for one in recorded.proxy.log if one.key == "p/there.csv"]


def test_the_grants_of_a_check_mend_what_it_found(seaweed: Admin) -> None:
    """A user who gets the statements that the reports print, one after the other, ends up configured."""
    bucket, name = seaweed.create_bucket(unique_name("bucket")), unique_name("user")
    elsewhere = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::elsewhere"]}
    user = seaweed.create_user(name, {"Version": "2012-10-17", "Statement": [elsewhere]})
    statements: list[Any] = []
    for _ in range(4):
        report = check(platform_of(user, seaweed.url), f"s3://{bucket}/p/")
        statements += [json.loads(report[one].fix) for one in report.missing[:1]]
        policy = {
            "Version": "2012-10-17",
            "Statement": [{**one, "Sid": f"S{n}"} for n, one in enumerate([elsewhere, *statements])],
        }
        with seaweed.client("iam") as iam:
            iam.put_user_policy(UserName=name, PolicyName="given", PolicyDocument=json.dumps(policy))
    assert report.missing == ()
    assert check(platform_of(user, seaweed.url), f"s3://{bucket}/p/", leaving="an object").status == "Configured"
    assert len(statements) == len(THREE)


def test_a_write_probe_leaves_what_it_says(seaweed: Admin, writer: Writer) -> None:
    """One small object under a key of its own, by which it is known that a second put is refused."""
    report = check(platform_of(writer.credentials, writer.url), writer.target("p/"), leaving="an object")
    assert (report.status, report["If-None-Match"].verdict) == ("Configured", "yes")
    assert report["If-None-Match of uploads"].verdict == "yes"
    (key,) = seaweed.listing(writer.bucket)
    assert report.left == (f"an object at {writer.target(key)}, of {len(BODY)} bytes",)
    assert seaweed.read(writer.bucket, key) == BODY
    assert seaweed.pending_uploads(writer.bucket) == []


class AclServer(FaultServer):
    """The test server with PutObjectAcl as S3 answers it where nothing is there."""

    def answer(self, request: Request, incoming: Incoming) -> Reply:
        """Refuse what isn't granted, and then what isn't there."""
        if request.op == "PutAcl" and "PutAcl" in self.rules.granted:
            return self.error(request, 404, "NoSuchKey", "The specified key does not exist.")
        return super().answer(request, incoming)


def checked(server: FaultServer, leaving: Any = "nothing", **more: Any) -> platforms.CheckReport:
    """Check the test server."""
    return check(platform_of(WRITER, server.url, **more), server.writer.target("p/"), leaving=leaving)


@pytest.mark.parametrize("abort", [True, False])
@pytest.mark.parametrize(
    ("lacking", "missing"),
    [
        (set(), ()),
        ({"PutAcl"}, ("s3:PutObjectAcl",)),
        ({"List"}, ("s3:ListBucket",)),
        ({"Put", "Create", "Part", "Complete"}, ("s3:PutObject",)),
    ],
)
def test_a_strict_store_tells_them_apart_without_abort_too(
    lacking: set[str], missing: tuple[str, ...], *, abort: bool
) -> None:
    """Where an upload could not be thrown away, none is begun."""
    with AclServer(Rules(granted=GRANTED - lacking - (set() if abort else {"Abort"}))) as server:
        report = checked(server)
        assert report.missing == missing
        assert report.status == ("Failing" if missing else "Unverified")
        assert state_of(server, server.bucket) == ({}, [])
        assert report["s3:AbortMultipartUpload"].verdict == ("yes" if abort else "no")
        assert abort or not server.log.of("Create", "Put")


def test_on_aws_a_put_with_a_wrong_sum_tells(fault_s3: FaultServer) -> None:
    """A store that is known to check sums takes the ACL and refuses the bytes, so that nothing is begun."""
    where, platform = parse_target(fault_s3.writer.target("p/")), platform_of(WRITER, fault_s3.url)
    fault_s3.fault("Abort", Status(403, "AccessDenied"), times=FOREVER)
    fault_s3.fault("PutAcl", Status(400, "AccessControlListNotSupported"), times=FOREVER)
    options = mc_sink.ObjectOptions(acl="bucket-owner-full-control")
    found = gather(Probes(platform.storage_options_for(where)), where, options, on_aws=True)
    judged_rows = report_rows(found, platform, where)
    rows = {row.question: row.verdict for row in judged_rows}
    assert judged(judged_rows)[0] == "Configured"
    assert "requests were not sent: AWS documents them" in judged(judged_rows)[1]
    assert {rows[one] for one in (*THREE, "checksums")} == {"yes"}
    assert state_of(fault_s3, fault_s3.bucket) == ({}, [])
    assert [one.headers["if-none-match"] for one in fault_s3.log.of("Put")] == ["*"]


def test_a_bucket_without_acls_needs_none(fault_s3: FaultServer) -> None:
    """Where ACLs are disabled the permission is not needed, and another ACL than the owner's is the mistake."""
    fault_s3.fault("Abort", Status(403, "AccessDenied"), times=FOREVER)
    fault_s3.fault("PutAcl", Status(400, "AccessControlListNotSupported"), times=FOREVER)
    assert checked(fault_s3)["s3:PutObjectAcl"].verdict == "not needed"
    assert checked(fault_s3, leaving="an object").ok
    refused = checked(fault_s3, acl="public-read")
    assert (refused.status, "without an ACL" in refused["s3:PutObjectAcl"].fix) == ("Failing", True)


def test_a_pending_upload_that_stays_is_told(fault_s3: FaultServer) -> None:
    """With the lifecycle rule that ends it."""
    fault_s3.fault("Abort", Status(403, "AccessDenied"), n=2)
    report = checked(fault_s3)
    (pending,) = fault_s3.pending_uploads(fault_s3.bucket)
    assert pending.key in report.left[0]
    assert 'mc_sink.lifecycle("s3://bucket/p/")' in report.left[0]
    assert report["s3:AbortMultipartUpload"].verdict == "no"


def test_a_refused_kms_key_is_told_from_a_refused_bucket(fault_s3: FaultServer) -> None:
    """AWS names the key's permission in its words."""
    shown = b"<Error><Code>AccessDenied</Code><Message>not authorized to perform: kms:GenerateDataKey</Message></Error>"
    fault_s3.fault("Create", Body(403, shown, (("Content-Type", "application/xml"),)))
    key = "arn:aws:kms:us-east-1:123456789012:key/k"
    report = checked(fault_s3, kms_key=key)
    assert report.missing == ("KMS",)
    assert json.loads(report["KMS"].fix)["Resource"] == [key]
    assert checked(fault_s3, kms_key=key)["KMS"].verdict == "yes"
    assert state_of(fault_s3, fault_s3.bucket) == ({}, [])


@pytest.mark.parametrize("ops", [("put",), ("complete",), ("put", "complete")])
def test_a_store_that_ignores_conditions_replaces_only_our_own(ops: tuple[str, ...]) -> None:
    """The probe says so, of Put and of Complete, and nothing else was touched."""
    ignored: dict[str, Any] = {f"if_none_match_on_{op}": "ignored" for op in ops}
    with AclServer(Rules(**ignored)) as server:
        server.put_foreign(server.bucket, "p/other.csv", b"other")
        report = checked(server, leaving="an object")
        assert ("replaced" in report["If-None-Match"].unkept) == ("put" in ops)
        assert "Not kept by this store: If-None-Match" in report.reason
        assert "another writer" in str(report)
        verdicts = {"put": report["If-None-Match"].verdict, "complete": report["If-None-Match of uploads"].verdict}
        assert verdicts == {op: "no" if op in ops else "yes" for op in ("put", "complete")}
        assert server.pending_uploads(server.bucket) == []
        assert server.read(server.bucket, "p/other.csv") == b"other"
        assert not [one for one in server.log if one.key == "p/other.csv"]
        assert len(server.listing(server.bucket)) == 2


@pytest.mark.parametrize(
    ("etags", "verdict", "words"),
    [
        ("s3", "yes", "Complete answers the MD5 of the parts' MD5s, a listing shows the MD5 of the parts' MD5s"),
        ("whole", "no", "Complete answers the MD5 of the whole, a listing shows the MD5 of the whole"),
        ("empty", "no", "Complete answers none, a listing shows the MD5 of the parts' MD5s"),
        ("other", "no", "Complete answers the MD5 of the parts' MD5s, a listing shows the MD5 of the whole"),
        ("opaque", "no", "Complete answers a value that only the store can compute"),
    ],
)
@pytest.mark.parametrize("condition", ["honoured", "ignored"])
def test_the_probe_tells_what_etags_the_store_makes(etags: Any, verdict: str, words: str, condition: Any) -> None:
    """By an upload that replaces its own object; nothing more is left, and nothing is aborted that is one."""
    with AclServer(Rules(etags=etags, if_none_match_on_complete=condition, completed_uploads="kept")) as server:
        report = checked(server, leaving="an object")
        assert (report["ETags of uploads"].verdict, report.status) == (verdict, "Configured")
        assert words in report["ETags of uploads"].found
        assert len(server.listing(server.bucket)) == 1
        assert server.destroyed(server.bucket) == []
        assert checked(server)["ETags of uploads"].verdict == "unknown"


def test_an_upload_of_the_probe_that_may_be_an_object_is_not_aborted() -> None:
    """Its Complete got no answer: whether the condition is kept stays unknown, and nothing is thrown away."""
    with AclServer() as server:
        server.fault("Complete", Reset())
        report = checked(server, leaving="an object")
        assert report["If-None-Match of uploads"].verdict == "unknown"
        assert len(server.log.of("Complete")) == 1
        assert not [one for one in server.log.of("Abort") if one.n > server.log.of("Complete")[0].n]


@pytest.mark.parametrize(
    ("fault", "question", "words"),
    [
        (Status(403, "InvalidAccessKeyId"), "credentials", "InvalidAccessKeyId"),
        (Status(400, "ExpiredToken"), "credentials", "ExpiredToken"),
        (Status(403, "RequestTimeTooSkewed"), "clock", "RequestTimeTooSkewed"),
        (Status(404, "NoSuchBucket"), "bucket", "NoSuchBucket"),
        (Reset(), "bucket", ""),
        (ELSEWHERE, "bucket", "301"),
        (Body(200, b"", (("Date", "Sun, 22 Nov 2020 17:00:00 GMT"),)), "clock", "ahead of the store"),
    ],
)
def test_what_comes_first_is_said_first(fault_s3: FaultServer, fault: Any, question: str, words: str) -> None:
    """Where the bucket isn't reached, nothing else is asked."""
    fault_s3.fault("List", fault, times=FOREVER)
    report = checked(fault_s3)
    assert (report.status, report[question].verdict) == ("Failing", "no")
    assert words in report[question].found
    assert report[question].fix
    if "301" in words:
        assert "eu-west-3" in report[question].fix
    if question != "clock":
        assert set(fault_s3.log.ops()) == {"List"}


def test_the_finding_is_kept_with_the_platform(seaweed: Admin, writer: Writer) -> None:
    """With its time and target; a platform that is saved again is unverified."""
    wrong = who_may(seaweed, writer.bucket, "s3:ListBucket")
    assert platforms.save(platform_of(writer.credentials, writer.url)).last_check.status == "Unverified"
    before = datetime.now(UTC)
    report = check("acme", writer.target("p/"), leaving="an object")
    kept = platforms.load("acme").last_check
    assert (kept.status, kept.target, kept.at) == ("Configured", writer.target("p/"), report.checked_at)
    assert kept.at is not None
    assert kept.at >= before
    platforms.save(platform_of(wrong, writer.url), if_exists="overwrite")
    assert platforms.load("acme").last_check.status == "Unverified"
    assert check("acme", writer.target("p/")).status == "Failing"
    kept = platforms.load("acme").last_check
    assert (kept.status, "s3:PutObject" in kept.reason) == ("Failing", True)
    assert platforms.save(platforms.load("acme"), if_exists="overwrite").last_check.status == "Unverified"


def test_a_store_is_not_taken_for_aws_by_its_endpoints_place(
    fault_s3: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint of the environment counts: a store that isn't known to check sums gets no bytes to refuse."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", fault_s3.url)
    fault_s3.fault("Abort", Status(403, "AccessDenied"), times=FOREVER)
    platform = Platform(name="acme", access_key_id=WRITER.key, secret_access_key=WRITER.secret)
    report = check(platform, fault_s3.writer.target("p/"))
    assert (report["s3:PutObject"].verdict, report["checksums"].verdict) == ("yes", "unknown")
    assert not fault_s3.log.of("Put", "Create")


def test_a_report_is_a_table_without_secrets(fault_s3: FaultServer) -> None:
    """In a notebook, in text, and as any other fact."""
    report = checked(fault_s3)
    output = "\n".join([*tell(report), report._repr_html_()])
    assert WRITER.secret not in output
    assert not found_in(output.encode())
    assert report._repr_html_().count("<tr>") == len(report.rows) + 1


def test_an_upload_whose_reply_was_lost_is_told(fault_s3: FaultServer) -> None:
    """It was begun under an unknown id, and it is not begun a second time."""
    fault_s3.fault("Create", Reset(), when="after")
    report = checked(fault_s3)
    (pending,) = fault_s3.pending_uploads(fault_s3.bucket)
    assert pending.key in report.left[0]
    assert len(fault_s3.log.of("Create")) == 1


class CarelessServer(AclServer):
    """A store that reads over what it doesn't know, and takes an ACL for an object."""

    def answer(self, request: Request, incoming: Incoming) -> Reply:
        """Put something where only an ACL was to be set."""
        if request.op == "PutAcl":
            self.put_foreign(request.bucket, request.key, b"")
            return Reply(200, b"")
        return super().answer(request, incoming)


def test_what_a_careless_store_makes_of_a_question_is_told() -> None:
    """The key is random, so nothing was replaced; it is looked for, and the answer counts for nothing."""
    with CarelessServer(Rules(granted=GRANTED - {"Abort"})) as server:
        server.put_foreign(server.bucket, "p/other.csv", b"other")
        report = checked(server)
        made = sorted(server.listing(server.bucket))
        assert report.left == (f"an object at s3://bucket/{made[0]}, which may be deleted",)
        assert made[1:] == ["p/other.csv"]
        assert (report.status, report["s3:PutObjectAcl"].verdict) == ("Unverified", "unknown")


def test_an_acl_that_the_bucket_blocks_is_no_missing_permission() -> None:
    """S3 answers a public ACL with AccessDenied where the bucket blocks those."""
    with AclServer() as server:
        server.fault("Create", Status(403, "AccessDenied"))
        row = checked(server, acl="public-read")["s3:PutObjectAcl"]
        assert (row.verdict, "block public ACLs" in row.fix) == ("no", True)


def test_a_probe_sends_what_a_delivery_sends() -> None:
    """The same headers as a delivery to the same store: of a Put, a Create, a part and a Complete."""
    with AclServer() as server:
        assert checked(server, leaving="an object").status == "Configured"
        probed = _sent(server)
    with AclServer() as server:
        for several in (None, 2):
            mc_sink.sink_madconnect(
                numbers(4),
                server.writer.target("p/"),
                max_rows_per_file=several,
                storage_options=options(server, 5 * 2**20),
            )
        delivered = _sent(server)
    assert probed == delivered


def _sent(server: FaultServer) -> dict[str, set[str]]:
    """Return the names of the headers that a store keeps or judges, of the successful requests of each operation."""
    sent: dict[str, set[str]] = {}
    for one in server.log.of("Put", "Create", "Part", "Complete"):
        if one.key.startswith("p/"):
            names = {name for name in one.headers if name.startswith(JUDGED)}
            sent[one.op] = sent.get(one.op, set()) | names
    return sent


@pytest.mark.parametrize(
    ("rules", "way", "verdict"),
    [
        (Rules(), "and of the whole object", "yes"),
        (Rules(sums={"CRC32": {"COMPOSITE"}}), "no checksum of the whole object", "yes"),
        (Rules(sums={"SHA256": {"COMPOSITE"}}, no_sum=NOT_IMPLEMENTED), "SHA-256 of each body", "yes"),
        (Rules(sums={"CRC64NVME": {"FULL_OBJECT"}}, no_sum=NOT_IMPLEMENTED), "CRC64NVME of each body", "yes"),
        (Rules(sums={}, no_sum=NOT_IMPLEMENTED), "the store takes none", "no"),
    ],
)
def test_the_probe_says_which_checksum_is_sent(rules: Rules, way: str, verdict: str) -> None:
    """As the store takes it; where it takes none, the report says what that means."""
    with AclServer(rules) as server:
        report = checked(server, leaving="an object")
        assert (report.status, report["checksum sent"].verdict) == ("Configured", verdict)
        assert way in report["checksum sent"].found
        assert bool(report["checksum sent"].unkept) == (verdict == "no")
        if verdict == "yes":
            assert report["checksums"].verdict == "yes"


def test_a_store_that_refuses_an_upload_is_failing() -> None:
    """Its objects are taken and its uploads are not: the reason has what a delivery would end with."""
    with AclServer() as server:
        server.fault("Complete", Status(400, "MalformedXML"), times=FOREVER)
        report = checked(server, leaving="an object")
        assert (report.status, report["objects"].verdict, report["uploads"].verdict) == ("Failing", "yes", "no")
        assert "A delivery fails with: " in report.reason
