"""One object in an S3 bucket, read by ranges that all belong to one version of it."""

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.s3_client import client, translated
from kfp_textclf.components.common.sources import Answer, Source


class S3Source(Source):
    """One object. A request that fails is repeated by boto3; only what breaks later is left to the reader."""

    interruptions = (BotoCoreError, HTTPError, OSError)

    def __init__(self, bucket: str, key: str) -> None:
        """Name an object; nothing is asked yet."""
        self.bucket, self.key = bucket, key
        self.uri = f"s3://{bucket}/{key}"

    def open(self, start: int, stop: int | None, tag: str) -> Answer:  # noqa: D102  (as the interface says)
        conditions = {"IfMatch": tag} if tag else {}
        if start or stop is not None:
            conditions["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        try:
            with translated(self.uri):
                answer = client().get_object(Bucket=self.bucket, Key=self.key, **conditions)
        except UserError as error:
            if start or stop is None or _status(error.__cause__) != 416:
                raise
            return self.open(0, None, tag)  # an empty object has no ranges
        span = answer.get("ContentRange", "").rpartition("/")[2]
        size = int(span) if span.isdecimal() else answer["ContentLength"]
        return Answer(answer["Body"], start if span else 0, size, answer["ETag"], in_parts=bool(span))


def _status(error: BaseException | None) -> int | None:
    return error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else None
