"""TensorFlow Serving's REST API, for networks that only allow HTTP.

It is slower than gRPC: numbers are sent as text, and the server always returns all outputs of a signature.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import queue
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import grpc
import numpy as np
import numpy.typing as npt

from bertbundle._shared.pem import load_cert_chain
from bertbundle.contract.types import PredictCall, Prediction, VersionStatus
from bertbundle.errors import InputError, ModelNotFound, ServerError
from bertbundle.session.retries import Deadline
from bertbundle.transports.cancellation import Cancellation
from bertbundle.transports.credentials import Tls, Token, make_metadata
from bertbundle.wire.status_errors import error_from_status

__all__ = ["RestTransport"]

_Code = grpc.StatusCode
# The inverse of TensorFlow Serving's mapping, which maps two codes to 400: here 400 is INVALID_ARGUMENT.
_CODES = {
    400: _Code.INVALID_ARGUMENT,
    401: _Code.UNAUTHENTICATED,
    403: _Code.PERMISSION_DENIED,
    404: _Code.NOT_FOUND,
    429: _Code.RESOURCE_EXHAUSTED,
    500: _Code.INTERNAL,
    501: _Code.UNIMPLEMENTED,
    502: _Code.UNAVAILABLE,
    503: _Code.UNAVAILABLE,
    504: _Code.DEADLINE_EXCEEDED,
}
_VERSION_SECONDS = 1.0
"""How long the newest version is cached. A REST response does not contain its version, so each request names one."""
_READ_BYTES = 1 << 16


class RestTransport:
    """Connects to the REST port of a TensorFlow Serving compatible server.

    >>> transport = RestTransport("http://localhost:8501")
    >>> client = Client("", "ner", transport=transport)  # doctest: +SKIP
    """

    supports_labels = False  # a response over REST does not say which version a label stood for

    def __init__(
        self, url: str, *, tls: Tls | None = None, token: Token | None = None, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Create a transport; it connects on the first call.

        Args:
            url: ``http://host:port`` or ``https://host:port``, with the path before ``/v1`` if there is one.
            tls: TLS settings for ``https``; None for the system's default authorities.
            token: bearer token, or a callable that returns the current token.
            metadata: names and values that are sent as headers of each request.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected http://host:port or https://host:port, got {url!r}")
        self.address = parts.netloc
        self._path = parts.path.rstrip("/")
        self._metadata = make_metadata(token, metadata)
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue()
        self._connect: Callable[[], http.client.HTTPConnection] = functools.partial(
            http.client.HTTPConnection, parts.hostname, parts.port
        )
        if parts.scheme == "https":
            context = _context(tls)
            self._connect = functools.partial(http.client.HTTPSConnection, parts.hostname, parts.port, context=context)
        self._newest: dict[str, tuple[float, int]] = {}

    def predict(
        self,
        call: PredictCall,
        *,
        timeout: float,
        cancel: Cancellation | None = None,  # noqa: ARG002 - HTTP/1.1 cannot cancel a request
    ) -> Prediction:
        """See `Transport.predict`; `cancel` is ignored.

        Raises:
            InputError: the call is for a version label.
        """
        if isinstance(call.version, str):
            raise InputError(f"version label {call.version!r} needs gRPC. Over REST, pass a version number.")
        deadline = Deadline(timeout)
        version = self._version(call.model, deadline) if call.version is None else call.version
        body = {
            "signature_name": call.signature,
            "inputs": {name: array.tolist() for name, array in call.inputs.items()},
        }
        path = f"/v1/models/{quote(call.model, safe='')}/versions/{version}:predict"
        try:
            response = self._request("POST", path, body, deadline)
        except ModelNotFound:  # another version may have replaced it
            self._newest.pop(call.model, None)
            if call.version is not None or self._version(call.model, deadline) == version:
                raise
            return self.predict(call, timeout=deadline.remaining())
        return Prediction(self._arrays(response, call.outputs), version)

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        response = self._request("GET", f"/v1/models/{quote(model, safe='')}", None, Deadline(timeout))
        try:
            return [_version_status(item) for item in response["model_version_status"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ServerError(
                f"{self.address} sent a status that cannot be read: {error!r}.", code="INTERNAL"
            ) from error

    def close(self) -> None:
        """See `Transport.close`."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _version(self, model: str, deadline: Deadline) -> int:
        """Return the newest available version; it is cached for `_VERSION_SECONDS`."""
        expiry, version = self._newest.get(model, (0.0, 0))
        if time.monotonic() >= expiry:
            statuses = self.status(model, timeout=deadline.remaining())
            available = [status.version for status in statuses if status.state == "AVAILABLE"]
            if not available:
                raise error_from_status(_Code.NOT_FOUND, f"no version of model {model} is available", self.address)
            version = max(available)
            self._newest[model] = (time.monotonic() + _VERSION_SECONDS, version)
        return version

    def _request(self, method: str, path: str, body: Any, deadline: Deadline) -> Any:
        """Make a request and return the JSON of the response; raise the error for its status or a broken connection."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            status, data = self._exchange(connection, method, path, body, deadline)
        except TimeoutError as error:
            connection.close()
            raise error_from_status(_Code.DEADLINE_EXCEEDED, "no response within the timeout", self.address) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise error_from_status(_Code.UNAVAILABLE, _describe(error), self.address) from error
        self._idle.put(connection)
        return self._read(status, data)

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any, deadline: Deadline
    ) -> tuple[int, bytes]:
        connection.timeout = deadline.remaining()
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(deadline.remaining())
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", **dict(self._metadata())}
        connection.request(method, self._path + path, data, headers)
        response = connection.getresponse()
        parts = []
        while part := response.read(_READ_BYTES):
            parts.append(part)
            if connection.sock is not None:  # None if the server closes the connection after its response
                connection.sock.settimeout(deadline.remaining())
        return response.status, b"".join(parts)

    def _read(self, status: int, data: bytes) -> Any:
        try:
            response = json.loads(data)
        except ValueError as error:
            code = _CODES.get(status, _Code.UNKNOWN)
            raise error_from_status(code, f"HTTP {status}, not JSON: {data[:80]!r}", self.address) from error
        if status == http.client.OK:
            return response
        details = str(response.get("error", response)) if isinstance(response, dict) else str(response)
        code = _Code.FAILED_PRECONDITION if "Serving signature key" in details else _CODES.get(status, _Code.UNKNOWN)
        raise error_from_status(code, details, self.address)

    def _arrays(self, response: Any, outputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return the requested outputs by name; if a signature has one output, the server sends it without its name."""
        try:
            values = response["outputs"]
            if not isinstance(values, dict) or "b64" in values:
                values = {outputs[0] if outputs else "output": values}
            return {name: _array(value) for name, value in values.items() if not outputs or name in outputs}
        except (KeyError, TypeError, ValueError) as error:
            raise ServerError(
                f"{self.address} sent outputs that cannot be read: {error!r}.", code="INTERNAL"
            ) from error


def _describe(error: Exception) -> str:
    """Return the text of an error of a connection; a gRPC port answers with an HTTP/2 frame, which begins with 0."""
    if isinstance(error, http.client.BadStatusLine) and str(error).startswith("\0"):
        return "the port speaks HTTP/2, not HTTP/1: use the REST port (8501), not the gRPC port (8500)"
    return str(error) or type(error).__name__


def _array(value: Any) -> npt.NDArray[Any]:
    """Convert a JSON value: numbers to float32 or int32 (the dtypes of a bundle's outputs), and strings to bytes."""
    array = np.array(value)
    if array.dtype.kind in "fiu":
        return array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
    if array.dtype.kind == "U":
        strings: npt.NDArray[Any] = np.empty(array.size, object)
        strings[:] = [text.encode() for text in array.reshape(-1).tolist()]
        return strings.reshape(array.shape)
    return array


def _version_status(item: Mapping[str, Any]) -> VersionStatus:
    status = item.get("status", {})
    return VersionStatus(
        int(item["version"]), item["state"], status.get("error_code", "OK"), status.get("error_message", "")
    )


def _context(tls: Tls | None) -> ssl.SSLContext:
    if tls is not None and tls.server_name:
        raise ValueError("server_name is for gRPC only: over REST the certificate must have the host name of the URL")
    roots = tls.root_certificates.decode("ascii") if tls and tls.root_certificates else None
    context = ssl.create_default_context(cadata=roots)
    if tls and tls.certificate_chain and tls.private_key:
        load_cert_chain(context, tls.certificate_chain, tls.private_key)
    return context
