"""The interface of a transport: arrays in, arrays out."""

from __future__ import annotations

from typing import Protocol

from bertbundle.contract.types import PredictCall, Prediction, VersionStatus
from bertbundle.transports.cancellation import Cancellation

__all__ = ["AsyncTransport", "Transport"]


class Transport(Protocol):
    """Makes the calls of a sync client. Its methods raise `ServerError` if a call fails.

    Any object with these methods can be passed to a client, for example one that logs the calls:

    >>> class Log(GrpcTransport):
    ...     def predict(self, call, **options):
    ...         print(call.model, call.signature)
    ...         return super().predict(call, **options)
    """

    def predict(self, call: PredictCall, *, timeout: float, cancel: Cancellation | None = None) -> Prediction:
        """Run a signature.

        Args:
            call: the request.
            timeout: timeout in seconds.
            cancel: cancels the call, from another thread. A client with `hedge_after` passes it to cancel the slower of
                two calls; a transport that cannot cancel a call ignores it.

        >>> row = np.ones([1, 4], np.int32)
        >>> inputs = {"input_ids": row, "attention_mask": row, "token_type_ids": row}
        >>> call = PredictCall("tiny", "length_4", inputs, outputs=("label_ids",))
        >>> transport.predict(call, timeout=5).outputs["label_ids"].shape
        (1, 4)
        """

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """Return the state of each version of a model.

        >>> [version.state for version in transport.status("tiny", timeout=5)]
        ['LOADING', 'AVAILABLE', 'END']
        """

    def close(self) -> None:
        """Close the connection.

        >>> GrpcTransport("localhost:8500").close()
        """


class AsyncTransport(Protocol):
    """Makes the calls of an async client: `Transport` with coroutines.

    >>> class Log(AsyncGrpcTransport):
    ...     async def predict(self, call, **options):
    ...         print(call.model, call.signature)
    ...         return await super().predict(call, **options)
    """

    async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
        """See `Transport.predict`; cancelling the task cancels the call."""

    async def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""

    async def close(self) -> None:
        """See `Transport.close`."""
