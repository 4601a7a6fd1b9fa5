"""What a client needs of a connection: arrays in, arrays out."""

from __future__ import annotations

from typing import Protocol

from bertbundle.contract.types import PredictCall, Prediction, VersionStatus
from bertbundle.transports.cancellation import Cancellation

__all__ = ["AsyncTransport", "Transport"]


class Transport(Protocol):
    """A connection to a server, for the sync client. Raises `ServerError` for anything that goes wrong.

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
            timeout: seconds to wait for the answer.
            cancel: cancels the call when it is called in another thread. A client with `hedge_after` passes it to end
                the slower one of two calls; a transport that cannot cancel ignores it.

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
    """A connection to a server, for the async client: `Transport` with coroutines.

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
