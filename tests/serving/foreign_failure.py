"""Failures that this version has no row for: what a shard of another version may answer."""

from collections.abc import Mapping

import grpc
from google.rpc import error_details_pb2, status_pb2

from wire.failures import CallFailed


def foreign_failure(
    code: grpc.StatusCode,
    reason: str,
    *,
    retry_after_ms: int | None = None,
    violations: Mapping[str, str] | None = None,
) -> CallFailed:
    """Return a failure of any code and reason; `violations`: field → what is wrong with it."""
    status = status_pb2.Status(code=code.value[0], message="told by another version")
    if violations:
        bad_request = error_details_pb2.BadRequest()
        for field, description in violations.items():
            bad_request.field_violations.add(field=field, description=description)
        status.details.add().Pack(bad_request)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="hearth"))
    if retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(retry_after_ms)
        status.details.add().Pack(retry)
    return CallFailed(status)
